"""The jobs of a scale: which samples and weights a generation reads, and what is built from nothing."""

import copy

import pytest

from collapse import grid, paths
from collapse.config import check, series

NEXT = {"kind": "greedy", "max_tokens": 5, "start": "continuation"}
RAW = {
    "scale": "tiny",
    "datasets": {
        "normal": {"kind": "gaussian", "train": 20, "shards": 3},
        "corpus": {"kind": "gaussian", "train": 50},
    },
    "recipes": {
        "fresh": {"family": "gaussian"},
        "corpus_fresh": {"family": "gaussian"},
        "tuned": {"family": "gaussian", "start": "base"},
        "heir": {"base": "tuned", "ddof": 0},
        "small": {"family": "gpt2", "start": "small"},
    },
    "pretrained": {
        "base": {"dataset": "corpus", "recipe": "corpus_fresh"},
        "small": {"family": "gpt2", "path": "weights/gpt2"},
    },
    "policies": {
        "replace": {"kind": "replace"},
        "first": {"kind": "replace", "init": "first"},
        "previous": {"kind": "replace", "init": "previous"},
        "accumulate": {"kind": "accumulate"},
        "multiple": {"kind": "replace_multiple"},
        "real_only": {"kind": "real_only"},
        "stream": {"kind": "stream"},
        "stream_first": {"kind": "stream", "init": "first"},
        "stream_previous": {"kind": "stream", "init": "previous"},
        "oracle": {"kind": "oracle"},
    },
    "samplers": {"exact": {}, "next": NEXT, "synthetic": {**NEXT, "prompts": "synthetic"}, "none": {"kind": "none"}},
    "selectors": {"all": {"kind": "all"}, "half": {"kind": "random"}, "valid": {"kind": "valid", "keep": 0.4}},
    "cells": {
        "main": {
            "dataset": ["normal"], "recipe": ["fresh"], "policy": ["replace"], "sampler": ["exact"], "seed": [0, 1],
            "generations": 3,
        }
    },
    "figures": {"paper": {"figure_1": {"rows": [{"block": "main"}]}}},
}  # fmt: skip
NAMES = {"dataset": "normal", "recipe": "fresh", "policy": "replace", "sampler": "exact", "selector": "all", "seed": 4}
FIRST = "runs/normal/{}/real/seed4/gen1/model.safetensors"
LATER = "runs/normal/{}/{}/exact/all/seed4/gen{}/model.safetensors"
BASE = "runs/corpus/corpus_fresh/real/seed0/gen1/model.safetensors"
SMALL = "pretrained/small/model.safetensors"


def config(**blocks):
    """The scale with further blocks of cells; what a block does not say is that of `main`."""
    raw = copy.deepcopy(RAW)
    raw["cells"] |= {name: {**RAW["cells"]["main"], **entry} for name, entry in blocks.items()}
    return raw


def parts(n, **names):
    return grid.parts(check(config()), {**NAMES, **names}, n)


def models(n, **names):
    return grid.models(check(config()), {**NAMES, **names}, n)


# what a generation reads


def test_parts_are_of_the_samples_that_a_policy_plans():
    assert parts(1) == parts(1, policy="accumulate", sampler="synthetic", selector="half") == {}
    assert parts(3) == parts(3, policy="oracle") == {2: 1}
    assert parts(3, policy="accumulate") == {1: 1, 2: 1}
    assert parts(3, selector="half") == {2: 2}
    assert parts(3, selector="valid") == {2: 3}
    assert parts(3, policy="multiple") == {2: 3}
    assert parts(3, policy="multiple", selector="half") == {2: 6}
    assert parts(3, policy="real_only") == parts(3, policy="stream") == {}


def test_synthetic_prompts_are_read_whatever_the_policy_plans():
    for policy, found in (
        ("replace", {2: 1}),
        ("real_only", {2: 1}),
        ("stream", {2: 1}),
        ("accumulate", {1: 1, 2: 1}),
        ("multiple", {2: 3}),
    ):
        assert parts(3, policy=policy, sampler="synthetic") == found
        assert parts(3, policy=policy, sampler="next") == parts(3, policy=policy)
    assert parts(2, policy="real_only", sampler="synthetic") == {1: 1}
    assert parts(3, policy="real_only", sampler="synthetic", selector="valid") == {2: 3}
    assert parts(1, sampler="synthetic") == {}


