"""A discrete distribution refitted to its own samples: the exact case of Shumailov et al., Nature 631 (2024).

The paper states it without a figure. What to see: simulation lies on theory everywhere. Heterozygosity, the probability
that two draws differ, halves again and again under replace and is kept under accumulate; rare states die first; in the
end one state is left, state i in a share p_0(i) of all chains.
"""

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.datasets.discrete import DECILES, Config, Truth
from collapse.errors import DataError
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    line,
    look,
    only,
    over_generations,
    pick,
    shades,
    style,
)
from collapse.quantiles import DASHED, with_size
from collapse.theory import discrete
from collapse.theory.oracles import law

THEORY = {
    "replace": discrete.replace,
    "replace_multiple": discrete.replace_multiple,
    "accumulate": discrete.accumulate,
    "accumulate_subsample": discrete.accumulate_subsample,
    "real_fraction_10": discrete.real_fraction,
    "fresh_real_50": discrete.fresh_real,
}
NEAR = 0.03
"""Heterozygosities that end so near the highest one are shown once more, on a larger scale."""
SMALL = {"markersize": 0, "linewidth": 1.8}


def diversity(rows: pd.DataFrame, policies) -> pd.DataFrame:
    """Return heterozygosity, in units of the true law's, by policy and generation."""
    size = int(only(rows, "N"))
    table = over_generations(pick(rows, policy=policies), ["policy"], "heterozygosity_ratio")
    for policy, curve in table.groupby("policy"):
        expected = THEORY[policy](len(curve), size) if policy in THEORY else np.nan
        table.loc[curve.index, "theory"] = expected
    return table.assign(panel="heterozygosity")


