"""The figure of real shares draws medians of first passages, and theory at the number of real items."""

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
from collapse.theory import gaussian, passage
from tests.drawing import same_files

SCRIPT = Path(__file__).parents[2] / "figures" / "recursion" / "figure_real_share.py"
SEEDS, LAST = range(5), 40
# (policy, N) -> real items, and the first generation with sd <= 1/2 of seed 0; that of seed s is s later
CHAINS = {
    ("replace", 20): (0, 7), ("real_fraction_05", 20): (1, 12), ("real_fraction_10", 20): (2, 37),
    ("replace", 40): (0, 15), ("real_fraction_05", 40): (2, 39), ("real_fraction_10", 40): (4, 99),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script():
    spec = importlib.util.spec_from_file_location("recursion_real_share", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(ddof=0, d=1):
    out = []
    for ((policy, size), (real, first)), seed, n in product(CHAINS.items(), SEEDS, range(1, LAST + 1)):
        sd = 0.8 - 0.002 * n if n != first + seed else 0.5  # it comes back: only the first time counts
        out.append(
            {
                "dataset": "share", "recipe": "mle", "policy": policy, "sampler": "exact", "selector": "all",
                "seed": seed, "generation": n, "T": size, "items": size, "d": d, "ddof": ddof,
                "sd": sd + 0.01 * seed * (sd > 0.5), "real_fraction": 1.0 if n == 1 else real / size,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def drawn(table=None):
    return script().draw(Inputs("laptop", rows() if table is None else table))


def test_files_are_the_same_each_time(tmp_path):
    same_files(script().draw, Inputs("laptop", rows()), tmp_path)
    with pytest.raises(DataError):
        script().draw(Inputs("laptop"))


def test_medians_of_first_passages_beside_theory():
    drawing = drawn()
    lives = drawing.table[drawing.table["panel"] == "half-life"].set_index(["policy", "N"])
    for (policy, size), (real, first) in CHAINS.items():
        found = lives.loc[(policy, size)]
        assert (found["real"], found["share"], found["last"], found["n"]) == (real, real / size, LAST, 5)
        assert found["theory"] == pytest.approx(size * passage.half_life(real))
        within = [first + s if first + s <= LAST else np.inf for s in SEEDS]
        assert (found["lower"], found["median"], found["upper"]) == (within[1], within[2], within[3])
        assert found["never"] == np.isinf(within).mean()
    assert np.isinf(lives.loc[("real_fraction_05", 40), "median"])  # two of five chains come there
    assert lives.loc[("real_fraction_05", 40), "never"] == pytest.approx(0.6)


def test_triangles_stand_at_the_end_of_the_run():
    axes = drawn().figure.axes
    for facet, unit in zip(axes[:2], ((1, 1), (20, 40)), strict=True):
        triangles = [a for a in facet.lines if a.get_marker() == "^"]
        points = {(x, y) for a in triangles for x, y in zip(a.get_xdata(), a.get_ydata(), strict=True)}
        real = (0.05, 0.1) if unit == (1, 1) else (2, 4)
        assert points == {(x, LAST / unit[1]) for x in real}
        assert facet.get_yscale() == "log"


def test_the_variance_at_the_end_beside_its_expectation():
    drawing = drawn()
    found = drawing.table[drawing.table["panel"] == "variance"].set_index(["policy", "N"])
    here = rows()
    for policy, size in CHAINS:
        at = here[(here["policy"] == policy) & (here["T"] == size) & (here["generation"] == LAST)]["sd"] ** 2
        assert found.loc[(policy, size), "mean"] == pytest.approx(at.mean())
        assert found.loc[(policy, size), "error"] == pytest.approx(at.std() / np.sqrt(5))
        expected = gaussian.real_fraction(LAST, size, CHAINS[policy, size][0] / size, 0).variance[-1]
        assert found.loc[(policy, size), "theory"] == pytest.approx(expected)


def test_theory_is_drawn_for_each_size_and_ends_where_it_is_long():
    drawing = drawn()
    theory = drawing.table[drawing.table["panel"] == "theory"]
    assert theory["real"].tolist() == [0.5 * i for i in range(9)]  # to 4 real items
    assert theory["theory"].max() <= script().LONGEST
    assert script().curve(6.0)["real"].max() < 5.0
    dashed = [a for a in drawing.figure.axes[0].lines if a.get_linestyle() == "--"]
    assert {tuple(np.round(a.get_ydata(), 6)) for a in dashed} == {
        tuple(np.round(size * theory["theory"], 6)) for size in (20, 40)
    }
    assert "5 of each point" in drawing.caption
    assert f"the {LAST} generations" in drawing.caption


def test_two_policies_with_the_same_number_of_real_items_are_refused():
    table = rows()
    here = (table["policy"] == "real_fraction_05") & (table["T"] == 20) & (table["generation"] > 1)
    none = table.assign(real_fraction=table["real_fraction"].mask(here, 0.0))  # a share that rounds to no item
    with pytest.raises(DataError, match="replace and real_fraction_05 come to the same 0 real items of N = 20"):
        drawn(none)


def test_what_does_not_fit_is_an_error():
    table = rows()
    for wrong in (table[table["generation"] == 1], table.assign(real_fraction=table["generation"] / 100)):
        with pytest.raises(DataError, match="real share does not change"):
            drawn(wrong)
    with pytest.raises(DataError, match="ddof = 0"):
        drawn(rows(ddof=1))
    with pytest.raises(DataError, match="d = 1"):
        drawn(rows(d=2))
    with pytest.raises(DataError, match="rows are missing: N = 20, replace"):
        drawn(table[~((table["policy"] == "replace") & (table["generation"] == 3) & (table["seed"] == 1))])
