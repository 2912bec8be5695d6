import copy
import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from collapse import config as checked
from collapse import judging
from collapse.errors import CollapseError, ConfigError, DataError
from collapse.judging.claims import Criterion
from collapse.judging.inference import bootstrap, holm, p_value, student, verdict
from collapse.judging.statistics import STATISTICS, law_in_units_of_c
from collapse.judging.verdicts import NOT_JUDGED, judge
from collapse.published import FIGURE_2, LONG, TABLE_2
from collapse.seeding import stream

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config/claims/accumulation.yaml"
POLICIES = yaml.safe_load((ROOT / "config/policies.yaml").read_text())["policies"]

CONFIG = {
    "cells": {
        "main": {
            "dataset": ["stories"],
            "recipe": ["tiny"],
            "policy": ["replace", "accumulate", "accumulate_steps"],
            "sampler": ["temp1.0"],
            "selector": ["all"],
            "seed": [0, 1, 2],
            "generations": 5,
        },
        "policies": {
            "dataset": ["stories"],
            "recipe": ["tiny"],
            "policy": ["accumulate_subsample"],
            "sampler": ["temp1.0"],
            "selector": ["all"],
            "seed": [0, 1, 2],
            "generations": 5,
        },
    },
    "chains": {
        "linear": {
            "dataset": ["linear_d32"],
            "recipe": ["ols"],
            "policy": ["replace", "accumulate", "accumulate_subsample"],
            "seeds": 100,
            "generations": 50,
        }
    },
}

ENTRY = {
    "id": "X",
    "figure": "figure_2",
    "statement": "It rises.",
    "rows": {"block": "main", "policy": "replace"},
    "statistic": {"name": "difference", "metric": "cross_entropy", "generation": 5},
    "test": {"kind": "t", "direction": "greater", "than": 0},
}


def claims_of(tmp_path, *entries):
    path = tmp_path / "paper.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return judging.parse(path)


def entry(**changes):
    return {**copy.deepcopy(ENTRY), **changes}


def pair(**test):
    """A claim on replace - accumulate at generation 5; its per-seed values are easy to set."""
    return entry(rows={"block": "main", "policy": ["replace", "accumulate"]}, test={**ENTRY["test"], **test})


def language_rows(curves, seeds=(0, 1, 2), **names):
    """``curves``: policy -> (seeds, generations) values of cross_entropy; ``names``: other keys, where not usual."""
    records = []
    for policy, values in curves.items():
        for seed, row in zip(seeds, values, strict=True):
            records += [(policy, seed, n, value) for n, value in enumerate(row, start=1)]
    table = pd.DataFrame(records, columns=["policy", "seed", "generation", "cross_entropy"])
    return table.assign(**{"dataset": "stories", "recipe": "tiny", "sampler": "temp1.0", "selector": "all", **names})


def differing_by(values):
    """Rows in which replace - accumulate at generation 5 is ``values``, one per seed."""
    base = np.full((3, 5), 2.0)
    moved = base.copy()
    moved[:, 4] += values
    return language_rows({"replace": moved, "accumulate": base, "accumulate_steps": base})


# ---------------------------------------------------------------------------------------------------- statistics


HAND = {
    "minimum_step": ([[1.0, 3.0, 4.0]], [1, 2, 3], {}, 1.0),
    "largest_excess": ([[2.0, 1.5, 1.75]], [1, 2, 3], {}, -0.25),
    "largest_step": ([[4.0, 3.0, 2.5]], [1, 2, 3], {}, -0.5),
    "least_excess": ([[2.0, 3.5, 2.25]], [1, 2, 3], {}, 0.25),
    "change": ([[2.0, 9.0, 5.0]], [1, 2, 3], {}, 3.0),
    "change_difference": ([[2.0, 9.0, 5.0], [1.0, 0.0, 2.0]], [1, 2, 3], {}, 2.0),
    "main_effect": ([[1.0, 4.0], [1.0, 6.0], [2.0, 3.0], [0.0, 2.0]], [1, 6], {}, 2.5),
    "largest": ([[2.0, 5.0, 4.0]], [1, 2, 3], {}, 5.0),
    "ratio": ([[2.0, 9.0, 5.0]], [1, 2, 3], {}, 2.5),
    "slope": ([[1.0, 3.0, 2.0]], [25, 26, 27], {}, 0.5),
    "slope_difference": ([[1.0, 3.0, 2.0], [9.0, 8.0, 7.0]], [5, 6, 7], {}, 1.5),
    "theory_ratio": ([[4.0, 6.0]], [2, 3], {"law": "replace"}, 2.0),
    "difference": ([[1.0, 4.0], [3.0, 3.0]], [4, 5], {}, -0.5),
    "largest_difference": ([[1.0, 4.0], [3.0, 3.0]], [4, 5], {}, 1.0),
}


@pytest.mark.parametrize("name", sorted(set(STATISTICS) - {"largest_deviation"}))
def test_each_statistic_by_hand_alone_and_stacked(name):
    y, n, options, expected = HAND[name]
    y, n = np.array(y), np.array(n)
    assert STATISTICS[name](y, n, **options) == pytest.approx(expected)
    stacked = STATISTICS[name](np.stack([y, 2 * y]), n, **options)
    scale = 1 if name == "ratio" else 2
    np.testing.assert_allclose(stacked, [expected, scale * expected])


def test_the_largest_deviation_is_of_shares_from_probabilities():
    """Two thirds of three seeds are in state 0, none in 1, a third in 2."""
    statistic, p = STATISTICS["largest_deviation"], [0.5, 0.3, 0.2]
    states = statistic.encoded(np.array([0, 2, 0]).reshape(3, 1, 1), p=p)
    assert states.shape == (3, 3, 1)
    assert statistic(states.mean(axis=0), [9], p=p) == pytest.approx(0.3)  # |0 - 0.3|
    stacked = np.stack([states.mean(axis=0), np.eye(3)[:, :1]])
    np.testing.assert_allclose(statistic(stacked, [9], p=p), [0.3, 0.5])
    strange = statistic.encoded(np.array([[[7]]]), p=p)  # a state that p does not know
    assert statistic(strange[0], [9], p=p) == pytest.approx(0.5)


def test_statistics_refuse_other_shapes():
    with pytest.raises(ValueError, match="curves of shape"):
        STATISTICS["difference"](np.zeros((1, 3)), np.arange(1, 4))


