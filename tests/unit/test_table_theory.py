"""Every closed form beside chains in memory at fixed seeds: four standard errors, and the order of what it neglects."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from collapse import table
from collapse.commands.simulate import simulate
from collapse.datasets.discrete import Config
from collapse.errors import DataError
from collapse.plotting import Inputs
from collapse.quantiles import with_size
from collapse.theory import comparison, discrete, gaussian, oracles
from tests.drawing import same_files

SCRIPT = Path(__file__).parents[2] / "figures" / "recursion" / "table_theory.py"
TAIL = {"kind": "discrete", "states": 30, "law": "zipf", "T": [20]}
FEW = {"kind": "discrete", "states": 3, "law": "given", "p": [0.5, 0.3, 0.2], "T": [6]}
DATA = {
    "normal": {"kind": "gaussian", "T": [20, 200]},
    "shards": {"kind": "gaussian", "T": [20], "shards": 14},
    "cloud": {"kind": "gaussian", "T": [60], "d": [2, 5]},
    "tail": TAIL,
    "few": FEW,
    "points": {"kind": "mixture", "shape": ["blob"], "T": [60], "test": 20},
}
RECIPES = {
    "mle": {"family": "gaussian", "ddof": 0},
    "unbiased": {"family": "gaussian", "ddof": 1},
    "empirical": {"family": "discrete"},
    "gmm_2": {"family": "mixture", "components": 2},
}
POLICIES = {
    "replace": {"kind": "replace"},
    "accumulate": {"kind": "accumulate"},
    "accumulate_subsample": {"kind": "accumulate_subsample"},
    "real_fraction_20": {"kind": "real_fraction", "share": 0.2},
    "fresh_real_30": {"kind": "fresh_real", "share": 0.3},
    "golden_ratio": {"kind": "golden_ratio"},
}
CHAINS = [  # dataset, recipes, policies, seeds, generations
    ("normal", ["mle", "unbiased"], ["replace", "accumulate"], 1000, 10),
    ("cloud", ["mle", "unbiased"], ["replace"], 400, 20),
    ("shards", ["mle"], ["accumulate_subsample", "real_fraction_20", "fresh_real_30", "golden_ratio"], 250, 14),
    ("tail", ["empirical"], ["replace", "accumulate", "accumulate_subsample"], 250, 8),
    ("tail", ["empirical"], ["real_fraction_20", "fresh_real_30"], 250, 8),
    ("few", ["empirical"], ["replace"], 600, 20),
    ("points", ["gmm_2"], ["replace"], 3, 2),
]
LAWS = {"tail": Config(30, 20, "zipf"), "few": Config(3, 6, "given", p=(0.5, 0.3, 0.2))}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script():
    spec = importlib.util.spec_from_file_location("recursion_table_theory", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of all chains, as a build leaves them."""
    root = tmp_path_factory.mktemp("chains")
    for dataset, recipes, rules, seeds, generations in CHAINS:
        for recipe in recipes:
            for policy in rules:
                settings = {"dataset": DATA[dataset], "recipe": RECIPES[recipe], "policy": POLICIES[policy]}
                simulate(root, dataset, recipe, policy, {**settings, "seeds": seeds, "generations": generations})
    return with_size(table.read_tables(sorted(root.rglob("*.parquet"))))


@pytest.fixture(scope="module")
def compared(rows):
    return comparison.compare(rows, LAWS)


NAMES = [oracle.name for oracle in (*oracles.GAUSSIAN, *oracles.DISCRETE, oracles.ENDS)]


@pytest.mark.parametrize("name", NAMES)
def test_a_closed_form_lies_within_four_standard_errors(compared, name):
    found = compared[compared["oracle"] == name]
    assert len(found)
    assert (found["z"].abs() <= 4).all(), found[found["z"].abs() > 4]