@pytest.mark.parametrize(
    ("recipe", "policy", "n", "found"),
    [
        ("fresh", "replace", 1, []),
        ("fresh", "replace", 3, []),
        ("fresh", "first", 1, []),
        ("fresh", "first", 3, [FIRST]),
        ("fresh", "previous", 2, [FIRST]),
        ("fresh", "previous", 3, [LATER.format("{}", "previous", 2)]),
        ("fresh", "stream", 1, []),
        ("fresh", "stream", 2, [FIRST]),
        ("fresh", "stream", 3, [LATER.format("{}", "stream", 2)]),
        ("fresh", "stream_first", 2, [FIRST]),
        ("fresh", "stream_first", 3, [FIRST, LATER.format("{}", "stream_first", 2)]),
        ("fresh", "stream_previous", 3, [LATER.format("{}", "stream_previous", 2)]),
        ("tuned", "replace", 1, [BASE]),
        ("tuned", "replace", 3, [BASE]),
        ("tuned", "first", 1, [BASE]),
        ("tuned", "first", 3, [FIRST]),
        ("tuned", "previous", 3, [LATER.format("{}", "previous", 2)]),
        ("tuned", "stream", 3, [BASE, LATER.format("{}", "stream", 2)]),
        ("tuned", "real_only", 2, [BASE]),
        ("heir", "replace", 1, [BASE]),
        ("small", "replace", 1, [SMALL]),
        ("small", "first", 2, [FIRST]),
        ("small", "oracle", 2, [SMALL]),
    ],
)
def test_weights_that_a_generation_reads(recipe, policy, n, found):
    assert models(n, recipe=recipe, policy=policy) == [file.format(recipe) for file in found]


def test_generation_1_needs_no_names_but_its_own():
    made = check(config())
    for recipe, found in (("fresh", []), ("tuned", [BASE]), ("small", [SMALL])):
        assert grid.models(made, {"dataset": "normal", "recipe": recipe, "seed": 7}, 1) == found


def test_pretrained_weights_are_made_here_or_read_from_elsewhere():
    made = check(config())
    assert grid.pretrained(made, "base") == BASE
    assert grid.pretrained(made, "small") == SMALL == paths.PRETRAINED.format(pretrained="small")


# jobs


def jobs(raw, **more):
    """rule -> the wildcards of its jobs, as tuples."""
    found = grid.jobs(check(raw), **more)
    keys = [(rule, *sorted(wildcards.items())) for rule, wildcards in found]
    assert len(keys) == len(set(keys))
    return {rule: [tuple(w.values()) for r, w in found if r == rule] for rule, _ in found}


def test_what_a_recipe_starts_from_is_made_once():
    plain = jobs(config())
    assert plain["prepare"] == [("normal",)]
    assert plain["fit_first"] == [("normal", "fresh", 0), ("normal", "fresh", 1)]
    assert "pretrained" not in plain
    found = jobs(config(tuned={"recipe": ["tuned", "heir", "small"]}))
    assert sorted(found["prepare"]) == [("corpus",), ("normal",)]
    assert found["fit_first"].count(("corpus", "corpus_fresh", 0)) == 1
    assert len(found["fit_first"]) == 4 * 2 + 1
    assert found["pretrained"] == [("small",)]
    assert not [job for job in found["sample"] if job[0] == "corpus"]  # nothing reads samples of it


def test_what_a_recipe_starts_from_may_be_a_chain_of_the_grid_too():
    raw = config(tuned={"recipe": ["tuned"]}, whole={"dataset": ["corpus"], "recipe": ["corpus_fresh"]})
    found = jobs(raw)
    assert found["fit_first"].count(("corpus", "corpus_fresh", 0)) == 1
    assert ("corpus", "corpus_fresh", 1) in found["fit_first"]