def test_laws_by_hand():
    n = np.array([1, 2, 10])
    np.testing.assert_allclose(law_in_units_of_c("replace", n), [1, 2, 10])
    np.testing.assert_allclose(law_in_units_of_c("accumulate", n), [1, 1.25, 1.5498], atol=5e-5)
    np.testing.assert_allclose(law_in_units_of_c("replace_multiple", n), [1, 1.5, 2.9290], atol=5e-5)


# ----------------------------------------------------------------------------------------------------- inference


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, None]) == [0.04, None]
    assert holm([]) == []


def test_student_equals_scipy_and_hand():
    evidence = student(np.array([1.0, 2.0, 3.0]))
    # mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027
    assert (evidence.estimate, evidence.n) == (2.0, 3)
    assert (evidence.low, evidence.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    sample = stream("test", "student").normal(0.4, 1, 7)
    evidence, reference = student(sample), stats.ttest_1samp(sample, 0.1)
    assert p_value(evidence, Criterion("t", "greater", 0.1, 0.1)) == pytest.approx(reference.pvalue)
    assert p_value(evidence, Criterion("t", "less", 0.1, 0.1)) == pytest.approx(reference.pvalue)


def test_bootstrap_is_named_paired_and_close_to_normal_theory():
    sample = stream("test", "bootstrap").normal(1.0, 0.5, (100, 1, 2))

    def mean(y):
        return y[..., 0, 0]

    one, again = (bootstrap(sample, mean, stream("judge", "a")) for _ in range(2))
    other = bootstrap(sample, mean, stream("judge", "b"))
    assert (one.estimate, one.low, one.high) == (again.estimate, again.low, again.high)
    assert one.low != other.low
    error = sample[:, 0, 0].std() / 10
    np.testing.assert_allclose([one.low, one.high], one.estimate + np.array([-1.96, 1.96]) * error, atol=0.1 * error)
    assert one.above(one.estimate - 1.96 * error) == pytest.approx(0.025, abs=0.006)
    assert one.above(-10.0) == one.below(10.0) == pytest.approx(1e-4)
    assert one.above(10.0) == 1.0
    # a statistic of two policies sees both of the same seed: what they share cancels exactly
    shared = np.repeat(sample[:, :, :1], 2, axis=1)
    difference = bootstrap(shared, lambda y: y[..., 0, 0] - y[..., 1, 0], stream("judge", "c"))
    assert difference.low == difference.high == 0
    assert difference.degenerate


@pytest.mark.parametrize(
    ("direction", "low", "high", "estimate", "p", "expected"),
    [
        ("greater", 0, 0, 1.0, 0.01, "replicated"),
        ("greater", 0, 0, -1.0, 0.01, "contradicted"),
        ("greater", 0, 0, 1.0, 0.05, "inconclusive"),
        ("less", 0, 0, -1.0, 0.01, "replicated"),
        ("less", 0, 0, 1.0, 0.01, "contradicted"),
        ("less", 0, 0, -1.0, 0.2, "inconclusive"),
        ("within", 1, 2, 1.5, 0.01, "replicated"),
        ("within", 1, 2, 2.5, 0.01, "contradicted"),
        ("within", 1, 2, 0.5, 0.01, "contradicted"),
        ("within", 1, 2, 1.5, 0.3, "inconclusive"),
        ("within", 1, 2, 1.5, None, "inconclusive"),
    ],
)
def test_verdict_of_each_side(direction, low, high, estimate, p, expected):
    assert verdict(estimate, p, Criterion("t", direction, low, high)) == expected


def test_within_is_decided_by_where_the_interval_lies():
    rng, criterion, seen = stream("test", "within"), Criterion("t", "within", -1.0, 1.0), set()
    for _ in range(300):
        evidence = student(rng.normal(rng.uniform(-3, 3), rng.uniform(0.1, 1), 5))
        inside = evidence.low > -1 and evidence.high < 1
        outside = evidence.high < -1 or evidence.low > 1
        expected = "replicated" if inside else "contradicted" if outside else "inconclusive"
        assert verdict(evidence.estimate, p_value(evidence, criterion), criterion) == expected
        seen.add(expected)
    assert seen == {"replicated", "contradicted", "inconclusive"}


def test_false_positives_are_at_the_nominal_rate():
    rng, zero = stream("test", "null"), Criterion("t", "greater", 0.0, 0.0)
    samples = rng.normal(0, 1, (1000, 3))
    found = [student(sample) for sample in samples]
    outcomes = [verdict(e.estimate, p_value(e, zero), zero) for e in found]
    # 2.5 % on each side; four standard errors are 2 %
    assert outcomes.count("replicated") / 1000 == pytest.approx(0.025, abs=0.02)
    assert outcomes.count("contradicted") / 1000 == pytest.approx(0.025, abs=0.02)
    edge = Criterion("t", "within", -9.0, 0.0)  # the truth lies on the bound: 2.5 % "inside", 2.5 % "outside"
    outcomes = [verdict(e.estimate, p_value(e, edge), edge) for e in found]
    assert outcomes.count("replicated") / 1000 == pytest.approx(0.025, abs=0.02)
    assert outcomes.count("contradicted") / 1000 == pytest.approx(0.025, abs=0.02)
    any_of_eight = [min(holm(p)) < 0.05 for p in rng.uniform(size=(2000, 8)).tolist()]
    assert np.mean(any_of_eight) == pytest.approx(0.05, abs=0.02)


def test_false_positives_of_the_bootstrap():
    rng, one = stream("test", "null", "bootstrap"), Criterion("bootstrap", "greater", 1.0, 1.0)
    hits = 0
    for i in range(200):
        sample = rng.chisquare(32, (100, 1, 2)) / 32
        evidence = bootstrap(sample, lambda y: y[..., 0, 1] / y[..., 0, 0], stream("judge", i), resamples=399)
        hits += p_value(evidence, one) < 0.05
    assert 2 <= hits <= 23  # 10 expected; four standard errors are 12


# ----------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("test", "values", "expected"),
    [
        ({"direction": "greater", "than": 0}, [1.0, 1.1, 0.9], "replicated"),
        ({"direction": "greater", "than": 0}, [-1.0, -1.1, -0.9], "contradicted"),
        ({"direction": "greater", "than": 0}, [1.0, 2.0, 3.0], "inconclusive"),  # t = 3.46, p = 0.074
        ({"direction": "less", "than": 2}, [1.0, 1.1, 0.9], "replicated"),
        ({"direction": "less", "than": 0.5}, [1.0, 1.1, 0.9], "contradicted"),
    ],
)
def test_judge_by_hand(tmp_path, test, values, expected):
    (record,) = judge(claims_of(tmp_path, pair(**test)), differing_by(values), CONFIG)
    assert record["verdict"] == expected
    assert record["estimate"] == pytest.approx(np.mean(values))
    half = 4.302653 * np.std(values, ddof=1) / 3**0.5
    assert (record["low"], record["high"]) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert record["p"] == pytest.approx(stats.ttest_1samp(values, test["than"]).pvalue)
    assert (record["n"], record["p_adjusted"], record["reason"]) == (3, record["p"], None)
    assert (record["claim"], record["paper"], record["dataset"], record["recipe"]) == ("X", "paper", "stories", "tiny")
    json.dumps(record, allow_nan=False)


