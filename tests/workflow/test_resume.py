"""A fit that is killed in the middle of training: the same command goes on, and ends with the same bytes."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collapse.checkpoint import Checkpoint
from collapse.commands.fit import fit, sample
from collapse.commands.job import Job
from collapse.commands.prepare import prepare
from collapse.errors import DataError
from collapse.loop import Cell
from collapse.store import read_json
from tests.project import REPOSITORY, environment

DATASET = {"kind": "stories", "train": 400, "validation": 10, "test": 20, "vocabulary": 400, "max_tokens": 160}
RECIPE = {
    "family": "gpt2", "hidden": 16, "layers": 1, "heads": 2, "positions": 168, "batch": 8, "epochs": 4, "dropout": 0.1,
    "warmup_steps": 1, "evaluations": [0.02, 0.5], "checkpoint_minutes": 1e-4,
}  # fmt: skip
SETTINGS = {"dataset": DATASET, "recipe": RECIPE, "device": "cpu"}
STEPS = 200
FOLDER = "runs/stories/tiny/real/seed0/gen1"
DETERMINISTIC = ("model.safetensors", "metrics.json")


def start(root: Path) -> subprocess.Popen:
    """Start the fit of generation 1."""
    settings = json.dumps(SETTINGS)
    names = ("--dataset", "stories", "--recipe", "tiny", "--seed", "0", "--generation", "1")
    return subprocess.Popen(
        [sys.executable, "-m", "collapse", "fit", *names, "--root", str(root), "--settings", settings],
        env=environment(REPOSITORY), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """Wait for the end; return what was printed. A failure shows it."""
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, printed
    return printed


def stop(root: Path, number: int) -> tuple[int, str]:
    """Start the fit, send a signal once a first checkpoint is there; return the exit code and what was printed."""
    process, end = start(root), time.monotonic() + 60
    while not (root / FOLDER / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(60), process.communicate()[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    prepare(root, "stories", DATASET)
    return root


@pytest.fixture(scope="module")
def whole(prepared) -> dict[str, bytes]:
    """What a fit writes that is never interrupted."""
    finish(start(prepared))
    files = {path.name for path in (prepared / FOLDER).iterdir()}
    assert files == {*DETERMINISTIC, "provenance.json"}  # the checkpoint is gone
    provenance = read_json(prepared / FOLDER / "provenance.json")
    assert provenance["train_steps"] == STEPS
    assert provenance["train_tokens_per_second"] > 0
    return {name: (prepared / FOLDER / name).read_bytes() for name in DETERMINISTIC}


@pytest.fixture(scope="module", params=[signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def stopped(request, prepared, tmp_path_factory) -> tuple[Path, int, int, str]:
    """A fit that a signal ended in the middle: its root, the signal, its exit code and what it printed."""
    root = tmp_path_factory.mktemp("stopped")
    shutil.copytree(prepared / "data", root / "data")
    return root, request.param, *stop(root, request.param)


def test_what_is_left_is_a_checkpoint(stopped):
    root, number, code, printed = stopped
    assert (root / FOLDER / "checkpoint.safetensors").exists()
    assert not (root / FOLDER / "metrics.json").exists()
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 1
        errors = [line for line in printed.splitlines() if not line.startswith("train: ")]
        assert len(errors) == 1, printed
        assert errors[0].startswith("error: stopped by SIGTERM; what is done so far is in ")


def test_the_next_run_ends_with_the_same_bytes(stopped, whole, tmp_path):
    root = shutil.copytree(stopped[0], tmp_path / "copy")
    finish(start(root))
    assert 0 < read_json(root / FOLDER / "provenance.json")["train_steps"] < STEPS
    assert {name: (root / FOLDER / name).read_bytes() for name in DETERMINISTIC} == whole
    assert [p["fraction"] for p in json.loads(whole["metrics.json"])["curve"]] == [0.02, 0.5, 1.0]
    assert {path.name for path in (root / FOLDER).iterdir()} == {*DETERMINISTIC, "provenance.json"}


def test_sampling_records_its_pace(prepared, whole):
    settings = {**SETTINGS, "sampler": {"temperature": 1.0, "max_tokens": 30}}
    sample(Job(prepared, Cell("stories", "tiny", "real", "temp1.0", "none"), 0, settings), 0)
    provenance = read_json(prepared / FOLDER / "temp1.0" / "part0.provenance.json")
    assert provenance["sample_tokens_per_second"] > DATASET["train"] / provenance["sample_seconds"]


def test_a_checkpoint_of_another_fit_is_refused_and_kept(prepared, tmp_path):
    root = Path(shutil.copytree(prepared / "data", tmp_path / "data")).parent
    path = root / FOLDER / "checkpoint.safetensors"
    Checkpoint(path, {"cell": ["stories", "tiny", "real", 1], "seed": 0, "settings": {}}, 1).save({"step": 1})
    before = path.read_bytes()
    job = Job(root, Cell("stories", "tiny", "real", "none", "none"), 0, SETTINGS)
    with pytest.raises(
        DataError, match=r"checkpoint of another fit \(other code, settings, training_sha256\)"
    ) as caught:
        fit(job, 1)
    assert str(caught.value).startswith(str(path))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
