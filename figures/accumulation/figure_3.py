"""Figure 3 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): learning curves.

What to see: under replace the curves of later generations level off higher, from early on; the gap is no artefact of
the end of training. Under accumulate they end at the same level, or lower; fits are longer there from generation to
generation, so that their curves drop sooner on this axis.
"""

import matplotlib.pyplot as plt

from collapse.errors import DataError
from collapse.plotting import (
    CROSS_ENTROPY,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    log_axis,
    look,
    model_name,
    only,
    ordered,
    pick,
    style,
    summary,
    training_statement,
)


def draw(inputs: Inputs, policies=None) -> Drawing:
    """Draw test cross-entropy against the share of a fit's steps: rows policies, columns models, hue generations."""
    style()
    policies = chosen(inputs.rows, policies)
    rows, curves = pick(inputs.rows, policy=policies), pick(inputs.curves, policy=policies)
    _, sampler, _ = (only(curves, column) for column in ("dataset", "sampler", "selector"))
    by = ["dataset", "policy", "recipe", "generation"]
    table = summary(curves, [*by, "fraction"], "cross_entropy").drop(columns=["low", "high"])
    steps = curves.groupby([*by, "fraction"], sort=False, observed=True)["step"].mean().reset_index()
    table = ordered(table.merge(steps, on=[*by, "fraction"], validate="one_to_one"), by, "fraction")
    _complete(rows, table, by)

    models, last = list(curves["recipe"].unique()), int(table["generation"].max())
    shades = [plt.get_cmap("copper")(0.95 * (n - 1) / max(last - 1, 1)) for n in range(1, last + 1)]
    figure, axes = plt.subplots(
        len(policies), len(models), figsize=(1.2 + 3.9 * len(models), 2.7 * len(policies)), sharex=True, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, policy in zip(axes, policies, strict=True):
        for facet, model in zip(row, models, strict=True):
            here = pick(table[table["policy"] == policy], recipe=model)
            for n, curve in here.groupby("generation"):
                look_of = {"color": shades[n - 1], "linewidth": 1.5, "marker": "o", "markersize": 2.5}
                facet.plot(curve["fraction"], curve["mean"], label=n, **look_of)
            facet.set_title(f"{look(policy)[0]}, {model_name(model)}")
            log_axis(facet)
    for facet in axes[-1]:
        facet.set_xlabel("share of the fit's own optimiser steps")
    figure.supylabel(CROSS_ENTROPY, fontsize=9)
    handles = [plt.Line2D([], [], color=shade) for shade in shades]
    figure.legend(handles, range(1, last + 1), title="generation n", loc="outside right center")
    seeds = " to ".join(str(n) for n in sorted({table["n"].min(), table["n"].max()}))
    caption = (
        "Learning curves, after figure 3 of arXiv 2404.01413, on the part of the real test set kept for them; sampler "
        f"{sampler}. Mean over n = {seeds} seeds, no bands. A fit's steps: {_steps(table)}; where they grow, curves "
        f"drop sooner on this axis. {training_statement(rows)} "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)


def _complete(rows, table, by: list[str]) -> None:
    """Raise DataError where the curve of a fit, a point of it or a seed is missing."""
    fits = rows.groupby(by, sort=False, observed=True).size()
    found = table.groupby(by, sort=False, observed=True)["n"].agg(["min", "max"])
    for fit, seeds in fits.items():
        if fit not in found.index or set(found.loc[fit]) != {seeds}:
            raise DataError(
                f"learning curves are missing: {dict(zip(by, fit, strict=True))} was fitted on {seeds} seeds"
            )


def _steps(table) -> str:
    """Say how many optimiser steps the fits take."""
    said: dict[str, list[str]] = {}
    whole = table.groupby(["policy", "recipe", "generation"], sort=False)["step"].max()
    for (policy, recipe), steps in whole.groupby(["policy", "recipe"], sort=False):
        first, end = steps.iloc[0], steps.iloc[-1]
        text = f"{look(policy)[0]} {first:g}" + f" (generation 1) to {end:g} (last)" * bool(end != first)
        said.setdefault(text, []).append(model_name(recipe))
    several = len(said) > table["policy"].nunique()  # models differ
    return "; ".join(text + f" ({', '.join(names)})" * several for text, names in said.items())
