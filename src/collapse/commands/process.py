"""Snakemake as a process: started so that all of it can be stopped, and once per working directory."""

import fcntl
import os
import platform
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TextIO

from collapse.errors import CollapseError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# First what Ctrl-C does: jobs clean up behind themselves and Snakemake removes what they left unfinished.
HARDER = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
PATIENCE = 10.0  # seconds before a stop becomes harder by itself
CLAIM = Path(".snakemake/collapse.lock")


def command(arguments: list[str]) -> list[str]:
    """Return the command line of Snakemake, of the Python that runs this."""
    return [sys.executable, "-m", "snakemake", *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a build: `python` in a rule's shell line is the Python that runs this."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


class Snakemake:
    """A running Snakemake, in a session of its own, so that stopping it stops its jobs too.

    Inside ``with``, Ctrl-C, SIGTERM and SIGHUP stop it: asked once, then terminated, then killed; each further signal,
    or ten seconds, is a step.

    Args:
        arguments: Snakemake's.
        pipe: what `lines` reads, ``"stdout"`` or ``"stderr"``.
        keep: file descriptors that it inherits.
    """

    def __init__(self, arguments: list[str], pipe: str, keep: tuple[int, ...] = ()):
        self.stopped: int | None = None
        self._step, self._since = 0, 0.0
        self._before = {number: signal.signal(number, self._stop) for number in STOPS}
        try:
            other = {"stderr": subprocess.DEVNULL} if pipe == "stdout" else {}
            self.process = subprocess.Popen(
                command(arguments),
                stdin=subprocess.DEVNULL,
                **{pipe: subprocess.PIPE},
                **other,
                env=environment(),
                start_new_session=True,
                pass_fds=keep,
            )
        except BaseException:
            self._restore(self._before)
            raise
        # what was ignored (nohup, a shell's background job) stays ignored here, but not in the child: it must obey
        self._restore({number: old for number, old in self._before.items() if old == signal.SIG_IGN})
        self._output = getattr(self.process, pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is not None:
            self._send(signal.SIGKILL)
        self.process.wait()
        self._output.close()
        self._restore(self._before)

    def lines(self) -> Iterator[str | None]:
        """Give each line as it comes, and None for each half second without one."""
        descriptor, rest = self._output.fileno(), b""
        while True:
            if select.select([descriptor], [], [], 0.5)[0]:
                if not (chunk := os.read(descriptor, 65536)):
                    break
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            elif self.process.poll() is not None:
                break  # a job that outlived Snakemake holds the pipe
            else:
                yield None
            if self.stopped is not None and time.monotonic() - self._since > PATIENCE:
                self._harder()
        if rest:
            yield rest.decode(errors="replace")
        self.process.wait()

    def _stop(self, number: int, frame) -> None:
        self.stopped = number
        self._harder()

    def _harder(self) -> None:
        self._since = time.monotonic()
        self._send(HARDER[min(self._step, len(HARDER) - 1)])
        self._step += 1

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, AttributeError):  # already gone; not there yet
            os.killpg(self.process.pid, number)

    @staticmethod
    def _restore(handlers: dict) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Claim:
    """The right to build in the working directory, held by one build at a time.

    Snakemake's own lock outlives a killed run and does not say who held it. This one is held by the kernel for as long
    as the build or its Snakemake lives. The file says who held it last; a build that ended empties it.

    Attributes:
        leftover: the last build was killed, so that Snakemake's lock is what it left behind.
    """

    def __init__(self, file: TextIO, leftover: bool):
        self._file, self.leftover = file, leftover
        self._write(f"{platform.node()} {os.getpid()}")

    @property
    def descriptor(self) -> int:
        """What Snakemake must inherit."""
        return self._file.fileno()

    def handed_to(self, process: int) -> None:
        """Note the Snakemake that holds the claim too."""
        self._write(f"{platform.node()} {os.getpid()} {process}")

    def ended(self) -> None:
        """Note that Snakemake ended by itself and left nothing behind."""
        self._write("")

    def _write(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()


@contextmanager
def claim(path: Path = CLAIM) -> Iterator[Claim]:
    """Claim the working directory. A Snakemake whose build was killed is stopped first.

    Raises:
        CollapseError: another build is running here.
    """
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        file.seek(0)
        host, *processes = file.read().split() or [""]
        here = host == platform.node()
        if not _lock(file):
            if not here or len(processes) < 2 or _alive(int(processes[0])):
                raise CollapseError(
                    f"another build is running here (process {' '.join(processes)} on {host}): wait for it, or stop it"
                )
            _stop_orphan(file, int(processes[1]))
        yield Claim(file, leftover=here and bool(processes))


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CollapseError(f"{file.name} lies on a file system without locks: run snakemake itself") from error
    return True


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stop_orphan(file: TextIO, group: int) -> None:
    """Stop the Snakemake ``group``, which holds the lock although its build is dead, and take the lock."""
    for number in HARDER:
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if _lock(file):
                return
            time.sleep(0.1)
    raise CollapseError(f"the Snakemake of a killed build (process {group}) does not end: stop it")