def test_within_through_judge(tmp_path):
    test = {"kind": "t", "direction": "within", "low": 0.5, "high": 1.5}
    claims = claims_of(tmp_path, {**pair(), "test": test})
    for values, expected in {
        (1.0, 1.1, 0.9): "replicated",
        (3.0, 3.1, 2.9): "contradicted",
        (0, 1, 2): "inconclusive",
    }.items():
        assert judge(claims, differing_by(values), CONFIG)[0]["verdict"] == expected


def test_holm_is_over_the_judged_claims_of_a_paper(tmp_path):
    values = np.array([1.0, 1.3, 0.7])  # t = 5.77, p = 0.029: significant alone, not as one of two
    absent = {**pair(), "id": "absent", "rows": {"block": "elsewhere", "policy": ["replace", "accumulate"]}}
    alone = judge(claims_of(tmp_path, pair(), absent), differing_by(values), CONFIG)
    assert [r["verdict"] for r in alone] == ["replicated", NOT_JUDGED]
    both = judge(claims_of(tmp_path, pair(), {**pair(), "id": "Y"}), differing_by(values), CONFIG)
    assert [r["verdict"] for r in both] == ["inconclusive"] * 2
    assert both[0]["p_adjusted"] == pytest.approx(2 * both[0]["p"])
    (claim,) = claims_of(tmp_path, pair())
    apart = judge([claim, replace(claim, paper="another")], differing_by(values), CONFIG)
    assert [r["verdict"] for r in apart] == ["replicated"] * 2


def test_order_of_rows_is_of_no_account_and_seeds_are_paired(tmp_path):
    rows = differing_by([0.01, 0.011, 0.009])
    rows["cross_entropy"] += rows["seed"] * 5.0  # seeds differ by far more than policies do
    claims = claims_of(tmp_path, pair())
    ordered = judge(claims, rows, CONFIG)
    assert ordered[0]["verdict"] == "replicated"
    shuffled = rows.sample(frac=1, random_state=np.random.RandomState(3), ignore_index=True)
    assert judge(claims, shuffled, CONFIG) == ordered
    other = rows.assign(cross_entropy=7.0)
    others = [other.assign(**{key: "x"}) for key in ("dataset", "recipe", "policy", "sampler", "selector")]
    assert judge(claims, pd.concat([rows, *others, other.assign(seed=9)]), CONFIG) == ordered
    rows.loc[rows["policy"] == "accumulate", "seed"] = (rows["seed"] + 1) % 3
    assert judge(claims, rows, CONFIG)[0]["verdict"] == "inconclusive"


def test_generation_1_may_stand_once_for_all_policies(tmp_path):
    claims = claims_of(
        tmp_path, entry(statistic={"name": "largest_excess", "metric": "cross_entropy", "first": 1, "last": 5})
    )
    rows = language_rows({"replace": [[2, 3, 3.5, 3.7, 4 + s] for s in (0, 0.1, 0.2)]})
    shared = rows.copy()
    shared.loc[shared["generation"] == 1, ["policy", "sampler", "selector"]] = ["real", "none", "none"]
    assert judge(claims, shared, CONFIG) == judge(claims, rows, CONFIG)
    with pytest.raises(DataError, match=r"2 rows, not one, for .*seed 0, generation 1"):
        judge(claims, pd.concat([rows, shared[shared["policy"] == "real"]]), CONFIG)


def test_missing_doubled_and_bad_rows_are_errors_that_name_the_cell(tmp_path):
    claims, rows = claims_of(tmp_path, pair()), differing_by([1.0, 1.1, 0.9])
    at = (rows["policy"] == "accumulate") & (rows["seed"] == 1) & (rows["generation"] == 5)
    cell = "dataset stories, recipe tiny, policy accumulate, sampler temp1.0, selector all, seed 1, generation 5"
    with pytest.raises(DataError, match=f"no row for {cell}"):
        judge(claims, rows[~at], CONFIG)
    with pytest.raises(DataError, match=f"2 rows, not one, for {cell}"):
        judge(claims, pd.concat([rows, rows[at]]), CONFIG)
    with pytest.raises(DataError, match=f"not a finite number for {cell}"):
        judge(claims, rows.assign(cross_entropy=rows["cross_entropy"].mask(at)), CONFIG)
    with pytest.raises(DataError, match=r"no row for .*policy replace"):
        judge(claims, rows[rows["policy"] != "replace"], CONFIG)
    with pytest.raises(ConfigError, match="did you mean 'cross_entropy'"):
        judge(
            claims_of(tmp_path, {**pair(), "statistic": {**ENTRY["statistic"], "metric": "cross_entropi"}}),
            rows,
            CONFIG,
        )


def test_equal_seeds_are_inconclusive(tmp_path):
    (record,) = judge(claims_of(tmp_path, pair()), differing_by([1.0, 1.0, 1.0]), CONFIG)
    assert (record["verdict"], record["p"]) == ("inconclusive", None)
    assert "same value" in record["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["cells"].pop("main"), "block main is not in this scale's grid"),
        (lambda c: c["cells"]["main"].update(policy=["accumulate"]), "policy replace is not in block main"),
        (lambda c: c["cells"]["main"].update(generations=3), "needs generation 5, block main ends at 3"),
        (lambda c: c["cells"]["main"].update(seed=[0]), r"1 seed\(s\) at this scale, the t test needs 2"),
    ],
)
def test_not_judged_says_why(tmp_path, change, reason):
    config = copy.deepcopy(CONFIG)
    change(config)
    claims = claims_of(tmp_path, pair())
    (record,) = judge(claims, differing_by([1.0, 1.1, 0.9]).head(0), config)
    assert record["verdict"] == NOT_JUDGED
    assert record["estimate"] is record["p"] is record["p_adjusted"] is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(record["reason"])
    assert judging.needs(claims[0], config) == []


