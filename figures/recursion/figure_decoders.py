"""Decoders, and where prompts come from. Not in the paper, which generates by beam search from real prompts.

Beam search does not draw from the model, it looks for what is most likely: what one sees of a chain is then a bias of
decoding and not the statistical error of finite samples alone. At temperature 1 there is no such bias. What to look
for, on top: how much of the loss is left without it. Below: whether real prompts, which put real text into each
generation, hold a chain back; with synthetic ones it has no such anchor.
"""

import matplotlib.pyplot as plt
import pandas as pd

from collapse.errors import DataError
from collapse.finetuned import (
    COUNTED,
    COVERAGE,
    DISTINCT,
    ENTROPY,
    PAPER,
    PERPLEXITY,
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
    unmarked,
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
    pick,
    seeds_statement,
    settings,
    style,
    until,
)

MEASURES = (PERPLEXITY, DISTINCT, ENTROPY, COVERAGE)
DECODERS, PROMPTS = "decoders, real prompts", "prompts"


def arms(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the samplers of each row of panels: decoders on real prompts; and each pair that differs in prompts alone.

    Raises:
        DataError: a sampler on synthetic prompts has no twin on real ones, or there is nothing to compare.
    """
    entries = {name: dict(settings(rows, "sampler", name)) for name in rows["sampler"].unique()}
    source = {name: entry.pop("prompts", "real") for name, entry in entries.items()}
    real = [name for name in entries if source[name] == "real"]
    pairs: list[str] = []
    for name in (n for n in entries if source[n] != "real"):
        twins = [n for n in real if entries[n] == entries[name]]
        if not twins:
            raise DataError(f"{name} has no counterpart on real prompts: add the cells of its sampler to the figure")
        pairs += [twins[0], name]
    found = {DECODERS: real, PROMPTS: list(dict.fromkeys(pairs))}
    if len(real) < 2:
        raise DataError(f"the figure compares decoders, its rows hold {', '.join(entries)}")
    return {panel: names for panel, names in found.items() if names}


def draw(inputs: Inputs, last: int | None = None) -> Drawing:
    """Draw test perplexity and diversity: a line per decoder; below, real against synthetic prompts."""
    style()
    rows = until(pick(inputs.rows), last)
    only(rows, "dataset"), only(rows, "recipe"), only(rows, "policy"), only(rows, "selector")
    shown, found, keys = arms(rows), measured(rows, MEASURES), {key[-1]: key for key in series(rows)}
    table = pd.concat(
        [found[found["sampler"].isin(names)].assign(panel=panel) for panel, names in shown.items()], ignore_index=True
    )
    figure, axes = plt.subplots(
        len(shown), len(MEASURES), figsize=(12.6, 0.6 + 2.7 * len(shown)), sharex=True, sharey="col", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (panel, names) in zip(axes, shown.items(), strict=True):
        looks = {keys[name]: dict(zip(("color", "marker"), sampler_look(name)[1:], strict=True)) for name in names}
        for facet, measure in zip(row, MEASURES, strict=True):
            draw_lines(facet, table[table["panel"] == panel], measure, looks)
            integer_ticks(facet, int(table["generation"].max()))
            if facet not in axes[0]:  # titles stand above the first row alone
                for side in ("left", "right"):
                    facet.set_title("", loc=side)
        other = [name for name in names if settings(rows, "sampler", name).get("prompts", "real") != "real"]
        labels = {n: sampler_look(n)[0] + (", real prompts" if other and n not in other else "") for n in names}
        handles = [plt.Line2D([], [], label=labels[keys_[-1]], **look) for keys_, look in looks.items()]
        row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), title=panel, alignment="left")
    for facet in axes[-1]:
        facet.set_xlabel(GENERATION)
    log_axis(axes[0, 0])
    for column, measure in zip(axes.T[1:], MEASURES[1:], strict=True):
        for facet in column:
            facet.set_ylim(0, None)
            inside(facet, measure)
    ends = " Lines end where their runs end." if table.groupby("sampler")["generation"].max().nunique() > 1 else ""
    below = " Below: the same decoder on real and on synthetic prompts." if PROMPTS in shown else ""
    mark = ", but for the mark that begins each line, which real blocks hold and no decoder draws" * unmarked(rows)
    caption = (
        f"Decoders and prompts, {model(rows)}, {kept_name(kept(rows))}. {PAPER} generates by five-way beam search from "
        "real prompts alone; the other lines are not in the paper. At temperature 1 blocks are drawn from the model "
        f"itself{mark}: what is lost there is lost to finite samples and imperfect fits, the distance to the other "
        f"decoders is their bias.{below} {measures_statement(MEASURES)} {start_statement(rows)} "
        f"{sampler_statement(rows)} {seeds_statement(table)}{cut_statement(table, MEASURES)}{ends} {COUNTED} "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
