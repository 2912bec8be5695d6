"""Which token types are still generated: survival by frequency. Not in the paper, which says that tails go first.

What to look for: whether frequent types stay and rare ones go, the rarer the sooner; and whether types that had gone
come back where real data are kept. Nothing here counts how often a type is generated: once is alive.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.finetuned import (
    PAPER,
    SERIES,
    model,
    sampler_statement,
    series,
    series_names,
    start_statement,
)
from collapse.plotting import (
    Drawing,
    Inputs,
    data_statement,
    only,
    over_generations,
    pick,
    seeds_statement,
    style,
    until,
)

DECILES = range(10)
NAMES = {0: "rarest tenth", 9: "most frequent tenth"}


def survival(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the share of types alive by series, decile of frequency in D_1 (0: rarest) and generation.

    Generation 0 is D_1 itself, where all are alive by definition: it has no interval.
    """
    parts = []
    for decile in DECILES:
        found = over_generations(rows, SERIES, f"sample_alive_{decile}")
        start = found[found["generation"] == 1].assign(generation=0, mean=1.0, low=np.nan, high=np.nan)
        parts.append(pd.concat([start, found]).assign(decile=decile))
    table = pd.concat(parts, ignore_index=True)
    place = {key: i for i, key in enumerate(series(rows))}
    order = table[SERIES].apply(tuple, axis=1).map(place)
    return table.iloc[np.lexsort((table["generation"], table["decile"], order))].reset_index(drop=True)


def draw(inputs: Inputs, last: int | None = None) -> Drawing:
    """Draw the share of token types alive as steps: a facet per series, a colour per decile of frequency."""
    style()
    rows = until(pick(inputs.rows), last)
    only(rows, "dataset"), only(rows, "selector")
    shade = plt.colormaps["viridis"](np.linspace(0, 0.93, len(DECILES)))  # ten lines: a wider range than `shades`
    table, names, colours = survival(rows), series_names(rows), dict(zip(DECILES, shade, strict=True))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(2.2 + 2.7 * columns, 0.8 + 2.5 * lines), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    end = int(table["generation"].max())
    for facet in axes.flat[len(names) :]:
        facet.remove()
    for facet, (key, name) in zip(axes.flat, names.items(), strict=False):
        here = table[(table[SERIES] == list(key)).all(axis=1)]
        for decile, curve in here.groupby("decile"):
            facet.step(curve["generation"], curve["mean"], where="post", color=colours[decile], linewidth=1.6)
            facet.plot(curve["generation"], curve["mean"], "o", color=colours[decile], markersize=2.6)
            if decile:  # bands of ten lines would cover each other
                continue
            band = curve.dropna(subset="low")
            facet.fill_between(
                band["generation"], band["low"].clip(0, 1), band["high"].clip(0, 1), step="post",
                color=colours[decile], alpha=0.18, linewidth=0,
            )  # fmt: skip
        head, _, tail = name.rpartition(", ")
        facet.set_title(f"{head}\n{tail}" if head else name, fontsize=9)
        step = max(1, end // 5)
        facet.set(xticks=range(0, end + 1, step), ylim=(0, 1.04))
    for i, facet in enumerate(axes.flat[: len(names)]):
        if i + columns >= len(names):  # nothing below it
            facet.tick_params(labelbottom=True)
    for facet in axes[-1, : len(names) - columns * (lines - 1)]:
        facet.set_xlabel("generation n (0: real data)")
    figure.supylabel("share of token types that $S_n$ holds", fontsize=9)
    handles = [plt.Line2D([], [], color=colours[d], linewidth=2, label=NAMES.get(d, f"tenth {d + 1}")) for d in DECILES]
    figure.legend(handles=handles, title="types of $D_1$\nby frequency", loc="outside right center", fontsize=8)
    ends = " Lines end where their runs end." if table.groupby(SERIES)["generation"].max().nunique() > 1 else ""
    caption = (
        "Token types of D_1, the real training set, that S_n, the blocks of model n, still holds, by tenth of their "
        f"frequency in D_1; {model(rows)}, after the settings of {PAPER}, which shows no such figure. S_n is as large "
        "as D_1, and 0 is D_1 itself, where all are alive by definition. Unlike the dead of a survival curve a type "
        f"may come back, and a new sample of real text would lack some of the rarest too. {start_statement(rows)} "
        f"{sampler_statement(rows)} {seeds_statement(table)} Bands are drawn of the rarest tenth alone, inside 0 and "
        f"1; the csv has all, as computed.{ends} The paper counts models from 0: its model 0, fitted "
        f"on real data, is n = 1 here. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
