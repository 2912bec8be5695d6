"""Arms of claims that differ in more than one key, ends of blocks, transforms, and units of values."""

import copy

import numpy as np
import pandas as pd
import pytest
import yaml

from collapse import judging
from collapse.errors import ConfigError, DataError
from collapse.judging.verdicts import NOT_JUDGED, judge
from collapse.seeding import stream

BLOCK = {
    "dataset": ["articles"],
    "recipe": ["e5", "e10"],
    "policy": ["replace", "kept"],
    "sampler": ["beam5"],
    "selector": ["all"],
    "seed": [0, 1, 2],
    "generations": 3,
}
CONFIG = {
    "cells": {"settings": BLOCK, "drawn": {**BLOCK, "recipe": ["e5"], "sampler": ["temp1.0"], "generations": 2}},
    "chains": {
        "small": {"dataset": ["points"], "recipe": ["gmm"], "policy": ["replace"], "seeds": 12, "generations": 4},
        "large": {"dataset": ["many"], "recipe": ["gmm"], "policy": ["replace"], "seeds": 10, "generations": 4},
    },
}
ENTRY = {
    "id": "X",
    "figure": "figure_1b",
    "statement": "It rises.",
    "rows": {
        "block": "settings",
        "sampler": "beam5",
        "compare": [{"policy": "kept", "recipe": ["e10", "published_e10"]}, {"policy": "replace", "recipe": "e5"}],
    },
    "statistic": {"name": "change_difference", "metric": "loss", "first": 1, "last": "end"},
    "test": {"kind": "t", "direction": "less", "than": 0},
}


def claims_of(tmp_path, *entries):
    path = tmp_path / "paper.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return judging.parse(path)


def entry(**changes):
    return {**copy.deepcopy(ENTRY), **changes}


def language(**slopes):
    """Rows of CONFIG's cells: loss 2 + slope (n - 1) with some noise between seeds; ``slopes``: policy_recipe."""
    rng, parts = stream("test", "arms"), []
    for name, slope in slopes.items():
        policy, recipe = name.split("_")
        for seed, n in ((s, n) for s in range(3) for n in (1, 2, 3)):
            loss = 2 + (slope + rng.normal(0, 1e-3)) * (n - 1)
            parts.append({"policy": policy, "recipe": recipe, "seed": seed, "generation": n, "loss": loss})
    return pd.DataFrame(parts).assign(dataset="articles", sampler="beam5", selector="all", rare=0.5, common=1.0)


def points(seeds=12, **levels):
    """Rows of chains: value level x 10^seed-noise at every generation; ``levels``: dataset_T."""
    rng, parts = stream("test", "points"), []
    for name, level in levels.items():
        dataset, T = name.split("_")
        for seed, n in ((s, n) for s in range(seeds) for n in range(1, 5)):
            value = level * np.exp(rng.normal(0, 0.05))
            parts.append({"dataset": dataset, "T": int(T), "seed": seed, "generation": n, "l2": value})
    frame = pd.DataFrame(parts).assign(recipe="gmm", policy="replace", sampler="exact", selector="all")
    return frame.assign(shape="blob")


def chains(compare, **statistic):
    rows = {"block": ["small", "large"], "policy": "replace", "compare": compare}
    of = {"name": "difference", "metric": "l2", "generation": 4, **statistic}
    return entry(rows=rows, statistic=of, test={"kind": "t", "direction": "greater", "than": 0})


# --------------------------------------------------------------------------------------------------------- arms


def test_arms_may_differ_in_several_keys_and_take_the_name_that_a_scale_has(tmp_path):
    (claim,) = claims_of(tmp_path, entry())
    assert claim.rows.compared == ("e10 or published_e10, kept", "e5, replace")
    assert claim.rows.varied == {"policy", "recipe"}
    (part,) = judging.split([claim], CONFIG)
    needs = judging.resolve(part, CONFIG).needs
    assert [(n["policy"], n["recipe"], n["generations"]) for n in needs] == [
        ("kept", "e10", [1, 2, 3]),
        ("replace", "e5", [1, 2, 3]),
    ]
    rows = language(replace_e5=0.3, kept_e10=0.1, replace_e10=9.0, kept_e5=9.0)
    (record,) = judge([claim], rows, CONFIG)
    assert record["estimate"] == pytest.approx(2 * (0.1 - 0.3), abs=0.01)
    assert (record["verdict"], record["recipe"]) == ("replicated", "e10, e5")
    flipped = entry(rows={**ENTRY["rows"], "compare": ENTRY["rows"]["compare"][::-1]})
    assert judge(claims_of(tmp_path, flipped), rows, CONFIG)[0]["verdict"] == "contradicted"


