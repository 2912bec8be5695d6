"""Progress of long work: a bar on a terminal, plain lines in a log. Standard library; tqdm only on a terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TextIO


def duration(seconds: float) -> str:
    """Write a time for a reader: ``"4.2 s"``, ``"42 s"``, ``"8 min 20 s"``, ``"2 h 05 min"``."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def is_terminal(stream: TextIO) -> bool:
    """Whether ``stream`` can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


class Status:
    """One line that says what is being done: redrawn in place on a terminal, written now and then in a log.

    Args:
        stream: where it goes; standard error by default.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self.stream = sys.stderr if stream is None else stream
        self.terminal = is_terminal(self.stream)
        self._clock, self._last, self._drawn = clock, float("-inf"), ""

    def show(self, text: str, every: float = 10.0) -> None:
        """Redraw the line; in a log write it, unless the last one is less than ``every`` seconds old."""
        if self.terminal:
            self._drawn = text
            self._write(f"\r\x1b[K{self._fit(text)}")
        elif self._clock() - self._last >= every:
            self._last = self._clock()
            self._write(text + "\n")

    def say(self, line: str) -> None:
        """Write a line that stays, above the one that is redrawn."""
        if self.terminal:
            self._write(f"\r\x1b[K{line}\n{self._fit(self._drawn)}")
        else:
            self._write(line + "\n")

    def clear(self) -> None:
        """Take the redrawn line away."""
        if self.terminal and self._drawn:
            self._drawn = ""
            self._write("\r\x1b[K")

    def _fit(self, text: str) -> str:
        try:
            width = os.get_terminal_size(self.stream.fileno()).columns or 80
        except OSError:
            width = 80
        # one column stays free: some terminals wrap when the last one is written
        return text if len(text) < width else text[: width - 4] + "..."

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Bar:
    """Counts work done; see `bar`."""

    def __init__(
        self,
        iterable: Iterable | None,
        total: int | None,
        description: str,
        unit: str,
        *,
        stream: TextIO | None,
        every: float,
        clock: Callable[[], float],
    ):
        self.done, self.total = 0, total
        self._iterable, self._description, self._unit, self._note = iterable, description, unit, ""
        self._every, self._clock, self._start = every, clock, clock()
        self._status = Status(stream, clock)
        self._written = self._start  # the first line comes after `every` seconds, not at once
        self._tqdm = None
        if self._status.terminal:
            from tqdm import tqdm

            self._tqdm = tqdm(
                total=total,
                desc=description,
                unit=f" {unit}",
                unit_scale=(total or 0) >= 100_000,
                dynamic_ncols=True,
                file=self._status.stream,
            )

    def update(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more units as done; ``note`` is shown beside them, e.g. ``"loss 3.21"``."""
        self.done += n
        self._note = note or self._note
        if self._tqdm is not None:
            if note:
                self._tqdm.set_postfix_str(note, refresh=False)
            self._tqdm.update(n)
        elif self._clock() - self._written >= self._every:
            self._written = self._clock()
            self._status.say(self._line())

    def close(self, finished: bool = True) -> None:
        """End the bar; a log gets a last line that says where the work ended."""
        if self._tqdm is not None:
            self._tqdm.close()
        else:
            self._status.say(self._line() if finished else f"{self._line()}, stopped")

    def _line(self) -> str:
        elapsed = self._clock() - self._start
        rate = self.done / elapsed if elapsed > 0 else 0.0
        known = self.total is not None
        parts = [f"{self._description}: {self.done:,}{f'/{self.total:,}' if known else ''} {self._unit}"]
        if rate > 0:
            parts.append(f"{_number(rate)} {self._unit}/s")
        parts.append(f"elapsed {duration(elapsed)}")
        if known and rate > 0:
            parts.append(f"remaining {duration(max(self.total - self.done, 0) / rate)}")
        return ", ".join(parts + ([self._note] if self._note else []))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        self.close(finished=kind is None)

    def __iter__(self) -> Iterator:
        if self._iterable is None:
            raise TypeError("this bar counts a number: use `with bar(...) as b: b.update(n)`")
        with self:
            for item in self._iterable:
                yield item
                self.update()


def bar(
    work: Iterable | int | None,
    description: str,
    unit: str = "items",
    *,
    total: int | None = None,
    stream: TextIO | None = None,
    every: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Bar:
    """Show the progress of a loop: ``for x in bar(xs, "fit")``, or ``with bar(1000, "fit") as b: b.update(10)``.

    On a terminal a tqdm bar; elsewhere a plain line at most every ``every`` seconds and one at the end, each with the
    number done, the rate, the time elapsed and the time remaining.

    Args:
        work: what to iterate over, or how many units there are, or None where that is not known.
        description: what is being done.
        unit: what is counted, in the plural.
        total: how many units there are, for an iterable that does not know it.
        stream: where it goes; standard error by default.
        every: seconds between two lines of a log.
        clock: seconds, monotonic.
    """
    if work is None or isinstance(work, int):
        iterable, total = None, work
    else:
        iterable, total = work, len(work) if total is None and hasattr(work, "__len__") else total
    return Bar(iterable, total, description, unit, stream=stream, every=every, clock=clock)
