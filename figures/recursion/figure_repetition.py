"""Repetition penalties: the ablation of Shumailov et al., Nature 631 (2024).

The authors saw generated text repeat itself, penalised that while generating (2.0 in the paper, 3.0 in their code), and
found test perplexity to double. What to look for: whether the penalty removes repetition inside of blocks, and whether
models that are fitted on what it puts there instead are worse.
"""

import matplotlib.pyplot as plt
import pandas as pd

from collapse.errors import DataError
from collapse.finetuned import (
    COUNTED,
    DISTINCT,
    PAPER,
    PERPLEXITY,
    REPETITION,
    cut_statement,
    draw_lines,
    inside,
    kept,
    kept_name,
    measured,
    measures_statement,
    model,
    sampler_statement,
    series,
    start_statement,
)
from collapse.looks import sampler_look
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    log_axis,
    only,
    open_markers,
    pick,
    seeds_statement,
    settings,
    style,
    until,
)

MEASURES = (PERPLEXITY, REPETITION, DISTINCT)
OTHER = {
    ("test perplexity", 1.0): [36.50, 61.05, 48.85, 47.52, 48.90, 47.32, 45.89, 44.32, 43.43, 43.65],
    ("test perplexity", 3.0): [36.35, 78.22, 103.61, 88.16, None, 57.19, 53.78, 52.62, 53.87, 53.98],
    ("distinct-3", 1.0): [0.341, 0.388, 0.396, 0.318, 0.363, 0.398, 0.482, 0.574, 0.560],
    ("distinct-3", 3.0): [0.547, 0.411, 0.321, 0.295, 0.295, 0.290, 0.286, 0.256, 0.243],
}
"""(panel, penalty) -> values of generations 1, 2, ...; one run each of another replication, of no penalty and of 3."""
OTHER_SOURCE = "another replication on OPT-125m and WikiText-2, one run each (MaoField, exp018)"
BARS = {"color": "0.4", "linestyle": ":", "linewidth": 1.2, "zorder": 1}


def penalties(rows: pd.DataFrame) -> dict[str, float]:
    """Return sampler -> repetition penalty, in its order. Raises DataError where samplers differ in more than that."""
    entries = {name: dict(settings(rows, "sampler", name)) for name in rows["sampler"].unique()}
    found = {name: float(entry.pop("repetition_penalty", None) or 1) for name, entry in entries.items()}
    if any(entry != next(iter(entries.values())) for entry in entries.values()):
        raise DataError(f"samplers {', '.join(entries)} differ in more than the repetition penalty: name the cells")
    if len(set(found.values())) < len(found) or len(found) < 2:
        raise DataError(f"the figure compares repetition penalties, its rows hold {', '.join(entries)}")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def beside(table: pd.DataFrame, of: dict[str, float]) -> pd.Series:
    """Return what the other replication has at each point of the table; NaN where it has nothing."""
    known = {
        (panel, penalty, n): value for (panel, penalty), values in OTHER.items() for n, value in enumerate(values, 1)
    }
    places = zip(table["measure"], table["sampler"].map(of), table["generation"], strict=True)
    return pd.Series([known.get(place) for place in places], index=table.index, dtype=float)


def draw(inputs: Inputs, last: int | None = None) -> Drawing:
    """Draw test perplexity, repetition and diversity of what is generated, a line per repetition penalty."""
    style()
    rows = until(pick(inputs.rows), last)
    only(rows, "dataset"), only(rows, "recipe"), only(rows, "policy"), only(rows, "selector")
    of, table = penalties(rows), measured(rows, MEASURES)
    if inputs.scale == "paper":
        table["other_run"] = beside(table, of)
    figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.4), layout="constrained")
    keys = {key[-1]: key for key in series(rows)}
    looks = {keys[name]: dict(zip(("color", "marker"), sampler_look(name)[1:], strict=True)) for name in of}
    for facet, measure in zip(axes, MEASURES, strict=True):
        draw_lines(facet, table, measure, looks)
        for name in of if "other_run" in table else ():
            points = table[(table["measure"] == measure.title) & (table["sampler"] == name)].dropna(subset="other_run")
            open_markers(facet, points["generation"], points["other_run"], sampler_look(name)[1])
        facet.set_xlabel(GENERATION)
        integer_ticks(facet, int(table["generation"].max()))
    first = table[(table["measure"] == PERPLEXITY.title) & (table["generation"] == 1)]["mean"].mean()
    axes[0].axhline(2 * first, **BARS)
    axes[0].set_ylim(None, max(1.05 * axes[0].get_ylim()[1], 2.2 * first))
    log_axis(axes[0])
    for facet, measure in zip(axes[1:], MEASURES[1:], strict=True):
        facet.set_ylim(0, None)
        inside(facet, measure)
    handles = [
        plt.Line2D([], [], label=f"penalty {penalty:g}" + (" (none)" if penalty == 1 else ""), **looks[keys[name]])
        for name, penalty in of.items()
    ]
    handles.append(plt.Line2D([], [], label="twice generation 1", **BARS))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    table.insert(4, "penalty", table["sampler"].map(of))
    table["twice_generation_1"] = (2 * first * (table["measure"] == PERPLEXITY.title)).replace(0, float("nan"))
    ends = " Lines end where their runs end." if table.groupby("sampler")["generation"].max().nunique() > 1 else ""
    other = f" Open circles: {OTHER_SOURCE}." if "other_run" in table and table["other_run"].notna().any() else ""
    caption = (
        f"Repetition penalties, {model(rows)}, {kept_name(kept(rows))}, after the ablation of {PAPER}: there a penalty "
        f"of 2.0 doubles perplexity; its code has 3.0. {measures_statement(MEASURES)} {start_statement(rows)} "
        f"{sampler_statement(rows)} {seeds_statement(table)}{cut_statement(table, MEASURES)}{ends} "
        f"{COUNTED}{other} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