def test_a_figure_alone_is_built_with_what_its_recipes_start_from():
    raw = config(tuned={"recipe": ["tuned"], "seed": [3]}, small={"recipe": ["small"]})
    raw["figures"]["paper"] |= {"figure_2": {"rows": [{"block": "tuned"}]}, "figure_3": {"rows": [{"block": "small"}]}}
    assert set(jobs(raw, paper="paper", figure="figure_1")) == {
        "prepare", "fit_first", "sample", "fit", "measure", "figure"
    }  # fmt: skip
    found = jobs(raw, paper="paper", figure="figure_2")
    assert found["fit_first"] == [("corpus", "corpus_fresh", 0), ("normal", "tuned", 3)]
    assert "pretrained" not in found
    found = jobs(raw, paper="paper", figure="figure_3")
    assert found["pretrained"] == [("small",)]
    assert found["prepare"] == [("normal",)]


@pytest.mark.parametrize(
    ("policy", "sampler", "selector", "drawn"),
    [
        ("replace", "exact", "all", 1),
        ("replace", "exact", "valid", 3),
        ("multiple", "exact", "half", 4),
        ("stream", "exact", "all", 1),  # for the measures
        ("real_only", "synthetic", "half", 2),
        ("multiple", "synthetic", "half", 4),
        ("replace", "none", "all", 0),
    ],
)
def test_generation_1_is_sampled_as_often_as_it_is_read(policy, sampler, selector, drawn):
    block = {"policy": [policy], "sampler": [sampler], "selector": [selector], "seed": [0]}
    raw = config(more={**block, "generations": 1 if sampler == "none" else 3, "recipe": ["heir"]})
    found = [job for job in jobs(raw).get("sample", []) if job[1] == "heir"]
    assert found == [("normal", "heir", 0, sampler, part) for part in range(drawn)]


def test_jobs_read_what_other_jobs_write():
    """The inputs of every fit, of streams, prompts and starts of all kinds, are outputs of jobs of the list."""
    block = {"sampler": ["exact", "synthetic"], "seed": [0], "generations": 4, "recipe": ["fresh", "tuned", "small"]}
    sets = [name for name in RAW["policies"] if not name.startswith("stream")]
    kept = {**block, "policy": sets, "selector": ["valid"]}
    made = check(config(everything={**block, "policy": list(RAW["policies"])}, kept=kept))
    written, read = set(), set()
    for rule, w in grid.jobs(made):
        names = {axis: value for axis, value in w.items() if axis != "n"}
        if rule == "fit_first":
            written.add(paths.model(1, **names))
            read.update(grid.models(made, names, 1))
        elif rule == "sample":
            written.add(paths.FIRST_SAMPLES.format(**names))
        elif rule == "pretrained":
            written.add(paths.PRETRAINED.format(**names))
        elif rule == "fit":
            written |= {paths.model(w["n"], **names), *paths.samples(w["n"], 1, **names)}
            read.update(grid.models(made, names, w["n"]))
            for k, count in grid.parts(made, names, w["n"]).items():
                read.update(paths.samples(k, count, **names))
    assert read <= written
    assert {BASE, SMALL} <= read


# on demand


def test_what_is_built_on_demand_is_no_part_of_the_whole():
    raw = config(more={"recipe": ["small"], "on_demand": True})
    raw["figures"]["paper"] |= {
        "figure_2": {"rows": [{"block": "more"}]}, "figure_3": {"rows": [{"block": "main"}, {"block": "more"}]}
    }  # fmt: skip
    usual = jobs(raw)
    assert "pretrained" not in usual
    assert {job[1] for job in usual["fit_first"]} == {"fresh"}
    assert usual["figure"] == [("paper", "figure_1")]
    alone = jobs(raw, paper="paper", figure="figure_2")
    assert {job[1] for job in alone["fit_first"]} == {"small"}
    assert alone["pretrained"] == [("small",)]
    both = jobs(raw, paper="paper", figure="figure_3")
    assert {job[1] for job in both["fit_first"]} == {"fresh", "small"}


def test_a_series_that_is_longer_on_demand_has_its_usual_length_in_the_whole():
    raw = config(longer={"generations": 5, "on_demand": True})
    assert {job[-1] for job in jobs(raw)["fit"]} == {2, 3}
    assert {job[-1] for job in jobs(raw)["measure"]} == {3}
    assert set(series(check(raw)).values()) == {5}
