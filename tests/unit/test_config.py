"""The config: what is shipped is right, and what is wrong is told with the nearest name that is valid."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from collapse import config, grid, policies
from collapse.commands.check import check as check_settings
from collapse.config import SERIES, Selection, check, draws, load, recipe, resolve, series, usual
from collapse.errors import ConfigError, DataError, unknown

FOLDER = Path(__file__).parents[2] / "config"
SCALES = ("smoke", "laptop", "paper")

GOOD = {
    "scale": "tiny",
    "datasets": {"normal": {"kind": "gaussian", "train": 20, "shards": 3}, "line": {"kind": "linear", "d": 3, "T": 10}},
    "recipes": {
        "moments": {"family": "gaussian"},
        "biased": {"base": "moments", "ddof": 0},
        "ols": {"family": "linear"},
    },
    "policies": {
        "replace": {"kind": "replace"},
        "accumulate": {"kind": "accumulate"},
        "fresh": {"kind": "fresh_real"},
        "golden": {"kind": "golden_ratio"},
    },
    "samplers": {"exact": {}, "temp1.0": {"temperature": 1.0, "max_tokens": 5}},
    "selectors": {"all": {"kind": "all"}, "half": {"kind": "random"}},
    "cells": {
        "main": {
            "dataset": ["normal"],
            "recipe": ["moments"],
            "policy": ["replace", "accumulate", "fresh"],
            "sampler": ["exact"],
            "seed": [0, 1],
            "generations": 3,
        }
    },
    "chains": {
        "grid": {"dataset": ["line"], "recipe": ["ols"], "policy": ["replace", "golden"], "seeds": 4, "generations": 9}
    },
    "figures": {
        "paper": {
            "figure_1": {},
            "figure_2": {"rows": [{"block": "main", "policy": ["replace"]}, {"block": "grid"}]},
        }
    },
    "gates": {
        "plateau": {"statement": "near", "block": "main", "metric": "sd", "against": "main", "at_most": 0.02},
    },
    "claims": ["accumulation"],
}


def changed(path, value=None):
    """GOOD with the value at a path of keys replaced; removed where it is None."""
    raw = copy.deepcopy(GOOD)
    *way, last = path
    place = raw
    for key in way:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return raw


def message(raw):
    with pytest.raises(ConfigError) as error:
        check(raw)
    return str(error.value)


# what is shipped


@pytest.mark.parametrize("scale", SCALES)
def test_shipped_configs_are_right(scale):
    made = load(FOLDER / f"{scale}.yaml")
    assert made.scale == scale
    assert made.cells
    assert made.chains
    assert {name for figures in made.figures.values() for name in figures}
    for entry in made.policies.values():
        assert entry["kind"] in policies.kinds()
    for claims in made.claims:
        assert (FOLDER / "claims" / f"{claims}.yaml").is_file()


@pytest.mark.parametrize("scale", SCALES)
def test_shipped_settings_build_every_family_and_data_set(scale):
    assert "policies" in check_settings(FOLDER / f"{scale}.yaml")


def test_every_file_of_the_folder_is_checked_here():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*SCALES, "policies"}


def test_scales_draw_the_same_figures():
    figures = [{p: set(f) for p, f in load(FOLDER / f"{scale}.yaml").figures.items()} for scale in SCALES]
    published = {"figure_calibration"}  # the laptop's own data have no published curve to be compared with
    smoke, laptop, paper = figures
    assert smoke == paper
    full = {"figure_s7_full"}  # the published sizes, which only the laptop's usual grid lacks
    assert laptop["accumulation"] | published == paper["accumulation"]
    assert laptop["recursion"] - full == paper["recursion"]
    assert not published & laptop["accumulation"]
    assert full == laptop["recursion"] - set(usual(load(FOLDER / "laptop.yaml")).figures["recursion"])


# names


def test_the_good_one_is_good():
    assert check(copy.deepcopy(GOOD)).model_dump(exclude_unset=True) == GOOD


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["figuers"], {}, "config figuers: unknown key 'figuers': did you mean 'figures'?"),
        (["cells", "main", "polcy"], ["x"], "config cells.main.polcy: unknown key 'polcy': did you mean 'policy'?"),
        (["chains", "grid", "seed"], 3, "config chains.grid.seed: unknown key 'seed': did you mean 'seeds'?"),
        (["figures", "paper", "figure_2", "row"], [], "unknown key 'row': did you mean 'rows'?"),
        (["figures", "paper", "figure_2", "rows", 0, "polices"], "x", "unknown key 'polices': did you mean 'policy'?"),
        (["gates", "plateau", "at_mos"], 1.0, "unknown key 'at_mos': did you mean 'at_most'?"),
        (["cells", "main", "policy"], ["repalce"], "block 'main': unknown policy 'repalce': did you mean 'replace'?"),
        (["chains", "grid", "policy"], ["goldn"], "block 'grid': unknown policy 'goldn': did you mean 'golden'?"),
        (["cells", "main", "recipe"], ["moment"], "block 'main': unknown recipe 'moment': did you mean 'moments'?"),
        (["cells", "main", "sampler"], ["temp1"], "block 'main': unknown sampler 'temp1': did you mean 'temp1.0'?"),
        (["cells", "main", "selector"], ["hal"], "block 'main': unknown selector 'hal': did you mean 'half'?"),
        (["cells", "main", "dataset"], ["normals"], "block 'main': unknown dataset 'normals': did you mean 'normal'?"),
        (["figures", "paper", "figure_2", "rows", 0, "block"], "mian", "figure paper/figure_2: unknown block 'mian'"),
        (["figures", "paper", "figure_2", "rows", 0, "policy"], ["golden"], "block 'main': unknown policy 'golden'"),
        (["figures", "paper", "figure_2", "rows", 0, "seed"], [7], "block 'main': unknown seed 7: valid: 0, 1"),
        (["figures", "paper", "figure_2", "rows", 1, "sampler"], ["exact"], "block 'grid' has no sampler"),
        (["gates", "plateau", "block"], "mein", "gate 'plateau': unknown block 'mein': did you mean 'main'?"),
        (["gates", "plateau", "against"], "mein", "gate 'plateau': unknown block 'mein': did you mean 'main'?"),
        (["gates", "plateau", "recipe"], "moment", "gate 'plateau': unknown recipe 'moment': did you mean 'moments'?"),
        (["policies", "replace", "kind"], "replac", "kind of policy 'replace' 'replac': did you mean 'replace'?"),
        (["policies", "replace", "shar"], 1, "option of policy 'replace' 'shar'"),
        (["selectors", "half", "kind"], "rando", "kind of selector 'half' 'rando': did you mean 'random'?"),
        (["datasets", "normal", "kind"], "gausian", "kind of dataset 'normal' 'gausian': did you mean 'gaussian'?"),
        (["datasets", "normal", "trian"], 5, "dataset 'normal': unknown option 'trian': did you mean 'train'?"),
        (["recipes", "moments", "family"], "gausian", "recipe 'moments' 'gausian': did you mean 'gaussian'?"),
        (["recipes", "moments", "dof"], 1, "recipe 'moments': unknown option 'dof': did you mean 'ddof'?"),
        (["recipes", "biased", "base"], "moment", "recipe 'biased': unknown base 'moment': did you mean 'moments'?"),
        (["samplers", "temp1.0", "temprature"], 1, "unknown option 'temprature': did you mean 'temperature'?"),
        (["samplers", "temp1.0", "kind"], "beams", "sampler 'temp1.0': unknown kind of sampler 'beams': did you mean"),
        (["samplers", "temp1.0", "start"], "first", "unknown start of the sampler 'first': valid: bos_fixed_length"),
    ],
)  # fmt: skip
def test_unknown_names_give_the_nearest(path, value, text):
    assert text in message(changed(path, value))


def test_a_misspelt_key_is_told_rather_than_the_missing_one():
    raw = changed(["cells", "main", "policy"])
    raw["cells"]["main"]["polciy"] = ["replace"]
    assert "unknown key 'polciy': did you mean 'policy'?" in message(raw)
    raw = changed(["policies"])
    raw["policy"] = GOOD["policies"]
    assert "unknown key 'policy': did you mean 'policies'?" in message(raw)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["scale"], None, "config scale: this key is missing"),
        (["scale"], "../x", "config scale: String should match pattern"),
        (["device"], "gpu", "config device: Input should be 'cpu' or 'cuda', got 'gpu'"),
        (["cells", "main", "generations"], 0, "greater than or equal to 1, got 0"),
        (["cells", "main", "seed"], [-1], "greater than or equal to 0, got -1"),
        (["cells", "main", "policy"], "replace", "config cells.main.policy: Input should be a valid list"),
        (["curve_items"], 0, "greater than or equal to 1, got 0"),
        (["samplers", "temp1.0", "temperature"], 0, "sampler 'temp1.0': temperature must be a positive number, got 0"),
        (["samplers", "temp1.0", "temperature"], "1", "temperature must be a positive number, got '1'"),
        (["samplers", "temp1.0", "temperature"], float("nan"), "temperature must be a positive number"),
        (["samplers", "temp1.0", "max_tokens"], None, "sampler 'temp1.0': max_tokens must be a whole number above 0"),
        (["samplers", "temp1.0", "kind"], "greedy", "temperature is an option of kind 'sample', this sampler is"),
        (["samplers", "x"], {"kind": "beam", "max_tokens": 5}, "sampler 'x': beams must be a whole number above 1"),
        (["selectors", "half", "keep"], 0, "selector 'half': keep must lie in (0, 1], got 0"),
        (["policies", "fresh", "share"], 2, "policy 'fresh': share must lie between 0 and 1, got 2"),
        (["recipes", "biased", "base"], "biased", "base 'biased' has a base itself"),
        (["gates", "plateau", "at_most"], None, "gate 'plateau' bounds nothing"),
        (["datasets", "normal", "train"], None, "dataset 'normal' must say what N is"),
        (["cells", "main", "dataset"], ["line"], "dataset 'line' runs in memory: put the block under `chains`"),
    ],
)  # fmt: skip
def test_wrong_values_are_told(path, value, text):
    assert text in message(changed(path, value))


@pytest.mark.parametrize("name", ["a/b", "1st", "", "a b", "x\n", "..", "{seed}"])
def test_names_are_safe_in_paths(name):
    for what in ("policies", "samplers", "recipes", "cells"):
        assert "names are letters, digits" in message(changed([what, name], {**next(iter(GOOD[what].values()))}))


def test_the_folder_of_generation_1_is_no_policy():
    assert "policies 'real': this name is taken" in message(changed(["policies", "real"], {"kind": "replace"}))


def test_a_block_has_one_meaning():
    raw = changed(["chains", "main"], GOOD["chains"]["grid"])
    assert "block 'main' is named twice" in message(raw)


# shards and series


def test_fresh_policies_need_shards():
    text = "block 'main': policy 'fresh' needs 3 disjoint real shards, dataset 'normal' has 2: raise its `shards`"
    assert text in message(changed(["datasets", "normal", "shards"], 2))
    assert "has 1" in message(changed(["datasets", "normal", "shards"]))
    raw = changed(["datasets", "normal", "shards"], 2)
    raw["cells"]["main"]["generations"] = 2
    assert check(raw)
    # chains too, where their data set is cut; the linear one has no end
    raw = changed(["chains", "grid", "dataset"], ["normal"])
    assert "block 'grid': policy 'golden' needs 9 disjoint real shards" in message(raw)


def test_a_share_too_small_at_this_size_needs_none():
    raw = changed(["policies", "fresh", "share"], 0.02)  # 0.4 of 20 items, none
    raw["datasets"]["normal"]["shards"] = 1
    assert check(raw)
    raw["datasets"]["normal"]["train"] = 1000
    assert "policy 'fresh' needs 3 disjoint real shards" in message(raw)


def test_a_series_of_two_blocks_has_the_most_generations_of_both_and_each_block_its_own():
    raw = changed(["cells", "longer"], {**GOOD["cells"]["main"], "policy": ["fresh"], "generations": 5})
    raw["datasets"]["normal"]["shards"] = 5
    made = check(raw)
    key = ("normal", "moments", "fresh", "exact", "all", 1)
    assert series(made)[key] == 5
    assert {c["generations"] for c in resolve(made, Selection(block="main"))} == {3}
    both = grid.tables(made, [Selection(block="main"), Selection(block="longer", seed=[1])])
    assert {tuple(t[a] for a in SERIES): t["last"] for t in both}[key] == 5
    assert len(both) == 6


def test_a_sampler_that_draws_nothing_is_for_generation_1():
    raw = changed(["samplers", "none"], {"kind": "none"})
    raw["cells"]["first"] = {**GOOD["cells"]["main"], "sampler": ["none"], "generations": 1}
    made = check(raw)
    assert not draws(made, "none")
    assert draws(made, "exact")
    raw["cells"]["first"]["generations"] = 2
    assert "sampler 'none' draws nothing to train generation 2 on" in message(raw)


def test_series_are_the_product_of_the_lists():
    made = check(copy.deepcopy(GOOD))
    found = series(made)
    assert len(found) == 3 * 2
    assert found["normal", "moments", "fresh", "exact", "all", 1] == 3
    twice = changed(["cells", "again"], {**GOOD["cells"]["main"], "policy": ["replace"]})
    assert series(check(twice)) == found


def test_resolve_filters_blocks():
    made = check(copy.deepcopy(GOOD))
    cells = resolve(made, Selection(block="main", policy=["fresh"], seed=[1]))
    names = {"dataset": "normal", "recipe": "moments", "policy": "fresh", "sampler": "exact", "selector": "all"}
    assert cells == [{**names, "seed": 1, "generations": 3}]
    assert len(resolve(made, Selection(block="main"))) == 6
    assert resolve(made, Selection(block="grid", policy=["golden"])) == [
        {"dataset": "line", "recipe": "ols", "policy": "golden", "seeds": 4, "generations": 9}
    ]


def test_recipes_inherit():
    made = check(copy.deepcopy(GOOD))
    assert recipe(made, "biased") == {"family": "gaussian", "ddof": 0}
    assert recipe(made, "moments") == {"family": "gaussian"}


# files of the config


def test_load_adds_the_shared_policies(tmp_path):
    raw = copy.deepcopy(GOOD)
    shared = {"policies": {"replace": {"kind": "replace"}, "fresh": {"kind": "fresh_real", "share": 0.25}}}
    raw["policies"] = {k: v for k, v in raw["policies"].items() if k != "fresh"}
    (tmp_path / "policies.yaml").write_text(yaml.safe_dump(shared))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    made = load(tmp_path / "tiny.yaml")
    assert made.policies["fresh"] == shared["policies"]["fresh"]
    assert set(made.policies) == set(GOOD["policies"])


# pretrained weights


HASH, REVISION = "0" * 64, "a" * 40
ELSEWHERE = {"family": "gpt2", "path": "weights/gpt2"}


def started(pretrained=None, **recipes):
    """GOOD with recipes that start from pretrained weights: `tuned` from what `moments` makes of `normal`."""
    raw = changed(["recipes"], {**GOOD["recipes"], "tuned": {"family": "gaussian", "start": "base"}, **recipes})
    base = {"base": {"dataset": "normal", "recipe": "moments"}}
    return {**raw, "pretrained": base if pretrained is None else {**base, **pretrained}}


def test_a_recipe_may_start_from_pretrained_weights():
    made = check(started(more={"base": "tuned", "ddof": 0}))
    assert recipe(made, "tuned") == {"family": "gaussian", "start": "base"}
    assert recipe(made, "more") == {"family": "gaussian", "start": "base", "ddof": 0}
    assert made.pretrained["base"].recipe == "moments"
    assert made.pretrained["base"].path is None


@pytest.mark.parametrize(
    "entry",
    [
        ELSEWHERE,
        {**ELSEWHERE, "sha256": {"model.safetensors": HASH}},
        {"family": "gpt2", "repository": "someone/small", "revision": REVISION},
    ],
)
def test_weights_from_elsewhere_name_their_family(entry):
    made = check(started({"small": entry}, more={"family": "gpt2", "start": "small"}))
    assert made.pretrained["small"].model_dump(exclude_unset=True) == entry
    text = message(started({"small": {**entry, "family": "llama2"}}, more={"family": "gpt2", "start": "small"}))
    assert text == "recipe 'more' is of family 'gpt2', its start pretrained 'small' of 'llama2'"


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"family": "gpt2", "start": "bass"}, "recipe 'more': unknown start 'bass': did you mean 'base'?"),
        ({"family": "gpt2", "start": None}, "recipe 'more': unknown start 'None': valid: base"),
        ({"family": "gpt2", "start": "base"}, "recipe 'more' is of family 'gpt2', its start pretrained 'base' of 'gau"),
        ({"base": "tuned", "start": "bas"}, "recipe 'more': unknown start 'bas': did you mean 'base'?"),
        ({"family": "gaussian", "strat": "base"}, "recipe 'more': unknown option 'strat': did you mean 'start'?"),
    ],
)
def test_starts_that_are_not_there_give_the_nearest(entry, text):
    assert text in message(started(more=entry))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"dataset": "normals", "recipe": "moments"}, "unknown dataset 'normals': did you mean 'normal'?"),
        ({"dataset": "normal", "recipe": "moment"}, "unknown recipe 'moment': did you mean 'moments'?"),
        ({"dataset": "normal", "recipe": "more"}, "recipe 'more' has a start itself: name one from fresh weights"),
        ({"dataset": "normal", "recipe": "tuned"}, "recipe 'tuned' has a start itself: name one from fresh weights"),
    ],
)
def test_pretrained_weights_are_of_a_fit_that_is_there_and_from_fresh_weights(entry, text):
    assert f"pretrained 'other': {text}" in message(started({"other": entry}, more={"base": "tuned", "start": "other"}))


def test_a_start_that_a_recipe_inherits_is_a_chain_too():
    raw = started({"other": {"dataset": "normal", "recipe": "heir"}}, heir={"base": "tuned", "ddof": 0})
    raw["recipes"]["more"] = {"family": "gaussian", "start": "other"}
    assert "pretrained 'other': recipe 'heir' has a start itself" in message(raw)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"dataset": "normal"},
        {"family": "gpt2"},
        {"path": "weights"},
        {"dataset": "normal", "recipe": "moments", "path": "weights"},
        {"dataset": "normal", "recipe": "moments", "family": "gaussian"},
        {"family": "gpt2", "repository": "someone/small"},
        {**ELSEWHERE, "repository": "someone/small", "revision": REVISION},
    ],
)
def test_pretrained_weights_have_one_source(entry):
    assert "config pretrained.x: " in (text := message(started({"x": entry})))
    assert "give dataset and recipe, or family and path, or family, repository and revision" in text


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"family": "gpt2", "repository": "a/b", "revision": "main"}, "config pretrained.x.revision: String should"),
        ({**ELSEWHERE, "sha256": {"model.safetensors": "12"}}, "config pretrained.x.sha256.model.safetensors: String"),
        ({**ELSEWHERE, "pth": "weights"}, "config pretrained.x.pth: unknown key 'pth': did you mean 'path'?"),
        ({**ELSEWHERE, "sha265": {}}, "unknown key 'sha265': did you mean 'sha256'?"),
    ],
)
def test_wrong_entries_of_pretrained_weights_are_told(entry, text):
    assert text in message(started({"x": entry}))


def test_names_of_pretrained_weights_are_safe_in_paths():
    assert "pretrained '../x': names are letters, digits" in message(started({"../x": ELSEWHERE}))


def test_pretrained_weights_that_no_recipe_starts_from_are_checked():
    text = message(started({"x": {"dataset": "normals", "recipe": "moments"}}))
    assert "pretrained 'x': unknown dataset 'normals': did you mean 'normal'?" in text
    text = message(started({"x": {**ELSEWHERE, "family": "gtp2"}}))
    assert "pretrained 'x': unknown family 'gtp2': did you mean 'gpt2'?" in text


def test_chains_in_memory_have_no_pretrained_weights():
    raw = started()
    raw["chains"]["tuned"] = {**GOOD["chains"]["grid"], "dataset": ["normal"], "recipe": ["tuned"]}
    raw["chains"]["tuned"]["policy"] = ["replace"]
    assert "block 'tuned': recipe 'tuned' starts from pretrained weights" in message(raw)


def test_settings_of_recipes_with_a_start_can_be_built(tmp_path):
    raw = started()
    raw["cells"]["tuned"] = {**GOOD["cells"]["main"], "recipe": ["tuned"]}
    (tmp_path / "policies.yaml").write_text("policies: {}\n")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    assert "policies" in check_settings(tmp_path / "tiny.yaml")
    raw["recipes"]["tuned"]["ddof"] = 7
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match="ddof is 0 or 1"):
        check_settings(tmp_path / "tiny.yaml")


# streams, prompts, details


def test_a_stream_takes_no_selector():
    """It is never a set of which something is kept: the selector would be left out without a word."""
    raw = changed(["policies", "stream"], {"kind": "stream"})
    raw["cells"]["endless"] = {**GOOD["cells"]["main"], "policy": ["stream"]}
    assert check(raw)
    raw["cells"]["endless"]["selector"] = ["all", "half"]
    assert "block 'endless': policy 'stream' is a stream, of which selector 'half' keeps nothing" in message(raw)


def test_samplers_may_continue_synthetic_prompts():
    entry = {"kind": "greedy", "max_tokens": 5, "start": "continuation", "prompts": "synthetic"}
    assert check(changed(["samplers", "next"], entry)).samplers["next"] == entry
    text = message(changed(["samplers", "next"], {**entry, "prompts": "synthetc"}))
    assert text == "sampler 'next': unknown prompts of the sampler 'synthetc': did you mean 'synthetic'?"
    assert "sampler 'next': " in message(changed(["samplers", "next"], {**entry, "start": "bos_fixed_length"}))


def test_figures_may_ask_for_details():
    extra = ["figures", "paper", "figure_2", "extra"]
    assert check(changed(extra, ["details.parquet"])).figures["paper"]["figure_2"].extra == ["details.parquet"]
    assert "config figures.paper.figure_2.extra.0: Input should be" in message(changed(extra, ["detail.parquet"]))


# files that cannot be read


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        (None, DataError, r"cannot read .*x\.yaml: No such file"),
        (b"a: [1, 2", ConfigError, r"x\.yaml is not valid YAML"),
        (b"a: \xff", ConfigError, r"x\.yaml is not valid YAML"),
        (b"- 1\n", ConfigError, r"x\.yaml must hold a mapping"),
        (b"", ConfigError, r"x\.yaml must hold a mapping"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, error, text):
    if content is not None:
        (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(error, match=text):
        load(tmp_path / "x.yaml")


def test_families_and_data_sets_are_found_by_their_config():
    assert {"gaussian", "linear", "gpt2"} <= set(config.available("families"))
    assert {"gaussian", "linear", "stories"} <= set(config.available("datasets"))
    assert "decoding" not in config.available("families")


def test_the_workflow_parses_without_heavy_packages():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import collapse.config, collapse.policies, collapse.errors, collapse.seeding, collapse.paths, collapse.grid\n"
        "collapse.config.load(sys.argv[2])\n"
        "print(sorted({'torch', 'pandas', 'matplotlib', 'scipy', 'snakemake'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", program, FOLDER.parent / "src", FOLDER / "laptop.yaml"]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_unknown_gives_all_names_where_none_is_near():
    assert str(unknown("colour", "zzz", ["red", "blue"])) == "unknown colour 'zzz': valid: blue, red"
    assert str(unknown("colour", "bleu", ["red", "blue"])) == "unknown colour 'bleu': did you mean 'blue'?"
    assert isinstance(unknown("colour", "x", []), ConfigError)