def test_there_are_no_other_forms(compared):
    assert set(compared["oracle"]) == set(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    assert (compared["error"] > 0).all()
    assert compared[["simulated", "theory", "z"]].notna().all(axis=None)


def test_points_are_means_over_chains(rows, compared):
    here = rows[(rows["dataset"] == "normal") & (rows["recipe"] == "mle") & (rows["policy"] == "accumulate")]
    square = here[(here["N"] == 20) & (here["generation"] == 5)]["mean_error"] ** 2
    at = compared[(compared["oracle"] == "mean: accumulate") & (compared["ddof"] == 0) & (compared["N"] == 20)]
    at = at.set_index("generation").loc[5]
    assert (at["simulated"], at["chains"]) == (pytest.approx(square.mean()), 1000)
    assert at["error"] == pytest.approx(square.std() / np.sqrt(1000))
    assert at["theory"] == pytest.approx(gaussian.accumulate(5, 20, 0).drift[-1])
    assert at["z"] == pytest.approx((at["simulated"] - at["theory"]) / at["error"])
    ends = compared[compared["oracle"] == "state i is the one left"].set_index(["state", "generation"])
    fixed = discrete.fates((0.5, 0.3, 0.2), 6, 20).fixed
    assert ends.loc[(2, 20), "theory"] == pytest.approx(fixed[-1, 1])
    assert ends.loc[(2, 20), "error"] == pytest.approx(np.sqrt(fixed[-1, 1] * (1 - fixed[-1, 1]) / 600))
    assert set(ends.index.get_level_values("state")) == {1, 2, 3}


def test_what_leading_forms_neglect_falls_with_the_square_of_the_items(compared):
    found = compared.dropna(subset="order")
    assert set(found["oracle"]) == {o.name for o in oracles.GAUSSIAN if o.leading is not None}
    large = found[found["N"] == 200]
    assert large["order"].between(1.9, 2.1).all()
    assert (found["neglected"] - (found["theory"] - found["leading"])).abs().max() < 1e-15


def test_a_wrong_theory_is_found(rows):
    """The other estimator's, another law's, another share's: more than four standard errors off."""
    replace = rows[(rows["dataset"] == "normal") & (rows["policy"] == "replace")]
    swapped = comparison.compare(replace.assign(ddof=1 - replace["ddof"]), {})
    assert (swapped.loc[swapped["oracle"] == "variance: replace", "z"].abs() > 4).any()
    assert (swapped.loc[swapped["oracle"] == "log spread: replace", "z"].abs() > 4).any()
    tail = rows[rows["dataset"] == "tail"]
    other = comparison.compare(tail, {"tail": Config(30, 20, "uniform")})
    assert (other.loc[other["oracle"] == "states alive at n = 1", "z"].abs() > 4).all()
    fresh = rows[rows["policy"].str.startswith("fresh_real") & (rows["family"] == "gaussian")]
    less = fresh.assign(real_fraction=fresh["real_fraction"] / 3)
    assert (comparison.compare(less, {})["z"].abs() > 4).any()


def test_moments_are_compared_while_enough_chains_carry_their_mean(rows, compared):
    last = compared.groupby(["oracle", "N"])["generation"].max()
    assert last["variance: replace", 20] == 10  # 20 * 1000 / 2000
    few = comparison.compare(rows[(rows["seed"] < 300) & (rows["dataset"] == "normal")], {})
    assert few.groupby(["oracle", "N"])["generation"].max()["variance: replace", 20] == 2  # of at most 3
    assert few.groupby(["oracle", "N"])["generation"].max()["log spread: replace", 20] == 10
    with pytest.raises(DataError, match="at least 200 chains"):
        comparison.compare(rows[rows["seed"] < 199], LAWS)
    assert set(comparison.compare(rows[rows["seed"] < 20], LAWS, least=20)["dataset"]) == set(DATA) - {"points"}


def test_points_where_hardly_any_chain_differs_are_left_out(rows):
    few = rows[rows["dataset"] == "few"]
    there = (few["generation"] == 10) & (few["seed"] > 3)
    same = few.assign(heterozygosity_ratio=few["heterozygosity_ratio"].mask(there, 0.0))
    for table_, left in ((few, True), (same, False)):
        found = comparison.compare(table_, LAWS)
        assert (10 in set(found.loc[found["oracle"] == "heterozygosity: replace", "generation"])) == left
    left = comparison.compare(few, LAWS)
    one = left[left["oracle"] == "one state left"]
    assert (np.minimum(one["theory"], 1 - one["theory"]) * 600 >= 5).all()


def test_policies_are_known_by_their_kind(rows):
    here = rows[(rows["dataset"] == "shards") & (rows["policy"] == "real_fraction_20")]
    for name, there in (("real_fraction", True), ("real_fraction_05", True), ("real_fraction_20_anchored", False)):
        if there:
            assert len(comparison.compare(here.assign(policy=name), {}))
        else:
            with pytest.raises(DataError, match="no closed form"):
                comparison.compare(here.assign(policy=name), {})


def test_what_is_missing_is_an_error(rows):
    here = rows[(rows["dataset"] == "normal") & (rows["policy"] == "replace")]
    for broken in (
        here[(here["seed"] != 3) | (here["generation"] != 2)],
        here.assign(sd=here["sd"].where(here["generation"] != 2)),
    ):
        with pytest.raises(DataError, match="missing or not finite"):
            comparison.compare(broken, {})
    with pytest.raises(DataError, match="need the law"):
        comparison.compare(rows[rows["dataset"] == "tail"], {})


# the table


def drawn(rows, **options):
    return script().draw(Inputs("laptop", rows.drop(columns="N")), **{"laws": {"tail": TAIL, "few": FEW}, **options})


def test_the_table_shows_the_worst_point_of_each_form(rows, compared):
    drawing = drawn(rows)
    shown = script().worst(drawing.table)
    assert shown["oracle"].tolist() == [*NAMES, script().L2]
    assert len(drawing.table) == len(compared) + 3
    for _, row in shown.iloc[:-1].iterrows():
        here = compared[compared["oracle"] == row["oracle"]]
        assert abs(row["z"]) == pytest.approx(here["z"].abs().max())
        assert row["points"] == len(here)
    texts = {text.get_text() for text in drawing.figure.axes[0].texts}
    worst = shown.set_index("oracle").loc["log spread: replace"]
    assert {"log spread: replace", f"{worst['z']:+.2f}", str(worst["points"])} <= texts
    assert any("$M^{-2" in text for text in texts)
    assert f"all {len(drawing.table)} points" in drawing.caption
    assert "0 beyond 4" in drawing.caption


def test_distances_of_mixtures_are_integrals(rows):
    found = drawn(rows).table
    found = found[found["oracle"] == script().L2]
    assert len(found) == 3  # generation 1 of three chains
    np.testing.assert_allclose(found["simulated"], found["theory"], rtol=1e-9)
    assert found["z"].isna().all()
    with pytest.raises(DataError, match="shape blob"):
        drawn(rows.assign(shape=rows["shape"].where(rows["shape"].isna(), "moons")))


def test_the_table_is_the_same_each_time(rows, tmp_path):
    few = rows[rows["dataset"].isin(("few", "shards"))].drop(columns="N")
    same_files(script().draw, Inputs("laptop", few), tmp_path, laws={"few": FEW})


def test_gaussians_of_more_dimensions_have_forms_of_their_own(rows, compared):
    many = {oracle.name for oracle in oracles.GAUSSIAN if oracle.many}
    assert set(compared.loc[compared["dataset"] == "cloud", "oracle"]) == many
    assert set(compared.loc[compared["oracle"].isin(many), "d"]) == {2, 5}
    cloud = rows[rows["dataset"] == "cloud"]
    at = compared[compared["oracle"] == "log determinant: replace, d > 1"].set_index(["d", "ddof", "generation"])
    here = cloud[(cloud["d"] == 5) & (cloud["ddof"] == 0) & (cloud["generation"] == 10)]
    assert at.loc[(5, 0, 10), "simulated"] == pytest.approx(10 * here["log_sigma"].mean())
    # the other estimator's, and another dimension's
    for wrong in (cloud.assign(ddof=1 - cloud["ddof"]), cloud.assign(d=7 - cloud["d"])):
        assert (comparison.compare(wrong, {})["z"].abs() > 4).any()
    worst = script().worst(compared).set_index("oracle").loc["trace: replace, d > 1"]
    assert f"d = {worst['d']:.0f}" in script().cells({**worst, "oracle": worst.name})["worst at"]


def test_limits_are_compared_where_the_chain_has_come_to_them(compared):
    for name, limit in (("redrawn", gaussian.real_limit(20, 0.2)), ("fresh", gaussian.fresh_limit(20, 0.3))):
        found = compared[compared["oracle"] == f"limit of the mean: items {name}"]
        assert found["generation"].tolist()[-1] == 14
        assert 1 not in set(found["generation"])
        assert found["theory"].to_numpy() == pytest.approx(float(limit.drift))


def test_rows_of_another_law_are_refused(rows):
    with pytest.raises(DataError, match="of another law"):
        drawn(rows, laws={"tail": {**TAIL, "exponent": 2.0}, "few": FEW})
    with pytest.raises(DataError):
        script().draw(Inputs("laptop"), laws={})
