"""Medians and quartiles over chains beside theory: what figures show where a mean is carried by few chains."""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse import table
from collapse.errors import DataError
from collapse.inputs import ordered, over_generations, pick

DASHED = {"color": "black", "linestyle": (0, (4, 3)), "linewidth": 1}
"""How theory is drawn."""
Theory = Callable[[str, dict, int], np.ndarray]
"""(metric, what names the group, number of generations G) -> (G,)."""


def with_size(rows: pd.DataFrame | None) -> pd.DataFrame:
    """Return rows with a column ``N``: the items of generation 1 of their series. Raises DataError without it."""
    rows = pick(rows)
    first = rows["items"].where(rows["generation"] == 1)
    series = [rows[c] for c in table.key(rows) if c != "generation"]
    size = first.groupby(series, dropna=False, sort=False).transform("max")
    if size.isna().any():
        raise DataError("rows of the figure lack generation 1: delete them and run again")
    return rows.assign(N=size.astype(int))


def quartiles(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """Return median, lower and upper quartile, mean and n of a metric over chains, by generation of each group.

    Raises:
        DataError: the metric is missing or not finite, or a group lacks a generation or a chain of one.
    """
    out = over_generations(rows, by, metric).drop(columns=["low", "high"])
    found = rows.groupby([*by, "generation"], sort=False, observed=True)[metric].quantile([0.25, 0.5, 0.75]).unstack()
    found.columns = ["lower", "median", "upper"]
    return out.join(found, on=[*by, "generation"])


def beside_theory(rows: pd.DataFrame, by: list[str], metrics, theory: Theory) -> pd.DataFrame:
    """Return `quartiles` of several metrics, with the values of one chain and of theory beside them.

    Args:
        rows: a row per fit; the one chain is that of the smallest seed.
        by: columns that tell groups apart; they sort the table.
        metrics: columns of the rows; column ``metric`` of the table.
        theory: see `Theory`.
    """
    one = rows[rows["seed"] == rows["seed"].min()].set_index([*by, "generation"])
    parts = []
    for metric in metrics:
        found = quartiles(rows, by, metric).assign(metric=metric).sort_values([*by, "generation"])
        found = found.join(one[metric].rename("one_chain"), on=[*by, "generation"]).reset_index(drop=True)
        for key, curve in found.groupby(by):
            found.loc[curve.index, "theory"] = theory(metric, dict(zip(by, key, strict=True)), len(curve))
        parts.append(ordered(found, by, "generation"))
    return pd.concat(parts, ignore_index=True)


def draw_sizes(axes, found: pd.DataFrame, colours: Mapping[int, tuple]) -> None:
    """Draw median, quartiles, one chain and theory of one metric against the generation; colours are items N."""
    for size, colour in colours.items():
        curve = found[found["N"] == size]
        x = curve["generation"]
        axes.fill_between(x, curve["lower"], curve["upper"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, curve["one_chain"], color=colour, linewidth=0.5, alpha=0.6)
        axes.plot(x, curve["median"], color=colour, linewidth=1.8)
        axes.plot(x, curve["theory"], **DASHED)


def size_legend(figure, colours: Mapping[int, tuple]) -> None:
    """Put the legend of `draw_sizes` above the facets."""
    handles = [plt.Line2D([], [], color=c, linewidth=1.8, label=f"N = {n:,}") for n, c in colours.items()]
    handles.append(plt.Line2D([], [], color="0.4", linewidth=0.5, label="one chain"))
    handles.append(plt.Line2D([], [], **DASHED, label="theory"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
