"""What all figures share: inputs, look, checks, caption, and files without dates. Each script draws; this saves."""

import logging
import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator
from scipy import stats

from collapse import store
from collapse.errors import DataError

# policy -> label, colour, marker; the same in every figure. Hue and marker tell the kind: real data alone is black or
# grey, replace is red, accumulate is blue, real data beside the newest synthetic data is green.
LOOKS: dict[str, tuple[str, str, str]] = {
    "replace": ("Replace", "#D55E00", "s"),
    "replace_multiple": ("Replace-Multiple", "#F0925A", "s"),
    "growing": ("Growing", "#8C3A1B", "s"),
    "accumulate": ("Accumulate", "#0072B2", "o"),
    "accumulate_subsample": ("Accumulate-Subsample", "#56B4E9", "o"),
    "real_fraction_10": ("10 % real", "#009E73", "^"),
    "real_fraction_10_anchored": ("10 % real, anchored", "#5CC49F", "^"),
    "real_fraction_10_added": ("10 % real, added", "#00694D", "^"),
    "fresh_real_50": ("50 % fresh real", "#7A9A01", "^"),
    "augment": ("Augment", "#3F7F3F", "^"),
    "golden_ratio": ("Golden ratio", "#A3B84B", "^"),
    "real_only": ("Real only", "#000000", "D"),
    "real_repeat": ("Real, n times", "#555555", "D"),
    "real_corrupted": ("Real, corrupted", "#999999", "D"),
}
BUDGETS = {"epochs": "equal passes over each training set", "items": "N items each", "steps": "equal optimiser steps"}
MODELS = {"gpt2": "GPT-2", "llama2": "Llama-2"}
GENERATION = "generation n (n = 1: real data)"
CROSS_ENTROPY = "test cross-entropy (nats per token)"
TEST_ERROR = "test error $E\\,(x'\\hat{w}_n - x'w^*)^2$"


@dataclass(frozen=True)
class Inputs:
    """What a script draws from.

    Attributes:
        scale: laptop, smoke or paper.
        rows: a row per fit; None where the figure needs none.
        curves: points of learning curves, where asked for.
        examples: (dataset, recipe, policy, sampler, selector, seed folder) -> generation -> decoded samples.
        facts: dataset -> its facts.
    """

    scale: str
    rows: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    examples: dict[tuple, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawing:
    """A figure, the table of exactly what it shows, and its caption: n, what the band is, which data."""

    figure: plt.Figure
    table: pd.DataFrame
    caption: str


def style() -> None:
    """Set fonts, sizes and grid for all figures; text stays text in pdf files."""
    import seaborn as sns

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates inside of matplotlib's fonts
    sns.set_theme(context="paper", style="whitegrid", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "figure.dpi": 150,
            "savefig.dpi": 150,
            "pdf.fonttype": 42,
            "axes.titlesize": 10,
            "legend.frameon": False,
            "grid.color": "0.9",
        }
    )


def look(policy: str) -> tuple[str, str, str]:
    """Return label, colour and marker of a policy; one that was added since is purple, and called by its name."""
    base, _, budget = policy.rpartition("_")
    if policy not in LOOKS and budget in BUDGETS and base in LOOKS:
        label, colour, marker = LOOKS[base]
        return f"{label}, {BUDGETS[budget]}", colour, marker
    return LOOKS.get(policy, (policy.replace("_", " "), "#AA3377", "v"))


def model_name(recipe: str) -> str:
    """Return what the papers call a model: ``gpt2_9m`` is GPT-2 (9M). Other recipes keep their name."""
    family, _, size = recipe.partition("_")
    sized = size.endswith("m") and size[:-1].isdigit()
    return f"{MODELS[family]} ({size.upper()})" if family in MODELS and sized else recipe


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


def only(rows: pd.DataFrame, column: str):
    """Return the one value that a column holds. Raises DataError where there are several."""
    values = pick(rows)[column].unique()
    if len(values) != 1:
        raise DataError(
            f"the figure shows one {column}, its rows hold {', '.join(map(str, values))}: name one cell alone"
        )
    return values[0]


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
    half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * found.pop("std") / np.sqrt(n)
    return found.assign(low=found["mean"] - half, high=found["mean"] + half, n=n)


