"""The DAG without running it: what each target asks for, and that it cannot silently ask for nothing."""

import ast
import time
from collections import Counter

import pytest
import yaml

from collapse import config as configs
from collapse import grid
from tests.project import REPOSITORY, copy_project, jobs, run

SCALES = ("laptop", "smoke", "paper")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("dag"))


def load(scale):
    return configs.load(REPOSITORY / "config" / f"{scale}.yaml")


@pytest.mark.parametrize("scale", SCALES)
def test_the_default_target_is_the_whole_grid(project, scale):
    """A root file that only included another would print "Nothing to be done" and exit 0."""
    started = time.monotonic()
    found = jobs(project, "--configfile", f"config/{scale}.yaml")
    expected = Counter(rule for rule, _ in grid.jobs(load(scale)))
    total = found.pop("total")
    assert found.pop("all") == 1
    assert found == expected
    assert total == sum(expected.values()) + 1 < 3000
    assert time.monotonic() - started < 120  # a hang, not a speed


@pytest.mark.parametrize("figure", load("laptop").figures["accumulation"])
def test_a_figure_asks_only_for_its_own_cells(project, figure):
    config = load("laptop")
    found = jobs(project, f"accumulation_{figure}")
    own = config.figures["accumulation"][figure]
    cells = [cell for rows in own.rows for cell in configs.resolve(config, rows)]
    # a series that stands in two blocks is built once, to the longer of its lengths
    series = {tuple(c[a] for a in configs.SERIES): 0 for c in cells if "seed" in c}
    for c in cells:
        if "seed" in c:
            key = tuple(c[a] for a in configs.SERIES)
            series[key] = max(series[key], c["generations"])
    seeds = {(dataset, recipe, seed) for dataset, recipe, *_, seed in series}
    assert found["figure"] == 1
    assert found.get("fit", 0) == sum(last - 1 for last in series.values())
    assert found.get("fit_first", 0) == len(seeds)  # shared by all policies
    assert found.get("measure", 0) == len(series)
    assert found.get("simulate", 0) == sum("seed" not in c for c in cells)
    assert not {"judge", "runs"} & set(found)
    expected = Counter(rule for rule, _ in grid.jobs(config, "accumulation", figure))
    assert {rule: n for rule, n in found.items() if rule not in ("total", f"accumulation_{figure}")} == expected


def test_the_paper_is_one_target(project):
    found = jobs(project, "accumulation")
    assert found["figure"] == len(load("laptop").figures["accumulation"])
    assert "judge" not in found


def test_generation_1_is_the_same_file_for_every_policy(project):
    done = run(project, "snakemake", "-n", "accumulation_figure_2").stdout
    assert done.count("real/seed0/gen1/model.safetensors --") == 0
    fits = [line for line in done.splitlines() if "--generation 1 " in line]
    assert len(fits) == 3 + 3  # one a seed of the smallest model and one a larger model, not one a policy


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"polices": {}}, "did you mean 'policies'"),
        ({"cells": {"main": {"policy": ["acumulate"]}}}, "did you mean 'accumulate'"),
        ({"cells": {"main": {"recipe": ["gpt2_sx"]}}}, "did you mean 'gpt2_xs'"),
        ({"cells": {"main": {"sampler": ["temp1"]}}}, "did you mean 'temp1.0'"),
        ({"recipes": {"gpt2_xs": {"famly": "gpt2"}}}, "family"),
        ({"recipes": {"gpt2_xs": {"lerning_rate": 1}}}, "did you mean 'learning_rate'"),
        ({"recipes": {"gpt2_xs": {"family": "gtp2"}}}, "did you mean 'gpt2'"),
        ({"samplers": {"temp0.0": {"temperature": 0.0, "max_tokens": 10}}}, "temperature"),
        ({"cells": {"main": {"generations": 0}}}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_config_names_the_nearest_valid_name(project, tmp_path, edit, message):
    raw = yaml.safe_load((project / "config" / "smoke.yaml").read_text())
    for key, value in edit.items():
        for name, entry in value.items():
            raw[key][name] = {**raw[key].get(name, {}), **entry}
        if not value:
            raw[key] = value
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(raw))
    done = run(project, "snakemake", "-n", "--configfile", str(path), check=False)
    assert done.returncode
    assert message in done.stdout + done.stderr


def test_a_generation_that_is_not_in_the_grid_is_refused(project):
    cell = "results/laptop/runs/stories/gpt2_xs/replace/temp1.0/all/seed0"
    for generation in ("gen0", "gen11", "gen1"):
        done = run(project, "snakemake", "-n", f"{cell}/{generation}/metrics.json", check=False)
        assert done.returncode, generation
    done = run(project, "snakemake", "-n", f"{cell}/to11/rows.parquet", check=False)
    assert done.returncode
    assert "generation 11 is not in the grid" in done.stdout + done.stderr


def test_figures_2_and_3_of_the_paper_are_36_fits(project):
    """Generation 1 of each model is shared; replace and accumulate have four more each."""
    models, policies, generations = 4, 2, 5
    fits = models * (1 + policies * (generations - 1))
    assert fits == 36
    found = jobs(project, "--configfile", "config/paper.yaml", "--", "accumulation_figure_2", "accumulation_figure_3")
    assert found["fit_first"] + found["fit"] == fits
    assert found["fit_first"] == models


def test_calibration_fits_every_candidate_once_and_draws_nothing(project):
    found = jobs(project, "--configfile", "config/paper.yaml", "--", "calibrate")
    assert found["fit_first"] == 4 * 4
    assert not {"sample", "fit"} & set(found)


def test_lint_is_clean(project):
    done = run(project, "snakemake", "--lint")
    assert "good condition" in done.stdout + done.stderr


def test_every_rule_that_works_has_what_a_cluster_needs():
    for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")):
        rules = path.read_text().split("\nrule ")[1:]
        for rule in rules:
            if "shell:" in rule:
                for directive in ("log:", "benchmark:", "conda:", "threads:", "mem_mb", "runtime", "code="):
                    assert directive in rule, f"{path.name}: {rule.split(':')[0]} has no {directive}"
                assert "PYTHONPATH=src" in rule
            assert "temp(" not in rule
            assert "checkpoint" not in rule
            assert "run:" not in rule.replace("shadow", "")


def test_the_library_never_imports_snakemake():
    for path in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "snakemake" for n in names), path


def test_every_figure_of_every_scale_has_a_script():
    for scale in SCALES:
        for paper, figures in load(scale).figures.items():
            for figure in figures:
                assert (REPOSITORY / "figures" / paper / f"{figure}.py").is_file()
    scripts = {p.stem for p in (REPOSITORY / "figures" / "accumulation").glob("*.py")}
    assert scripts == set(load("paper").figures["accumulation"])
