"""Checkpoints of a fit: its state in one file, written now and then, read by the next run of the same fit."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from collapse import store
from collapse.errors import CollapseError, DataError

STOPS = (signal.SIGTERM, signal.SIGINT)
"""What ends a job: a scheduler's time limit, a build that is stopped, Ctrl-C."""


class StoppedError(CollapseError):
    """A signal ended a fit whose state is saved: the next run of the same command goes on."""


class Checkpoint:
    """Where and how often a fit saves its state, and whose state that is.

    A family that can resume asks `load` before its first step, and after each step saves its state where that is
    `due`. A resumed fit gives the same bits as one that was never interrupted (CPU, one thread).

    Args:
        path: the file.
        identity: what the fit is, JSON-able; a value may be a function, which is called when a file is written or read.
            A file of another identity is refused.
        minutes: time between two saves, by the monotonic clock; a shorter fit writes nothing.
        notes: JSON-able; saved with each state, and filled with what is loaded.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any], minutes: float, notes: dict[str, Any] | None = None):
        self.path, self.identity, self.notes = Path(path), dict(identity), {} if notes is None else notes
        self._wait, self._last, self._stop = 60 * minutes, time.monotonic(), None

    def identify(self, **more) -> None:
        """Add to the identity what became known later."""
        self.identity.update(more)

    def due(self) -> bool:
        """Whether the state should be saved now: the time has passed, or a signal asked to stop."""
        return self._stop is not None or time.monotonic() - self._last >= self._wait

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all, with a checksum.

        Args:
            state: name -> numpy array, or anything JSON-able.

        Raises:
            DataError: the file cannot be written.
            StoppedError: it is written, and a signal asked to stop.
        """
        arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        rest = {name: value for name, value in state.items() if name not in arrays}
        text = json.dumps({"identity": self._resolved(), "notes": self.notes, "state": rest}, sort_keys=True)
        store.save_arrays(self.path, {**arrays, "json": np.frombuffer(text.encode(), np.uint8)})
        if self._stop is not None:
            raise StoppedError(
                f"stopped by {signal.Signals(self._stop).name}; what is done so far is in {self.path}: run the same "
                "command again to go on from there"
            )
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state and fill the notes; None where there is no file.

        Raises:
            DataError: the file is corrupted, or holds the state of another fit; it is left as it is.
        """
        if not self.path.exists():
            return None
        arrays = store.load_arrays(self.path)
        try:
            saved = json.loads(arrays.pop("json").tobytes())
            identity, notes, state = (saved[name] for name in ("identity", "notes", "state"))
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.path} is not a checkpoint ({error}): delete it and run again") from error
        mine = self._resolved()
        if differ := sorted(name for name in {*mine, *identity} if mine.get(name) != identity.get(name)):
            raise DataError(
                f"{self.path} is the checkpoint of another fit (other {', '.join(differ)}): if that one is not to go "
                "on, delete it and run again"
            )
        self.notes.clear()
        self.notes.update(notes)
        return {**arrays, **state}

    def clear(self) -> None:
        """Remove the file, and what a killed process may have left of one: the fit is done."""
        for path in (self.path, *self.path.parent.glob(f".{self.path.stem}.*.part{self.path.suffix}")):
            path.unlink(missing_ok=True)

    def _resolved(self) -> dict[str, Any]:
        return json.loads(json.dumps({k: v() if callable(v) else v for k, v in self.identity.items()}))

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While this is open, a first signal of `STOPS` makes the state due and `save` raise; a second acts at once.

        A signal that comes when there is nothing left to save acts when this closes. What is ignored stays ignored.
        """

        def ask(number: int, frame) -> None:
            self._stop = number
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before = {number: signal.getsignal(number) or signal.SIG_DFL for number in STOPS}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        for number in before:
            signal.signal(number, ask)
        try:
            yield
            if self._stop is not None:
                restore()
                signal.raise_signal(self._stop)
        finally:
            restore()
