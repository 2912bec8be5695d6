"""The grid of linear regressions in the appendix of *Is Model Collapse Inevitable?* (arXiv 2404.01413), and more.

The paper shows replace and accumulate at ridge 0, d = 32, T = 100, 316, 1000. Here are also the two policies between
them, fresh designs beside shared ones, and ridge regression.

What to see: without ridge, replace grows without end, accumulate levels off, and the others lie between. Ridge bounds
replace by forgetting: the coefficients shrink to nothing, and the error to |w*|^2 (d on average), at every noise level.
"""

from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.plotting import (
    GENERATION,
    TEST_ERROR,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    line,
    look,
    over_generations,
    pick,
    seeds_statement,
    shades,
    style,
    with_ridge,
)
from collapse.seeding import stream
from collapse.theory import linear

POLICIES = ("replace", "replace_multiple", "accumulate_subsample", "accumulate")
STYLES = {"shared": "-", "fresh": (0, (1, 1.2))}
DASHED = (0, (3, 4))


def theory(policy: str, design: str, ridge: float, last: int, d: int, T: int, sigma2: float, spectra) -> np.ndarray:
    """Return the closed form, (last,); NaN where none is known."""
    unknown = policy == "accumulate_subsample" or (ridge and design == "fresh")
    if unknown:
        return np.full(last, np.nan)
    if ridge:
        return linear.ridge(policy, last, spectra, ridge, T, sigma2)
    if policy == "replace":
        return linear.replace(last, d, T, sigma2)
    return getattr(linear, policy)(last, d, T, sigma2, design)


def measured(rows: pd.DataFrame, d: int, designs: int = 100) -> pd.DataFrame:
    """Return mean, band and theory of each curve."""
    axes = ["d", "ridge", "T", "policy", "design", "sigma2"]
    table = over_generations(rows, axes, "test_error")
    for T, at in table.groupby("T"):
        spectra = linear.spectra(d, int(T), designs, stream("spectra", d, int(T)))
        for key, curve in at.groupby(["policy", "design", "ridge", "sigma2"], observed=True):
            policy, design, ridge, sigma2 = key
            table.loc[curve.index, "theory"] = theory(policy, design, ridge, len(curve), d, int(T), sigma2, spectra)
    return table


def draw(inputs: Inputs, d: int = 32) -> Drawing:
    """Draw test error against the generation: rows policies, columns ridge and T, colours noise variances."""
    style()
    rows = pick(with_ridge(inputs.rows), d=d)
    policies = [policy for policy in POLICIES if policy in set(rows["policy"])]
    table = measured(pick(rows, policy=policies), d)
    blocks = sorted((r, t) for r, t in table.groupby(["ridge", "T"]).groups)
    designs = [design for design in STYLES if design in set(table["design"])]
    colours = shades(table["sigma2"].unique())
    # an empty narrow column between blocks of one ridge
    widths = [w for i, (ridge, _) in enumerate(blocks) for w in ([0.15, 1] if i and ridge != blocks[i - 1][0] else [1])]
    size = (max(6.5, 1.2 + 1.65 * sum(widths)), 0.6 + 1.95 * len(policies))
    figure, axes = plt.subplots(
        len(policies), len(widths), figsize=size, sharex=True, sharey=True, squeeze=False, width_ratios=widths,
        layout="constrained",
    )  # fmt: skip
    for facet in axes[:, [w < 1 for w in widths]].flat:
        facet.remove()
    axes = axes[:, [w == 1 for w in widths]]
    # limits first: matplotlib would work out those of all shared axes anew for each of some hundred lines
    last, values = int(table["generation"].max()), table[["mean", "theory"]].to_numpy()
    limits = (np.nanmin(values) / 2, np.nanmax(values) * 2)
    plt.setp(axes, yscale="log", xlim=(1 - last / 25, last * 1.04), ylim=limits)
    for column, (ridge, T) in zip(axes.T, blocks, strict=True):
        block = table[(table["ridge"] == ridge) & (table["T"] == T)]
        for facet, policy in zip(column, policies, strict=True):
            if policy not in set(table.loc[table["ridge"] == ridge, "policy"]):
                facet.text(0.5, 0.5, "not run", transform=facet.transAxes, ha="center", fontsize=9, color="0.6")
                continue
            for design in designs:
                for noise, colour in colours.items():
                    curve = pick(block, policy=policy, design=design, sigma2=noise)
                    look_of = {"color": colour, "linestyle": STYLES[design], "linewidth": 2.2, "marker": ""}
                    line(facet, curve, "generation", **look_of)
                    if curve["theory"].notna().all():
                        dashed = {"color": "black", "linestyle": DASHED, "linewidth": 0.9}
                        facet.plot(curve["generation"], curve["theory"], **dashed)
        column[0].set_title(f"\nT = {T}")  # below the name of the block
    for ridge in {r for r, _ in blocks}:
        own = [facet for facet, (r, _) in zip(axes[0], blocks, strict=True) if r == ridge]
        name = f"ridge, $\\lambda$ = {ridge:g}" if ridge else "ordinary least squares"
        middle = 0.5 if len(own) % 2 else 1.05
        place = {"xytext": (0, 20), "textcoords": "offset points", "ha": "center", "fontsize": 11, "fontweight": "bold"}
        own[(len(own) - 1) // 2].annotate(name, (middle, 1), xycoords="axes fraction", **place).set_in_layout(False)
    for facet, policy in zip(axes[:, 0], policies, strict=True):
        name, colour, _ = look(policy)
        facet.set_ylabel(name.replace("-", "-\n"), fontsize=10, color=colour, fontweight="bold")
    integer_ticks(axes[0, 0], last)
    figure.supxlabel(GENERATION, fontsize=10)
    figure.supylabel(TEST_ERROR, fontsize=10)
    handles = [plt.Line2D([], [], color=c, label=f"$\\sigma^2$ = {s:g}") for s, c in colours.items()]
    handles += [plt.Line2D([], [], color="0.3", linestyle=STYLES[s], label=f"{s} design") for s in designs]
    handles.append(plt.Line2D([], [], color="black", linestyle=DASHED, linewidth=0.9, label="theory"))
    columns = ceil(len(handles) / ceil(1.3 * len(handles) / size[0]))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=9)
    caption = (
        f"Linear regression, d = {d}: x ~ N(0, I), y = x'w* + e, e ~ N(0, sigma^2), w* ~ N(0, I), T items per "
        "generation; ridge minimises (1/|D|) |y - Xw|^2 + lambda |w|^2. After the grid in the appendix of arXiv "
        "2404.01413, which shows replace and accumulate without ridge; its dashed line for replace is one generation "
        "too high, here it is at n c, c = sigma^2 d / (T - d - 1). Shared: one design X for all generations; fresh: a "
        f"new one in each. {seeds_statement(table)} No closed form is known "
        f"for Accumulate-Subsample, nor for ridge on fresh designs. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
