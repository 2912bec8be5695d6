"""Figure 3 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): learning curves.

What to see: under replace the curves of later generations level off higher, from early on; the gap is no artefact of
the end of training. Under accumulate they end at the same level, or lower; fits are longer there from generation to
generation, so that their curves drop sooner on this axis.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import (
    CROSS_ENTROPY,
    Drawing,
    Inputs,
    chosen,
    curve_statement,
    data_statement,
    log_axis,
    look,
    model_names,
    only,
    open_markers,
    ordered,
    pick,
    style,
    summary,
    training_statement,
    until,
)
from collapse.published import LEARNING, shown


def draw(inputs: Inputs, policies=None, last: int | None = None) -> Drawing:
    """Draw test cross-entropy against the share of a fit's steps: rows policies, columns models, hue generations."""
    style()
    policies = chosen(inputs.rows, policies)
    rows, curves = (until(pick(part, policy=policies), last) for part in (inputs.rows, inputs.curves))
    _, sampler, _ = (only(curves, column) for column in ("dataset", "sampler", "selector"))
    table = measured(rows, curves)
    known = {(r, f): v for r, points in shown(LEARNING, inputs.scale).items() for f, v in points.items()}
    keys = zip(table["generation"], zip(table["recipe"], table["fraction"], strict=True), strict=True)
    table["published"] = [known.get(key, np.nan) if n == 1 else np.nan for n, key in keys]

    names, longest = model_names(rows), int(table["generation"].max())
    shades = [plt.get_cmap("copper")(0.95 * (n - 1) / max(longest - 1, 1)) for n in range(1, longest + 1)]
    wide = 3.9 if len(names) < 3 else 3.0
    figure, axes = plt.subplots(
        len(policies), len(names), figsize=(1.2 + wide * len(names), 2.7 * len(policies)), sharex=True, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, policy in zip(axes, policies, strict=True):
        for facet, (recipe, name) in zip(row, names.items(), strict=True):
            facet.set_title(f"{look(policy)[0]}, {name}")
            here = table[(table["policy"] == policy) & (table["recipe"] == recipe)]
            if here.empty:
                facet.text(0.5, 0.5, "not run", transform=facet.transAxes, ha="center", fontsize=9, color="0.6")
            for n, curve in here.groupby("generation"):
                look_of = {"color": shades[n - 1], "linewidth": 1.5, "marker": "o", "markersize": 2.5}
                facet.plot(curve["fraction"], curve["mean"], label=n, **look_of)
            points = here.dropna(subset="published")
            if len(points):
                open_markers(facet, points["fraction"], points["published"], shades[0])
    log_axis(axes[0, 0])  # the others share it
    for facet in axes[-1]:
        facet.set_xlabel("share of the fit's own steps")
    figure.supylabel(CROSS_ENTROPY, fontsize=9)
    handles = [plt.Line2D([], [], color=shade) for shade in shades]
    figure.legend(handles, range(1, longest + 1), title="generation n", loc="outside right center")
    seeds = _seeds(table, names)
    beside = f" Open markers: generation 1 in {LEARNING.source}, {LEARNING.precision}."
    caption = (
        f"Learning curves, after figure 3 of arXiv 2404.01413, {curve_statement(rows, curves)}; "
        f"sampler {sampler}. Mean over {seeds}, no bands.{beside * int(table['published'].notna().any())} "
        f"Optimiser steps: {_steps(table, names)}; where they grow, curves drop sooner on this axis. "
        f"{training_statement(rows)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)


def measured(rows: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each point of each curve, with its step."""
    by = ["dataset", "policy", "recipe", "generation"]
    table = summary(curves, [*by, "fraction"], "cross_entropy").drop(columns=["low", "high"])
    steps = curves.groupby([*by, "fraction"], sort=False, observed=True)["step"].mean().reset_index()
    table = ordered(table.merge(steps, on=[*by, "fraction"], validate="one_to_one"), by, "fraction")
    _complete(rows, table, by)
    return table


def _complete(rows: pd.DataFrame, table: pd.DataFrame, by: list[str]) -> None:
    """Raise DataError where the curve of a fit, a point of it or a seed is missing."""
    fits = rows.groupby(by, sort=False, observed=True).size()
    found = table.groupby(by, sort=False, observed=True)["n"].agg(["min", "max"])
    for fit, seeds in fits.items():
        if fit not in found.index or set(found.loc[fit]) != {seeds}:
            raise DataError(
                f"learning curves are missing: {dict(zip(by, fit, strict=True))} was fitted on {seeds} seeds"
            )


def _seeds(table: pd.DataFrame, names: dict[str, str]) -> str:
    """Say over how many seeds curves are averaged, for each model where models differ."""
    counts = table.groupby("recipe", sort=False)["n"].agg(lambda n: " to ".join(map(str, sorted(set(n)))))
    if counts.nunique() == 1:
        return f"n = {counts.iloc[0]} seeds"
    of = {n: [names[recipe] for recipe in group.index] for n, group in counts.groupby(counts, sort=False)}
    return "seeds, " + "; ".join(f"n = {n} for {', '.join(models)}" for n, models in of.items())


def _steps(table: pd.DataFrame, names: dict[str, str]) -> str:
    """Say how many optimiser steps the fits take."""
    said: dict[str, list[str]] = {}
    whole = table.groupby(["policy", "recipe", "generation"], sort=False)["step"].max()
    for (policy, recipe), steps in whole.groupby(["policy", "recipe"], sort=False):
        first, end = steps.iloc[0], steps.iloc[-1]
        text = f"{look(policy)[0]} {first:g}" + f" (generation 1) to {end:g} (last)" * bool(end != first)
        said.setdefault(text, []).append(names[recipe])
    several = len(said) > table["policy"].nunique()  # models differ
    return "; ".join(text + f" ({', '.join(models)})" * several for text, models in said.items())
