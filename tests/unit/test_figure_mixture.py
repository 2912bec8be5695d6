"""The figures of Gaussian mixtures and of kernel density estimates draw what their rows say."""

import importlib.util
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse.errors import DataError
from collapse.plotting import Inputs
from collapse.theory import mixture as theory
from collapse.theory.mixture import Mixture
from tests.drawing import same_files

FOLDER = Path(__file__).parents[2] / "figures" / "recursion"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script(name):
    spec = importlib.util.spec_from_file_location(f"recursion_script_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mixtures(policies=("replace",), sizes=(500, 1000), seeds=(0, 1), n=6, recipe="gmm_2"):
    """Rows of mixtures of two equal round components that narrow with the generation, and drift apart with the seed."""
    out = []
    for policy, T, seed, g in product(policies, sizes, seeds, range(1, n + 1)):
        sd = 0.9 ** (g * 500 / T * (1 + 0.1 * seed)) if policy == "replace" else 0.9
        means = np.array([[-0.1, 0.0], [0.1, 0.1 * seed]])[None]
        fitted = Mixture(np.array([[0.4, 0.6]]), means, np.broadcast_to(sd**2 * np.eye(2), (1, 2, 2, 2)))
        truth = Mixture(np.ones((1, 1)), np.zeros((1, 1, 2)), np.eye(2)[None, None])
        out.append(
            {
                "dataset": "blob", "family": "mixture", "recipe": recipe, "policy": policy, "sampler": "exact",
                "selector": "all", "seed": seed, "generation": g, "shape": "blob", "T": T,
                "l2": theory.squared_l2(fitted, truth)[0], "weight_entropy": 0.6,
                **{name: value[0] for name, value in theory.as_columns(fitted).items()},
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def kernels(policies=("replace", "accumulate"), widths=(0.1, 1.0, "scott"), shapes=("blobs", "moons"), n=4):
    out = []
    for policy, width, shape, seed, g in product(policies, widths, shapes, (0, 1), range(1, n + 1)):
        excess = (g if policy == "replace" else np.sqrt(g)) * (0.9, 1.1)[seed]
        out.append(
            {
                "dataset": "points", "family": "kde", "recipe": f"kde_{width}", "policy": policy, "sampler": "exact",
                "selector": "all", "seed": seed, "generation": g, "shape": shape, "T": 100, "bandwidth": width,
                "nll": 2.5 + excess, "excess_nll": excess,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


SNAPSHOTS = {"T": 500, "generations": [1, 3, 6], "points": 40}


@pytest.mark.parametrize(
    ("name", "rows", "options"),
    [("figure_s6", mixtures, SNAPSHOTS), ("figure_s7", mixtures, {}), ("figure_kde", kernels, {})],
)
def test_files_are_the_same_each_time(name, rows, options, tmp_path):
    same_files(script(name).draw, Inputs("laptop", rows()), tmp_path, **options)
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop"), **options)


def test_figure_s6_draws_points_of_the_fitted_mixtures():
    rows = mixtures()
    drawing = script("figure_s6").draw(Inputs("laptop", rows), seed=1, **{**SNAPSHOTS, "points": 4000})
    table = drawing.table
    assert table.groupby("generation").size().to_dict() == {0: 4000, 1: 4000, 3: 4000, 6: 4000}
    assert set(table.loc[table["generation"] == 0, "component"]) == {0}
    assert set(table.loc[table["generation"] == 1, "component"]) == {1, 2}
    for g, here in table[table["generation"] > 0].groupby("generation"):
        fitted = theory.of_columns(rows[(rows["T"] == 500) & (rows["seed"] == 1) & (rows["generation"] == g)])
        spread = np.sqrt(np.diag(theory.covariance(fitted)[0]))
        mean = (fitted.weights[..., None] * fitted.means).sum(axis=1)[0]
        assert (abs(here[["x1", "x2"]].mean() - mean) < 4 * spread / np.sqrt(4000)).all()
        assert (abs(here[["x1", "x2"]].std() / spread - 1) < 4 / np.sqrt(2 * 4000)).all()
        component = theory.assignment(fitted, here[["x1", "x2"]].to_numpy()[None])[0] + 1
        assert here["component"].tolist() == component.tolist()
    assert [axes.get_title() for axes in drawing.figure.axes] == ["real data", "n = 1", "n = 3", "n = 6"]
    for axes, (_, here) in zip(drawing.figure.axes, table.groupby("generation"), strict=True):
        dots = [a for a in axes.lines if a.get_marker() == "."]
        shown = np.concatenate([np.stack([a.get_xdata(), a.get_ydata()], axis=1) for a in dots])
        assert {tuple(p) for p in shown} == {tuple(p) for p in here[["x1", "x2"]].to_numpy()}
    assert "counts generations from 0" in drawing.caption
    for more, message in (
        ({"generations": [1, 9]}, "generation = 9"),
        ({"T": 70}, "T = 70"),
        ({"seed": 5}, "seed = 5"),
    ):
        with pytest.raises(DataError, match=message):
            script("figure_s6").draw(Inputs("laptop", rows), **{**SNAPSHOTS, **more})


def test_an_ellipse_lies_two_standard_deviations_out():
    rows = mixtures(n=2)[:1]
    curves = script("figure_s6").ellipses(rows)
    fitted = theory.of_columns(rows)
    for k in range(2):
        gap = curves[0, k].T - fitted.means[0, k]
        square = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(fitted.covariances[0, k]), gap)
        np.testing.assert_allclose(square, 4)


def test_figure_s7_draws_distances_to_truth_and_first_fit():
    rows = mixtures(("replace", "accumulate_subsample"))
    drawing = script("figure_s7").draw(Inputs("laptop", rows))
    table = drawing.table
    assert len(drawing.figure.axes) == 2
    for (policy, T, g), here in rows.groupby(["policy", "T", "generation"]):
        row = table[(table["policy"] == policy) & (table["T"] == T) & (table["generation"] == g)].iloc[0]
        assert row["mean"] == pytest.approx(np.log10(here["l2"]).mean())
        if g == 1:
            assert np.isnan(row["to_first"])
            continue
        first = rows[(rows["policy"] == policy) & (rows["T"] == T) & (rows["generation"] == 1)]
        gap = theory.squared_l2(theory.of_columns(here), theory.of_columns(first))
        if policy == "replace":
            assert row["to_first"] == pytest.approx(np.log10(gap).mean())
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate_subsample"), strict=True):
        here = table[table["policy"] == policy]
        drawn = {tuple(np.round(a.get_ydata(), 9)) for a in axes.lines if a.get_linestyle() == "-"}
        assert drawn == {tuple(np.round(10 ** t["mean"], 9)) for _, t in here.groupby("T")}
    assert "published" not in {t.get_text() for t in drawing.figure.legends[0].texts}
    assert set(script("figure_s7").draw(Inputs("laptop", rows), T=500, last=4).table["generation"]) == {1, 2, 3, 4}
    with pytest.raises(DataError, match="end at 6"):
        script("figure_s7").draw(Inputs("laptop", rows), last=7)


def test_figure_s7_shows_published_values_where_the_rows_reach_them():
    rows = mixtures(sizes=(500,), seeds=(0,), n=3)
    far = rows[rows["generation"] == 1]
    rows = pd.concat([far.assign(generation=g) for g in range(1, 2052)], ignore_index=True)
    drawing = script("figure_s7").draw(Inputs("laptop", rows))
    circles = [a for a in drawing.figure.axes[0].lines if a.get_marker() == "o"]
    assert [(a.get_xdata()[0], a.get_ydata()[0]) for a in circles] == [(2050, 7e2)]
    assert "Circles" in drawing.caption
    assert "One seed" in drawing.caption


def test_figure_s7_has_a_panel_per_recipe_and_names_its_least_variance():
    rows = pd.concat([mixtures(sizes=(500,)), mixtures(sizes=(500,), recipe="gmm_2_reg").assign(reg_covar=1e-9)])
    drawing = script("figure_s7").draw(Inputs("laptop", rows))
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == ["Replace, reg_covar 1e-06", "Replace, reg_covar 1e-09"]
    alone = script("figure_s7").draw(Inputs("laptop", mixtures()))
    assert [axes.get_title() for axes in alone.figure.axes] == ["Replace"]
    with pytest.raises(DataError, match="no generation 1"):
        script("figure_s7").draw(Inputs("laptop", rows[(rows["generation"] > 1) | (rows["seed"] > 0)]))


def test_figure_kde_has_a_panel_per_bandwidth_and_shape():
    drawing = script("figure_kde").draw(Inputs("laptop", kernels()))
    panels = np.array(drawing.figure.axes).reshape(3, 2)
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["h = 0.1", "h = 1", "Scott's rule"]
    assert [axes.get_title() for axes in panels[0]] == ["blobs", "moons"]
    for row, width in zip(panels, (0.1, 1.0, "scott"), strict=True):
        for axes, shape in zip(row, ("blobs", "moons"), strict=True):
            here = drawing.table[(drawing.table["bandwidth"] == width) & (drawing.table["shape"] == shape)]
            lines = {tuple(np.round(a.get_ydata(), 9)) for a in axes.lines if a.get_linestyle() == "-"}
            assert lines == {tuple(np.round(t["median"], 9)) for _, t in here.groupby("policy")}
            assert axes.get_yscale() == "log"
            replaced = here[here["policy"] == "replace"].sort_values("generation")
            assert replaced["median"].tolist() == pytest.approx([1, 2, 3, 4])
            assert replaced["lower"].tolist() == pytest.approx([0.95, 1.9, 2.85, 3.8])
    assert (drawing.table["nll"] - drawing.table["median"]).to_numpy() == pytest.approx(2.5)
    assert "T = 100 points" in drawing.caption
    assert "median over 2 seeds, bands: quartiles" in drawing.caption
    alone = script("figure_kde").draw(Inputs("laptop", kernels()), policies=["replace"])
    assert set(alone.table["policy"]) == {"replace"}
    with pytest.raises(DataError, match="shows one T"):
        script("figure_kde").draw(Inputs("laptop", pd.concat([kernels(), kernels().assign(T=10)])))
