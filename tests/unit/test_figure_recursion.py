"""Figures of discrete distributions and Gaussians: what is drawn is what the rows say, beside the right theory."""

import importlib.util
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse.datasets.discrete import Config
from collapse.errors import DataError
from collapse.plotting import Inputs
from collapse.quantiles import beside_theory, quartiles, with_size
from collapse.theory import discrete, gaussian
from tests.drawing import same_files

FIGURES = Path(__file__).parents[2] / "figures" / "recursion"
SEEDS = range(4)
TAIL = {"kind": "discrete", "states": 20, "law": "zipf", "T": [10]}
FEW = {"kind": "discrete", "states": 3, "law": "given", "p": [0.5, 0.3, 0.2]}
LAWS = {"tail": {"tail": TAIL}, "few": {"few": FEW}}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script(name):
    spec = importlib.util.spec_from_file_location(f"recursion_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(dataset, recipe, policy, seed, n, **values):
    names = {"dataset": dataset, "recipe": recipe, "policy": policy, "sampler": "exact", "selector": "all"}
    return {**names, "seed": seed, "generation": n, **values}


def gaussians(policies=("replace",), sizes=(100, 1000), ddofs=(0, 1), generations=6, seeds=SEEDS, d=1):
    """Rows of Gaussian chains; chains lie around a curve that tells settings apart."""
    out = []
    for policy, size, ddof, n, seed in product(policies, sizes, ddofs, range(1, generations + 1), seeds):
        error = (0.1 + n / size + 0.05 * ddof + 0.01 * policies.index(policy)) * (1 + 0.1 * seed)
        items = size * n if policy == "accumulate" else size
        values = {"T": size, "d": d, "ddof": ddof, "items": items, "mean_error": error, "sd_error": error / 2}
        out.append(row("gaussian", f"ddof{ddof}", policy, seed, n, **values, sd=1 - error / 2))
    return pd.DataFrame(out)


def chains(dataset, entry, size, policies, generations=5, seeds=range(6)):
    """Rows of discrete chains: the share of chain s that is lost grows with s; all but the first are absorbed."""
    true = (
        1
        - (
            Config(**{k: tuple(v) if k == "p" else v for k, v in entry.items() if k not in ("kind", "T")}).probabilities
            ** 2
        ).sum()
    )
    out = []
    for policy, n, seed in product(policies, range(1, generations + 1), seeds):
        ratio = 1 - 0.1 * n - 0.01 * seed - 0.05 * policies.index(policy)
        values = {f"alive_decile_{j}": min(1.0, 0.1 * j / n) for j in range(1, 11)} if entry["states"] >= 10 else {}
        values |= {"absorbed": float(n == generations and seed > 0), "top_state": seed % entry["states"]}
        values |= {
            "heterozygosity_ratio": ratio,
            "heterozygosity": ratio * true,
            "items": size * (1 if policy == "replace" else n),
        }
        out.append(row(dataset, "empirical", policy, seed, n, **values))
    return pd.DataFrame(out)


def discretes(policies=("replace", "accumulate")):
    return pd.concat([chains("tail", TAIL, 10, policies), chains("few", FEW, 7, ("replace",))], ignore_index=True)


def first(sizes=(10, 100, 1000, 20), seeds=range(50)):
    """Rows of generation 1, one for each repeat."""
    return gaussians(sizes=sizes, ddofs=(0,), generations=1, seeds=seeds)


FIGURE = {
    "figure_s3": (first, {}),
    "figure_s4": (gaussians, {}),
    "figure_s5": (lambda: gaussians(("accumulate", "accumulate_subsample"), ddofs=(0,)), {}),
    "figure_discrete": (discretes, LAWS),
}


def drawn(name, rows=None, **options):
    make, usual = FIGURE[name]
    return script(name).draw(Inputs("laptop", make() if rows is None else rows), **{**usual, **options})


@pytest.mark.parametrize("name", FIGURE)
def test_files_are_the_same_each_time(name, tmp_path):
    make, options = FIGURE[name]
    same_files(script(name).draw, Inputs("laptop", make()), tmp_path, **options)
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop"), **options)


@pytest.mark.parametrize("name", FIGURE)
def test_a_value_that_is_not_finite_or_a_missing_row_is_an_error(name):
    make, _ = FIGURE[name]
    rows = make()
    column = "heterozygosity_ratio" if name == "figure_discrete" else "mean_error"
    with pytest.raises(DataError):
        drawn(name, rows.assign(**{column: rows[column].where(rows.index > 0)}))
    if name != "figure_s3":
        with pytest.raises(DataError):
            drawn(name, rows[(rows["generation"] != 2) | (rows["seed"] != 1)])
        with pytest.raises(DataError, match="generation"):
            drawn(name, rows[rows["generation"] > 1])


# what they share


def test_sizes_are_the_items_of_generation_1():
    rows = pd.concat([gaussians(("replace", "accumulate")), discretes()], ignore_index=True)
    found = with_size(rows)
    known = rows["T"].notna()
    assert (found.loc[known, "N"] == rows.loc[known, "T"]).all()
    assert set(found.loc[~known, "N"]) == {7, 10}
    assert len(found) == len(rows)


def test_quartiles_are_over_chains():
    rows = gaussians(sizes=(100,), ddofs=(0,), seeds=range(5))
    found = quartiles(rows, ["ddof"], "sd_error").set_index("generation")
    at = rows[rows["generation"] == 3]["sd_error"]
    assert found.loc[3, "median"] == pytest.approx(at.median())
    assert found.loc[3, "lower"] == pytest.approx(at.sort_values().iloc[1])
    assert found.loc[3, "upper"] == pytest.approx(at.sort_values().iloc[3])
    assert found.loc[3, "mean"] == pytest.approx(at.mean())
    assert (found["n"] == 5).all()


def test_theory_stands_beside_its_own_group():
    rows = with_size(gaussians()).sample(frac=1, random_state=0)  # rows come in any order
    found = beside_theory(rows, ["ddof", "N"], ["sd"], lambda metric, of, last: of["N"] + of["ddof"] + np.arange(last))
    assert (found["theory"] == found["N"] + found["ddof"] + found["generation"] - 1).all()
    one = rows[rows["seed"] == 0].set_index(["ddof", "N", "generation"])["sd"]
    np.testing.assert_array_equal(
        found.set_index(["ddof", "N", "generation"])["one_chain"],
        one.loc[list(zip(found["ddof"], found["N"], found["generation"], strict=True))],
    )
    assert found["generation"].tolist() == [*range(1, 7)] * 4


# figure s3


def test_figure_s3_shows_what_the_label_says_beside_what_the_code_stores():
    drawing = drawn("figure_s3")
    table = drawing.table.set_index(["statistic", "N"])
    rows = first()
    for metric in ("mean_error", "sd"):
        at = rows[rows["T"] == 20][metric]
        assert table.loc[(metric, 20), "mean"] == pytest.approx(at.mean())
        assert table.loc[(metric, 20), "sd"] == pytest.approx(at.std())
    assert table.loc[("sd", 100), "published_mean"] == 0.9916
    assert table.loc[("sd", 10), "published_sd"] == 0.2212
    assert np.isnan(table.loc[("sd", 20), "published_mean"])  # n that the paper does not have
    assert table.loc["mean_error"]["published_mean"].isna().all()
    assert table.loc[("mean_error", 100), "theory_mean"] == pytest.approx(np.sqrt(2 / np.pi / 100))
    assert table.loc[("sd", 10), "theory_mean"] == pytest.approx(gaussian.c4(9) * np.sqrt(0.9))
    left, right = drawing.figure.axes
    assert left.get_yscale() == left.get_xscale() == "log"
    assert "as labelled" in left.get_title()
    assert "np.std" in right.get_title()
    assert "mean over 50 repeats" in drawing.caption
    with pytest.raises(DataError, match="ddof = 0"):
        drawn("figure_s3", first().assign(ddof=1))


# figures s4 and s5


def curves(axes, style="-"):
    return {tuple(np.round(a.get_ydata(), 9)) for a in axes.lines if a.get_linestyle() == style}


def test_figure_s4_draws_medians_beside_theory():
    drawing = drawn("figure_s4")
    table = drawing.table.set_index(["metric", "ddof", "N", "generation"])
    assert table.loc[("mean_error", 1, 100, 5), "theory"] == pytest.approx(0.67449 * np.sqrt(5 / 100), rel=1e-4)
    assert table.loc[("sd", 0, 100, 6), "theory"] == pytest.approx(np.exp(gaussian.log_sigma(6, 100, 0).mean[-1]))
    assert table.loc[("sd_error", 0, 1000, 4), "theory"] == pytest.approx(
        gaussian.sd_error_quantile(0.5, 4, 1000, 0)[-1]
    )
    panels = np.array(drawing.figure.axes).reshape(2, 3)
    for row_, ddof in zip(panels, (0, 1), strict=True):
        for axes, metric in zip(row_, ("mean_error", "sd_error", "sd"), strict=True):
            here = drawing.table[(drawing.table["metric"] == metric) & (drawing.table["ddof"] == ddof)]
            by_size = [curve for _, curve in here.groupby("N")]
            assert {tuple(np.round(c["median"], 9)) for c in by_size} <= curves(axes)
            assert {tuple(np.round(c["theory"], 9)) for c in by_size} == curves(axes, "--")
            assert axes.get_xscale() == "log"
    assert [axes.get_yscale() for axes in panels[0]] == ["linear", "linear", "log"]
    assert "4 of each N" in drawing.caption
    for wrong in (gaussians(ddofs=(0,)), gaussians(("accumulate",)), gaussians(d=2)):
        with pytest.raises(DataError):
            drawn("figure_s4", wrong)


def test_figure_s4_draws_theory_of_the_mean_until_few_chains_carry_it():
    table = drawn("figure_s4", gaussians(sizes=(4, 100))).table.set_index(["metric", "N"]).sort_index()
    assert table.loc[("mean_error", 4)].groupby("generation")["theory"].count().tolist() == [2, 2, 2, 2, 0, 0]
    assert table.loc["sd"]["theory"].notna().all()
    assert table.loc[("mean_error", 100)]["theory"].notna().all()


def test_figure_s5_draws_both_rules_of_the_pool():
    drawing = drawn("figure_s5")
    table = drawing.table.set_index(["metric", "policy", "N", "generation"])
    drift = gaussian.accumulate(6, 100, 0).drift
    assert table.loc[("mean_error", "accumulate", 100, 6), "theory"] == pytest.approx(
        0.67449 * np.sqrt(drift[-1]), rel=1e-4
    )
    drift = gaussian.accumulate_subsample(6, 1000, 0).drift
    name = ("sd_error", "accumulate_subsample", 1000, 3)
    assert table.loc[name, "theory"] == pytest.approx(0.67449 * np.sqrt(drift[2] / 2), rel=1e-4)
    panels = np.array(drawing.figure.axes).reshape(2, 2)
    for axes, policy in zip(panels[:, 1], ("accumulate", "accumulate_subsample"), strict=True):
        here = drawing.table[(drawing.table["metric"] == "sd_error") & (drawing.table["policy"] == policy)]
        assert {tuple(np.round(c["median"], 9)) for _, c in here.groupby("N")} <= curves(axes)
        assert here["upper"].max() < axes.get_ylim()[1]
    assert "in the code" in panels[0, 0].get_ylabel()
    assert "in the caption" in panels[1, 0].get_ylabel()
    with pytest.raises(DataError, match="accumulate_subsample"):
        drawn("figure_s5", gaussians(("accumulate",)))
    with pytest.raises(DataError, match="ddof = 1"):
        drawn("figure_s5", ddof=1)


def test_figure_s5_may_end_earlier_for_some_sizes():
    short = gaussians(("accumulate_subsample",), ddofs=(0,), generations=4)
    rows = pd.concat([gaussians(("accumulate",), ddofs=(0,)), short[short["T"] == 100]], ignore_index=True)
    last = drawn("figure_s5", rows).table.groupby(["policy", "N"])["generation"].max()
    assert last.to_dict() == {("accumulate", 100): 6, ("accumulate", 1000): 6, ("accumulate_subsample", 100): 4}


# figure discrete


def test_figure_discrete_draws_simulation_beside_theory():
    drawing = drawn("figure_discrete")
    table = drawing.table
    diversity = table[table["panel"] == "heterozygosity"].set_index(["policy", "generation"])
    assert diversity.loc[("replace", 5), "theory"] == pytest.approx(discrete.replace(5, 10)[-1])
    assert diversity.loc[("accumulate", 5), "theory"] == pytest.approx(discrete.accumulate(5, 10)[-1])
    assert diversity.loc[("replace", 2), "mean"] == pytest.approx(1 - 0.2 - 0.025)
    config = Config(states=20, T=10, law="zipf")
    fates = discrete.fates(config.probabilities, 10, 5)
    alive = table[table["panel"] == "alive"].set_index(["decile", "generation"])
    assert alive.loc[(1, 3), "theory"] == pytest.approx(fates.alive[2, -2:].mean())
    assert alive.loc[(10, 3), "theory"] == pytest.approx(fates.alive[2, :2].mean())
    assert alive.loc[(5, 2), "mean"] == pytest.approx(0.25)
    absorbed = table[table["panel"] == "absorbed"].set_index("generation")
    assert absorbed.loc[5, "mean"] == pytest.approx(5 / 6)
    assert absorbed["theory"].to_numpy() == pytest.approx(discrete.fates([0.5, 0.3, 0.2], 7, 5).fixed.sum(axis=1))
    end = table[table["panel"] == "end"].set_index("state")
    assert end["mean"].tolist() == pytest.approx([1 / 5, 2 / 5, 2 / 5])  # chains 1 to 5
    assert end["theory"].tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert (end["n"] == 5).all()
    assert len(drawing.figure.axes) == 4
    assert "K = 20, p ~ i^-1, M = 10" in drawing.caption
    assert "K = 3, given p, M = 7" in drawing.caption


def test_figure_discrete_refuses_rows_of_another_law():
    for options in ({"tail": {"tail": {**TAIL, "exponent": 2.0}}}, {"few": {"few": {**FEW, "p": [0.4, 0.4, 0.2]}}}):
        with pytest.raises(DataError, match="of another law"):
            drawn("figure_discrete", **options)
    with pytest.raises(DataError, match="dataset = other"):
        drawn("figure_discrete", tail={"other": TAIL})


def test_figure_discrete_needs_chains_that_end():
    rows = discretes()
    with pytest.raises(DataError, match="more generations"):
        drawn("figure_discrete", rows.assign(absorbed=0.0))


def test_figure_discrete_draws_no_theory_where_none_is_known():
    drawing = drawn("figure_discrete", discretes(("replace", "golden_ratio")))
    table = drawing.table[drawing.table["panel"] == "heterozygosity"].set_index("policy")
    assert table.loc["golden_ratio", "theory"].isna().all()
    shown = drawn("figure_discrete", policies=["replace"]).table
    assert set(shown.loc[shown["panel"] == "heterozygosity", "policy"]) == {"replace"}


def test_figure_discrete_shows_curves_that_lie_on_each_other_on_a_larger_scale():
    rows = discretes()
    assert not drawn("figure_discrete", rows).figure.axes[0].child_axes  # 0.05 apart
    moved = rows["policy"] == "accumulate"
    for column in ("heterozygosity", "heterozygosity_ratio"):
        unit = rows["heterozygosity"] / rows["heterozygosity_ratio"] if column == "heterozygosity" else 1.0
        rows[column] = rows[column] + 0.04 * moved * unit
    (inset,) = drawn("figure_discrete", rows).figure.axes[0].child_axes
    assert len(inset.lines) == 4  # two curves and their theory