def test_an_effect_in_a_2_x_2_design_is_averaged_over_the_other_factor(tmp_path):
    four = [{"policy": p, "recipe": r} for p in ("kept", "replace") for r in ("e5", "e10")]
    rows = {"block": "settings", "compare": four}
    claims = claims_of(tmp_path, entry(rows=rows, statistic={**ENTRY["statistic"], "name": "main_effect"}))
    (record,) = judge(claims, language(replace_e5=0.3, replace_e10=0.5, kept_e5=0.1, kept_e10=0.4), CONFIG)
    assert record["estimate"] == pytest.approx(2 * (0.25 - 0.4), abs=0.01)
    assert record["compared"] == ["e5, kept", "e10, kept", "e5, replace", "e10, replace"]


def test_arms_may_differ_in_their_metric_alone(tmp_path):
    rows = {
        "block": "settings",
        "policy": "replace",
        "recipe": "e5",
        "compare": [{"metric": "rare"}, {"metric": "loss"}],
    }
    statistic = {"name": "change_difference", "first": 1, "last": 3}
    claims = claims_of(tmp_path, entry(rows=rows, statistic=statistic))
    assert judging.columns(claims) == ["loss", "rare"]
    (record,) = judge(claims, language(replace_e5=0.2), CONFIG)
    assert record["estimate"] == pytest.approx(-0.4, abs=0.01)
    assert record["statistic"]["metric"] == "rare, loss"
    with pytest.raises(ConfigError, match="unknown column for claim 'X' 'rare': did you mean 'rares'"):
        judge(claims, language(replace_e5=0.2).rename(columns={"rare": "rares"}), CONFIG)


def test_settings_of_the_data_may_be_compared(tmp_path):
    compare = [{"dataset": "points", "T": 500}, {"dataset": "points", "T": 1000}]
    rows = points(points_500=9.0, points_1000=3.0)
    (record,) = judge(claims_of(tmp_path, chains(compare)), rows, CONFIG)
    assert record["estimate"] == pytest.approx(6, abs=0.3)
    assert (record["verdict"], record["n"]) == ("replicated", 12)
    assert record["compared"] == ["points, T = 500", "points, T = 1000"]
    with pytest.raises(DataError, match=r"no row for dataset points.*T 2000"):
        judge(claims_of(tmp_path, chains([compare[0], {"dataset": "points", "T": 2000}])), rows, CONFIG)
    with pytest.raises(ConfigError, match="would average l2 over 2 settings of T, shape"):
        judge(claims_of(tmp_path, chains([compare[0], {"dataset": "points"}])), rows, CONFIG)


