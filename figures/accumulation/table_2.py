"""Table 2 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): other settings.

What to see: at a low temperature, with less data, with more passes over them, or after a worse first model, replace
still gets worse from generation to generation, and accumulate does not. Replace-Multiple trains on as many items as
accumulate does, all of them synthetic and of the newest model: its loss still grows. The rows at equal optimiser steps
are not in the paper: they tell more data from longer training.
"""

from fractions import Fraction

import matplotlib.pyplot as plt
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import (
    Drawing,
    Inputs,
    base_recipes,
    data_statement,
    look,
    model_names,
    only,
    pick,
    settings,
    style,
    summary,
    training_statement,
)
from collapse.published import TABLE_2, shown

SIZE, ROW, SECOND = 8.5, 17, 10  # points: font, height of a line of cells, of the grey line below it
LEFT, COLUMN, PAD = 190, 112, 6  # points: width of the first column and of the others, margin inside a cell
# column -> the policy that it shows
COLUMNS = {"first": None, "accumulate": "accumulate", "replace": "replace", "late": "replace"}
COLUMNS["multiple"] = "replace_multiple"
BASE, STEPS = "base", "equal optimiser steps"
SHOWN = ("policy", "generation", "mean", "low", "high", "n")
UNLIKE = ("evaluations", "checkpoint_minutes", "device")  # settings of a recipe that change no result


def changes(recipe: dict, base: dict) -> list[str]:
    """Say what a recipe changes against another one of the same model."""
    said = []
    passes = recipe.get("epochs") or 1
    for key in sorted({*recipe, *base} - set(UNLIKE)):
        value = recipe.get(key)
        if value == base.get(key):
            continue
        if key == "epochs" and value and base.get(key):
            said.append(f"{value / base[key]:g} × the passes")
        elif key == "first_epochs" and value:
            said.append(f"generation 1: {value / passes:.3g} × the steps")
        else:
            said.append(f"{key} {value}")
    return said


def describe(rows: pd.DataFrame, row, base) -> str:
    """Say what a row of the table changes against the first one of its model."""
    said = []
    if row.sampler != base.sampler:
        heat = settings(rows, "sampler", row.sampler).get("temperature")
        said.append(row.sampler if heat is None else f"temperature {heat:g}")
    if row.dataset != base.dataset:
        first = rows[rows["generation"] == 1]
        sizes = [only(first[first["dataset"] == part], "items") for part in (row.dataset, base.dataset)]
        share = Fraction(int(sizes[0]), int(sizes[1])).limit_denominator(20)
        said.append(f"{share} of the data" if share != 1 else row.dataset)
    if row.recipe != base.recipe:
        said += changes(settings(rows, "recipe", row.recipe), settings(rows, "recipe", base.recipe))
    return ", ".join(said) or (BASE if row == base else row.recipe)


def value(rows: pd.DataFrame, policy: str | None, t: int, exact: bool = False) -> dict:
    """Return a cell: mean, interval and n at generation ``t``, or the last one where the runs are shorter.

    An empty cell, {}, where there are no runs; with ``exact``, also where they are shorter. Generation 1 is the same
    for all policies (``policy`` None).
    """
    rows = rows.drop_duplicates(["seed", "generation"]) if policy is None else rows[rows["policy"] == policy]
    generation = min(t, rows["generation"].max()) if len(rows) else 0
    if not len(rows) or (exact and generation < t):
        return {}
    found = summary(rows[rows["generation"] == generation], ["generation"], "cross_entropy").iloc[0]
    return {"policy": policy or "real", **found.to_dict(), "n": int(found["n"]), "generation": int(generation)}


def measured(rows: pd.DataFrame, scale: str, t: int, last: int) -> pd.DataFrame:
    """Return a row per cell of the table; empty cells have no mean."""
    bases, out = base_recipes(rows), []
    known = shown(TABLE_2, scale) if (t, last) == (4, 10) else {}
    names = model_names(rows[rows["recipe"].isin(set(bases.values()))])
    keys = rows[["dataset", "recipe", "sampler"]].drop_duplicates()
    for base, model in names.items():
        of_model = list(keys[keys["recipe"].map(bases) == base].itertuples(index=False))
        for row in of_model:
            here = pick(pick(pick(rows, dataset=row.dataset), recipe=row.recipe), sampler=row.sampler)
            label = describe(rows, row, of_model[0])
            for column, policy in COLUMNS.items():
                generation = {"first": 1, "late": last}.get(column, t)
                cell = value(here, policy, generation, exact=column in ("first", "late"))
                cell["published"] = known.get((base, label), {}).get(column)
                out.append({"model": model, **row._asdict(), "setting": label, "column": column, **cell})
            equal = {c: value(here, f"{p}_steps", t) for c, p in COLUMNS.items() if p and c != "late"}
            if any(equal.values()):
                name = STEPS if label == BASE else f"{label}, {STEPS}"
                cells = [
                    {"model": model, **row._asdict(), "setting": name, "column": c, **equal.get(c, {})} for c in COLUMNS
                ]
                out += cells
    table = pd.DataFrame(out).reindex(columns=["model", "setting", *keys.columns, "column", *SHOWN, "published"])
    return table.assign(
        published_is=table["published"].astype(float).map(lambda v: None if pd.isna(v) else "recollected")
    )


