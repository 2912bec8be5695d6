"""The figure of the three sources of error draws means of its rows beside the theory of each."""

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
from collapse.theory import gaussian, sgd
from tests.drawing import same_files

SCRIPT = Path(__file__).parents[2] / "figures" / "recursion" / "figure_error_sources.py"
SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script():
    spec = importlib.util.spec_from_file_location("recursion_error_sources", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(family, dataset, recipe, policy, seed, n, **values):
    names = {"dataset": dataset, "family": family, "recipe": recipe, "policy": policy, "sampler": "exact"}
    return {**names, "selector": "all", "seed": seed, "generation": n, **values}


def rows(last=6, mean=1.0, **descent):
    """Rows of all three, longer ones of the first; errors tell settings, seeds and generations apart."""
    out = []
    for size, ddof, seed, n in product((100, 1000), (0, 1), SEEDS, range(1, last + 3)):
        values = {"T": size, "d": 1, "ddof": ddof, "items": size, "kl_divergence": n * (1 + seed + 9 * ddof) / size}
        out.append(row("gaussian", "gaussian", f"ddof{ddof}", "replace", seed, n, **values))
    for components, seed, n in product((1, 2), SEEDS, range(1, last + 1)):
        values = {
            "T": 5000,
            "components": components,
            "items": 5000,
            "excess_nll": (2 + seed) / components + 0.01 * (n - 1) * (1 + 0.1 * seed),
        }
        out.append(row("mixture", "modes", f"gmm_{components}", "replace", seed, n, **values))
    for steps, seed, n in product((10, 50), SEEDS, range(1, last + 1)):
        off = n / steps * (1 + 0.1 * seed)
        values = {"steps": steps, "items": 640, "d": 1, "kl_divergence": off**2, "mean": mean - off, "mean_error": off}
        values |= {"sd": 1.0, "sd_error": 0.0, **descent}
        out.append(row("sgd", "far", f"sgd_{steps}", "stream", seed, n, **values))
    return pd.DataFrame(out)


def drawn(table=None, **options):
    return script().draw(Inputs("laptop", rows() if table is None else table), **{"mean": 1.0, **options})


def test_files_are_the_same_each_time(tmp_path):
    same_files(script().draw, Inputs("laptop", rows()), tmp_path, mean=1.0)
    with pytest.raises(DataError):
        script().draw(Inputs("laptop"))


def test_each_source_stands_beside_its_theory():
    drawing = drawn()
    table = drawing.table.set_index(["source", "value", "generation"])
    assert table.loc[("statistical", 100, 3), "mean"] == pytest.approx(3 * 2 / 100)  # ddof = 0 alone
    assert table.loc[("statistical", 1000, 5), "theory"] == pytest.approx(gaussian.kl(5, 1000, 0)[-1])
    assert table.loc[("expressivity", 2, 4), "mean"] == pytest.approx(1.5 + 3 * 0.011)
    assert table.loc[("change", 2, 4), "mean"] == pytest.approx(3 * 0.011)
    assert table.loc[("change", 1, 1), "mean"] == 0
    assert table.loc[("change", 1, 5), "high"] - table.loc[("change", 1, 5), "low"] < 0.1  # not that of the levels
    found = table.loc["approximation"].loc[50]
    assert found["theory"].to_numpy() == pytest.approx(sgd.descent(6, 50, 256, 0.05, 1.0).kl)
    assert found["limit"].to_numpy() == pytest.approx(sgd.descent(6, 50, np.inf, 0.05, 1.0).kl)
    assert (found["limit"] < found["theory"]).all()
    assert found["mean"].iloc[1] == pytest.approx(np.mean([(2 / 50 * (1 + 0.1 * s)) ** 2 for s in SEEDS]))
    assert table.groupby("source")["n"].unique().map(list).tolist() == [[3]] * 4
    for facet, (source, here) in zip(drawing.figure.axes, drawing.table.groupby("source", sort=False), strict=True):
        for style, column in (("-", "mean"), ("--", "theory"), (":", "limit")):
            lines = {tuple(np.round(a.get_ydata(), 9)) for a in facet.lines if a.get_linestyle() == style}
            lines -= {(0, 0)}  # the line of no change
            there = here.dropna(subset=column)
            assert lines == {tuple(np.round(t[column], 9)) for _, t in there.groupby("value")}
        assert facet.get_yscale() == ("linear" if source == "change" else "log")
    assert "5,000 points of three modes" in drawing.caption
    assert "on B = 256 new items" in drawing.caption  # the family's default


def test_the_shortest_chain_sets_the_end():
    assert drawn().table["generation"].max() == 6
    assert drawn(last=4).table["generation"].max() == 4


def test_settings_of_descent_come_from_the_rows():
    found = drawn(rows(batch=32, learning_rate=0.1)).table.set_index("source").loc["approximation"]
    found = found[found["value"] == 10]
    assert found["theory"].to_numpy() == pytest.approx(sgd.descent(6, 10, 32, 0.1, 1.0).kl)
    with pytest.raises(DataError, match="options `mean` and `sd`"):
        drawn(mean=0.0)
    with pytest.raises(DataError, match="options `mean` and `sd`"):
        drawn(sd=2.0)


def test_what_is_missing_is_an_error():
    table = rows()
    for family in ("gaussian", "mixture", "sgd"):
        with pytest.raises(DataError, match=f"family = {family}"):
            drawn(table[table["family"] != family])
        here = table["family"] == family
        metric = "excess_nll" if family == "mixture" else "kl_divergence"
        broken = table.assign(**{metric: table[metric].where(~here | (table["generation"] != 2))})
        with pytest.raises(DataError, match=metric):
            drawn(broken)
    with pytest.raises(DataError, match="rows are missing"):
        drawn(table[(table["family"] != "sgd") | (table["seed"] != 1) | (table["generation"] != 3)])
