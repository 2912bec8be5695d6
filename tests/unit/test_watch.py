import pytest

from collapse.commands.watch import Forecast, Job, Reader

# What Snakemake 9.27.1 prints, shortened.
START = """\
Using workflow specific profile profiles/default for setting default command line arguments.
Assuming unrestricted shared filesystem usage.

SNAKEMAKE
=========
  Date: 2026-11-22 17:42:46
  Command: snakemake --cores 2
  Config file(s): []

Building DAG of jobs...
Using shell: /usr/bin/bash
Provided cores: 2
Rules claiming more threads will be scaled down.
Provided resources: gpu=Resource("gpu", 1)
Job stats:
job      count
-----  -------
fit          6
table        1
all          1
total        8

Select jobs to execute...
Execute 1 jobs...
"""
FIT = """\

[Sun Nov 22 17:42:46 2026]
localrule fit:
    input: out/replace/seed0/gen1/model.txt
    output: out/replace/seed0/gen2/model.txt
    log: logs/replace/seed0/gen2.log
    jobid: 2
    benchmark: benchmarks/a.tsv
    reason: Missing output files: out/replace/seed0/gen2/model.txt
    wildcards: scale=laptop, policy=replace, seed=0, n=2
    threads: 2
    resources: tmpdir=/tmp, gpu=1, mem_mb=100, mem=100 MB, mem_mib=96
Shell command:
        python -m collapse fit \\
          --policy replace
second line of the command
Select jobs to execute...
"""
FINISHED = """\
[Sun Nov 22 17:42:47 2026]
Finished jobid: 2 (Rule: fit)
2 of 8 steps (25%) done
"""
MESSAGE = """\

[Sun Nov 22 17:42:49 2026]
Job 7: makes the table
Reason: Missing output files: out/table.txt
Shell command: cat a > out/table.txt 2> logs/table.log
"""
FAILED = """\
RuleException:
CalledProcessError in file "Snakefile", line 17:
Command 'set -euo pipefail;  false' returned non-zero exit status 1.
[Sun Nov 22 17:42:53 2026]
Error in rule fit:
    message: None
    jobid: 2
    log: logs/replace/seed0/gen2.log (check log file(s) for error details)
    shell:
        false
        (command exited with non-zero exit code)
Logfile logs/replace/seed0/gen2.log:
====================================
Select jobs to execute...
error: a loss is not finite

[Sun Nov 22 17:42:53 2026]
====================================
Shutting down, this might take some time.
Exiting because a job execution failed. Look above for error messages
Complete log(s): .snakemake/log/2026.snakemake.log
Elapsed time: 0:00:01.125576
WorkflowError:
At least one job did not complete successfully.
"""


def feed(reader, text, now=0.0):
    """Return the lines that are shown."""
    return [line for line in text.splitlines() if reader.read(line, now)]


def test_routine_is_read_and_hidden():
    reader = Reader()
    assert feed(reader, START) == []
    assert (reader.counts, reader.total, reader.cores) == ({"fit": 6, "table": 1, "all": 1}, 8, 2)
    assert feed(reader, FIT, now=3.0) == []
    job = reader.running[2]
    assert (job.rule, job.started) == ("fit", 3.0)
    assert job.wildcards == {"scale": "laptop", "policy": "replace", "seed": "0", "n": "2"}
    assert str(job) == "fit replace/seed0/gen2"
    assert feed(reader, FINISHED, now=8.0) == []
    assert (reader.done, reader.total, reader.running, reader.finished) == (2, 8, {}, [(job, 5.0)])
    assert not reader.errors


def test_a_rule_with_a_message_gets_its_name_when_it_ends():
    reader = Reader()
    assert feed(reader, START + MESSAGE) == []
    assert str(reader.running[7]) == "makes the table"
    assert feed(reader, "Finished jobid: 7 (Rule: table)") == []
    assert reader.finished[0][0].rule == "table"


def test_a_failure_is_shown_in_full_with_the_log_of_the_job():
    reader = Reader()
    shown = feed(reader, START + FIT + FAILED)
    hidden = {"[Sun Nov 22 17:42:53 2026]", "Shutting down, this might take some time."}
    hidden |= {"Complete log(s): .snakemake/log/2026.snakemake.log", "Elapsed time: 0:00:01.125576"}
    inside = FAILED[FAILED.index("Logfile") : FAILED.index("Shutting")].splitlines()
    assert shown[shown.index(inside[0]) :][: len(inside)] == inside  # even where the log looks like Snakemake's routine
    assert set(FAILED.splitlines()) - set(shown) == hidden - set(inside)
    assert [job.rule for job in reader.failed] == ["fit"]
    assert reader.running == {}
    assert reader.errors
    assert reader.log == ".snakemake/log/2026.snakemake.log"


