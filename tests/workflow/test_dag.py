"""The DAG without running it: what each target asks for, and that it cannot silently ask for nothing."""

import ast
import time
from collections import Counter

import pytest
import yaml

from collapse import config as configs
from collapse import grid, paths
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


ALONE = [("accumulation", figure) for figure in load("laptop").figures["accumulation"]]
ALONE += [("recursion", figure) for figure in ("figure_1b", "figure_hybrid", "figure_s8", "figure_s7_full")]


@pytest.mark.parametrize(("paper", "figure"), ALONE)
def test_a_figure_asks_only_for_its_own_cells(project, paper, figure):
    config = load("laptop")
    found = jobs(project, f"{paper}_{figure}")
    own = config.figures[paper][figure]
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
    starts = {configs.recipe(config, recipe).get("start") for _, recipe, _ in seeds} - {None}
    assert found.get("fit_first", 0) == len(seeds) + len(starts)  # shared by all policies
    assert found.get("measure", 0) == len(series)
    assert found.get("simulate", 0) == sum("seed" not in c for c in cells)
    assert not {"judge", "runs"} & set(found)
    expected = Counter(rule for rule, _ in grid.jobs(config, paper, figure))
    assert {rule: n for rule, n in found.items() if rule not in ("total", f"{paper}_{figure}")} == expected


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
            for name, figure in figures.items():
                assert (REPOSITORY / "figures" / paper / f"{figure.script or name}.py").is_file()
    for paper, figures in load("paper").figures.items():
        assert {p.stem for p in (REPOSITORY / "figures" / paper).glob("*.py")} == set(figures)


# streams, prompts and pretrained weights

STARTS = """
scale: starts
datasets:
  normal: {kind: gaussian, train: 20}
  corpus: {kind: gaussian, train: 50}
recipes:
  fresh: {family: gaussian}
  corpus_fresh: {family: gaussian}
  tuned: {family: gaussian, start: base}
  tuned_mle: {base: tuned, ddof: 0}
  foreign: {family: gpt2, hidden: 8, layers: 1, heads: 1, positions: 8, start: small}
pretrained:
  base: {dataset: corpus, recipe: corpus_fresh}
  small: {family: gpt2, path: weights/small}
samplers:
  exact: {}
  next: {kind: greedy, max_tokens: 5, start: continuation}
  synthetic: {kind: greedy, max_tokens: 5, start: continuation, prompts: synthetic}
cells:
  tuned: &block
    dataset: [normal]
    recipe: [tuned, tuned_mle]
    policy: [replace, replace_first, replace_previous]
    sampler: [exact]
    seed: [0, 1]
    generations: 3
  foreign: {<<: *block, recipe: [foreign], policy: [oracle_30], sampler: [next], selector: [valid], seed: [3]}
  stream: {<<: *block, recipe: [fresh], policy: [stream, stream_first], seed: [0]}
  prompts: {<<: *block, recipe: [fresh], policy: [replace, real_only], sampler: [synthetic], seed: [0]}
  selected: {<<: *block, recipe: [fresh], policy: [real_only], sampler: [synthetic], selector: [valid], seed: [0]}
  longer: {<<: *block, recipe: [tuned], policy: [replace], generations: 5, on_demand: true}
policies:
  stream_first: {kind: stream, init: first}
figures:
  accumulation:
    figure_1: {}
    figure_2: {rows: [{block: tuned, seed: [1]}], extra: [details.parquet]}
    figure_3: {rows: [{block: foreign}]}
    figure_7: {rows: [{block: longer}]}
gates:
  gate: {statement: near, block: stream, metric: sd, at_most: 1.0}
"""


