"""The verb `build`: runs Snakemake and says what is being done, how far it is and how long it may still take."""

import signal
import subprocess
import time
from typing import TextIO

from collapse.commands.process import PATIENCE, Claim, Snakemake, claim, command, environment
from collapse.commands.watch import Forecast, Reader, Weigh
from collapse.progress import Status, duration

DRY = {"-n", "--dry-run", "--dryrun"}
EVERY = 3.0  # seconds between two lines of a log while jobs end
SILENCE = 30.0  # and while none does


def run(arguments: list[str], weigh: Weigh | None = None, stream: TextIO | None = None) -> int:
    """Run Snakemake in the working directory and follow it.

    On a terminal one line is redrawn: how far, time elapsed and left, what runs. In a log there is a line per finished
    job, at most one every three seconds. Errors are shown in full, with the log of the job that failed where
    `show-failed-logs` is set (as in `profiles/default`); everything else is in `.snakemake/log`.

    Args:
        arguments: Snakemake's. A dry run is passed on as it is.
        weigh: (rule, wildcards) -> expected seconds of the job, or None. With it, a dry run of a few seconds lists the
            jobs first; without it, the time left is told from the mean of each rule so far.
        stream: where progress goes; standard error by default.

    Returns:
        Snakemake's exit code; 128 + the number of the signal that stopped the build or killed Snakemake.

    Raises:
        CollapseError: another build is running in this directory.
    """
    if DRY & set(arguments):
        return subprocess.run(command(arguments), env=environment()).returncode
    status, start = Status(stream), time.monotonic()
    with claim() as held:
        if held.leftover:
            status.say("The last build was killed; going on from where it was.")
            subprocess.run(command(["--unlock", *arguments]), env=environment(), capture_output=True)
        plan = Reader()
        if weigh is not None:
            status.show("looking at what is to be done ...", every=0.0)
            stopped = _plan(arguments, plan)
            if stopped is not None or plan.nothing:
                status.clear()
                _end(plan, status, 0, stopped, start)
                held.ended()
                return 0 if stopped is None else 128 + stopped
        code = _follow(arguments, Forecast(weigh, list(plan.running.values())), status, start, held)
        if code >= 0:
            held.ended()
        return code if code >= 0 else 128 - code


def _plan(arguments: list[str], plan: Reader) -> int | None:
    """Read the jobs to do from a dry run; return the signal that stopped it, if one did."""
    with Snakemake(["--dry-run", *arguments], "stdout") as snakemake:
        for line in snakemake.lines():
            if line is not None:
                plan.read(line, 0.0)
    return snakemake.stopped


def _follow(arguments: list[str], forecast: Forecast, status: Status, start: float, held: Claim) -> int:
    """Run Snakemake to its end, showing where it is; return its exit code, negative where it was killed."""
    reader, tail = Reader(), []
    with Snakemake(arguments, "stderr", (held.descriptor,)) as snakemake:
        held.handed_to(snakemake.process.pid)
        for line in snakemake.lines():
            now, before = time.monotonic(), reader.done
            if line is not None:
                shown = reader.read(line, now)
                tail = [*tail[-50:], line]
                if shown and snakemake.stopped is None:
                    status.say(line)
            if snakemake.stopped is not None:
                status.show("stopping the running jobs ...", every=PATIENCE)
            elif reader.done > before:
                status.show(describe(reader, forecast, start, now, status.terminal), every=EVERY)
            elif line is None:
                status.show(describe(reader, forecast, start, now, status.terminal), every=SILENCE)
            elif reader.total and not before and line == "Select jobs to execute...":
                status.show(describe(reader, forecast, start, now, status.terminal), every=0.0)
    status.clear()
    code = snakemake.process.returncode
    if code and snakemake.stopped is None and not reader.errors:
        for line in tail:  # it failed in words that are not known here
            status.say(line)
    _end(reader, status, code, snakemake.stopped, start)
    return code if code < 0 or snakemake.stopped is None else 128 + snakemake.stopped


def _end(reader: Reader, status: Status, code: int, stopped: int | None, start: float) -> None:
    """Say how it ended."""
    far = f"{reader.done}/{reader.total} jobs in {duration(time.monotonic() - start)}"
    log = f" Everything that Snakemake said: {reader.log}" if reader.log else ""
    if stopped is not None:
        status.say(f"Stopped by {signal.Signals(stopped).name} after {far}. The same command goes on from here.{log}")
    elif code and not reader.total:
        status.say(f"Failed before the first job.{log}")
    elif code:
        status.say(f"Failed after {far}. The same command goes on from here.{log}")
    elif reader.nothing:
        status.say("Nothing to be done: everything is up to date.")
    elif reader.total:
        status.say(f"Done: {far}.")


def describe(reader: Reader, forecast: Forecast, start: float, now: float, terminal: bool) -> str:
    """Say how far a build is, in one line: jobs done, time elapsed and left, what has just ended, what runs."""
    if not reader.total:
        return "looking at what is to be done ..."
    elapsed, left = now - start, forecast.remaining(reader, now)
    running = [f"{job} ({duration(now - job.started)})" for job in reader.running.values()]
    if terminal:
        share = reader.done / reader.total if left is None else elapsed / max(elapsed + left, 1e-9)
        blocks = "#" * round(12 * share)
        times = f"{duration(elapsed)}, {'time left unknown yet' if left is None else f'{duration(left)} left'}"
        return f"{share:4.0%} |{blocks:12}| {reader.done}/{reader.total} jobs, {times}: {', '.join(running)}"
    parts = [
        f"{reader.done}/{reader.total} jobs",
        f"elapsed {duration(elapsed)}",
        f"remaining {'unknown yet' if left is None else duration(left)}",
    ]
    if reader.finished:
        job, seconds = reader.finished[-1]
        parts.append(f"finished {job} in {duration(seconds)}")
    return ", ".join(parts) + (f"; running {', '.join(running)}" if running else "")
