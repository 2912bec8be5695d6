"""Test cross-entropy of language models against the generation, a facet per policy, a colour per model.

The layout of figures 2 and 8 of arXiv 2404.01413 and of the follow-up's figure (arXiv 2410.16713).
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.plotting import (
    CROSS_ENTROPY,
    GENERATION,
    Inputs,
    floor,
    integer_ticks,
    line,
    log_axis,
    look,
    model_colours,
    not_run,
    only,
    open_markers,
    over_generations,
    pick,
)

PALE = {"alpha": 0.5, "linewidth": 1, "linestyle": "-."}
KEY = ["dataset", "policy", "recipe"]


def measured(inputs: Inputs, rows: pd.DataFrame, published: Mapping, ragged: bool = False) -> pd.DataFrame:
    """Return mean, band and n of each curve, with the published values and the entropy of the source beside them.

    Args:
        inputs: what the script was given.
        rows: the rows to show, of one data set.
        published: (recipe, policy) -> {generation: value}. Generations that a curve does not reach, but another one of
            the figure does, are rows of their own; their mean is NaN and their n 0.
        ragged: see `over_generations`.

    Raises:
        DataError: a row is missing, or there are several data sets.
    """
    dataset = only(rows, "dataset")
    table = over_generations(rows, KEY, "cross_entropy", ragged)
    last, parts = table["generation"].max(), []
    for (_, policy, recipe), curve in table.groupby(KEY, sort=False):
        known = {n: v for n, v in published.get((recipe, policy), {}).items() if n <= last}
        beyond = pd.DataFrame({"generation": [n for n in known if n not in set(curve["generation"])]}, dtype="int64")
        if len(beyond):
            beyond = beyond.assign(dataset=dataset, policy=policy, recipe=recipe, n=0)
            curve = pd.concat([curve, beyond], ignore_index=True)
        parts.append(curve.assign(published=curve["generation"].map(known).astype(float)))
    entropy = inputs.facts.get(dataset, {}).get("source_entropy")
    return pd.concat(parts, ignore_index=True).assign(source_entropy=np.nan if entropy is None else entropy)


def facets(
    table: pd.DataFrame,
    policies: list[str],
    names: Mapping[str, str],
    *,
    log: bool = False,
    pale: tuple[str, pd.DataFrame] | None = None,
) -> tuple[plt.Figure, str]:
    """Draw a facet per policy; all share y.

    Args:
        table: of `measured`.
        policies: in the order of the facets.
        names: recipe -> name of each model, in the order of the legend.
        log: whether y is logarithmic.
        pale: name and table of what is drawn with thin pale lines behind the first.

    Returns:
        The figure, and the caption's sentences about what is drawn of the true source, and what was not run.

    Raises:
        DataError: no model has a policy.
    """
    known, entropy = table["published"].notna().any(), table["source_entropy"].iloc[0]
    figure, axes = plt.subplots(
        1, len(policies), figsize=(1.6 + 3.3 * len(policies), 3.3), sharex=True, sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    colours, last = model_colours(list(names)), int(table["generation"].max())
    size = 4 if last <= 15 else 2.2  # of markers
    for facet, policy in zip(axes[0], policies, strict=True):
        here = pick(table, policy=policy)
        for recipe, colour in colours.items():
            curve = here[here["recipe"] == recipe]
            if curve.empty:
                continue
            if pale is not None:
                behind = pale[1][(pale[1]["policy"] == policy) & (pale[1]["recipe"] == recipe)]
                facet.plot(behind["generation"], behind["mean"], color=colour, **PALE)
            line(facet, curve[curve["n"] > 0], "generation", color=colour, markersize=size)
            if curve["published"].notna().any():
                points = curve.dropna(subset="published").sort_values("generation")
                open_markers(facet, points["generation"], points["published"], colour)
        facet.set(title=look(policy)[0], xlabel=GENERATION)
        integer_ticks(facet, last)
    if log:
        log_axis(axes[0, 0])
    axes[0, 0].set_ylabel(CROSS_ENTROPY)
    handles = [plt.Line2D([], [], color=colours[r], marker="o", markersize=4, label=name) for r, name in names.items()]
    if known:
        empty = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linestyle": ":", "linewidth": 0.8}
        handles.append(plt.Line2D([], [], color="0.5", label="published", **empty))
    if pale is not None:
        handles.append(plt.Line2D([], [], color="0.4", label=pale[0], **PALE))
    figure.legend(handles=handles, title="model", loc="outside right center")
    return figure, floor(axes[0], entropy) + not_run(table, names)
