"""Figure S7 of Shumailov et al. (figure 7 of arXiv 2305.17493): how far recursively fitted mixtures are from the start.

What to see: the distance grows by orders of magnitude as components narrow, and ten times the items postpone it about
ten times. It ends at a level that is no property of the loop but of the software: scikit-learn adds ``reg_covar``,
1e-6, to each variance after each iteration of EM. A round Gaussian on m points loses about 2.5 / m of its variance in a
generation, and comes to rest where that is reg_covar. With a smaller reg_covar the distance grows on. With a tenth of
real data it never leaves the neighbourhood of the first fit.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from collapse.errors import DataError
from collapse.families import mixture as family
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    line,
    look,
    only,
    open_markers,
    over_generations,
    pick,
    seeds_statement,
    shades,
    style,
    until,
)
from collapse.theory import mixture as theory

PUBLISHED = {500: 7e2, 1000: 2e2, 10_000: 4e-1, 50_000: 1e-3, 200_000: 5e-4}
"""T -> squared L2 distance at about generation 2050, read off the plot in the authors' notebook."""
PUBLISHED_AT = 2050
DOTTED = (0, (2, 6))


def distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with log10 of the distance to the truth, and to the first fit of the chain (NaN for itself).

    Raises:
        DataError: a chain lacks its first generation.
    """
    key = ["dataset", "recipe", "policy", "T", "seed"]
    rows = rows.dropna(axis="columns", how="all")
    first = rows[rows["generation"] == 1].drop_duplicates(key).set_index(key)
    place = first.index.get_indexer(pd.MultiIndex.from_frame(rows[key]))
    if (place < 0).any():
        raise DataError("a chain of the figure has no generation 1: delete its rows and run again")
    found = theory.squared_l2(theory.of_columns(rows), theory.of_columns(first.iloc[place]))
    nearest = np.finfo(float).tiny
    return rows.assign(
        log10_l2=np.log10(np.maximum(rows["l2"], nearest)),
        log10_first=np.log10(np.where(rows["generation"] > 1, np.maximum(found, nearest), 1)),
    )


def regularised(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a column ``reg_covar``, the family's default where a recipe sets none."""
    default = family.Config().reg_covar
    return rows.assign(reg_covar=rows["reg_covar"].fillna(default) if "reg_covar" in rows else default)


def draw(inputs: Inputs, T=None, last: int | None = None, policies=None) -> Drawing:
    """Draw the distance against the generation, to ``last``: panels are policies and recipes, colours sizes T."""
    style()
    policies = chosen(inputs.rows, policies)
    rows = pick(until(inputs.rows, last), policy=policies, **({} if T is None else {"T": T}))
    rows, by = distances(regularised(rows)), ["policy", "recipe", "reg_covar", "T"]
    shape = only(rows, "shape")
    table = over_generations(rows, by, "log10_l2")
    to_first = over_generations(rows, by, "log10_first")
    table["to_first"] = np.where(to_first["generation"] > 1, to_first["mean"], np.nan)

    colours = shades(table["T"].unique())
    panels = list(table.groupby(["policy", "recipe", "reg_covar"], sort=False, observed=True))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(2.0 + 2.9 * len(panels), 3.7), sharey=True, squeeze=False, layout="constrained"
    )
    published, regs = False, table["reg_covar"].nunique()
    for facet, ((policy, _, reg_covar), here) in zip(axes[0], panels, strict=True):
        for size, curve in here.groupby("T"):
            colour = colours[size]
            powers = curve.assign(**{c: 10 ** curve[c] for c in ("mean", "low", "high")})
            line(facet, powers, "generation", color=colour, marker="", linewidth=2.2)
            facet.plot(curve["generation"], 10 ** curve["to_first"], color="black", linestyle=DOTTED, linewidth=0.8)
            reaches = curve["generation"].max() >= 0.9 * PUBLISHED_AT and reg_covar == family.Config().reg_covar
            if policy == "replace" and size in PUBLISHED and reaches:
                open_markers(facet, [PUBLISHED_AT], [PUBLISHED[size]], colour)
                published = True
        facet.set_title(look(policy)[0] + (f", reg_covar {reg_covar:g}" if regs > 1 else ""), fontsize=9)
        facet.set_xlabel(GENERATION)
    shown = 10 ** table["mean"]  # a band of few seeds may reach much further than any line
    axes[0, 0].set(yscale="log", ylim=(shown.min() / 10, shown.max() * 30))
    axes[0, 0].yaxis.set_major_locator(LogLocator(numticks=20))
    axes[0, 0].yaxis.set_major_formatter(LogFormatterSciNotation())
    axes[0, 0].set_ylabel("squared $L^2$ distance")
    handles = [plt.Line2D([], [], color=c, label=f"T = {size:,}") for size, c in colours.items()]
    handles += [
        plt.Line2D([], [], color="0.3", label="to the truth"),
        plt.Line2D([], [], color="black", linestyle=DOTTED, linewidth=0.8, label="to the first fit"),
    ]
    if published:
        marks = {"linestyle": "", "marker": "o", "markerfacecolor": "none", "markersize": 7}
        handles.append(plt.Line2D([], [], color="0.3", label="published", **marks))
    figure.legend(handles=handles, loc="outside right upper", fontsize=9)
    marks = " Circles: values read off the plot in the authors' notebook, one run each." if published else ""
    caption = (
        "Squared L2 distance of recursively fitted Gaussian mixtures, in closed form, after figure S7 of Shumailov et "
        "al. (figure 7 of arXiv 2305.17493), which counts generations from 0 and measures the distance to the first "
        f"fit (dotted); solid: to the true density. Real data: {shape}, T points per generation. EM adds "
        "reg_covar to each variance, and the distance levels off where a generation loses no more of it than that. "
        f"Means and bands are of the logarithm. {seeds_statement(table)}{marks} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