def test_a_filter_outside_the_grid_and_a_bootstrap_of_few_seeds_are_not_judged(tmp_path):
    (claim,) = claims_of(tmp_path, {**pair(), "rows": {**pair()["rows"], "recipe": "gpt2_9m"}})
    assert judging.resolve(claim, CONFIG).reason == "recipe gpt2_9m is not in block main of this scale's grid"
    (claim,) = claims_of(tmp_path, pair(kind="bootstrap"))
    assert judging.resolve(claim, CONFIG).reason == "3 seed(s) at this scale, the bootstrap test needs 10"


# --------------------------------------------------------------------------------------- what a claim needs


def test_needs_of_each_policy_with_the_seeds_that_all_have(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["cells"]["main"]["seed"] = [2, 1, 0]
    config["cells"]["policies"]["seed"] = [1, 2]
    rows = {"block": ["main", "policies"], "policy": ["accumulate", "accumulate_subsample"], "recipe": "all"}
    (claim,) = claims_of(tmp_path, entry(rows=rows))
    common = {"dataset": "stories", "recipe": "tiny", "sampler": "temp1.0", "selector": "all"}
    ends = {"seeds": [1, 2], "generations": [5]}
    assert judging.needs(claim, config) == [
        {"block": "main", "policy": "accumulate", **common, **ends},
        {"block": "policies", "policy": "accumulate_subsample", **common, **ends},
    ]
    config["cells"]["policies"]["generations"] = 4
    assert judging.resolve(claim, config).reason == "needs generation 5, block policies ends at 4"


def test_per_gives_one_claim_each_with_its_own_published_value(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["cells"]["main"]["recipe"] = ["tiny", "small"]
    published = {"value": {"small": 0.5, "large": 0.7}, "source": "figure 2"}
    (claim,) = claims_of(tmp_path, {**pair(), "per": "recipe", "published": published})
    parts = judging.split([claim], config)
    assert [(c.id, c.published, c.source) for c in parts] == [
        ("X.tiny", None, "figure 2"),
        ("X.small", 0.5, "figure 2"),
    ]
    rows = pd.concat([differing_by([1, 1.1, 0.9]), differing_by([-1, -1.1, -0.9]).assign(recipe="small")])
    assert [r["verdict"] for r in judge([claim], rows, config)] == ["replicated", "contradicted"]
    assert [r["claim"] for r in judge([claim], rows, {"cells": {}})] == ["X"]
    (whole,) = claims_of(tmp_path, pair())
    with pytest.raises(ConfigError, match=r"several of recipe \(tiny, small\): name one, or split"):
        judging.resolve(whole, config)


def workflow_config():
    """CONFIG as the workflow has it: checked, with the policies' definitions."""
    exact = {"samplers": {"temp1.0": {}}, "selectors": {"all": {"kind": "all"}}, "scale": "test", "figures": {}}
    datasets = {"stories": {"kind": "gaussian", "train": 10}, "linear_d32": {"kind": "linear", "d": 32}}
    recipes = {"tiny": {"family": "gaussian"}, "ols": {"family": "linear"}}
    return checked.check({**CONFIG, **exact, "datasets": datasets, "recipes": recipes, "policies": POLICIES})


def test_selections_name_what_the_workflow_builds(tmp_path):
    config = workflow_config()
    claims_of(tmp_path, pair(), {**pair(), "id": "Y"}, {**linear_claim(), "id": "Z"})
    (tmp_path / "other.yaml").write_text((tmp_path / "paper.yaml").read_text())
    found = judging.selections([tmp_path / "paper.yaml", tmp_path / "other.yaml"], config)
    series = [(s.block, s.policy, s.seed) for s in found]
    assert series == [
        ("main", ["replace"], [0, 1, 2]),
        ("main", ["accumulate"], [0, 1, 2]),
        ("linear", ["replace"], "all"),
    ]
    cells = [cell for s in found for cell in checked.resolve(config, s)]
    assert [(c["dataset"], c["policy"], c.get("seed")) for c in cells] == [
        *(("stories", "replace", s) for s in range(3)),
        *(("stories", "accumulate", s) for s in range(3)),
        ("linear_d32", "replace", None),
    ]
    assert judging.selections([SHIPPED], config)
    claims_of(tmp_path, entry(rows={"block": "main", "policy": ["replace", "acumulate"]}))
    with pytest.raises(ConfigError, match=r"policy in claim 'X' .*did you mean 'accumulate'"):
        judging.selections([tmp_path / "paper.yaml"], config)


def test_the_workflow_reads_claims_without_pandas_or_scipy():
    code = (
        "import sys; from collapse import judging; c = judging.parse(sys.argv[1]); judging.split(c, {'cells': {}});"
        "assert not {'pandas', 'scipy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(SHIPPED)], check=True, cwd=ROOT)


def test_misspelt_names_are_found_against_all_scales(tmp_path):
    claims = claims_of(tmp_path, pair())
    judging.check(claims, {"block": ["main"], "policy": ["replace", "accumulate"]})
    with pytest.raises(ConfigError, match="did you mean 'replaced'"):
        judging.check(claims, {"policy": ["replaced", "accumulate"]})
    with pytest.raises(CollapseError, match="no names of 'polizy'"):
        judging.check(claims, {"polizy": []})


# ------------------------------------------------------------------------------- comparing other things than policies


def comparing(key, *names, **rows):
    """A claim on ``names`` of ``key``, first minus second, at generation 5."""
    return entry(rows={"block": "main", "policy": "replace", "compare": key, key: list(names), **rows})


@pytest.mark.parametrize("key", ["dataset", "recipe", "sampler", "selector"])
def test_names_of_any_key_can_be_compared(tmp_path, key):
    config = copy.deepcopy(CONFIG)
    config["cells"]["main"][key] = ["a", "b"]
    rows = pd.concat([differing_by([1.0, 1.1, 0.9]).assign(**{key: "a"}), differing_by(0).assign(**{key: "b"})])
    for order, estimate, expected in ((("a", "b"), 1.0, "replicated"), (("b", "a"), -1.0, "contradicted")):
        claims = claims_of(tmp_path, comparing(key, *order))
        (record,) = judge(claims, rows, config)
        assert (record["estimate"], record["verdict"]) == (pytest.approx(estimate), expected)
        assert record["compared"] == list(order)
        assert record.get(key, ", ".join(order)) == ", ".join(order)
        assert [need[key] for need in judging.needs(claims[0], config)] == list(order)
        assert {need["policy"] for need in judging.needs(claims[0], config)} == {"replace"}
    judging.check(claims, {key: ["a", "b"]})
    with pytest.raises(ConfigError, match=f"unknown {key} in claim 'X'"):
        judging.check(claims, {key: ["a"]})


def test_samplers_may_share_one_generation_1(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["cells"]["main"]["sampler"] = ["temp0.3", "temp1.0"]
    statistic = {"name": "slope_difference", "metric": "cross_entropy", "first": 1, "last": 5}
    claims = claims_of(tmp_path, {**comparing("sampler", "temp0.3", "temp1.0"), "statistic": statistic})
    hot, cold = (language_rows({"replace": 1 + s * np.outer([1, 1.1, 0.9], range(5))}) for s in (1.0, 3.0))
    rows = pd.concat([hot, cold.assign(sampler="temp0.3")])
    (record,) = judge(claims, rows, config)
    assert (record["estimate"], record["verdict"]) == (pytest.approx(2.0), "replicated")
    shared = rows[rows["generation"] == 1].drop_duplicates("seed").assign(policy="real", sampler="none")
    assert judge(claims, pd.concat([rows[rows["generation"] > 1], shared]), config) == [record]


def several_blocks():
    """``main`` and ``models`` at temperature 1, ``cold`` at 0.3 for the smallest, ``long`` longer than main."""
    base = {**CONFIG["cells"]["main"], "policy": ["replace", "accumulate"]}
    return {
        "cells": {
            "main": base,
            "models": {**base, "recipe": ["tiny", "small", "large"], "seed": [0, 1]},
            "cold": {**base, "sampler": ["temp0.3"], "policy": ["replace"]},
            "cold_small": {**base, "sampler": ["temp0.3"], "recipe": ["small"], "seed": [1, 0], "generations": 4},
            "long": {**base, "generations": 10},
        },
        "chains": CONFIG["chains"],
    }


def test_a_name_takes_the_first_block_that_holds_it_with_all_the_others(tmp_path):
    config, four = several_blocks(), {**ENTRY["statistic"], "generation": 4}
    listed = {"block": ["cold", "cold_small", "main", "models"]}
    claim = {**comparing("sampler", "temp0.3", "temp1.0", **listed), "per": "recipe", "statistic": four}
    (claim,) = claims_of(tmp_path, claim)
    parts = judging.split([claim], config)
    assert [part.id for part in parts] == ["X.tiny", "X.small", "X.large"]  # each once, though tiny is in three blocks
    found = {part.id: judging.resolve(part, config) for part in parts}
    assert [(n["block"], n["recipe"], n["sampler"], n["seeds"]) for n in found["X.tiny"].needs] == [
        ("cold", "tiny", "temp0.3", [0, 1, 2]),
        ("main", "tiny", "temp1.0", [0, 1, 2]),
    ]
    assert [(n["block"], n["recipe"], n["sampler"], n["seeds"]) for n in found["X.small"].needs] == [
        ("cold_small", "small", "temp0.3", [0, 1]),
        ("models", "small", "temp1.0", [0, 1]),
    ]
    together = "policy replace, sampler temp0.3, recipe large"
    assert found["X.large"].reason == f"no block of cold, cold_small, main, models has together {together}"
    del config["cells"]["cold"], config["cells"]["cold_small"]
    reason = "sampler temp0.3 is not in block main or models of this scale's grid"
    assert [judging.resolve(part, config).reason for part in parts] == [reason] * 3


def test_too_few_seeds_in_one_of_the_blocks_are_not_judged(tmp_path):
    config = several_blocks()
    config["cells"]["models"]["seed"] = [0]
    claims = claims_of(tmp_path, {**pair(), "per": "recipe", "rows": {**pair()["rows"], "block": ["main", "models"]}})
    records = judge(claims, differing_by([1.0, 1.1, 0.9]), config)
    reason = "1 seed(s) at this scale, the t test needs 2"
    assert [(r["claim"], r["verdict"], r["reason"]) for r in records] == [
        ("X.tiny", "replicated", None),
        ("X.small", NOT_JUDGED, reason),
        ("X.large", NOT_JUDGED, reason),
    ]


def test_a_series_may_be_longer_in_another_block(tmp_path):
    config, ten = several_blocks(), {"name": "slope_difference", "metric": "cross_entropy", "first": 5, "last": 10}
    rows = language_rows(
        {p: np.outer([1, 1.1, 0.9], s * np.arange(10)) for p, s in (("replace", 3), ("accumulate", 1))}
    )
    for block, reason in (("long", None), (["main", "long"], "needs generation 10, block main ends at 5")):
        (record,) = judge(
            claims_of(tmp_path, {**pair(), "statistic": ten, "rows": {**pair()["rows"], "block": block}}), rows, config
        )
        assert record["reason"] == reason
        assert record["estimate"] == (None if reason else pytest.approx(2.0))
    (record,) = judge(claims_of(tmp_path, pair()), rows, config)  # generation 5 of main, out of the longer series
    assert record["estimate"] == pytest.approx(8.0)


def test_chains_have_neither_sampler_nor_selector(tmp_path):
    rows = {"block": "linear", "policy": "replace", "sampler": "exact"}
    (claim,) = claims_of(tmp_path, linear_claim(rows=rows))
    with pytest.raises(ConfigError, match="chains of block 'linear' have no sampler: leave it out"):
        judging.resolve(claim, CONFIG)


def test_data_sets_that_are_compared_may_have_different_grids(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["chains"]["linear"]["dataset"] = ["linear_d32", "linear_d64"]
    rows = {"block": "linear", "policy": "replace", "compare": "dataset", "dataset": ["linear_d64", "linear_d32"]}
    statistic = {"name": "difference", "metric": "test_error", "unit": "c", "generation": 10}
    test = {"kind": "bootstrap", "direction": "within", "low": -1, "high": 1}
    claims = claims_of(tmp_path, entry(rows=rows, statistic=statistic, test=test))
    narrow = linear_rows({"replace": lambda n: n})
    wide = linear_rows({"replace": lambda n: n}).query("T == 316").assign(dataset="linear_d64", d=64)
    wide["test_error"] *= (316 - 33) / 32 * 64 / (316 - 65)
    (record,) = judge(claims, pd.concat([narrow, wide]), config)
    assert record["estimate"] == pytest.approx(0, abs=0.5)
    assert (record["verdict"], record["dataset"]) == ("replicated", "linear_d64, linear_d32")
    with pytest.raises(DataError, match="no row for dataset linear_d64"):
        judge(claims, narrow, config)
    policies = linear_claim(
        rows={**rows, "compare": "policy", "policy": ["replace", "accumulate"], "dataset": "linear_d32"},
        statistic=statistic,
    )
    other = linear_rows({"accumulate": np.sqrt}).query("T == 316")
    with pytest.raises(DataError, match=r"no row for .*policy accumulate.* T 100"):  # policies must have the same
        judge(claims_of(tmp_path, policies), pd.concat([narrow, other]), config)


# ------------------------------------------------------------------------------------------------------ parsing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statment": "x"}, "unknown key of claim 'X' .* did you mean 'statement'"),
        ({"statement": " "}, "statement of claim 'X' .* must be text"),
        ({"per": "recipes"}, "did you mean 'recipe'"),
        ({"rows": {"block": "main", "policy": "replace", "sampla": "a"}}, "did you mean 'sampler'"),
        ({"rows": {"block": "main"}}, "rows of claim 'X' .* has no 'policy'"),
        ({"rows": {"block": "main", "policy": "all"}}, "must name its block and its policies"),
        ({"rows": {"block": "main", "policy": 3}}, "policy in rows of .* must be a name"),
        ({"statistic": {"name": "diference"}}, "did you mean 'difference'"),
        ({"statistic": {"name": "difference", "metric": "x"}}, "has no 'first'"),
        ({"statistic": {**ENTRY["statistic"], "first": 1}}, "unknown key .* 'first'"),
        ({"statistic": {**ENTRY["statistic"], "generation": 0}}, "generations count from 1"),
        ({"statistic": {"name": "ratio", "metric": "x", "generation": 2}}, "ratio needs at least 2 generations"),
        ({"statistic": {**ENTRY["statistic"], "unit": "cc"}}, "did you mean 'c'"),
        ({"statistic": {**ENTRY["statistic"], "name": "theory_ratio", "law": "replace"}}, "needs 'unit: c'"),
        ({"statistic": {**ENTRY["statistic"], "name": "theory_ratio", "unit": "c"}}, "has no 'law'"),
        (
            {"statistic": {**ENTRY["statistic"], "name": "theory_ratio", "unit": "c", "law": "acumulate"}},
            "unknown law .* did you mean 'accumulate'",
        ),
        ({"test": {"kind": "t", "direction": "graeter", "than": 0}}, "did you mean 'greater'"),
        ({"test": {"kind": "z", "direction": "less", "than": 0}}, "valid: bootstrap, t"),
        ({"test": {"kind": "t", "direction": "less", "than": "0"}}, "than in .* must be a number"),
        ({"test": {"kind": "t", "direction": "within", "low": 2, "high": 1}}, "low must be below high"),
        ({"test": {"kind": "t", "direction": "within", "than": 1}}, "unknown key .* 'than'"),
        ({"published": {"value": 3}}, "has no 'source'"),
        ({"published": {"value": {"tiny": 3}, "source": "x"}}, "the claim is not split"),
        ({}, "difference is about 2 curves, 1 given: policy replace"),
        ({"statistic": {**ENTRY["statistic"], "name": "slope", "first": 1}}, "unknown key .* 'first'"),
        ({"rows": {**ENTRY["rows"], "compare": "samplr"}}, "unknown key to compare .* did you mean 'sampler'"),
        ({"rows": {**ENTRY["rows"], "compare": ["sampler"]}}, "unknown key to compare"),
        ({"rows": {**ENTRY["rows"], "compare": "sampler"}}, "must list what it compares: sampler"),
        ({"rows": {**ENTRY["rows"], "compare": "recipe", "recipe": "all"}}, "must list what it compares: recipe"),
        ({"rows": {**ENTRY["rows"], "compare": "recipe", "recipe": "a"}}, "2 curves, 1 given: recipe a"),
        ({"rows": {**ENTRY["rows"], "policy": ["replace", "replace"]}}, "names one policy twice"),
        (
            {"rows": {"block": "main", "policy": ["a", "b"], "compare": "sampler", "sampler": ["c", "d"]}},
            "compares names of sampler, so it must have one policy",
        ),
        (
            {"per": "recipe", "rows": {**ENTRY["rows"], "compare": "recipe", "recipe": ["a", "b"]}},
            "'per: recipe' would split what is compared",
        ),
    ],
)
def test_wrong_entries_say_what_is_wrong(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        claims_of(tmp_path, entry(**change))


def test_wrong_files(tmp_path):
    with pytest.raises(ConfigError, match="two claims have the id 'X'"):
        claims_of(tmp_path, pair(), pair())
    with pytest.raises(ConfigError, match="cannot read"):
        judging.parse(tmp_path / "none.yaml")
    path = tmp_path / "paper.yaml"
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        judging.parse(path)
    path.write_text("a: 1")
    with pytest.raises(ConfigError, match="must be a list"):
        judging.parse(path)


# -------------------------------------------------------------------------------------------- linear regression


def linear_rows(laws, noise=0.25, sizes=(100, 316), sigma2=(0.1, 10.0), designs=("shared",)):
    """Test errors law(n) c around which seeds scatter; ``laws``: policy -> (n -> multiples of c)."""
    n, seeds, parts = np.arange(1, 51), np.arange(100), []
    for policy, law in laws.items():
        for T in sizes:
            for design in designs:
                scatter = stream("test", policy, T, design).gamma(noise**-2, noise**2, (len(seeds), len(n)))
                for s2 in sigma2:
                    error = s2 * 32 / (T - 33) * law(n) * scatter
                    index = pd.MultiIndex.from_product([seeds, n], names=["seed", "generation"])
                    cell = {"policy": policy, "T": T, "design": design, "sigma2": s2, "test_error": error.ravel()}
                    parts.append(pd.DataFrame(cell, index=index).reset_index())
    return pd.concat(parts).assign(dataset="linear_d32", recipe="ols", sampler="exact", selector="all", d=32)


def linear_claim(**changes):
    statistic = {"name": "theory_ratio", "metric": "test_error", "unit": "c", "first": 1, "last": 50, "law": "replace"}
    rows = {"block": "linear", "policy": "replace", "design": "shared"}
    test = {"kind": "bootstrap", "direction": "within", "low": 0.9, "high": 1.1}
    return entry(**{"statistic": statistic, "rows": rows, "test": test, **changes})


def test_errors_in_units_of_c_are_averaged_over_the_grid(tmp_path):
    claims = claims_of(tmp_path, linear_claim())
    rows = linear_rows({"replace": lambda n: n}, designs=("shared", "fresh"))
    (record,) = judge(claims, rows, CONFIG)
    by_hand = rows[rows["design"] == "shared"].assign(
        r=lambda x: x["test_error"] / (x["sigma2"] * 32 / (x["T"] - 33)) / x["generation"]
    )
    assert record["estimate"] == pytest.approx(by_hand["r"].mean(), rel=1e-12)
    assert (record["verdict"], record["n"]) == ("replicated", 100)
    assert judge(claims, rows.iloc[::-1], CONFIG) == [record]
    names = rows.select_dtypes(["object", "str"]).columns
    assert judge(claims, rows.astype(dict.fromkeys(names, "category")), CONFIG) == [record]


def test_the_bootstrap_is_of_the_ratio_of_means_not_the_mean_of_ratios(tmp_path):
    statistic = {"name": "ratio", "metric": "test_error", "unit": "c", "first": 1, "last": 10}
    rows = linear_rows({"replace": lambda n: n}, noise=1.0, sizes=(100,), sigma2=(1.0,))
    (record,) = judge(claims_of(tmp_path, linear_claim(statistic=statistic)), rows, CONFIG)
    means = rows.groupby("generation")["test_error"].mean()
    assert record["estimate"] == pytest.approx(means[10] / means[1])


def test_grids_that_are_incomplete_or_without_a_unit_are_errors(tmp_path):
    claims, rows = claims_of(tmp_path, linear_claim()), linear_rows({"replace": lambda n: n})
    gone = (rows["T"] == 316) & (rows["seed"] == 7) & (rows["generation"] == 3) & (rows["sigma2"] == 10.0)
    with pytest.raises(DataError, match=r"no row for .*seed 7, generation 3, d 32, T 316, sigma2 10.0, design shared"):
        judge(claims, rows[~gone], CONFIG)
    with pytest.raises(DataError, match=r"no row for .*design shared"):
        judge(claims, rows.assign(design="fresh"), CONFIG)
    plain = linear_claim(statistic={"name": "largest", "metric": "test_error", "first": 1, "last": 50})
    with pytest.raises(ConfigError, match="would average test_error over 4 settings"):
        judge(claims_of(tmp_path, plain), rows, CONFIG)
    one = {
        **plain,
        "rows": {**plain["rows"], "T": 100, "sigma2": [0.1]},
        "test": {**ENTRY["test"], "kind": "bootstrap"},
    }
    assert judge(claims_of(tmp_path, one), rows, CONFIG)[0]["verdict"] == "replicated"
    with pytest.raises(ConfigError, match="infinite unless T > d"):
        judge(claims, rows.assign(T=rows["T"] - 67), CONFIG)
    with pytest.raises(DataError, match="needs the column sigma2"):
        judge(claims, rows.drop(columns="sigma2").query("T == 100").drop_duplicates(["seed", "generation"]), CONFIG)


# ---------------------------------------------------------------------------------------------- the shipped claims


def shipped_config():
    """The blocks that the shipped claims name, with a smallest and a larger model, all with enough seeds."""
    base = {"dataset": ["stories"], "recipe": ["tiny"], "sampler": ["temp1.0"], "selector": ["all"], "seed": [0, 1, 2]}
    cold, both = {"sampler": ["temp0.3"]}, ["replace", "accumulate"]
    cells = {
        "main": {"policy": [*both, "accumulate_steps", "accumulate_subsample"], "generations": 5},
        "models": {"recipe": ["small"], "policy": [*both, "accumulate_subsample"], "generations": 5},
        "long": {"policy": ["replace", "accumulate_subsample"], "generations": 10},
        "multiple": {"policy": ["replace_multiple", "replace_multiple_steps"], "generations": 4},
        "temperature": {**cold, "policy": both, "generations": 4},
        "temperature_models": {**cold, "recipe": ["small"], "policy": both, "generations": 4},
        "small_data": {"dataset": ["fifth"], "recipe": ["tiny", "tiny_epochs3"], "policy": both, "generations": 4},
        "first_iteration": {"recipe": ["tiny_first25"], "policy": both, "generations": 3},
    }
    return {"cells": {name: {**base, **block} for name, block in cells.items()}, "chains": CONFIG["chains"]}


# curves of the paper and the follow-up, or in their spirit
AS_PUBLISHED = {
    "temp1.0": {
        "replace": [1.816, 2.111, 2.270, 2.394, 2.495, 2.57, 2.64, 2.70, 2.75, 2.79],
        "accumulate": [1.816, 1.763, 1.748, 1.743, 1.742],
        "accumulate_steps": [1.816, 1.800, 1.798, 1.797, 1.796],
        "accumulate_subsample": [1.816, 1.908, 1.958, 1.995, 2.023, 2.04, 2.06, 2.08, 2.09, 2.10],
        "replace_multiple": [1.816, 1.95, 2.08, 2.18],
        "replace_multiple_steps": [1.816, 1.98, 2.12, 2.23],
    },
    "temp0.3": {"replace": [1.82, 3.0, 4.4, 5.82], "accumulate": [1.82, 1.77, 1.76, 1.75]},
    "linear": {
        "replace": lambda n: n,
        "accumulate": lambda n: np.cumsum(1 / n**2),
        "accumulate_subsample": lambda n: 3.3 - 2.3 / n,
    },
}
THE_OPPOSITE = {
    "temp1.0": {
        "replace": [1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9],
        "accumulate": [1.8, 1.9, 2.0, 2.1, 2.2],
        "accumulate_steps": [1.8, 1.9, 2.0, 2.1, 2.2],
        "accumulate_subsample": [1.8] * 10,
        "replace_multiple": [1.8] * 4,
        "replace_multiple_steps": [1.8] * 4,
    },
    "temp0.3": {"replace": [1.8, 1.6, 1.4, 1.2], "accumulate": [1.8, 2.0, 2.2, 2.4]},
    "linear": {"replace": np.ones_like, "accumulate": lambda n: n, "accumulate_subsample": lambda n: n / 2},
}


def world_rows(world, rng):
    """Rows of every cell of `shipped_config`: the world's curves, whatever the recipe and the data set."""
    parts, done = [linear_rows(world["linear"], sizes=(100,), sigma2=(1.0,))], {}
    for block in shipped_config()["cells"].values():
        for dataset, recipe, sampler, policy in product(
            *(block[k] for k in ("dataset", "recipe", "sampler", "policy"))
        ):
            length = max(block["generations"], done.get((dataset, recipe, sampler, policy), 0))
            done[dataset, recipe, sampler, policy] = length
    for (dataset, recipe, sampler, policy), length in done.items():
        curve = np.array(world[sampler][policy][:length])
        curves = {policy: curve + rng.normal(0, 2e-4, (3, length))}
        parts.append(language_rows(curves, dataset=dataset, recipe=recipe, sampler=sampler))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("world", "expected"), [(AS_PUBLISHED, "replicated"), (THE_OPPOSITE, "contradicted")])
def test_every_shipped_claim_can_come_out_either_way(world, expected):
    rows = world_rows(world, stream("test", "worlds"))
    records = judge(judging.parse(SHIPPED), rows, shipped_config())
    per_model = (
        "P1",
        "P2",
        "P3.faster",
        "P3.accumulate",
        "P9.accumulate_below_subsample",
        "P9.subsample_below_replace",
    )
    small_data, first = ("P5.small_replace", "P5.small_accumulate"), ("P5.first_replace", "P5.first_accumulate")
    multiple, smallest = ("P4.above_accumulate", "P4.below_replace"), ("S1", "S2", "S3", "P9.subsample_slower")
    expected_ids = {
        *(f"{claim}.{recipe}" for claim in per_model for recipe in ("tiny", "small")),
        *(f"{claim}.{recipe}" for claim in small_data for recipe in ("tiny", "tiny_epochs3")),
        *(f"{claim}.tiny_first25" for claim in first),
        *(f"{claim}.tiny" for claim in (*multiple, *smallest)),
        *(claim.id for claim in judging.parse(SHIPPED) if claim.per is None),  # linear regression
    }
    verdicts = {r["claim"]: r["verdict"] for r in records}
    unmeasured = {f"{claim}.small" for claim in multiple}  # the larger model has no replace_multiple here
    assert verdicts == {**dict.fromkeys(expected_ids, expected), **dict.fromkeys(unmeasured, NOT_JUDGED)}
    assert len(expected_ids) == 31
    assert all(r["p"] <= r["p_adjusted"] <= 1 for r in records if r["claim"] in expected_ids)


def test_null_data_give_about_five_percent_through_the_whole_engine(tmp_path):
    recipes = [f"r{i}" for i in range(120)]
    config = copy.deepcopy(CONFIG)
    config["cells"]["main"]["recipe"] = recipes
    noise = stream("test", "null rows").normal(2, 0.1, (120, 2, 3, 5))
    rows = pd.concat(
        language_rows(dict(zip(("replace", "accumulate"), y, strict=True)), recipe=r)
        for r, y in zip(recipes, noise, strict=True)
    )
    records = judge(claims_of(tmp_path, {**pair(), "per": "recipe"}), rows, config)
    assert 1 <= sum(r["p"] < 0.05 for r in records) <= 15  # 6 expected; four standard errors are 9.5
    assert all(r["verdict"] == "inconclusive" for r in records)


def test_shipped_claims_name_what_laptop_and_paper_know():
    claims = judging.parse(SHIPPED)
    scales = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("laptop", "paper")]

    def names(*keys):
        return [name for scale in scales for key in keys for name in scale[key]]

    vocabulary = {"policy": POLICIES, "block": names("cells", "chains")}
    vocabulary |= {key: names(f"{key}s") for key in ("dataset", "recipe", "sampler")}
    judging.check(claims, vocabulary)
    for scale in scales:
        assert {c.figure for c in claims} <= set(scale["figures"]["accumulation"])
    assert len({c.statement for c in claims}) == len(claims)
    assert all(c.paper == "accumulation" and c.source for c in claims)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_shipped_claim_is_judged_for_a_model_at_least(scale):
    config = yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text())
    config["cells"] = {name: {"selector": ["all"], **block} for name, block in config["cells"].items()}
    unjudged = {"laptop": {"P9.subsample_slower"}, "paper": set()}  # ten generations of it do not fit the laptop's time
    found = set()
    for claim in judging.parse(SHIPPED):
        reasons = [judging.resolve(part, config).reason for part in judging.split([claim], config)]
        if None not in reasons:
            found.add(claim.id)
    assert found == unjudged[scale]


def test_published_values_are_the_statistics_of_the_published_curves():
    claims = {c.id: c for c in judging.parse(SHIPPED)}

    def check(claim, **curves):
        """``curves``: recipe -> the claim's curves, one value or more each."""
        found = {}
        for recipe, values in curves.items():
            y = np.array([np.atleast_1d(curve) for curve in values], float)
            found[recipe] = float(claims[claim].statistic.function(y, np.arange(y.shape[1])))
        assert claims[claim].published == pytest.approx(found)

    models = ("gpt2_9m", "llama2_12m", "llama2_42m", "llama2_126m")
    for claim, policy in (("P1", "replace"), ("P2", "accumulate")):
        check(claim, **{m: [list(FIGURE_2.of[m, policy].values())] for m in models})
    fifth = {(m, p): LONG.of[m, p][5] for m in models for p in ("accumulate", "accumulate_subsample", "replace")}
    for claim in ("P9.accumulate_below_subsample", "P9.subsample_below_replace"):
        check(claim, **{m: [fifth[m, p] for p in claims[claim].rows.compared] for m in models})
    base, cold = TABLE_2.of["gpt2_9m", "base"], TABLE_2.of["gpt2_9m", "temperature 0.3"]
    check("P3.faster", gpt2_9m=[cold["replace"], base["replace"]])
    check("P4.above_accumulate", gpt2_9m=[base["multiple"], base["accumulate"]])
    check("P4.below_replace", gpt2_9m=[base["multiple"], base["replace"]])
    for model in ("gpt2_9m", "llama2_126m"):
        for policy in claims["P9.subsample_slower"].rows.compared:
            rise = LONG.of[model, policy][10] - LONG.of[model, policy][5]
            assert f"{rise:.3f}" in claims["P9.subsample_slower"].source
    assert all("recollected" in c.source for c in claims.values() if c.id.startswith(("P3", "P4", "P5")))
    assert claims["P8.accumulate_bounded"].published == pytest.approx(np.pi**2 / 6, abs=5e-5)
    assert claims["P8.accumulate_bounded"].test.low == pytest.approx(1.1 * np.pi**2 / 6, abs=5e-5)
