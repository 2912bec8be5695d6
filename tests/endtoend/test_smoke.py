"""The whole workflow at smoke scale: built once, then edited, broken and built again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from collapse import config as configs
from collapse import table
from tests.project import REPOSITORY, copy_project, environment, jobs, run

SMOKE = ("--configfile", "config/smoke.yaml")
BUILD = ("collapse", "build", "--cores", "2", *SMOKE, "--", "all")
CHAIN = "runs/stories/gpt2_xs/replace/temp1.0/all/seed0"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A copy of the project, built at smoke scale."""
    folder = copy_project(tmp_path_factory.mktemp("smoke"))
    run(folder, *BUILD)
    return folder


@pytest.fixture(scope="module")
def config():
    return configs.load(REPOSITORY / "config" / "smoke.yaml")


def contents(folder: Path, scale: str = "smoke") -> dict[str, bytes]:
    """Everything built that must be the same in two runs: all but logs, benchmarks and provenance."""
    root = folder / "results" / scale
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    kept = (p for p in files if p.relative_to(root).parts[0] not in ("logs", "benchmarks"))
    return {str(p.relative_to(root)): p.read_bytes() for p in kept if "provenance" not in p.name}


def test_every_figure_is_there(built, config):
    for paper, figures in config.figures.items():
        for name in figures:
            stem = built / "results" / "smoke" / "figures" / paper / name
            assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
            assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
            assert len(pd.read_csv(stem.with_suffix(".csv")))
            if figures[name].rows:  # a schematic shows no data
                assert "smoke" in stem.with_suffix(".txt").read_text()


def test_files_carry_no_dates(built):
    for path in (built / "results" / "smoke" / "figures").rglob("*.p*"):
        content = path.read_bytes()
        assert b"CreationDate" not in content, path
        assert b"tIME" not in content, path


def test_rows_are_complete(built, config):
    rows = pd.read_parquet(built / "results" / "smoke" / "tables" / "runs.parquet")
    persisted = rows[rows["family"].isin(["gpt2", "llama2", "opt", "vae"])]
    expected = configs.series(config)
    assert len(persisted) == sum(expected.values())
    assert not persisted.duplicated(table.KEY).any()
    for (dataset, recipe, policy, sampler, selector, seed), last in expected.items():
        one = persisted.query(
            f"dataset == '{dataset}' and recipe == '{recipe}' and policy == '{policy}' and sampler == '{sampler}'"
            f" and selector == '{selector}' and seed == {seed}"
        )
        assert sorted(one["generation"]) == list(range(1, last + 1))
    first = persisted[persisted["generation"] == 1]
    assert first.groupby(["dataset", "recipe", "seed"])["training_sha256"].nunique().eq(1).all()
    assert first.groupby(["dataset", "recipe", "seed"])["cross_entropy"].nunique().eq(1).all()
    shown = (persisted["dataset"] == "stories") & (persisted["recipe"] == "gpt2_xs") & (persisted["generation"] == 2)
    second = persisted[shown & (persisted["sampler"] == "temp1.0")].set_index(["policy", "seed"])
    assert (second.loc["replace", "real_fraction"] == 0).all()
    assert (second.loc["accumulate", "real_fraction"] == 0.5).all()
    assert (second.loc["accumulate", "items"] == 2 * config.datasets["stories"]["train"]).all()


def test_verdicts_have_the_fixed_keys(built):
    records = json.loads((built / "results" / "smoke" / "verdicts" / "verdicts.json").read_text())
    assert records
    fixed = {"claim", "paper", "figure", "statement", "published", "estimate", "low", "high", "n", "verdict"}
    for record in records:
        assert fixed <= set(record)
        assert record["verdict"] in ("replicated", "contradicted", "inconclusive", "not judged at this scale")


def test_a_second_run_has_nothing_to_do(built):
    before = contents(built)
    done = run(built, *BUILD)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert contents(built) == before