def survival(rows: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the share of alive states by decile of the true probabilities and generation, under replace."""
    rows, parts = pick(rows, policy="replace"), []
    fates = discrete.fates(config.probabilities, config.T, int(rows["generation"].max()))
    deciles = Truth(config.probabilities).deciles
    for decile in range(1, DECILES + 1):
        table = over_generations(rows, ["policy"], f"alive_decile_{decile}").assign(decile=decile)
        parts.append(table.assign(theory=fates.alive[:, deciles == decile].mean(axis=1)))
    return pd.concat(parts, ignore_index=True).assign(panel="alive")


def absorption(rows: pd.DataFrame, config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the share of absorbed chains by generation, and where absorbed chains ended, under replace."""
    rows = pick(rows, policy="replace")
    last = int(rows["generation"].max())
    fates = discrete.fates(config.probabilities, config.T, last)
    time = over_generations(rows, ["policy"], "absorbed").assign(theory=fates.fixed.sum(axis=1), panel="absorbed")
    ended = rows[(rows["generation"] == last) & (rows["absorbed"] == 1)]
    if ended.empty:
        raise DataError("no chain of figure_discrete is absorbed: give its second data set more generations")
    n, state = len(ended), np.arange(config.states)
    share = (ended["top_state"].to_numpy()[:, None] == state).mean(axis=0)
    half = 1.96 * np.sqrt(config.probabilities * (1 - config.probabilities) / n)
    ends = {"panel": "end", "state": state, "generation": last, "mean": share, "theory": config.probabilities, "n": n}
    return time, pd.DataFrame({**ends, "low": config.probabilities - half, "high": config.probabilities + half})


def zoom(axes, found: pd.DataFrame, policies) -> None:
    """Draw the curves that end next to the highest one again, in an inset of their own scale; nothing for one alone."""
    last = found.sort_values("generation").groupby("policy")["mean"].last()
    near = [policy for policy in policies if last[policy] > last.max() - NEAR]
    if len(near) < 2:
        return
    inset = axes.inset_axes((0.65, 0.04, 0.33, 0.24))  # below the curve that falls
    for policy in near:
        curve = pick(found, policy=policy)
        inset.plot(curve["generation"], curve["mean"], color=look(policy)[1], linewidth=1)
        inset.plot(curve["generation"], curve["theory"], **{**DASHED, "linewidth": 0.6})
    inset.tick_params(labelsize=7, labelbottom=False)


def draw(inputs: Inputs, tail: dict[str, Any], few: dict[str, Any], policies=None) -> Drawing:
    """Draw heterozygosity, survival of rare states, absorption and where it ends.

    Args:
        inputs: rows of two data sets.
        tail: ``{<name>: <its entry>}`` of the data set of many states, for heterozygosity and survival.
        few: the same of that of few states, whose chains are long enough to be absorbed.
        policies: those of the first panel; all of the rows by default.
    """
    style()
    rows, parts = with_size(inputs.rows), {}
    ((tail_name, tail_entry),), ((few_name, few_entry),) = tail.items(), few.items()
    many, short = pick(rows, dataset=tail_name), pick(rows, dataset=few_name)
    wide, narrow = (
        replace(law(here, entry), T=int(only(here, "N"))) for here, entry in ((many, tail_entry), (short, few_entry))
    )
    shown = chosen(many, policies)
    parts["diversity"], parts["alive"] = diversity(many, shown), survival(many, wide)
    parts["time"], parts["end"] = absorption(short, narrow)
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 6.6), layout="constrained")
    for below, policy in enumerate(shown):  # each is wider than those above it: none hides another
        name, colour, _ = look(policy)
        curve = pick(parts["diversity"], policy=policy)
        layer = {"linewidth": 1.3 + 0.6 * below, "zorder": 3 - below / 10}
        line(axes[0, 0], curve, "generation", name, color=colour, marker="", **layer)
        axes[0, 0].plot(curve["generation"], curve["theory"], **{**DASHED, "linewidth": 0.8}, zorder=4)
    axes[0, 0].set(xlabel=GENERATION, ylabel="heterozygosity $H_n / H_0$", ylim=(0, 1.05))
    axes[0, 0].legend(loc="lower left")
    zoom(axes[0, 0], parts["diversity"], shown)
    colours = shades(range(1, DECILES + 1))
    for decile, colour in colours.items():
        curve = pick(parts["alive"], decile=decile)
        name = {1: "rarest tenth of states", DECILES: "most frequent tenth"}.get(decile)
        line(axes[0, 1], curve, "generation", name, color=colour, **SMALL)
        axes[0, 1].plot(curve["generation"], curve["theory"], **{**DASHED, "linewidth": 0.8})
    axes[0, 1].set(xlabel=GENERATION, ylabel="states alive", xscale="log", ylim=(0, 1.05))
    axes[0, 1].legend(loc="upper right")
    line(axes[1, 0], parts["time"], "generation", color=look("replace")[1], **SMALL)
    axes[1, 0].plot(parts["time"]["generation"], parts["time"]["theory"], **DASHED)
    axes[1, 0].set(xlabel=GENERATION, ylabel="chains with one state left", ylim=(0, 1.05))
    ends = parts["end"]
    axes[1, 1].bar(ends["state"] + 1, ends["theory"], color="0.85", label="$p_0(i)$")
    reach = [ends["theory"] - ends["low"], ends["high"] - ends["theory"]]
    axes[1, 1].errorbar(ends["state"] + 1, ends["theory"], reach, fmt="none", color="0.5", capsize=4)
    axes[1, 1].plot(ends["state"] + 1, ends["mean"], "o", color=look("replace")[1], label="share of chains")
    axes[1, 1].set(xlabel="state i that is left", ylabel="probability", xticks=ends["state"] + 1)
    axes[1, 1].legend(loc="upper right")
    table = pd.concat(parts.values(), ignore_index=True)
    caption = (
        "The empirical measure of M items over K states, refitted to its own samples: the exact case of Shumailov et "
        f"al., Nature 631 (2024), there without a figure. Top: K = {wide.states}, {_name(wide)}, M = {wide.T}; left, "
        "the probability that two draws differ, in units of the true law's, wider lines below narrower ones (inset: "
        "the highest again, larger and without bands); right, under Replace, the share of states "
        f"alive by tenth of their true probability. Bottom: Replace, K = {narrow.states}, {_name(narrow)}, M = "
        f"{narrow.T}; whiskers: 95 % of what {parts['end']['n'].min()} absorbed chains would give. Solid: mean over "
        f"chains ({parts['diversity']['n'].min()} on top, {parts['time']['n'].min()} at the bottom), bands: 95 % t "
        "interval of the mean. Dashed: exact. The paper counts from 0; here n = 1 is the first fit, on real data. "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)


def _name(config: Config) -> str:
    return (
        f"p ~ i^-{config.exponent:g}" if config.law == "zipf" else "uniform" if config.law == "uniform" else "given p"
    )
