"""Values out of rows: from a long table to arrays of seeds, curves and generations, with nothing missing or doubled.

Rows: one per fit, columns dataset, recipe, policy, sampler, selector, seed, generation and one per metric; for linear
regression also d, T, sigma2 and design. Generation 1 is fitted once and shared: it may stand once under the policy
`SHARED`, whatever sampler and selector say there, or be repeated under each policy, but not both.
"""

from typing import Any

import numpy as np
import pandas as pd

from collapse.errors import ConfigError, DataError, unknown
from collapse.judging.claims import GRID, KEYS, Claim
from collapse.theory.linear import unit

SHARED = "real"


def values(claim: Claim, needs: tuple[dict[str, Any], ...], rows: pd.DataFrame) -> np.ndarray:
    """Return the claim's metric, averaged over the grid of linear regression where there is one.

    Args:
        claim: the claim.
        needs: what it needs, from `collapse.judging.resolve`; one entry per compared name.
        rows: the rows, in any order; others than those needed are ignored.

    Returns:
        Array of shape (S, C, G), float64, in the claim's unit: seeds, compared names, generations, in ``needs``' order.

    Raises:
        ConfigError: a column is unknown, or values of several grid cells would be averaged without a common unit.
        DataError: a row is missing or doubled or its value is not finite; the cell is named.
    """
    for column in (*KEYS, "seed", "generation", claim.statistic.metric, *claim.rows.grid):
        if column not in rows.columns:
            raise unknown(f"column for claim {claim.id!r}", column, rows.columns)
    selected = [_select(rows, need, claim) for need in needs]
    # data sets may differ in d or T; whatever else is compared must have the same settings
    groups = [[part] for part in selected] if claim.rows.compare == "dataset" else [selected]
    settings = [_settings(group, claim) for group in groups for _ in group]
    return np.stack(
        [_curve(part, need, claim, *own) for part, need, own in zip(selected, needs, settings, strict=True)], axis=1
    )


def _settings(parts: list[pd.DataFrame], claim: Claim) -> tuple[list[str], list[tuple]]:
    """The grid columns that have a value in any part, and every point of them that any part has. Raises ConfigError."""
    grid = [key for key in GRID if any(key in part and part[key].notna().any() for part in parts)]
    points = list(dict.fromkeys(p for part in parts for p in part[grid].itertuples(index=False, name=None))) or [()]
    if len(points) > 1 and claim.statistic.unit is None:
        raise ConfigError(
            f"claim {claim.id!r} would average {claim.statistic.metric} over {len(points)} settings of"
            f" {', '.join(grid)}: name one of each in its rows, or give its statistic a unit"
        )
    return grid, points


def _select(rows: pd.DataFrame, need: dict[str, Any], claim: Claim) -> pd.DataFrame:
    """The rows of one need."""
    keep = (rows["dataset"] == need["dataset"]) & (rows["recipe"] == need["recipe"])
    own = rows["policy"] == need["policy"]
    for key in ("sampler", "selector"):
        if need[key] is not None:
            own &= rows[key] == need[key]
    keep &= own | ((rows["policy"] == SHARED) & (rows["generation"] == 1))
    keep &= rows["seed"].isin(need["seeds"]) & rows["generation"].isin(need["generations"])
    for column, wanted in claim.rows.grid.items():
        keep &= rows[column].isin(wanted)
    return rows[keep]


def _curve(part: pd.DataFrame, need: dict, claim: Claim, grid: list[str], points: list[tuple]) -> np.ndarray:
    """The values of one compared name, shape (S, G); every seed, generation and grid point is there exactly once."""
    axes = ["seed", "generation", *grid]
    counts = part.groupby(axes, dropna=False).size()
    if (doubled := counts[counts > 1]).size:
        raise DataError(
            f"claim {claim.id!r}: {doubled.iloc[0]} rows, not one, for {_name(need, axes, doubled.index[0])}"
        )
    for column, wanted in claim.rows.grid.items():
        for value in wanted:
            if column not in grid or value not in {point[grid.index(column)] for point in points}:
                raise DataError(f"claim {claim.id!r}: no row for {_name(need, [column], (value,))}")
    expected = [(s, g, *point) for point in points for s in need["seeds"] for g in need["generations"]]
    there = set(counts.index)
    for cell in expected:
        if cell not in there:
            raise DataError(f"claim {claim.id!r}: no row for {_name(need, axes, cell)}")
    metric = part[claim.statistic.metric].astype(float)
    if claim.statistic.unit == "c":
        metric = metric / _c(part, claim)
    table = part[["seed", "generation"]].assign(value=metric)
    if not np.isfinite(table["value"]).all():
        bad = part.loc[~np.isfinite(table["value"]), axes].iloc[0]
        raise DataError(
            f"claim {claim.id!r}: {claim.statistic.metric} is not a finite number for {_name(need, axes, bad)}"
        )
    means = table.sort_values(["seed", "generation", "value"]).groupby(["seed", "generation"])["value"].mean().unstack()
    return means.loc[need["seeds"], need["generations"]].to_numpy()


def _c(part: pd.DataFrame, claim: Claim) -> np.ndarray:
    """c = sigma2 d / (T - d - 1) of each row, shape (rows,). Raises ConfigError where T <= d + 1."""
    for key in ("d", "T", "sigma2"):
        if key not in part or part[key].isna().any():
            raise DataError(f"claim {claim.id!r}: 'unit: c' needs the column {key} in every row")
    points = list(zip(part["d"], part["T"], part["sigma2"], strict=True))
    c = {point: unit(*point) for point in set(points)}
    return np.array([c[point] for point in points])


def _name(need: dict[str, Any], axes: list[str], where) -> str:
    """A cell in words, e.g. ``dataset stories, recipe gpt2_xs, policy replace, seed 1, generation 3``."""
    fixed = [f"{key} {need[key]}" for key in KEYS if need[key] is not None]
    return ", ".join([*fixed, *(f"{axis} {value}" for axis, value in zip(axes, where, strict=True))])
