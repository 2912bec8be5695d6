"""Short-term gain and later debt. Not in the paper; after the debate that followed it.

Short-term scores judge generated text by how likely the first model finds it, or by how much of it is well formed. What
to look for: whether it gets better by them from generation to generation, and whether the price is paid elsewhere, in
rare token types that are never generated again. A policy or decoder is good where its path goes to the right without
going down.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.finetuned import (
    COUNTED,
    PAPER,
    SERIES,
    TAIL,
    Measure,
    cut_statement,
    draw_lines,
    inside,
    log_x,
    measured,
    measures_statement,
    model,
    sampler_statement,
    series_looks,
    series_names,
    start_statement,
)
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    log_axis,
    only,
    pick,
    seeds_statement,
    style,
    until,
)

TYPICAL = Measure(
    "sample_first_perplexity_median", "median perplexity", "↓ more typical", "of the blocks of S_n under model 1"
)
VALID = Measure(
    "sample_valid", "valid", "↑ better formed", "share of whole sentences of S_n that the source can produce",
    share=True,
)  # fmt: skip
ARROW = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0, "linewidth": 0}


def scores(rows: pd.DataFrame) -> list[Measure]:
    """Return the short-term scores that the rows hold; that of validity is known for embedded data."""
    known = VALID.column in rows and np.isfinite(rows[VALID.column].astype(float)).all()
    return [TYPICAL, VALID] if known else [TYPICAL]


def paths(facet, table: pd.DataFrame, score: Measure, looks) -> None:
    """Draw tail coverage against a score: a path per series from generation 1 (large marker) to the last (arrow)."""
    for key, of in looks.items():
        here = table[(table[SERIES] == list(key)).all(axis=1)].set_index("generation")
        x, y = (here.loc[here["measure"] == m.title, "mean"].sort_index() for m in (score, TAIL))
        facet.plot(x, y, markersize=3, linewidth=1.3, **of)
        facet.plot(x.iloc[:1], y.iloc[:1], markersize=8, **{**of, "markerfacecolor": of["color"]})
        if len(x) > 1:
            ends = {"xy": (x.iloc[-1], y.iloc[-1]), "xytext": (x.iloc[-2], y.iloc[-2])}
            facet.annotate("", **ends, arrowprops={**ARROW, "color": of["color"]}, zorder=4)


def draw(inputs: Inputs, last: int | None = None) -> Drawing:
    """Draw short-term scores and tail coverage by generation, and one against the other: a line per series."""
    style()
    rows = until(pick(inputs.rows), last)
    only(rows, "dataset"), only(rows, "selector")
    gains, names, looks = scores(rows), series_names(rows), series_looks(rows)
    shown = [*gains, TAIL]
    table = measured(rows, shown)
    table.insert(4, "series", [names[key] for key in table[SERIES].itertuples(index=False, name=None)])

    figure, axes = plt.subplots(2, len(shown), figsize=(3.5 * len(shown), 6.4), layout="constrained", squeeze=False)
    for facet, measure in zip(axes[0], shown, strict=True):
        draw_lines(facet, table, measure, looks)
        inside(facet, measure)
        integer_ticks(facet, int(table["generation"].max()))
        facet.set_xlabel(GENERATION)
    for facet, score in zip(axes[1], gains, strict=False):
        paths(facet, table, score, looks)
        facet.set_ylim(axes[0, -1].get_ylim())
        facet.set_xlabel(f"{score.title} (→ {score.bad.partition(' ')[2]})")
    axes[1, 0].set_ylabel(TAIL.title)
    log_x(axes[1, 0])
    axes[1, 0].invert_xaxis()
    log_axis(axes[0, 0])
    axes[1, -1].axis("off")
    handles = [plt.Line2D([], [], label=names[key], linewidth=1.6, markersize=4, **of) for key, of in looks.items()]
    axes[1, -1].legend(
        handles=handles, loc="center left", fontsize=8, title="large: n = 1; arrow: the last n", alignment="left"
    )
    ends = " Lines end where their runs end." if table.groupby("series")["generation"].max().nunique() > 1 else ""
    caption = (
        f"Debt: short-term scores of what is generated beside its coverage of rare token types, {model(rows)}, "
        f"settings of {PAPER} and decoders and prompts that are not in it. {measures_statement(shown)} Below: means of "
        f"both, one against the other; the axis of perplexity is reversed. {start_statement(rows)} "
        f"{sampler_statement(rows)} {seeds_statement(table)}{cut_statement(table, shown)}{ends} {COUNTED} "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
