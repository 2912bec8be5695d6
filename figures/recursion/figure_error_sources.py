"""The three errors of Shumailov et al., Nature 631 (2024), each alone; the paper names them and has no such figure.

What to see: too few items do harm in every generation, the more the fewer they are. A model that cannot represent the
data does nearly all its harm in generation 1: what comes after it, it can represent, and its error changes by little.
An optimiser that stops early does more harm in every generation, even where its batches have no end: each fit ends on
the way from the initial weights to its predecessor, and the chain goes back to where it started.
"""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.families import sgd as family
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    line,
    only,
    over_generations,
    pick,
    shades,
    style,
    until,
)
from collapse.quantiles import DASHED, with_size
from collapse.theory import gaussian, sgd

LABEL = "KL divergence from the truth (nats per item)"
TITLES = {
    "statistical": "statistical: N items",
    "expressivity": "expressivity: K components",
    "change": "the same: change since n = 1",
    "approximation": "approximation: K steps on a stream",
}
NAMES = {"statistical": "N = {:,.0f}", "expressivity": "K = {:.0f}", "change": "K = {:.0f}"}
NAMES["approximation"] = "K = {:.0f} steps"
LIMIT = {"linestyle": ":", "linewidth": 1.2}
"""How gradient descent on batches without end is drawn."""


def statistical(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean KL divergence and its exact expectation by number of items N and generation."""
    rows = with_size(pick(pick(rows, family="gaussian", policy="replace", d=1), ddof=0))
    found = over_generations(rows, ["N"], "kl_divergence").rename(columns={"N": "value"})
    for size, curve in found.groupby("value"):
        found.loc[curve.index, "theory"] = gaussian.kl(len(curve), int(size), ddof=0)
    return found


def expressivity(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return mean excess NLL by number of components and generation, and its mean change since generation 1.

    The former's interval is between chains, each of its own real points; the latter's, of differences within a chain.
    """
    rows = pick(pick(rows, family="mixture"), policy="replace")
    only(with_size(rows), "N")
    level = over_generations(rows, ["components"], "excess_nll").rename(columns={"components": "value"})
    chain = ["dataset", "components", "seed"]
    first = rows[rows["generation"] == 1].set_index(chain)["excess_nll"].rename("first")
    later = rows.join(first, on=chain)
    change = over_generations(later.assign(change=later["excess_nll"] - later["first"]), ["components"], "change")
    return level, change.rename(columns={"components": "value"})


def descents(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of gradient descent with all settings of the family, its own where a recipe sets none."""
    rows = pick(rows, family="sgd")
    default = asdict(family.Config())
    return rows.assign(**{name: rows.get(name, pd.Series(np.nan, rows.index)).fillna(v) for name, v in default.items()})


def approximation(rows: pd.DataFrame, mean: float, sd: float) -> pd.DataFrame:
    """Return mean KL divergence by number of steps K and generation, its expectation to order 1/B and at B = infinity.

    Raises:
        DataError: the rows are of real data with another mean or standard deviation.
    """
    rows = pick(rows, policy="stream")
    if not np.allclose([abs(rows["mean"] - mean), abs(rows["sd"] - sd)], [rows["mean_error"], rows["sd_error"]]):
        raise DataError("the figure's options `mean` and `sd` are not those of its real data: set them to its entry")
    found = over_generations(rows, ["steps"], "kl_divergence").rename(columns={"steps": "value"})
    batch, rate = (only(rows, column) for column in ("batch", "learning_rate"))
    for steps, curve in found.groupby("value"):
        for name, size in (("theory", batch), ("limit", np.inf)):
            found.loc[curve.index, name] = sgd.descent(len(curve), int(steps), size, rate, mean, sd).kl
    return found


def draw(inputs: Inputs, last: int = 20, mean: float = 0.0, sd: float = 1.0) -> Drawing:
    """Draw the error by generation, to ``last``: panels are its sources, colours sizes, components and steps.

    Args:
        inputs: rows of the families gaussian, mixture and sgd.
        last: generations shown.
        mean, sd: of the real data of the family sgd.
    """
    style()
    rows = pick(inputs.rows)
    rows = until(rows, min(last, int(rows.groupby("family")["generation"].max().min())))
    level, change = expressivity(rows)
    found = {"statistical": statistical(rows), "expressivity": level, "change": change}
    found["approximation"] = approximation(descents(rows), mean, sd)
    figure, axes = plt.subplots(1, 4, figsize=(12.6, 3.7), sharex=True, layout="constrained")
    for facet, (source, table) in zip(axes, found.items(), strict=True):
        for value, colour in shades(table["value"].unique()).items():
            curve = pick(table, value=value)
            line(facet, curve, "generation", NAMES[source].format(value), color=colour, marker="", linewidth=2)
            if "theory" in curve:
                facet.plot(curve["generation"], curve["theory"], **DASHED)
            if "limit" in curve:
                facet.plot(curve["generation"], curve["limit"], color=colour, **LIMIT)
        facet.set(title=TITLES[source], xlabel=GENERATION)
    shown = pd.concat([t.assign(source=s) for s, t in found.items()], ignore_index=True)
    levels = shown[shown["source"] != "change"]
    least = levels[["mean", "limit"]].min().min()
    for facet, source in zip(axes, found, strict=True):
        if source != "change":
            facet.set(yscale="log", ylim=(0.4 * least, 3 * levels["mean"].max()))
        facet.legend(loc="best" if source == "change" else "lower right", fontsize=8)
    axes[0].set_ylabel(LABEL)
    axes[2].axhline(0, color="0.6", linewidth=0.8, zorder=1)
    integer_ticks(axes[0], int(shown["generation"].max()))
    steps, modes = descents(rows), with_size(pick(rows, family="mixture"))
    seeds = ", ".join(str(table["n"].min()) for table in found.values())
    batch = int(only(steps, "batch"))
    caption = (
        "The three sources of error that Shumailov et al., Nature 631 (2024), name, each alone, under Replace. Left: a "
        "Gaussian fitted by maximum likelihood to N items of its predecessor. Middle: a mixture of K Gaussians fitted "
        f"to {int(only(modes, 'N')):,} points of three modes, so many that chance adds little; NLL of fresh real "
        "points above that of the true density, and what it has changed by since generation 1 of the same chain, on a "
        "linear axis of its own. Each chain has its own centres and real points: the band of the levels is the "
        "spread between them, that of the changes what the loop adds. Right: mean and log standard deviation of a "
        f"Gaussian fitted by K steps of gradient descent from N(0, 1), rate {only(steps, 'learning_rate'):g}, each on "
        f"B = {batch} new items of its predecessor: K B new items in all, whose noise is in the theory; real data: "
        f"N({mean:g}, {sd:g}^2). Lines: mean over seeds (n = {seeds} from left to right), bands: 95 % t interval of "
        "the mean. Dashed: theory, exact on the left, to order 1/B on the right; dotted: B = infinity, the early stop "
        f"alone. {data_statement(inputs)}"
    )
    return Drawing(figure, shown[["source", *(c for c in shown if c != "source")]], caption)
