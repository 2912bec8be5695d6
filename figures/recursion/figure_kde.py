"""Kernel density estimates by generation, after Kazdan et al., *Collapse or Thrive?* (arXiv 2410.16713).

What to see: under replace every generation blurs the shape by one more kernel, and the negative log-likelihood of fresh
real points rises without end. Under accumulate it rises a little and levels off; where the kernel is too narrow for the
real points alone, synthetic ones, which are blurred, even help.
"""

import matplotlib.pyplot as plt
import pandas as pd

from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    integer_ticks,
    log_axis,
    look,
    only,
    pick,
    style,
    until,
)
from collapse.quantiles import quartiles

RULES = {"scott": "Scott's rule", "silverman": "Silverman's rule"}


def name(bandwidth) -> str:
    """Return what a bandwidth is called; numbers sort before rules."""
    return RULES.get(bandwidth) or f"h = {float(bandwidth):g}"


def bandwidths(rows: pd.DataFrame) -> list:
    """Return the bandwidths of the rows: numbers in order, then rules."""
    found = list(rows["bandwidth"].unique())
    return sorted((b for b in found if b not in RULES), key=float) + [b for b in RULES if b in found]


def draw(inputs: Inputs, T: int | None = None, last: int | None = None, policies=None) -> Drawing:
    """Draw the excess NLL of fresh real points: rows bandwidths, columns shapes, lines policies."""
    style()
    policies = chosen(inputs.rows, policies)
    rows = pick(until(inputs.rows, last), policy=policies, **({} if T is None else {"T": T}))
    size, widths, shapes = only(rows, "T"), bandwidths(rows), list(rows["shape"].unique())
    by = ["shape", "bandwidth", "policy"]
    table = quartiles(rows, by, "excess_nll")
    table["nll"] = quartiles(rows, by, "nll")["median"]

    figure, axes = plt.subplots(
        len(widths), len(shapes), figsize=(1.2 + 2.3 * len(shapes), 0.9 + 1.6 * len(widths)), sharex=True,
        sharey="col", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, width in zip(axes, widths, strict=True):
        for facet, shape in zip(row, shapes, strict=True):
            here = table[(table["bandwidth"] == width) & (table["shape"] == shape)]
            for policy, curve in here.groupby("policy", sort=False):
                x, colour = curve["generation"], look(policy)[1]
                facet.fill_between(x, curve["lower"], curve["upper"], color=colour, alpha=0.2, linewidth=0)
                facet.plot(x, curve["median"], color=colour, linewidth=1.6)
        row[0].set_ylabel(name(width), fontsize=10, fontweight="bold")
    for facet, shape in zip(axes[0], shapes, strict=True):
        facet.set_title(shape)
        log_axis(facet)
    for facet in axes[-1]:
        facet.set_xlabel(GENERATION)
    integer_ticks(axes[0, 0], int(table["generation"].max()))
    figure.supylabel("negative log-likelihood of fresh real points above that of the true density (nats)", fontsize=9)
    handles = [plt.Line2D([], [], color=look(p)[1], label=look(p)[0]) for p in policies]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9)
    low, high = table["n"].min(), table["n"].max()
    runs = f"{low}" if low == high else f"{low} to {high}"
    caption = (
        "Kernel density estimates with a Gaussian kernel, fitted again and again, after arXiv 2410.16713: negative "
        "log-likelihood of fresh real points, less that of the true density on the same points, which is known here; "
        f"T = {size} points per generation. Bandwidths h are in units of the "
        "data; Scott's rule is h = N^(-1/6) for N items, and Silverman's is the same in two dimensions, so that both "
        f"narrow where data accumulate. Lines: median over {runs} seeds, bands: quartiles: under replace a few "
        "chains carry the mean, which the csv has beside them. "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
