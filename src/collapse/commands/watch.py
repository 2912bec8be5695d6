"""What a running Snakemake says, read line by line, and how long it may still take. Pure: no process, no terminal.

Written for the output of Snakemake 9. Lines that are known to be routine are hidden (Snakemake keeps them in
`.snakemake/log`); every other line is shown, so that no error is lost where a later version words things differently.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Weigh = Callable[[str, dict[str, str]], float | None]

TIME = re.compile(r"\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]$")
RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):$")
MESSAGE = re.compile(r"Job (\d+): (.*)$")  # a rule with `message:` gives neither its name nor its wildcards
FINISHED = re.compile(r"Finished jobid: (\d+) \(Rule: (\w+)\)$")
STEPS = re.compile(r"(\d+) of (\d+) steps \(\S+\) done$")
FAILED = re.compile(r"Error in (?:rule|checkpoint|group) ([\w.-]+):$")
ERROR = re.compile(r"\w*(?:Error|Exception)\b")
LOG_FILE = re.compile(r"Logfile .*:$")
COUNT = re.compile(r"(\S+) +(\d+)$")
ROUTINE = re.compile(
    r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Using shell:|Provided (?:cores|resources|remote nodes):"
    r"|Using workflow specific profile|Assuming unrestricted shared filesystem|Rules claiming more threads"
    r"|Config file \S+ is extended by additional config|Building DAG of jobs|Conda environments: ignored"
    r"|Activating conda environment:|Elapsed time:|Shutting down, this might take|Reasons?:"
)


@dataclass
class Job:
    """A job that Snakemake announced: its rule, when it started (seconds), its wildcards, its message if it has one."""

    rule: str
    started: float
    wildcards: dict[str, str] = field(default_factory=dict)
    message: str = ""

    @property
    def key(self) -> tuple:
        """What tells this job from others: rule and wildcards."""
        return (self.rule, *sorted(self.wildcards.items()))

    def __str__(self) -> str:
        if self.message:
            return self.message
        # `scale` is the same for all jobs; a bare number needs its name; in paths, n is called gen
        names = {"n": "gen"}
        parts = [
            f"{names.get(name, name)}{value}" if value.isdecimal() else value
            for name, value in self.wildcards.items()
            if name != "scale"
        ]
        return f"{self.rule} {'/'.join(parts)}" if parts else self.rule


class Reader:
    """The state of a build, from the lines that Snakemake prints.

    Attributes:
        counts: jobs to do, per rule; from the job table.
        done, total: jobs finished and jobs in all.
        running: job number -> job; in the output of a dry run, all jobs.
        finished: the jobs that ended well since the start, with their seconds.
        failed: the jobs that failed.
        cores: cores that Snakemake may use.
        log: path of Snakemake's own log, once it has said it.
        nothing: whether Snakemake said that there is nothing to do.
        errors: whether an error was shown.
    """

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.done, self.total, self.cores = 0, 0, 1
        self.running: dict[int, Job] = {}
        self.finished: list[tuple[Job, float]] = []
        self.failed: list[Job] = []
        self.log, self.nothing, self.errors = "", False, False
        self._block, self._job, self._fence = "", Job("", 0.0), ""

    def read(self, line: str, now: float) -> bool:
        """Take in one line at time ``now`` (seconds); return whether it is to be shown to the user."""
        line = line.rstrip()
        if self._block == "file":  # the log of a failed job, between two equal lines of "="
            if not self._fence:
                self._fence = line
            elif line == self._fence:
                self._block = "error"
            return True
        if TIME.match(line) or ROUTINE.match(line):
            self._block = "reasons" if line == "Reasons:" else ""
            if line.startswith("Provided cores:") and line.split()[-1].isdecimal():
                self.cores = int(line.split()[-1])
            return False
        if line.startswith("Complete log(s): "):
            self._block, self.log = "", line.removeprefix("Complete log(s): ")
            return False
        if match := RULE.match(line):
            self._block, self._job = "job", Job(match[1], now)
            return False
        if match := MESSAGE.match(line):
            self._block = "message"
            self.running[int(match[1])] = Job("", now, message=match[2])
            return False
        if match := FINISHED.match(line):
            self._block = ""
            job = self.running.pop(int(match[1]), Job(match[2], now))
            job.rule = match[2]
            self.finished.append((job, now - job.started))
            return False
        if match := STEPS.match(line):
            self._block = ""
            self.done, self.total = int(match[1]), int(match[2])
            return False
        return self._other(line)

    def _other(self, line: str) -> bool:
        """The lines that begin, fill or end the rarer blocks."""
        if match := FAILED.match(line):
            self._block, self._job, self.errors = "failed", Job(match[1], 0.0), True
            return True
        if ERROR.match(line):
            self._block, self.errors = "error", True
            return True
        if self._block in ("failed", "error"):
            if LOG_FILE.match(line):
                self._block, self._fence = "file", ""
            elif self._block == "failed" and line.startswith("    jobid: ") and line.split()[-1].isdecimal():
                self.failed.append(self.running.pop(int(line.split()[-1]), self._job))
            return bool(line)
        if line.startswith("Nothing to be done"):
            self.nothing = True
            return False
        if line in ("SNAKEMAKE", "Job stats:") or line.startswith("Shell command:"):
            self._block = {"SNAKEMAKE": "header", "Job stats:": "table"}.get(line, "shell")
            return False
        return self._inside(line)

    def _inside(self, line: str) -> bool:
        """The lines of a routine block; the first that does not belong to it ends it."""
        if self._block == "shell":  # a command may have any number of lines; the next event ends it
            return False
        if not line:
            self._block = ""
            return False
        if self._block == "table":
            if (match := COUNT.match(line)) and match[1] == "total":
                self.total = int(match[2])
            elif match:
                self.counts[match[1]] = int(match[2])
            return False
        if self._block == "job" and line.startswith("    "):
            self._detail(line.strip())
            return False
        if self._block == "header" and (line.startswith("  ") or set(line) == {"="}):
            return False
        if self._block == "reasons" and line.startswith("    "):
            return False
        self._block = ""
        return True

    def _detail(self, text: str) -> None:
        name, _, value = text.partition(": ")
        if name == "jobid" and value.isdecimal():
            self.running[int(value)] = self._job
        elif name == "wildcards":
            pairs = (part.partition("=") for part in value.split(", "))
            self._job.wildcards.update({key: value for key, equals, value in pairs if equals})


class Forecast:
    """How long a build may still take.

    A job weighs what it is expected to take, in seconds: what ``weigh`` says of it, or else the mean of the finished
    jobs of its rule, or of all. The time left is the weight left times the seconds that a unit of weight has taken so
    far; before there is experience, all cores are supposed to be busy and the weights to be right.

    Args:
        weigh: (rule, wildcards) -> expected seconds, or None where it cannot tell.
        jobs: the jobs to do, as far as they are known by their wildcards.
    """

    TRUST = 20.0  # the prior counts as much as this many seconds of finished work

    def __init__(self, weigh: Weigh | None = None, jobs: list[Job] | tuple[Job, ...] = ()):
        self._weigh = weigh
        self._ahead = {job.key: (job.rule, weight) for job in jobs if (weight := self._expected(job)) is not None}
        self._finished: Counter[str] = Counter()
        self._measured: Counter[str] = Counter()
        self._work, self._read = 0.0, 0
        self._started: float | None = None

    def remaining(self, reader: Reader, now: float) -> float | None:
        """Return the seconds left at time ``now``, or None while that cannot be told."""
        self._update(reader)
        left = sum(weight for _, weight in self._ahead.values())
        known = Counter(rule for rule, _ in self._ahead.values())
        for rule, count in reader.counts.items():
            if (rest := count - self._finished[rule] - known[rule]) > 0:
                if (mean := self._mean(rule)) is None:
                    return None
                left += rest * mean
        current = [(now - job.started, w) for job in reader.running.values() if (w := self.weight(job)) is not None]
        progress = sum(min(age, weight) for age, weight in current)
        elapsed = 0.0 if self._started is None else now - self._started
        pace = (elapsed + self.TRUST / max(reader.cores, 1)) / (self._work + progress + self.TRUST)
        return max([(left - progress) * pace, 0.0, *(weight - age for age, weight in current)])

    def weight(self, job: Job) -> float | None:
        """Expected seconds of a job, or None while nothing is known about it."""
        expected = self._expected(job)
        return self._mean(job.rule) if expected is None else expected

    def _expected(self, job: Job) -> float | None:
        return None if self._weigh is None or not job.rule else self._weigh(job.rule, job.wildcards)

    def _mean(self, rule: str) -> float | None:
        if self._finished[rule]:
            return self._measured[rule] / self._finished[rule]
        if count := self._finished.total():
            return self._measured.total() / count
        return sum(weight for _, weight in self._ahead.values()) / len(self._ahead) if self._ahead else None

    def _update(self, reader: Reader) -> None:
        finished = reader.finished[self._read :]
        if self._started is None:
            starts = [job.started for job in (*reader.running.values(), *(job for job, _ in finished))]
            self._started = min(starts, default=None)
        for job, seconds in finished:
            self._finished[job.rule] += 1
            self._measured[job.rule] += seconds
            self._ahead.pop(job.key, None)
            expected = self._expected(job)
            self._work += seconds if expected is None else expected
        self._read = len(reader.finished)
