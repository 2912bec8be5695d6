"""The scheme of the protocols, and the figures of linear regression: simulation beside theory."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse import plotting
from collapse.errors import DataError
from collapse.plotting import Inputs
from collapse.theory import linear
from tests.drawing import means, same_files, script, solid


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def regressions(
    names=("replace", "accumulate"), T=(100,), design=("shared",), sigma2=(0.1, 1.0, 10.0), ridge=(0.0,), n=12
):
    """Rows of linear regressions; seeds lie 10 % above and below theory."""
    out = []
    for policy, t, how, noise, penalty, seed, g in product(names, T, design, sigma2, ridge, (0, 1), range(1, n + 1)):
        error = noise * {"replace": g, "accumulate": 2 - 1 / g}.get(policy, np.sqrt(g)) * (0.9, 1.1)[seed] / t
        out.append(
            {
                "dataset": "linear_d32", "recipe": f"ridge_{penalty:g}", "policy": policy, "sampler": "exact",
                "selector": "all", "seed": seed, "generation": g, "d": 32, "T": t, "design": how, "sigma2": noise,
                "ridge": penalty, "test_error": error,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def drawn(name, **options):
    return script(name).draw(Inputs("laptop", regressions()), **options)


@pytest.mark.parametrize("name", ["figure_1", "figure_7", "figure_linear_grid"])
def test_files_are_the_same_each_time(name, tmp_path):
    rows = None if name == "figure_1" else regressions(ridge=(0.0, 0.1) if name == "figure_linear_grid" else (0.0,))
    same_files(script(name).draw, Inputs("laptop", rows), tmp_path)
    if rows is not None:
        with pytest.raises(DataError):
            script(name).draw(Inputs("laptop"))


def test_ridge_is_0_where_a_recipe_sets_none():
    rows = regressions(n=1)
    assert (plotting.with_ridge(rows.drop(columns="ridge"))["ridge"] == 0).all()
    assert (plotting.with_ridge(rows.assign(ridge=np.nan))["ridge"] == 0).all()


def test_figure_1_shows_what_the_policies_plan():
    drawing = script("figure_1").draw(Inputs("laptop"))
    table = drawing.table
    sets = table.groupby(["policy", "generation"])["source"].agg(list)
    assert sets["accumulate", 3] == ["real", "synthetic(1)", "synthetic(2)"]
    assert sets["replace", 3] == ["synthetic(2)"]
    assert sets["replace", 1] == sets["accumulate", 1] == ["real"]
    assert table.groupby(["policy", "generation"])["share"].sum().to_numpy() == pytest.approx(1)
    texts = [[t.get_text() for t in axes.texts] for axes in drawing.figure.axes[:2]]
    assert [t.count("discarded") for t in texts] == [3, 0]
    assert all(t.count("Model 3") == 1 for t in texts)


def test_figure_7_draws_simulation_beside_theory_at_n_c():
    drawing = drawn("figure_7")
    c = 32 / (100 - 32 - 1)
    table = drawing.table.set_index(["policy", "sigma2", "generation"])
    assert table.loc[("replace", 10.0, 1), "theory"] == pytest.approx(10 * c)
    assert table.loc[("replace", 10.0, 10), "theory"] == pytest.approx(100 * c)
    assert table.loc[("accumulate", 1.0, 3), "theory"] == pytest.approx(c * (1 + 1 / 4 + 1 / 9))
    assert table.loc[("replace", 0.1, 10), "mean"] == pytest.approx(0.1 * 10 / 100)
    assert drawing.table["generation"].max() == 10  # rows have 12
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate") * 2, strict=True):
        here = drawing.table[drawing.table["policy"] == policy]
        assert solid(axes) == means(here)
        dashed = {tuple(a.get_ydata()) for a in axes.lines if a.get_linestyle() == "--"}
        assert dashed == {tuple(t["theory"]) for _, t in here.groupby("sigma2")}
    assert [axes.get_yscale() for axes in drawing.figure.axes] == ["linear", "linear", "log", "log"]
    assert "one generation too high" in drawing.caption
    for more, message in (
        ({"last": 13}, "end at 12"),
        ({"T": 316}, "T = 316"),
        ({"sigma2": [0.1, 7.0]}, "sigma2 = 7.0"),
    ):
        with pytest.raises(DataError, match=message):
            script("figure_7").draw(Inputs("laptop", regressions()), **more)


def test_figure_linear_grid_has_a_panel_per_policy_ridge_and_size():
    names = ("replace", "replace_multiple", "accumulate_subsample", "accumulate")
    grid = {"T": (100, 316), "design": ("shared", "fresh"), "sigma2": (0.1, 10.0), "n": 3}
    rows = pd.concat([regressions(names, **grid), regressions(("replace",), ridge=(0.1,), **grid)])
    drawing = script("figure_linear_grid").draw(Inputs("laptop", pd.concat([rows, rows.assign(d=10)])))
    panels = np.array(drawing.figure.axes).reshape(4, 4)  # rows policies; columns ridge 0 and 0.1, two T each
    for row, policy in zip(panels, names, strict=True):
        for axes, (ridge, T) in zip(row, product((0.0, 0.1), (100, 316)), strict=True):
            table = drawing.table
            here = table[(table["policy"] == policy) & (table["ridge"] == ridge) & (table["T"] == T)]
            shared = here[here["design"] == "shared"]
            assert solid(axes) == means(shared)
            low, high = axes.get_ylim()
            assert here.empty or low < here["mean"].min() <= here["mean"].max() < high
            assert [t.get_text() for t in axes.texts if t.get_text() == "not run"] == ["not run"] * here.empty
    assert set(drawing.table["d"]) == {32}
    theory = drawing.table.set_index(["policy", "ridge", "T", "design", "sigma2", "generation"])["theory"]
    c = 10 * 32 / (316 - 33)
    assert theory["replace", 0.0, 316, "fresh", 10.0, 3] == pytest.approx(3 * c)
    assert theory["replace_multiple", 0.0, 316, "shared", 10.0, 2] == pytest.approx(1.5 * c)
    fresh = linear.accumulate(3, 32, 316, 10.0, "fresh")
    assert theory["accumulate", 0.0, 316, "fresh", 10.0, 3] == pytest.approx(fresh[2])
    assert theory.loc["accumulate_subsample"].isna().all()
    assert np.isfinite(theory["replace", 0.1, 100, "shared", 0.1, 1])
    assert np.isnan(theory["replace", 0.1, 100, "fresh", 0.1, 1])
    lost = rows[(rows["sigma2"] != 10.0) | (rows["T"] != 316) | (rows["policy"] != "replace")]
    with pytest.raises(DataError, match="sigma2 = 10"):
        script("figure_linear_grid").draw(Inputs("laptop", lost))
