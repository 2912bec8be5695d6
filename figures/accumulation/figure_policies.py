"""Every mixing policy on one axis, at three budgets. Not in a paper: it joins the arms of several, and adds controls.

What to see: whether a policy's advantage survives when all policies see equally many items, or take equally many steps.
Under equal passes a policy that pools more data also trains longer.
"""

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import (
    CROSS_ENTROPY,
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    floor,
    integer_ticks,
    line,
    look,
    model_names,
    only,
    over_generations,
    pick,
    seeds_statement,
    spread,
    style,
    training_statement,
    until,
)

# What stands under another name in the second and the third panel: the caption says so.
TWINS = (("accumulate", "replace_multiple", "growing", "real_repeat"), ("real_repeat",))

# Training sets of exactly N items: equal passes are equal items and equal steps, so that one run stands in all panels.
SAME = (
    "replace",
    "accumulate_subsample",
    "real_fraction_10",
    "real_fraction_10_anchored",
    "fresh_real_50",
    "real_only",
    "real_corrupted",
)
HEAVY = ("replace", "accumulate", "real_only")  # thick lines, with bands: those that the papers are about
# panel -> policy as it is called there -> the policy whose rows are shown
PANELS: dict[str, dict[str, str]] = {
    "equal passes over each training set": {
        **{name: name for name in SAME},
        **{name: name for name in ("accumulate", "replace_multiple", "real_fraction_10_added", "augment")},
        **{name: name for name in ("golden_ratio", "growing", "real_repeat")},
    },
    "equal items: N per generation": {
        **{name: name for name in SAME},  # N of replace_multiple's or growing's items are replace's
        "augment": "augment_items",
        "golden_ratio": "golden_ratio_items",
    },
    "equal optimiser steps": {
        **{name: name for name in SAME},  # real_repeat's steps are real_only's
        "accumulate": "accumulate_steps",
        "replace_multiple": "replace_multiple_steps",
        "augment": "augment_steps",
    },
}
PASSES, ITEMS, STEPS = PANELS