def test_arms_may_lie_in_different_blocks_and_have_the_seeds_of_both(tmp_path):
    compare = [{"dataset": "points", "T": 1000}, {"dataset": "many", "T": 10000}]
    rows = points(points_500=9.0, points_1000=3.0, many_10000=0.1)
    (record,) = judge(claims_of(tmp_path, chains(compare)), rows, CONFIG)
    assert record["n"] == 10
    assert record["estimate"] == pytest.approx(2.9, abs=0.2)
    (claim,) = claims_of(tmp_path, chains([{"T": 1000}, {"T": 500}]))  # of which data set?
    assert judging.resolve(claim, CONFIG).needs[0]["block"] == "small"  # the first block that has all names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": [{"policy": "kept", "recipes": "e5"}]}, "unknown key of an arm in rows .* did you mean 'recipe'"),
        ({"compare": [{"policy": "a", "sampler": "b"}]}, "sampler stands in an arm and beside the arms"),
        ({"compare": [{"policy": "a"}, {}]}, "an arm is empty"),
        ({"compare": [{"policy": "a"}, {"policy": "a"}]}, "has an arm twice: a; a"),
        ({"compare": [{"recipe": "a"}, {"recipe": "b"}]}, "has no 'policy'"),
        ({"compare": [{"policy": "a"}, {"policy": "all"}]}, "must name its block and its policies"),
        ({"compare": [{"policy": "a"}, "b"]}, "an arm in rows .* must be a mapping, got 'b'"),
        ({"compare": [{"policy": "a"}]}, "about 2 curves, 1 given: policy a"),
        ({"compare": [{"policy": "a", "metric": "x"}, {"policy": "b"}]}, "a metric stands in every arm or in none"),
        ({"compare": [{"policy": "a", "metric": 3}, {"policy": "b", "metric": "x"}]}, "metric of an arm in .* must be"),
    ],
)
def test_wrong_arms_say_what_is_wrong(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        claims_of(tmp_path, entry(rows={**ENTRY["rows"], **change}))


def test_arms_that_differ_in_what_they_do_not_name_are_an_error(tmp_path):
    rows = {"policy": "replace", "recipe": "e5", "compare": [{"block": "settings"}, {"block": "drawn"}]}
    (claim,) = claims_of(tmp_path, entry(rows=rows))
    assert claim.rows.compared == ("settings", "drawn")
    with pytest.raises(ConfigError, match=r"compares rows of different sampler: beam5, temp1\.0"):
        judging.resolve(*judging.split([claim], CONFIG), CONFIG)
    with pytest.raises(ConfigError, match="'per: recipe' would split what is compared"):
        claims_of(tmp_path, entry(per="recipe"))


def test_per_narrows_every_arm(tmp_path):
    rows = {"block": "settings", "compare": [{"policy": "kept"}, {"policy": "replace"}]}
    (claim,) = claims_of(tmp_path, entry(rows=rows, per="recipe"))
    parts = judging.split([claim], CONFIG)
    assert [part.id for part in parts] == ["X.e5", "X.e10"]
    assert [{n["recipe"] for n in judging.resolve(p, CONFIG).needs} for p in parts] == [{"e5"}, {"e10"}]


# --------------------------------------------------------------------------------------------------------- ends


def test_the_end_is_the_last_generation_that_all_arms_have(tmp_path):
    one = {"block": "settings", "policy": "replace", "recipe": "e5"}
    of = {"name": "change", "metric": "loss", "first": 1, "last": "end"}
    two = {"block": ["settings", "drawn"], "policy": "replace", "recipe": "e5", "compare": "sampler"}
    two = {**two, "sampler": ["beam5", "temp1.0"]}
    at = {"name": "difference", "metric": "loss", "generation": "end"}
    claims = claims_of(tmp_path, entry(rows=one, statistic=of), entry(id="Y", rows=two, statistic=at))
    assert [claim.statistic.last for claim in claims] == [None, None]
    assert [part.statistic.generations for part in judging.split(claims, CONFIG)] == [[1, 2, 3], [2]]
    assert [need["generations"] for need in judging.needs(claims[1], CONFIG)] == [[2], [2]]
    (record,) = judge(claims[:1], language(replace_e5=0.2), CONFIG)
    assert record["estimate"] == pytest.approx(0.4, abs=0.01)
    assert record["statistic"]["generations"] == [1, 3]


def test_an_end_without_rows_or_too_near_is_not_judged(tmp_path):
    of = {"name": "change", "metric": "loss", "first": 3, "last": "end"}
    claims = claims_of(tmp_path, entry(rows={"block": "settings", "policy": "replace", "recipe": "e5"}, statistic=of))
    (record,) = judge(claims, language(replace_e5=0.2), CONFIG)
    assert (record["verdict"], record["reason"]) == (NOT_JUDGED, "needs generation 4, this scale ends at 3")
    (record,) = judge(claims, language(replace_e5=0.2), {"cells": {}})
    assert (record["verdict"], record["reason"]) == (NOT_JUDGED, "block settings is not in this scale's grid")


@pytest.mark.parametrize("ends", [{"first": "end", "last": 3}, {"first": 0, "last": "end"}, {"generation": "ends"}])
def test_wrong_ends(tmp_path, ends):
    with pytest.raises(ConfigError, match="generations count from 1 and run forwards"):
        claims_of(tmp_path, entry(statistic={"name": "difference", "metric": "loss", **ends}))


# ------------------------------------------------------------------------------------------ values and other tests


def test_values_are_transformed_before_seeds_are_averaged(tmp_path):
    compare = [{"dataset": "points", "T": 500}, {"dataset": "points", "T": 1000}]
    rows = points(points_500=9.0, points_1000=3.0)
    (record,) = judge(claims_of(tmp_path, chains(compare, transform="log")), rows, CONFIG)
    last = rows[rows["generation"] == 4].assign(l2=np.log(rows["l2"])).groupby("T")["l2"].mean()
    assert record["estimate"] == pytest.approx(last[500] - last[1000])
    assert record["statistic"]["transform"] == "log"
    negative = rows.assign(l2=rows["l2"].where(rows["seed"] != 3, -1.0))
    with pytest.raises(DataError, match=r"log of l2 is not a finite number for .*seed 3, generation 4"):
        judge(claims_of(tmp_path, chains(compare, transform="log")), negative, CONFIG)
    with pytest.raises(ConfigError, match=r"unknown transform .*did you mean 'log'"):
        claims_of(tmp_path, chains(compare, transform="logg"))


def test_squares_in_units_of_one_fit_are_averaged_over_sizes(tmp_path):
    rows = {"block": "small", "policy": "replace"}
    statistic = {"name": "largest", "metric": "l2", "transform": "square", "unit": "1/T", "generation": 2}
    test = {"kind": "bootstrap", "direction": "within", "low": 2, "high": 8}
    claims = claims_of(tmp_path, entry(rows=rows, statistic=statistic, test=test))
    table = points(points_100=0.2, points_10000=0.02)
    (record,) = judge(claims, table, CONFIG)
    there = table[table["generation"] == 2]
    assert record["estimate"] == pytest.approx((there["l2"] ** 2 * there["T"]).mean())
    assert record["estimate"] == pytest.approx(4, rel=0.1)
    assert record["verdict"] == "replicated"
    with pytest.raises(DataError, match="'unit: 1/T' needs the column T in every row"):
        judge(claims, table[table["T"] == 100].drop(columns="T"), CONFIG)


def states(p, seeds=1000):
    drawn = stream("test", "states").choice(len(p), seeds, p=p)
    rows = pd.DataFrame({"seed": range(seeds), "top_state": drawn, "generation": 4})
    return rows.assign(dataset="points", recipe="gmm", policy="replace", sampler="exact", selector="all")


def test_shares_of_states_near_their_probabilities_are_shown_and_others_refuted(tmp_path):
    config = {"chains": {"small": {**CONFIG["chains"]["small"], "seeds": 1000}}}
    p = [0.5, 0.3, 0.2]
    statistic = {"name": "largest_deviation", "metric": "top_state", "generation": 4, "p": p}
    test = {"kind": "bootstrap", "direction": "less", "than": 0.08}
    claim = entry(rows={"block": "small", "policy": "replace"}, statistic=statistic, test=test)
    claims = claims_of(tmp_path, claim)
    for truth, expected in ((p, "replicated"), ([0.2, 0.3, 0.5], "contradicted"), ([0.56, 0.24, 0.2], "inconclusive")):
        (record,) = judge(claims, states(truth), config)
        assert record["verdict"] == expected, truth
        frequencies = states(truth)["top_state"].value_counts(normalize=True).sort_index().to_numpy()
        assert record["estimate"] == pytest.approx(abs(frequencies - p).max())
    with pytest.raises(ConfigError, match="largest_deviation needs 'kind: bootstrap'"):
        claims_of(tmp_path, {**claim, "test": {**test, "kind": "t"}})
    for wrong in ([0.5, 0.4], [1.5, -0.5], 0.5, ["a", "b"]):
        with pytest.raises(ConfigError, match=r"p in .* must be a list of positive numbers with sum 1"):
            claims_of(tmp_path, {**claim, "statistic": {**statistic, "p": wrong}})
