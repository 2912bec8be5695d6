"""What figures are drawn from: rows that are picked, checked to be complete, and averaged over seeds."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from collapse.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """What a script draws from.

    Attributes:
        scale: laptop, smoke or paper.
        rows: a row per fit; None where the figure needs none.
        curves: points of learning curves, where asked for.
        examples: (dataset, recipe, policy, sampler, selector, seed folder) -> generation -> decoded samples.
        facts: dataset -> its facts.
        details: a row per drawn item, where asked for: the columns of its series, ``generation`` (0: the real items of
            D_1), and what the data set's metrics tell of one item.
    """

    scale: str
    rows: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    examples: dict[tuple, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: pd.DataFrame | None = None


def pick(rows: pd.DataFrame | None, **wanted) -> pd.DataFrame:
    """Return the rows whose columns hold one of the wanted values, a value or a sequence of them for each column.

    Raises:
        DataError: there are no rows, or none with one of the values.
    """
    for column, values in wanted.items():
        values = [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
        there = [] if rows is None or column not in rows else rows[column].unique()
        if missing := [v for v in values if v not in there]:
            raise DataError(
                f"the figure needs rows with {column} = {', '.join(map(str, missing))}: add their cells to it"
            )
        rows = rows[rows[column].isin(values)]
    if rows is None or rows.empty:
        raise DataError("the figure needs rows: name their cells in the config")
    return rows


def chosen(rows: pd.DataFrame | None, policies) -> list[str]:
    """Return the policies that a figure was told to show, or those of its rows in the order of the config."""
    return list(pick(rows)["policy"].unique()) if policies is None else list(policies)


def until(rows: pd.DataFrame, last: int | None) -> pd.DataFrame:
    """Return the rows of generations 1 to ``last``; all where it is None.

    Raises:
        DataError: no row reaches generation ``last``.
    """
    if last is None:
        return rows
    if (longest := pick(rows)["generation"].max()) < last:
        raise DataError(f"the figure shows {last} generations, its rows end at {longest}: lower its option `last`")
    return rows[rows["generation"] <= last]


def only(rows: pd.DataFrame, column: str):
    """Return the one value that a column holds. Raises DataError where there are several."""
    values = pick(rows)[column].unique()
    if len(values) != 1:
        raise DataError(
            f"the figure shows one {column}, its rows hold {', '.join(map(str, values))}: name one cell alone"
        )
    return values[0]


def settings(rows: pd.DataFrame, part: str, name: str) -> dict[str, Any]:
    """Return the entry of the config that the rows were made with, e.g. that of the recipe of some name.

    Raises:
        DataError: the rows hold no settings, or several of one name.
    """
    if "settings" not in rows or rows["settings"].isna().any():
        raise DataError("rows of the figure have no column `settings`: delete them and run again")
    found = {json.dumps(json.loads(text).get(part), sort_keys=True) for text in pick(rows, **{part: name})["settings"]}
    if len(found) != 1:
        raise DataError(f"rows of the figure hold {len(found)} different settings of {part} {name!r}: build them again")
    return json.loads(found.pop())


def with_ridge(rows: pd.DataFrame | None) -> pd.DataFrame:
    """Return rows of linear regressions with a column ``ridge``; it is 0 where a recipe sets none. Raises DataError."""
    rows = pick(rows)
    return rows.assign(ridge=rows["ridge"].fillna(0.0) if "ridge" in rows else 0.0)


def summary(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """Return mean, low, high (95 % t interval of the mean over seeds) and n of a metric for each group.

    Groups come in the order of the rows. A group of one seed has no interval: low and high are NaN.

    Raises:
        DataError: the metric is missing or not finite.
    """
    if metric not in rows or not np.isfinite(rows[metric]).all():
        raise DataError(f"{metric} is missing or not finite in the rows of the figure")
    found = (
        rows.groupby(by, sort=False, dropna=False, observed=True)[metric].agg(["mean", "std", "count"]).reset_index()
    )
    n = found.pop("count")
    half = stdtrit(np.maximum(n - 1, 1), 0.975) * found.pop("std") / np.sqrt(n)
    return found.assign(low=found["mean"] - half, high=found["mean"] + half, n=n)


def over_generations(rows: pd.DataFrame, by: list[str], metric: str, ragged: bool = False) -> pd.DataFrame:
    """Return `summary` for each generation of each group, generations in order.

    Groups may end at different generations.

    Args:
        rows: a row per fit.
        by: columns that tell groups apart.
        metric: the column to average over seeds.
        ragged: whether some seeds of a group may end before others do; the mean is then of those that are left.

    Raises:
        DataError: a group lacks a generation, or a seed of one.
    """
    table = ordered(summary(rows, [*by, "generation"], metric), by, "generation")
    for name, group in table.groupby(by, sort=False, dropna=False, observed=True):
        gap = list(group["generation"]) != list(range(1, len(group) + 1))
        # no seed comes in later than generation 1; `table.check` has looked for gaps inside of a seed's generations
        if gap or (not group["n"].is_monotonic_decreasing if ragged else group["n"].nunique() != 1):
            raise DataError(f"rows are missing: {dict(zip(by, name, strict=True))} has {_counts(group)}")
    return table


def ordered(table: pd.DataFrame, by: list[str], x: str) -> pd.DataFrame:
    """Return the table sorted by ``x`` inside each group; groups keep the order in which they appear."""
    group = table.groupby(by, sort=False, dropna=False, observed=True).ngroup()
    return table.iloc[np.lexsort((table[x], group))].reset_index(drop=True)


def _counts(group: pd.DataFrame) -> str:
    return ", ".join(f"{n} of generation {g}" for g, n in zip(group["generation"], group["n"], strict=True))