def planned(project, *arguments, config="starts"):
    """The jobs of a dry run: (rule, wildcards) -> (inputs, outputs), without the folder of results."""
    text = run(project, "snakemake", "-n", "--configfile", f"config/{config}.yaml", "--", *arguments).stdout
    root, found = "results/starts/", {}
    for block in text.split("\n\n"):
        lines = block.replace("[", "\n[").splitlines() if block.startswith("[") else block.splitlines()
        head = [line for line in lines if line.startswith(("rule ", "localrule "))]
        if head:
            entries = dict(line.strip().split(": ", 1) for line in lines if line.startswith("    ") and ": " in line)
            wildcards = dict(pair.split("=") for pair in entries.get("wildcards", "").split(", ") if pair)
            name = head[0].split()[1].rstrip(":")
            files = ({f.removeprefix(root) for f in entries.get(k, "").split(", ") if f} for k in ("input", "output"))
            found[name, tuple(sorted(wildcards.items()))] = tuple(files)
    return found


def expected(config, **more):
    return {(rule, tuple(sorted((k, str(v)) for k, v in w.items()))) for rule, w in grid.jobs(config, **more)}


@pytest.fixture(scope="module")
def starts(project):
    """The project with a small config of its own, and what it plans as a whole."""
    (project / "config" / "starts.yaml").write_text(STARTS)
    (project / "weights" / "small").mkdir(parents=True)
    return planned(project, "all")


def one(found, rule, **wildcards):
    """Inputs of the only job of a rule with these wildcards."""
    items = {(k, str(v)) for k, v in wildcards.items()}
    jobs = [files for (name, values), files in found.items() if name == rule and items <= set(values)]
    assert len(jobs) == 1
    return jobs[0][0]


def test_jobs_are_those_of_the_grid(project, starts):
    config = configs.load(project / "config" / "starts.yaml")
    assert {key for key in starts if key[0] != "all"} == expected(config)
    fits = [dict(w) for rule, w in starts if rule == "fit_first"]
    assert {"dataset": "corpus", "recipe": "corpus_fresh", "seed": "0"} in fits
    assert len(fits) == 2 * 2 + 1 + 1 + 1


def test_a_gate_is_judged_on_rows_of_the_usual_length(project):
    """A series that is longer on demand is not built to that length by the whole."""
    (project / "config" / "gated.yaml").write_text(STARTS.replace("block: stream,", "block: tuned, recipe: tuned,"))
    found = planned(project, "all", config="gated")
    assert {key for key in found if key[0] != "all"} == expected(configs.load(project / "config" / "gated.yaml"))


@pytest.mark.parametrize(
    ("figure", "starting"), [("figure_2", "fit_first"), ("figure_3", "pretrained"), ("figure_7", "fit_first")]
)
def test_a_figure_alone_makes_what_its_recipes_start_from(project, starts, figure, starting):
    config = configs.load(project / "config" / "starts.yaml")
    found = planned(project, f"accumulation_{figure}")
    assert {key for key in found if key[0] != f"accumulation_{figure}"} == expected(
        config, paper="accumulation", figure=figure
    )
    assert starting in {rule for rule, _ in found}
    assert ("pretrained" in {rule for rule, _ in found}) is (starting == "pretrained")


def test_generation_1_reads_the_weights_that_it_starts_from(starts):
    data = {"data/normal/data.safetensors", "data/normal/facts.json"}
    base = "runs/corpus/corpus_fresh/real/seed0/gen1/model.safetensors"
    for recipe in ("tuned", "tuned_mle"):
        for seed in (0, 1):
            assert one(starts, "fit_first", recipe=recipe, seed=seed) == {*data, base}
    assert one(starts, "fit_first", recipe="foreign") == {*data, "pretrained/small/model.safetensors"}
    assert one(starts, "fit_first", recipe="fresh") == data
    assert one(starts, "fit_first", recipe="corpus_fresh") == {file.replace("normal", "corpus") for file in data}
    assert one(starts, "pretrained", pretrained="small") == {"weights/small"}


