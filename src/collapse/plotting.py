"""What all figures share: the look, lines, axes, and files without dates. Each script draws; this saves.

Scripts find here also what they draw from (`collapse.inputs`), what things are called (`collapse.looks`) and what their
captions say (`collapse.captions`).
"""

import logging
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from collapse import store
from collapse.captions import curve_statement, data_statement, not_run, seeds_statement, training_statement
from collapse.inputs import Inputs, chosen, only, ordered, over_generations, pick, settings, summary, until, with_ridge
from collapse.looks import (
    BUDGETS,
    CROSS_ENTROPY,
    GENERATION,
    LOOKS,
    TEST_ERROR,
    base_recipes,
    look,
    model_colours,
    model_name,
    model_names,
)

__all__ = [
    "BUDGETS", "CROSS_ENTROPY", "GENERATION", "LOOKS", "TEST_ERROR", "Drawing", "Inputs", "base_recipes", "chosen",
    "curve_statement", "data_statement", "floor", "integer_ticks", "line", "log_axis", "look", "model_colours",
    "model_name", "model_names", "not_run", "only", "open_markers", "ordered", "over_generations", "pick", "save",
    "seeds_statement", "settings", "shades", "spread", "style", "summary", "training_statement", "until",
    "with_ridge",
]  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure, the table of exactly what it shows, and its caption: n, what the band is, which data."""

    figure: plt.Figure
    table: pd.DataFrame
    caption: str


_TICKS = {
    "labelsize": 8.8, "major.size": 4.8, "major.width": 1.0, "minor.size": 3.2, "minor.width": 0.8, "color": ".15",
}  # fmt: skip
THEME = {
    "axes.axisbelow": True,
    "axes.edgecolor": ".8",
    "axes.grid": True,
    "axes.labelcolor": ".15",
    "axes.labelsize": 9.6,
    "axes.linewidth": 1.0,
    "axes.prop_cycle": plt.cycler(
        color=[
            "#4c72b0",
            "#dd8452",
            "#55a868",
            "#c44e52",
            "#8172b3",
            "#937860",
            "#da8bc3",
            "#8c8c8c",
            "#ccb974",
            "#64b5cd",
        ]
    ),
    "font.family": ["DejaVu Sans"],
    "font.size": 9.6,
    "legend.fontsize": 8.8,
    "legend.title_fontsize": 9.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.8,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    "text.color": ".15",
    "xtick.bottom": False,
    "ytick.left": False,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in _TICKS.items()},
}
"""seaborn's "whitegrid" in its "paper" context (a test compares them), spelled out: to load it takes a second, half of
what a figure takes."""


def style() -> None:
    """Set fonts, sizes and grid for all figures; text stays text in pdf files."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates inside of matplotlib's fonts
    plt.rcParams.update(
        {
            **THEME,
            "figure.dpi": 150,
            "savefig.dpi": 150,
            "pdf.fonttype": 42,
            "axes.titlesize": 10,
            "legend.frameon": False,
            "grid.color": "0.9",
        }
    )


def line(axes, table: pd.DataFrame, x: str, label: str | None = None, **look) -> None:
    """Draw a mean line with markers and its 95 % band, over the points that have one."""
    table = table.sort_values(x)
    look = {"marker": "o", "markersize": 4, "linewidth": 1.6, **look}
    (drawn,) = axes.plot(table[x], table["mean"], label=label, **look)
    if table["low"].notna().any():
        axes.fill_between(table[x], table["low"], table["high"], color=drawn.get_color(), alpha=0.2, linewidth=0)


def open_markers(axes, x, y, colour) -> None:
    """Draw published values: open circles, joined by a dotted line so that the eye finds the next one."""
    look = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linestyle": ":", "linewidth": 0.8}
    axes.plot(x, y, color=colour, alpha=0.6, **look)


def floor(axes, entropy: float | None) -> str:
    """Draw the cross-entropy of the true source, where it is known and near; return the caption's sentence about it.

    Draw the curves first: where the source lies so low that it would squeeze them to less than 40 % of the axis, it is
    only mentioned. ``axes`` share y.
    """
    if entropy is None or np.isnan(entropy):
        return ""
    ahead = axes[0].transScale.transform  # data -> what is even along the axis: the logarithm on a logarithmic one
    (_, low), (_, high), (_, source) = (ahead((1, y)) for y in (*axes[0].get_ylim(), entropy))
    bound = f"the true source itself has {entropy:.3f} on the test set, and no model gets below in expectation."
    if low - source > 1.5 * (high - low):
        return f" Below the axis: {bound}"
    room = axes[0].transScale.inverted().transform((1, source - 0.05 * (high - source)))[1]
    axes[0].set_ylim(min(axes[0].get_ylim()[0], room), axes[0].get_ylim()[1])
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
    subs = (1, 1.5, 2, 3, 4, 6) if high < 10 * low else (1, 2, 5) if high < 100 * low else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def shades(values) -> dict:
    """Return value -> colour for ordered values, from light to dark; black stays free for theory."""
    import seaborn as sns

    values = sorted(values)
    return dict(zip(values, sns.color_palette("flare", len(values)), strict=True))


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
