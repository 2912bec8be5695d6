"""A copy of the project in a folder of its own, and commands in it: what tests of the workflow share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PARTS = ("Snakefile", "config", "envs", "figures", "profiles", "src", "workflow")


def copy_project(to: Path) -> Path:
    """Copy what the workflow needs into a folder of its own."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, to / part)
    return to


def environment(folder: Path) -> dict[str, str]:
    """Environment of a run in ``folder``: its own sources, the Python of the tests, one thread."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}


def run(folder: Path, *command: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess:
    """Run a command of this Python in ``folder``; what it printed stands in the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Return rule -> number of jobs of a dry run; empty where there is nothing to do."""
    done = run(folder, "snakemake", "-q", "host", "rules", "-n", *arguments)
    found, table = {}, False
    for line in (done.stdout + done.stderr).splitlines():
        words = line.split()
        if words[:1] == ["-----"] or (words and set(words[0]) == {"-"}):
            table = True
        elif table and len(words) == 2 and words[1].isdigit():
            found[words[0]] = int(words[1])
        elif table and not words:
            table = False
    return found
