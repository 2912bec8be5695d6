"""Values out of rows: from a long table to arrays of seeds, curves and generations, with nothing missing or doubled.

Rows: one per fit, columns dataset, recipe, policy, sampler, selector, seed, generation and one per metric; for linear
regression also d, T, sigma2 and design. Generation 1 is fitted once and shared: it may stand once under the policy
`SHARED`, whatever sampler and selector say there, or be repeated under each policy, but not both.
"""

from typing import Any

import numpy as np
import pandas as pd

from collapse.errors import ConfigError, DataError, unknown
from collapse.judging.arms import GRID, KEYS, Arm
from collapse.judging.claims import Claim
from collapse.judging.statistics import TRANSFORMS
from collapse.theory.linear import unit

SHARED = "real"


def values(claim: Claim, needs: tuple[dict[str, Any], ...], rows: pd.DataFrame) -> np.ndarray:
    """Return the claim's metric, averaged over the grid of linear regression where there is one.

    Args:
        claim: the claim.
        needs: what it needs, from `collapse.judging.resolve`; one entry per arm.
        rows: the rows, in any order; others than those needed are ignored.

    Returns:
        Array of shape (S, C, G), float64, transformed and in the claim's unit: seeds, arms, generations, in ``needs``'
        order.

    Raises:
        ConfigError: a column is unknown, or values of several grid cells would be averaged without a common unit.
        DataError: a row is missing or doubled or its value is not finite; the cell is named.
    """
    arms = claim.rows.arms
    metrics = [arm.metric or claim.statistic.metric for arm in arms]
    for column in (*KEYS, "seed", "generation", *metrics, *(column for arm in arms for column in arm.grid)):
        if column not in rows.columns:
            raise unknown(f"column for claim {claim.id!r}", column, rows.columns)
    selected = [_select(rows, need, arm) for need, arm in zip(needs, arms, strict=True)]
    # data sets may differ in d or T, and arms in what they name; whatever else is compared must have the same settings
    groups = [[part] for part in selected] if claim.rows.varied & {"dataset", *GRID} else [selected]
    settings = [_settings(group, claim) for group in groups for _ in group]
    each = zip(selected, needs, arms, metrics, settings, strict=True)
    return np.stack([_curve(part, need, claim, arm, metric, *own) for part, need, arm, metric, own in each], axis=1)


def _settings(parts: list[pd.DataFrame], claim: Claim) -> tuple[list[str], list[tuple]]:
    """The grid columns that have a value in any part, and every point of them that any part has. Raises ConfigError."""
    grid = [key for key in GRID if any(key in part and part[key].notna().any() for part in parts)]
    points = list(dict.fromkeys(p for part in parts for p in part[grid].itertuples(index=False, name=None))) or [()]
    if len(points) > 1 and claim.statistic.unit is None:
        raise ConfigError(
            f"claim {claim.id!r} would average {claim.statistic.metric or 'its metrics'} over {len(points)} settings of"
            f" {', '.join(grid)}: name one of each in its rows, or give its statistic a unit"
        )
    return grid, points


def _select(rows: pd.DataFrame, need: dict[str, Any], arm: Arm) -> pd.DataFrame:
    """The rows of one arm."""
    keep = (rows["dataset"] == need["dataset"]) & (rows["recipe"] == need["recipe"])
    own = rows["policy"] == need["policy"]
    for key in ("sampler", "selector"):
        if need[key] is not None:
            own &= rows[key] == need[key]
    keep &= own | ((rows["policy"] == SHARED) & (rows["generation"] == 1))
    keep &= rows["seed"].isin(need["seeds"]) & rows["generation"].isin(need["generations"])
    for column, wanted in arm.grid.items():
        keep &= rows[column].isin(wanted)
    return rows[keep]


def _curve(
    part: pd.DataFrame, need: dict, claim: Claim, arm: Arm, metric: str, grid: list[str], points: list[tuple]
) -> np.ndarray:
    """The values of one arm, shape (S, G); every seed, generation and grid point is there exactly once."""
    axes = ["seed", "generation", *grid]
    counts = part.groupby(axes, dropna=False).size()
    if (doubled := counts[counts > 1]).size:
        raise DataError(
            f"claim {claim.id!r}: {doubled.iloc[0]} rows, not one, for {_name(need, axes, doubled.index[0])}"
        )
    for column, wanted in arm.grid.items():
        for value in wanted:
            if column not in grid or value not in {point[grid.index(column)] for point in points}:
                raise DataError(f"claim {claim.id!r}: no row for {_name(need, [column], (value,))}")
    expected = [(s, g, *point) for point in points for s in need["seeds"] for g in need["generations"]]
    there = set(counts.index)
    for cell in expected:
        if cell not in there:
            raise DataError(f"claim {claim.id!r}: no row for {_name(need, axes, cell)}")
    values = part[metric].astype(float)
    if claim.statistic.transform is not None:
        with np.errstate(divide="ignore", invalid="ignore"):  # of what is then not finite
            values = TRANSFORMS[claim.statistic.transform](values)
    if claim.statistic.unit is not None:
        values = values / UNIT[claim.statistic.unit](part, claim)
    table = part[["seed", "generation"]].assign(value=values)
    if not np.isfinite(table["value"]).all():
        of = f"{claim.statistic.transform} of " if claim.statistic.transform else ""
        bad = part.loc[~np.isfinite(table["value"]), axes].iloc[0]
        raise DataError(f"claim {claim.id!r}: {of}{metric} is not a finite number for {_name(need, axes, bad)}")
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


def _per_item(part: pd.DataFrame, claim: Claim) -> np.ndarray:
    """1/T of each row, shape (rows,)."""
    if "T" not in part or part["T"].isna().any():
        raise DataError(f"claim {claim.id!r}: 'unit: 1/T' needs the column T in every row")
    return 1 / part["T"].to_numpy(float)


UNIT = {"c": _c, "1/T": _per_item}


def _name(need: dict[str, Any], axes: list[str], where) -> str:
    """A cell in words, e.g. ``dataset stories, recipe gpt2_xs, policy replace, seed 1, generation 3``."""
    fixed = [f"{key} {need[key]}" for key in KEYS if need[key] is not None]
    return ", ".join([*fixed, *(f"{axis} {value}" for axis, value in zip(axes, where, strict=True))])
