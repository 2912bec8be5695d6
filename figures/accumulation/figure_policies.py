"""Every mixing policy on one axis, at three budgets. Not in a paper: it joins the arms of several, and adds controls.

What to see: whether a policy's advantage survives when all policies see equally many items, or take equally many steps.
Under equal passes a policy that pools more data also trains longer.
"""

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
    integer_ticks,
    line,
    look,
    only,
    over_generations,
    pick,
    seeds_statement,
    spread,
    style,
    training_statement,
)

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


def check(panel: str, rows: pd.DataFrame) -> None:
    """Raise DataError unless the rows hold what the title of their panel says of every generation."""
    first = rows[rows["generation"] == 1].set_index("policy")[["items", "fit_steps"]]
    if len(first.drop_duplicates()) != 1:
        raise DataError(f"{panel}: the policies share no generation 1: {first.drop_duplicates().to_dict()}")
    items, steps = rows["items"] / first["items"].iloc[0], rows["fit_steps"] / first["fit_steps"].iloc[0]
    # the last batch of a pass may be small: passes are equal up to that
    holds = {PASSES: np.isclose(steps, items, rtol=0.2), ITEMS: (items == 1) & (steps == 1), STEPS: steps == 1}[panel]
    if not holds.all():
        row = rows[~holds].iloc[0]
        raise DataError(
            f"{panel}: generation {row['generation']} of {row['policy']} has {row['items']} items and "
            f"{row['fit_steps']} steps, generation 1 {first['items'].iloc[0]} and {first['fit_steps'].iloc[0]}"
        )


def draw(inputs: Inputs, policies=None) -> Drawing:
    """Draw test cross-entropy against the generation, a panel per budget; ``policies`` leaves others out (None: all)."""
    style()
    shown = {panel: {k: v for k, v in names.items() if policies is None or v in policies} for panel, names in PANELS.items()}
    wanted = list(dict.fromkeys(v for names in shown.values() for v in names.values()))
    rows = pick(inputs.rows, policy=wanted)
    dataset, _, sampler, _ = (only(rows, column) for column in ("dataset", "recipe", "sampler", "selector"))
    tables = []
    for panel, names in shown.items():
        here = pick(rows, policy=list(names.values()))
        check(panel, here)
        called = {policy: name for name, policy in names.items()}
        table = over_generations(here, ["policy"], "cross_entropy")
        size = here.groupby(["policy", "generation"], observed=True)[["items", "fit_steps", "real_fraction"]].mean()
        table = table.merge(size.reset_index(), on=["policy", "generation"], validate="one_to_one")
        tables.append(table.assign(panel=panel, called=table["policy"].map(called), label=lambda t: t["called"].map(_label)))
    table = pd.concat(tables, ignore_index=True)
    table = table[["panel", "label", *(c for c in table if c not in ("panel", "label"))]]