def heading(column: str, t: int, last: int) -> tuple[str, str, str]:
    """Return the two lines above a column and their colour."""
    if column == "first":
        return "t = 1", "real data", "0.2"
    name, colour, _ = look(COLUMNS[column])
    return f"t = {last if column == 'late' else t}", name, colour


def write(axes, cell, x: float, y: float, wanted: int) -> bool:
    """Write a cell with its left edge at ``x``, the middle of its line at ``y``; return whether it has a second one."""
    middle, below = {"va": "center_baseline", "fontsize": SIZE}, []
    if pd.isna(cell["mean"]):
        # replace always trains on N items: the runs of the row above are those at equal steps
        above = cell["setting"].endswith(STEPS) and cell["column"] in ("first", "replace", "late")
        axes.text(x + PAD, y, "as above" if above else "–", color="0.6", **middle)
    else:
        half = "" if pd.isna(cell["low"]) else f" ± {cell['mean'] - cell['low']:.3f}"
        axes.text(x + PAD, y, f"{cell['mean']:.3f}{half}", color="0.1", **middle)
        small = {**middle, "fontsize": SIZE - 2}
        axes.text(x + COLUMN - PAD, y, f"n = {cell['n']:.0f}", color="0.5", ha="right", **small)
        below += [f"t = {cell['generation']:.0f}"] * (cell["generation"] != wanted)
    below += [] if pd.isna(cell["published"]) else [f"≈ {cell['published']:.2f} recollected"]
    axes.text(x + PAD, y + SECOND, ", ".join(below), color="0.5", **{**middle, "fontsize": SIZE - 1})
    return bool(below)


def draw(inputs: Inputs, t: int = 4, last: int = 10) -> Drawing:
    """Set test cross-entropies side by side: rows models and their settings, columns policies at ``t`` or ``last``."""
    style()
    rows = pick(inputs.rows)
    only(rows, "selector")
    if not 1 < t < last:
        raise DataError(f"the table shows generations 1 < t < last, got t = {t} and last = {last}")
    table = measured(rows, inputs.scale, t, last)
    if table["mean"].isna().all():
        raise DataError("the table needs rows of replace, accumulate or replace_multiple: add their cells to it")

    width = LEFT + COLUMN * len(COLUMNS)
    figure = plt.figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for i, column in enumerate(COLUMNS):
        when, name, colour = heading(column, t, last)
        bold = {"fontsize": SIZE + 1, "fontweight": "bold", "color": colour, "va": "center_baseline"}
        axes.text(LEFT + i * COLUMN + PAD, 9, when, **bold)
        axes.text(LEFT + i * COLUMN + PAD, 22, name, **bold)
    y = 34.0
    for (model, setting), cells in table.groupby(["model", "setting"], sort=False):
        heavy = setting == BASE
        axes.plot([0, width], [y, y], color="0.4" if heavy else "0.87", linewidth=1 if heavy else 0.6)
        text = {"fontsize": SIZE, "va": "center_baseline"}
        if heavy:
            axes.text(4, y + ROW / 2, model, fontweight="bold", **text)
        else:
            axes.text(14, y + ROW / 2, setting, **text)
        second = False
        for i, (_, cell) in enumerate(cells.iterrows()):
            wanted = {"first": 1, "late": last}.get(cell["column"], t)
            second |= write(axes, cell, LEFT + i * COLUMN, y + ROW / 2, wanted)
        y += ROW + SECOND * second
    axes.plot([0, width], [y, y], color="0.4", linewidth=1)
    axes.set(xlim=(0, width), ylim=(y + 2, 0))
    figure.set_size_inches(width / 72, (y + 2) / 72)
    early = (table["column"] != "late") & table["generation"].between(2, t - 1)
    ends = f" Grey t: runs that end before generation {t}, at their last one." if early.any() else ""
    known = table["published"].notna().any()
    beside = f" Grey, ≈: {TABLE_2.source}, {TABLE_2.precision}." if known else ""
    caption = (
        "Cross-entropy on real test data (nats per token) at generation t, after table 2 of arXiv 2404.01413: mean "
        "over n seeds ± half the width of its 95 % t interval. Below each model: what differs from its first row. –: "
        f"not run.{ends} At equal optimiser steps replace has the same runs, since it always trains on N items."
        f"{beside} {training_statement(rows)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