def placed(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the part of `PANELS` that the rows hold; a policy that is not in it goes where its budget belongs."""
    there = list(rows["policy"].unique())
    known = {policy for names in PANELS.values() for policy in names.values()}
    panels = {panel: {k: v for k, v in names.items() if v in there} for panel, names in PANELS.items()}
    for policy in [p for p in there if p not in known]:
        plan = rows.loc[rows["policy"] == policy, "plan"].iloc[-1]
        budget = plan.rpartition("| ")[2].partition(",")[0]
        panels[{"epochs": PASSES, "items": ITEMS, "steps": STEPS}[budget]][policy] = policy
    return panels


def check(panel: str, rows: pd.DataFrame) -> None:
    """Raise DataError unless the rows hold what the title of their panel says of every generation."""
    if missing := {"items", "fit_steps"} - set(rows):
        raise DataError(f"rows of the figure have no column {missing.pop()}: delete them and run again")
    size, length = first = rows.loc[rows["generation"] == 1, ["items", "fit_steps"]].iloc[0]
    items, steps = rows["items"] / size, rows["fit_steps"] / length
    # the last batch of a pass may be a small one: passes are equal up to that
    holds = {PASSES: np.isclose(steps, items, rtol=0.2), ITEMS: (items == 1) & (steps == 1), STEPS: steps == 1}[panel]
    if not holds.all():
        row = rows[~holds].iloc[0]
        name = f"generation {row['generation']} of {row['policy']}"
        text = f"{row['items']:g} items and {row['fit_steps']:g} steps, generation 1 {first['items']:g} and {length:g}"
        raise DataError(f"{panel}: {name} has {text}")


def measured(rows: pd.DataFrame, panel: str, names: dict[str, str]) -> pd.DataFrame:
    """Return mean, band, items, steps and real fraction of each curve of a panel."""
    rows = pick(rows, policy=names.values())
    check(panel, rows)
    table = over_generations(rows, ["policy"], "cross_entropy")
    about = rows.groupby(["policy", "generation"], observed=True)[["items", "fit_steps", "real_fraction"]].mean()
    called = {policy: look(name)[0] for name, policy in names.items()}
    table.insert(0, "panel", panel)
    table.insert(1, "label", table["policy"].map(called))
    return table.merge(about.reset_index(), on=["policy", "generation"], validate="many_to_one")


def panel_of(facet, table: pd.DataFrame, names: dict[str, str], gap: float) -> None:
    """Draw a panel's curves, with their names at their ends; ``gap`` between names in shares of the panel's height.

    A dozen bands would hide each other: thin lines have a bar beside their last generation instead.
    """
    low, high = facet.get_ylim()
    ends = [table.loc[table["policy"] == policy, "mean"].iloc[-1] for policy in names.values()]
    places = spread((np.array(ends) - low) / (high - low), gap)
    bars: Counter[int] = Counter()
    places += min(0, 0.98 - places.max())  # shift the names down where they would leave the panel above
    for (name, policy), end, place in zip(names.items(), ends, places, strict=True):
        curve = table[table["policy"] == policy]
        text, colour, marker = look(name)
        heavy, last = name in HEAVY, curve.iloc[-1]
        shown = curve if heavy else curve.assign(low=np.nan)
        line(facet, shown, "generation", color=colour, marker=marker, linewidth=2.4 if heavy else 1.3)
        if not heavy and last["high"] > end:
            at = last["generation"] + 0.06 + 0.035 * bars[last["generation"]]  # side by side, each on its own leader
            facet.vlines(at, last["low"], last["high"], color=colour, linewidth=1.2)
            bars[last["generation"]] += 1
        lead = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3}
        lead |= {"relpos": (0, 0.5), "linestyle": (0, (1, 1.5)), "zorder": 1}  # to the left end of the name
        facet.annotate(
            text, (last["generation"], end), xytext=(1.06, place), textcoords="axes fraction", va="center",
            fontsize=8.5, color=colour, fontweight="bold" if heavy else "normal", arrowprops=lead,
        )  # fmt: skip


def absent(panels: dict[str, dict[str, str]]) -> str:
    """Name the policies that were run at equal passes only, in a sentence; empty where there are none."""
    first, *others = panels.items()
    found = []
    for (panel, names), twins in zip(others, TWINS, strict=True):
        missing = [look(name)[0] for name in first[1] if name not in names and name not in twins]
        found += [f"{panel.partition(':')[0]}: {', '.join(missing)}"] * bool(missing)
    return f"Not run at {'; at '.join(found)}. " if found else ""


def draw(inputs: Inputs, policies=None, last: int | None = None) -> Drawing:
    """Draw test cross-entropy against the generation, a panel per budget; of all policies there, or of those named."""
    style()
    rows = until(pick(inputs.rows, **({} if policies is None else {"policy": policies})), last)
    panels = placed(rows)
    dataset, model, sampler, _ = (only(rows, column) for column in ("dataset", "recipe", "sampler", "selector"))
    table = pd.concat([measured(rows, panel, names) for panel, names in panels.items() if names], ignore_index=True)
    entropy = inputs.facts.get(dataset, {}).get("source_entropy")
    table["source_entropy"] = np.nan if entropy is None else entropy

    figure, axes = plt.subplots(1, 3, figsize=(14.5, 6), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.045, right=0.87, bottom=0.09, top=0.94, wspace=0.58)
    values = table[["mean", "low", "high"]].to_numpy()
    margin = 0.04 * (np.nanmax(values) - np.nanmin(values))
    axes[0].set_ylim(np.nanmin(values) - margin, np.nanmax(values) + margin)
    dashed = floor(axes, entropy)
    height = figure.get_figheight() * axes[0].get_position().height * 72  # points
    for facet, (panel, names) in zip(axes, panels.items(), strict=True):
        if names:
            panel_of(facet, table[table["panel"] == panel], names, gap=11.5 / height)
        facet.set(title=panel, xlabel=GENERATION)
        integer_ticks(facet, table["generation"].max())
    axes[0].set_ylabel(CROSS_ENTROPY)
    bars = "" if table["n"].max() == 1 else " Thin lines have a bar beside their end instead of a band."
    ends = table.groupby(["panel", "policy"])["generation"].max()
    bars += " A line ends where its runs end." if ends.nunique() > 1 else ""
    bars += " Lines of fewer seeds start at generation 1 of these seeds." if table["n"].nunique() > 1 else ""
    caption = (
        f"Policies of several papers, and controls without synthetic data (black, grey): {model_names(rows)[model]}, "
        f"sampler {sampler}, real test data. {seeds_statement(table)}{bars} "
        "Policies that always train on N items stand in all panels with the same runs. With N items, accumulate is "
        "Accumulate-Subsample, Replace-Multiple and Growing are Replace; with N items or equal steps, Real, n times is "
        f"Real only. {absent(panels)}50 % fresh real and Golden ratio see new real items in each generation, all "
        f"others N in all.{dashed} "
        f"{training_statement(rows).partition(';')[0]}. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