def later(policy, sampler, n, *more, recipe, selector="all", seed=0):
    """Files that generation n is expected to read."""
    place = {"dataset": "normal", "recipe": recipe, "policy": policy, "sampler": sampler, "selector": selector}
    folder = {k: paths.generation(k, **place, seed=seed) for k in range(1, 4)}
    parts = {1: [f"{folder[1]}/{sampler}/part{part}.safetensors" for part in range(5)]}
    parts |= {k: [f"{folder[k]}/samples.safetensors"] for k in (2, 3)}
    found = {"data/normal/data.safetensors", "data/normal/facts.json"}
    for kind, k, *count in more:
        found |= {f"{folder[k]}/model.safetensors"} if kind == "model" else set(parts[k][: (count or [1])[0]])
    return {**place, "seed": seed, "n": n}, found


@pytest.mark.parametrize(
    ("names", "files"),
    [
        later("stream", "exact", 2, ("model", 1), recipe="fresh"),
        later("stream", "exact", 3, ("model", 2), recipe="fresh"),
        later("stream_first", "exact", 3, ("model", 1), ("model", 2), recipe="fresh"),
        later("replace", "synthetic", 2, ("samples", 1), recipe="fresh"),
        later("real_only", "synthetic", 2, ("samples", 1), recipe="fresh"),
        later("real_only", "synthetic", 3, ("samples", 2), recipe="fresh"),
        later("real_only", "synthetic", 2, ("samples", 1, 3), recipe="fresh", selector="valid"),
        later("replace_first", "exact", 3, ("samples", 2), ("model", 1), recipe="tuned"),
        later("replace_previous", "exact", 3, ("samples", 2), ("model", 2), recipe="tuned_mle"),
    ],
)
def test_later_generations_read_models_and_prompts(starts, names, files):
    assert one(starts, "fit", **names) == files


def test_later_generations_from_scratch_read_the_pretrained_weights_again(starts):
    base = {"runs/corpus/corpus_fresh/real/seed0/gen1/model.safetensors"}
    names, files = later("replace", "exact", 3, ("samples", 2), recipe="tuned")
    assert one(starts, "fit", **names) == files | base
    names, files = later("oracle_30", "next", 2, ("samples", 1, 3), recipe="foreign", selector="valid", seed=3)
    assert one(starts, "fit", **names) == files | {"pretrained/small/model.safetensors"}


def test_details_are_of_generation_1_and_read_by_figures_that_ask(starts):
    made = [(inputs, outputs) for (rule, _), (inputs, outputs) in starts.items() if rule == "measure"]
    for inputs, outputs in made:
        (details,) = (file for file in outputs if file.endswith("/details.parquet"))
        dataset, recipe, *_, seed, _, _ = details.split("/")[1:]
        assert f"runs/{dataset}/{recipe}/real/{seed}/gen1/model.safetensors" in inputs
    own = one(starts, "figure", figure="figure_2")
    assert len([file for file in own if file.endswith("/details.parquet")]) == 2 * 3
    assert not [file for file in one(starts, "figure", figure="figure_3") if file.endswith("/details.parquet")]


def test_jobs_are_told_where_the_weights_are(project, starts):
    config = ("--configfile", "config/starts.yaml", "--")
    root = "results/starts/runs/normal/tuned/real/seed1/gen1/model.safetensors"
    text = run(project, "snakemake", "-n", "-p", *config, root).stdout
    command = next(line for line in text.splitlines() if "--recipe tuned " in line)
    assert '"start":"runs/corpus/corpus_fresh/real/seed0/gen1/model.safetensors"' in command
    assert '"recipe":{"family":"gaussian","start":"base"}' in command
    other = next(line for line in text.splitlines() if "--recipe corpus_fresh " in line)
    assert '"start"' not in other
    text = run(project, "snakemake", "-n", "-p", *config, "results/starts/pretrained/small/model.safetensors").stdout
    assert "collapse pretrained --out results/starts/pretrained/small/model.safetensors" in text
    assert '"path":"weights/small"' in text