def over_generations(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """Return `summary` for each generation of each group, generations in order.

    Raises:
        DataError: a group lacks a generation, or a seed of one.
    """
    table = ordered(summary(rows, [*by, "generation"], metric), by, "generation")
    for name, group in table.groupby(by, sort=False, dropna=False, observed=True):
        if list(group["generation"]) != list(range(1, len(group) + 1)) or group["n"].nunique() != 1:
            raise DataError(f"rows are missing: {dict(zip(by, name, strict=True))} has {_counts(group)}")
    return table


def ordered(table: pd.DataFrame, by: list[str], x: str) -> pd.DataFrame:
    """Return the table sorted by ``x`` inside each group; groups keep the order in which they appear."""
    group = table.groupby(by, sort=False, dropna=False, observed=True).ngroup()
    return table.iloc[np.lexsort((table[x], group))].reset_index(drop=True)


def _counts(group: pd.DataFrame) -> str:
    return ", ".join(f"{n} of generation {g}" for g, n in zip(group["generation"], group["n"], strict=True))


def line(axes, table: pd.DataFrame, x: str, label: str | None = None, **look) -> None:
    """Draw a mean line with markers and its 95 % band, where there is one."""
    table = table.sort_values(x)
    look = {"marker": "o", "markersize": 4, "linewidth": 1.6, **look}
    (drawn,) = axes.plot(table[x], table["mean"], label=label, **look)
    if table["low"].notna().all():
        axes.fill_between(table[x], table["low"], table["high"], color=drawn.get_color(), alpha=0.2, linewidth=0)


def floor(axes, entropy: float | None) -> str:
    """Draw the cross-entropy of the true source, where it is known and near; return the caption's sentence about it.

    Draw the curves first: where the source lies so low that it would squeeze them to less than 40 % of the axis, it is
    only mentioned. ``axes`` share y.
    """
    if entropy is None:
        return ""
    low, high = axes[0].get_ylim()
    bound = f"the true source itself has {entropy:.3f} on the test set, and no model gets below in expectation."
    if low - entropy > 1.5 * (high - low):
        return f" Below the axis: {bound}"
    axes[0].set_ylim(min(low, entropy - 0.05 * (high - entropy)), high)
    for facet in axes:
        facet.axhline(entropy, color="0.4", linestyle="--", linewidth=1, zorder=1)
        note = {"xytext": (0, 3), "textcoords": "offset points", "fontsize": 8, "color": "0.4"}
        facet.annotate("true source", (1, entropy), **note)
    return f" Dashed: {bound}"


def spread(wanted, gap: float) -> np.ndarray:
    """Return positions at least ``gap`` apart, in the order of ``wanted`` and with the least sum of squared shifts.

    Args:
        wanted: (L,) where labels would stand best.
        gap: height of a label, same unit.
    """
    wanted = np.asarray(wanted, dtype=float)
    order = np.argsort(wanted, kind="stable")
    # with the gaps taken out, positions must not decrease: isotonic regression by pooling of adjacent violators
    pools: list[list[float]] = []
    for value in wanted[order] - gap * np.arange(len(wanted)):
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(-2), pools.pop()
            pools.append([(a * m + b * n) / (m + n), m + n])
    out = np.empty(len(wanted))
    out[order] = np.repeat([p[0] for p in pools], [p[1] for p in pools]) + gap * np.arange(len(wanted))
    return out


def integer_ticks(axes, last: int) -> None:
    """Put whole generations on the x axis."""
    step = max(1, last // 5) if last > 10 else 1
    axes.set_xticks([1, *range(step, last + 1, step)] if step > 1 else range(1, last + 1))


def log_axis(axes) -> None:
    """Make y logarithmic, with plain numbers; draw first. Within a decade there are ticks between its ends."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6) if high < 10 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def shades(values) -> dict:
    """Return value -> colour for ordered values, from light to dark; black stays free for theory."""
    import seaborn as sns

    values = sorted(values)
    return dict(zip(values, sns.color_palette("flare", len(values)), strict=True))


def seeds_statement(table: pd.DataFrame) -> str:
    """Say how many seeds the lines are means of, and what the bands are."""
    low, high = table["n"].min(), table["n"].max()
    if high == 1:
        return "One seed, so no bands."
    n = f"n = {low}" if low == high else f"n = {low} to {high}"
    alone = " (none where there is one seed)" if low == 1 else ""
    return f"Lines: mean over {n} seeds; bands: 95 % t interval of the mean{alone}."


def training_statement(rows: pd.DataFrame) -> str:
    """Say from which weights generations start and how long they train, as the rows' plans record it.

    Raises:
        DataError: rows without plans.
    """
    if "plan" not in rows:
        raise DataError("rows of the figure have no column `plan`: delete them and run again")
    ends = sorted({str(plan).rpartition("| ")[2] for plan in rows["plan"].unique()})
    budgets, inits = ({end.split(", ")[i] for end in ends} for i in (0, 1))
    start = (
        "Every generation starts from scratch"
        if inits == {"scratch"}
        else f"Initial weights: {', '.join(sorted(inits))}"
    )
    return f"{start}; budget: {', '.join(BUDGETS[b] for b in BUDGETS if b in budgets)}."


def data_statement(inputs: Inputs) -> str:
    """Say which data a figure shows and at which scale; a laptop figure never poses as the paper's."""
    sources = "; ".join(f"{name}: {facts['source']}" for name, facts in sorted(inputs.facts.items()))
    return f"Scale: {inputs.scale}." + (f" Data, the same for all seeds: {sources}." if sources else "")


def save(drawing: Drawing, stem: Path) -> None:
    """Write ``<stem>.pdf``, ``.png`` (with the caption under the picture), ``.csv`` and ``.txt``. Raises DataError."""
    figure, caption = drawing.figure, " ".join(drawing.caption.split())
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is done: the caption must move neither axes nor legends
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    width = int(figure.get_figwidth() * 15.5)
    figure.text(0.01, -0.01, textwrap.fill(caption, width), ha="left", va="top", fontsize=7.5, color="0.3")
    for kind, metadata in (
        ("pdf", {"CreationDate": None, "Producer": None, "Creator": None}),
        ("png", {"Software": None}),
    ):
        store.write(
            stem.with_name(f"{stem.name}.{kind}"),
            lambda part, metadata=metadata: figure.savefig(
                part, bbox_inches="tight", pad_inches=0.15, metadata=metadata
            ),
        )
    plt.close(figure)
    csv = drawing.table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    store.write_bytes(stem.with_name(f"{stem.name}.csv"), csv.encode())
    store.write_bytes(stem.with_name(f"{stem.name}.txt"), (caption + "\n").encode())