def edited(built: Path, tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A copy of a built project with one edit; times of files are kept, as Snakemake compares them."""
    folder = tmp_path / "copy"
    shutil.copytree(built, folder, copy_function=shutil.copy2)
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


def test_a_comment_re_runs_nothing(built, tmp_path):
    folder = edited(built, tmp_path, "src/collapse/policies.py", "import inspect\n", "import inspect  # a comment\n")
    path = folder / "src/collapse/loop.py"
    path.write_text(path.read_text().replace('"""The loop:', '"""The loop, in other words:', 1))
    assert jobs(folder, *SMOKE) == {}


def test_an_edit_of_the_policies_re_runs_what_used_them(built, tmp_path):
    """What all policies share concerns every fit; one policy's function concerns its own chains."""
    shared = "shares = _KINDS[policy.kind](n, size, **policy.options)"
    folder = edited(built, tmp_path / "all", "src/collapse/policies.py", shared, shared.replace("= ", "= () or "))
    found, every = jobs(folder, *SMOKE), jobs(folder, *SMOKE, "--forceall")
    for rule in ("fit", "fit_first", "sample", "simulate"):
        assert found[rule] == every[rule], rule
    assert "prepare" not in found
    body = 'return (Share((synthetic(n - 1),), n * size, "first"),)'
    folder = edited(built, tmp_path / "one", "src/collapse/policies.py", body, body.replace("n * size", "n * size + 0"))
    found = jobs(folder, *SMOKE)
    assert found["fit"] == 2  # replace_multiple and replace_multiple_steps, generation 2
    assert "fit_first" not in found
    assert "simulate" not in found


def test_an_edit_of_one_family_leaves_the_others_alone(built, tmp_path):
    folder = edited(built, tmp_path, "src/collapse/families/linear.py", "if config.ridge:", "if config.ridge > 0:")
    found = jobs(folder, *SMOKE)
    assert "fit" not in found
    assert "fit_first" not in found
    assert found["simulate"] >= 1


def test_an_edit_of_a_figure_re_runs_that_figure(built, tmp_path):
    path = "figures/accumulation/figure_2.py"
    text = (built / path).read_text()
    old = re.search(r"^def draw\(", text, re.M).group()
    found = jobs(edited(built, tmp_path, path, old, f"UNUSED = 1\n\n\n{old}"), *SMOKE)
    assert found["figure"] == 1
    assert set(found) <= {"figure", "all", "total"}


def test_a_setting_re_runs_what_depends_on_it(built, tmp_path):
    folder = edited(built, tmp_path, "config/policies.yaml", "rate: 0.1", "rate: 0.2")
    found = jobs(folder, *SMOKE)
    assert found["fit"] == 1  # real_corrupted, generation 2
    assert found["measure"] == 1
    assert "fit_first" not in found


def test_one_more_generation_keeps_the_others(built, tmp_path, config):
    folder = edited(
        built, tmp_path, "config/smoke.yaml", "seed: [0, 1]\n    generations: 2", "seed: [0, 1]\n    generations: 3"
    )
    found = jobs(folder, *SMOKE)
    assert found["fit"] == 3  # two policies, two seeds; another block has replace of seed 0 already


def test_a_new_policy_is_one_function_and_one_entry(built, tmp_path):
    """What docs/adding-a-policy.md says, followed."""
    function = '''

@kind
def half_and_half(n, size):
    """Half of the real items, half of the newest."""
    return Share((REAL,), size // 2, "anchored"), Share((synthetic(n - 1),), size - size // 2, "first")
'''
    folder = tmp_path / "copy"
    shutil.copytree(built, folder, copy_function=shutil.copy2)
    module = folder / "src/collapse/policies.py"
    module.write_text(module.read_text() + function)
    policies = folder / "config/policies.yaml"
    policies.write_text(
        policies.read_text().replace("policies:\n", "policies:\n  half_and_half: {kind: half_and_half}\n")
    )
    smoke = folder / "config/smoke.yaml"
    raw = yaml.safe_load(smoke.read_text())
    raw["cells"]["main"]["policy"].append("half_and_half")
    raw["figures"]["accumulation"]["figure_2"]["rows"] = [{"block": "main", "policy": ["replace", "half_and_half"]}]
    smoke.write_text(yaml.safe_dump(raw, sort_keys=False))
    run(folder, "snakemake", "--cores", "2", *SMOKE, "--", "accumulation_figure_2")
    shown = pd.read_csv(folder / "results/smoke/figures/accumulation/figure_2.csv")
    assert set(shown["policy"]) == {"replace", "half_and_half"}
    metrics = json.loads(
        (folder / f"results/smoke/{CHAIN.replace('replace', 'half_and_half')}/gen2/metrics.json").read_text()
    )
    assert metrics["real_fraction"] == 0.5


def test_a_killed_run_ends_with_the_same_bytes(built, tmp_path):
    """SIGKILL of the whole process group in the middle of the fits; the next run goes on."""
    folder = copy_project(tmp_path)
    wanted = folder / "results/smoke/runs/stories/gpt2_xs/real"
    process = subprocess.Popen(
        [sys.executable, "-m", *BUILD], cwd=folder, env=environment(folder), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(wanted.glob("seed*/gen1/model.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    kill_tree(process.pid)
    process.wait()
    started = contents(folder)
    run(folder, *BUILD)
    assert contents(folder) == contents(built)
    assert len(started) < len(contents(built))


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started, whatever sessions they are in."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(int(child))


def test_broken_inputs_are_named(built, tmp_path):
    """A truncated model, a flipped byte in samples: an error that names the file and the remedy, no traceback."""
    folder = tmp_path / "copy"
    shutil.copytree(built, folder, copy_function=shutil.copy2)
    root = folder / "results/smoke"
    settings = {
        "dataset": _entry(folder, "datasets", "stories"),
        "recipe": _entry(folder, "recipes", "gpt2_xs"),
        "sampler": _entry(folder, "samplers", "temp1.0"),
        "policy": {"kind": "replace"},
        "selector": {"kind": "all"},
        "count": 60,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    names = ("--dataset", "stories", "--recipe", "gpt2_xs", "--seed", "0", "--root", "results/smoke")
    common = (*names, "--sampler", "temp1.0", "--settings", "settings.json")
    samples = root / "runs/stories/gpt2_xs/real/seed0/gen1/temp1.0/part0.safetensors"
    content = bytearray(samples.read_bytes())
    content[-3] ^= 1
    samples.write_bytes(content)
    arguments = ("--policy", "replace", "--selector", "all", "--generation", "2")
    done = run(folder, "collapse", "fit", *common, *arguments, check=False)
    assert done.returncode == 1
    assert "part0.safetensors is corrupted" in done.stderr
    assert "Traceback" not in done.stderr
    model = root / "runs/stories/gpt2_xs/real/seed0/gen1/model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    done = run(folder, "collapse", "sample", *common, "--part", "0", check=False)
    assert done.returncode == 1
    assert "model.safetensors is truncated" in done.stderr
    done = run(folder, "collapse", "fit", *common, "--policy", "replace", "--generation", "0", check=False)
    assert done.returncode == 1
    assert "generation 0 does not exist" in done.stderr
    assert not list(root.rglob("*.part*safetensors.part"))


def _entry(folder: Path, kind: str, name: str) -> dict:
    return yaml.safe_load((folder / "config/smoke.yaml").read_text())[kind][name]


def test_the_shell_lines_can_be_pasted(built):
    """Every rule's shell line, run by hand in bash, makes the same bytes."""
    targets = ["results/smoke/" + CHAIN + "/gen2/metrics.json"]
    done = run(built, "snakemake", "-n", "-p", "--force", *SMOKE, "--", *targets).stdout
    line = next(text.partition("Shell command: ")[2] for text in done.splitlines() if "collapse fit" in text)
    before = contents(built)
    subprocess.run(["bash", "-c", line], cwd=built, env=environment(built), check=True)
    assert contents(built) == before