@pytest.mark.parametrize(
    "line",
    ["MissingRuleException:", "LockException:", "Error: Directory cannot be locked.", "a warning of a later version"],
)
def test_what_is_not_known_is_shown(line):
    assert feed(Reader(), START + line) == [line]


def test_an_error_after_a_long_command_is_shown():
    assert feed(Reader(), "Shell command:\n  a\nb\nOSError: disk full\nmore") == ["OSError: disk full", "more"]


def test_nothing_to_be_done():
    reader = Reader()
    line = "Nothing to be done (all requested files are present and up to date)."
    assert feed(reader, START.split("Using shell")[0] + line) == []
    assert reader.nothing


def started(reader, number, rule, now, **wildcards):
    detail = ", ".join(f"{k}={v}" for k, v in wildcards.items())
    feed(reader, f"rule {rule}:\n    jobid: {number}\n    wildcards: {detail}", now)


def finish(reader, number, rule, now, done):
    feed(reader, f"Finished jobid: {number} (Rule: {rule})\n{done} of {reader.total} steps (1%) done", now)


def table(counts):
    lines = ["Job stats:", "job count", "--- ---", *(f"{k} {v}" for k, v in counts.items())]
    return "\n".join([*lines, f"total {sum(counts.values())}", "", ""])


def test_without_weights_the_time_left_is_that_of_the_jobs_so_far():
    reader, forecast = Reader(), Forecast()
    feed(reader, table({"fit": 100}))
    assert forecast.remaining(reader, 0.0) is None
    for number in range(50):
        started(reader, number, "fit", 10.0 * number, n=number)
        finish(reader, number, "fit", 10.0 * number + 10, done=number + 1)
    assert forecast.remaining(reader, 500.0) == pytest.approx(500.0)
    started(reader, 50, "fit", 500.0, n=50)
    assert forecast.remaining(reader, 505.0) == pytest.approx(495.0)


def test_weights_tell_the_time_left_before_the_first_job():
    weights = {"fit": lambda n: 10.0 * n, "all": lambda n: 0.0}
    jobs = [Job("fit", 0.0, {"n": str(n)}) for n in range(1, 11)] + [Job("all", 0.0)]
    forecast = Forecast(lambda rule, wildcards: weights[rule](int(wildcards.get("n", 0))), jobs)
    reader = Reader()
    feed(reader, "Provided cores: 2\n" + table({"fit": 10, "all": 1}))
    assert forecast.remaining(reader, 0.0) == pytest.approx(550 / 2)


def test_a_machine_that_is_slower_than_the_weights_is_noticed():
    jobs = [Job("fit", 0.0, {"n": str(n)}) for n in range(100)]
    reader, forecast = Reader(), Forecast(lambda rule, wildcards: 10.0, jobs)
    feed(reader, table({"fit": 100}))
    for number in range(50):
        started(reader, number, "fit", 30.0 * number, n=number)
        finish(reader, number, "fit", 30.0 * number + 30, done=number + 1)
    assert forecast.remaining(reader, 1500.0) == pytest.approx(1500.0, rel=0.05)


def test_rules_without_a_weight_take_the_mean():
    jobs = [Job("fit", 0.0, {"n": "1"}), Job("fit", 0.0, {"n": "2"}), Job("table", 0.0)]
    reader, forecast = Reader(), Forecast(lambda rule, wildcards: 10.0 if rule == "fit" else None, jobs)
    feed(reader, table({"fit": 2, "table": 1}))
    assert forecast.remaining(reader, 0.0) == pytest.approx(30.0)


def test_no_less_than_the_longest_running_job_is_left():
    reader, forecast = Reader(), Forecast(lambda rule, wildcards: 100.0, [Job("fit", 0.0, {"n": "1"})])
    feed(reader, "Provided cores: 16\n" + table({"fit": 1}))
    started(reader, 1, "fit", 0.0, n=1)
    assert forecast.remaining(reader, 10.0) == pytest.approx(90.0)
