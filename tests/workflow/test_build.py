"""The verb `build` on a toy workflow of three jobs: what it prints, what it returns, and what a stop leaves behind."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

SNAKEFILE = """
rule all:
    input: "out/gen2.txt"

rule fit:
    input: lambda w: [] if w.n == "1" else "out/gen1.txt"
    output: "out/gen{n}.txt"
    log: "logs/gen{n}.log"
    wildcard_constraints: n="[12]"
    shell:
        '''
        exec > {log} 2>&1
        echo the log of generation {wildcards.n}
        test {wildcards.n} != "$FAILS"
        sleep "$SECONDS_EACH"
        echo done > {output}
        '''
"""
CODE = """
import sys
from collapse.commands import build
build.EVERY = 0.0
weigh = (lambda rule, wildcards: {"fit": 60.0, "all": 0.0}[rule]) if sys.argv[1] == "weighed" else None
sys.exit(build.run(["--cores", "2", "--show-failed-logs", *sys.argv[2:]], weigh=weigh))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def start(folder, *arguments, weights="unweighed", seconds="0", fails="never", **streams):
    environment = {**os.environ, "SECONDS_EACH": seconds, "FAILS": fails}
    return subprocess.Popen([sys.executable, "-c", CODE, weights, *arguments], cwd=folder, env=environment, **streams)


def build(folder, *arguments, **options):
    """Run a build with its output in a log; return exit code and log."""
    process = start(folder, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return process.wait(60), process.communicate()[0]


def wait_for(what, seconds=30.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def log_of(folder, n):
    path = folder / f"logs/gen{n}.log"
    return path.exists() and path.read_text()


def claimed(folder):
    """Host, process of the build, process of Snakemake."""
    path = folder / ".snakemake/collapse.lock"
    words = path.read_text().split() if path.exists() else []
    return words if len(words) == 3 else None


def running(session):
    """Processes of a session, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[3]) == session and after[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_success_then_nothing_to_do(folder):
    code, log = build(folder)
    assert code == 0, log
    for n in (1, 2):
        line = rf"^{n}/3 jobs, elapsed \S+ s, remaining \S+ s, finished fit gen{n} in \S+ s"
        assert re.search(line, log, re.MULTILINE), log
    assert re.search(r"^Done: 3/3 jobs in ", log, re.MULTILINE)
    assert "Select jobs" not in log  # Snakemake's routine is in its own log
    code, log = build(folder, weights="weighed")
    assert code == 0
    assert log.splitlines() == ["looking at what is to be done ...", "Nothing to be done: everything is up to date."]


def test_weights_tell_the_time_left_before_any_job_has_ended(folder):
    code, log = build(folder, weights="weighed")
    assert code == 0, log
    assert re.search(r"^0/3 jobs, elapsed .*, remaining 1 min 00 s", log, re.MULTILINE), log  # 120 s on two cores


def test_a_failure_keeps_its_exit_code_and_shows_the_log_of_the_job(folder):
    code, log = build(folder, fails="2")
    assert code == 1
    assert "Error in rule fit:" in log
    assert "the log of generation 2" in log
    assert "the log of generation 1" not in log
    assert "Failed after 1/3 jobs" in log
    assert str(next((folder / ".snakemake/log").iterdir())) in log


def test_an_error_before_the_first_job_is_shown(folder):
    code, log = build(folder, "no_such_target")
    assert code == 1
    assert "MissingRuleException" in log
    assert "no_such_target" in log
    assert "Failed before the first job." in log


def test_a_dry_run_is_passed_on(folder):
    code, log = build(folder, "-n", weights="weighed")
    assert code == 0
    assert "This was a dry-run" in log
    assert not (folder / "out").exists()


def test_a_terminal_shows_one_line_that_is_redrawn(folder):
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(master)
    process = start(folder, seconds="0.8", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    screen = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while chunk := os.read(master, 65536):
            screen += chunk
    process.wait(30)
    after = termios.tcgetattr(master)
    os.close(master)
    assert process.returncode == 0
    assert after == before
    drawn = screen.decode().split("\r\x1b[K")
    assert max(map(len, drawn)) < 100
    assert any(re.search(r"0% \|.* 0/3 jobs, .*: fit gen1 \(\d", line) for line in drawn), drawn
    assert any(re.search(r"\d+% \|#+ *\| 1/3 jobs, .* s, .* s left: fit gen2 \(\d", line) for line in drawn), drawn
    assert drawn[-1].startswith("Done: 3/3 jobs")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_leaves_no_lock(folder, number):
    process = start(folder, seconds="60", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _, _, session = wait_for(lambda: log_of(folder, 1) and claimed(folder))
    process.send_signal(number)
    log = process.communicate(timeout=30)[0]
    assert process.returncode == 128 + number
    assert f"Stopped by {number.name} after 0/3 jobs" in log
    assert "Error" not in log
    assert running(int(session)) == []
    assert not (folder / ".snakemake/locks").exists()
    assert (folder / ".snakemake/collapse.lock").read_text() == ""


def test_a_build_whose_process_was_killed_is_stopped_and_goes_on(folder):
    process = start(folder, seconds="60", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, session = wait_for(lambda: log_of(folder, 1) and claimed(folder))
    code, log = build(folder)
    assert code == 1
    assert "another build is running here" in log
    process.kill()
    process.wait()
    assert running(int(session))  # Snakemake and its job do not know yet
    code, log = build(folder)
    assert code == 0, log
    assert "The last build was killed" in log
    assert running(int(session)) == []


def test_a_build_that_was_killed_with_snakemake_goes_on_in_spite_of_its_lock(folder):
    process = start(folder, seconds="60", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, session = wait_for(lambda: log_of(folder, 1) and claimed(folder))
    os.killpg(int(session), signal.SIGKILL)
    process.kill()
    process.wait()
    assert list((folder / ".snakemake/locks").iterdir())
    code, log = build(folder)
    assert code == 0, log
    assert "The last build was killed" in log
