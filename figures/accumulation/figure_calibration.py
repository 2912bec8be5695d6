"""Which learning rate the paper may have used: learning curves of generation 1 against the published ones.

The paper does not say its learning rate. What to see: which candidate runs through the published points (open markers,
arXiv 2410.16713). Candidates stop early: early on, curves of different learning rates lie furthest apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from collapse.errors import DataError
from collapse.plotting import (
    CROSS_ENTROPY,
    Drawing,
    Inputs,
    base_recipes,
    curve_statement,
    data_statement,
    log_axis,
    model_name,
    model_names,
    only,
    open_markers,
    pick,
    settings,
    shades,
    style,
    summary,
)
from collapse.published import LEARNING, shown


def measured(rows: pd.DataFrame, curves: pd.DataFrame, published: dict) -> pd.DataFrame:
    """Return the points of each candidate's curve, beside the published ones, and its distance from them.

    Published points that no candidate has are rows without one. ``rms`` is the root mean square of the differences, in
    nats, over the published points that all candidates of the model have reached; ``points`` is their number.
    """
    bases = base_recipes(rows)
    names = model_names(rows[rows["recipe"].isin(set(bases.values()))])
    table = summary(curves, ["recipe", "fraction"], "cross_entropy").drop(columns=["low", "high"])
    seeds = rows.groupby("recipe")["seed"].nunique()
    table.insert(0, "learning_rate", table["recipe"].map(lambda r: settings(rows, "recipe", r)["learning_rate"]))
    parts = []
    for base, name in names.items():
        of_model = table[table["recipe"].map(bases) == base]
        for recipe in [r for r, b in bases.items() if b == base]:
            counts = set(of_model.loc[of_model["recipe"] == recipe, "n"])
            if counts != {seeds[recipe]}:
                raise DataError(f"learning curves are missing: {recipe} was fitted on {seeds[recipe]} seeds")
        paper = next((m for m in published if f"{base}_".startswith(f"{m}_")), None)
        values = of_model["fraction"].map(published.get(paper, {})).astype(float)
        everywhere = of_model.groupby("fraction")["recipe"].transform("nunique") == of_model["recipe"].nunique()
        square = ((of_model["mean"] - values) ** 2).where(everywhere).groupby(of_model["recipe"])
        rms, points = np.sqrt(square.transform("mean")), square.transform("count")
        of_model = of_model.assign(published=values, rms=rms, points=points)
        beyond = {f: v for f, v in published.get(paper, {}).items() if f not in set(of_model["fraction"])}
        ours = of_model.sort_values(["learning_rate", "recipe", "fraction"]).to_dict("records")
        theirs = [{"fraction": f, "n": 0, "published": v} for f, v in beyond.items()]
        model = name if paper is None else model_name(paper)
        parts += [{"model": model, **row} for row in (*ours, *theirs)]
    return pd.DataFrame(parts)


def facet_of(facet, table: pd.DataFrame, colours: dict, published: dict) -> None:
    """Draw the curves of a model's candidates, and the published points; the best candidate is the heavy line."""
    best = table["rms"].min()
    rates = table.drop_duplicates("recipe")["learning_rate"]
    for recipe, curve in table.groupby("recipe", sort=False):
        rate, rms = curve[["learning_rate", "rms"]].iloc[0]
        label = f"{rate:g}" + f" ({recipe})" * int((rates == rate).sum() > 1)
        label += "" if np.isnan(rms) else f": {rms:.3f}"
        look = {"marker": "o", "markersize": 3, "linewidth": 2.6 if rms == best else 1.2}
        facet.plot(curve["fraction"], curve["mean"], color=colours[rate], label=label, **look)
    known = table["rms"].notna().any()
    facet.legend(title="learning rate" + ": RMS distance" * int(known), loc="upper right", fontsize=8, title_fontsize=8)
    if published:
        open_markers(facet, list(published), list(published.values()), "black")
    facet.set(title=table["model"].iloc[0], xlabel="share of the schedule's steps", xscale="log")
    facet.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    facet.xaxis.set_major_formatter("{x:g}")
    facet.xaxis.set_minor_locator(NullLocator())


def verdict(table: pd.DataFrame) -> str:
    """Name the best candidate of each model, in a sentence; say so where there is nothing to compare with."""
    if table["rms"].isna().all():
        return "No published curve of these models on these data: there is nothing to compare with."
    said = []
    for model, curves in table.dropna(subset="rms").groupby("model", sort=False):
        best = curves.loc[curves["rms"].idxmin()]
        text = f"{model}: {best['learning_rate']:g} ({best['rms']:.3f} nats, {best['points']:.0f} points"
        ends = curves["learning_rate"].min(), curves["learning_rate"].max()
        edge = ends[0] < ends[1] and best["learning_rate"] in ends
        said.append(text + ("; at the end of the range, which may be too narrow)" if edge else ")"))
    return f"Nearest to the published points that all candidates of a model reached: {', '.join(said)}."


def draw(inputs: Inputs) -> Drawing:
    """Draw test cross-entropy of generation 1 against the share of the schedule: facets models, hue learning rates."""
    style()
    rows = pick(inputs.rows, generation=1).drop_duplicates(["recipe", "seed"])
    curves = pick(inputs.curves, generation=1, recipe=rows["recipe"].unique())
    curves = curves.drop_duplicates(["recipe", "seed", "fraction"])  # generation 1 is the same for all policies
    only(rows, "dataset")
    published = {model_name(m): (m, points) for m, points in shown(LEARNING, inputs.scale).items()}
    table = measured(rows, curves, dict(published.values()))

    models = list(table["model"].unique())
    figure, axes = plt.subplots(
        1, len(models), figsize=(0.6 + 3.5 * len(models), 3.6), sharey=True, layout="constrained", squeeze=False
    )
    colours = shades(table["learning_rate"].dropna().unique())
    for facet, model in zip(axes[0], models, strict=True):
        facet_of(facet, pick(table, model=model), colours, published.get(model, (model, {}))[1])
    log_axis(axes[0, 0])
    axes[0, 0].set_ylabel(CROSS_ENTROPY)
    beside = f"Open markers: {LEARNING.source}, {LEARNING.precision}. " if table["published"].notna().any() else ""
    counts = sorted(set(table.loc[table["n"] > 0, "n"]))
    seeds = "one seed each" if counts == [1] else f"mean over n = {' to '.join(map(str, counts))} seeds"
    caption = (
        "Candidates for the learning rate, which the paper does not give: learning curves of generation 1, "
        f"{curve_statement(rows, curves)}; {seeds}. {beside}{verdict(table)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
