"""Sentences of captions that say how a figure was made: seeds and bands, training, data and scale."""

import pandas as pd

from collapse.errors import DataError
from collapse.inputs import Inputs
from collapse.looks import BUDGETS, look


def seeds_statement(table: pd.DataFrame, names: dict[str, str] | None = None) -> str:
    """Say how many seeds the lines are means of, and what the bands are.

    Args:
        table: a row per point, with its number of seeds ``n``.
        names: recipe -> name; where n differs, it is said for each model (column ``recipe``) of these names.
    """
    table = table[table["n"] > 0]  # the others are published values alone
    low, high = table["n"].min(), table["n"].max()
    if high == 1:
        return "One seed, so no bands."
    n = f"n = {low}" if low == high else f"n = {low} to {high}"
    if names and low < high:
        said: dict[str, list[str]] = {}
        for recipe, (least, most) in table.groupby("recipe", sort=False)["n"].agg(["min", "max"]).iterrows():
            said.setdefault(f"n = {most}" + (f", later {least}," if least < most else ""), []).append(names[recipe])
        each = "; ".join(f"{count} for {', '.join(models)}" for count, models in said.items())
        none = ", none where n = 1" if low == 1 else ""
        return f"Lines: mean over seeds: {each}. Bands: 95 % t interval of the mean{none}."
    alone = " (none where there is one seed)" if low == 1 else ""
    return f"Lines: mean over {n} seeds; bands: 95 % t interval of the mean{alone}."


def not_run(table: pd.DataFrame, names: dict[str, str]) -> str:
    """Name the models (recipe -> name) that lack a policy which others have; empty where there are none."""
    found = set(table[["policy", "recipe"]].itertuples(index=False, name=None))
    gaps = [f"{look(p)[0]}, {names[r]}" for p in table["policy"].unique() for r in names if (p, r) not in found]
    return f" Not run: {'; '.join(gaps)}." if gaps else ""


def curve_statement(rows: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Say on which part of the real test set learning curves were measured, by the tokens that they count."""
    whole = curves["tokens"].max() >= rows["tokens"].max()
    return "on the whole real test set" if whole else "on a part of the real test set"


def training_statement(rows: pd.DataFrame) -> str:
    """Say from which weights generations start and how long they train, as the rows' plans record it.

    Raises:
        DataError: rows without plans.
    """
    if "plan" not in rows:
        raise DataError("rows of the figure have no column `plan`: delete them and run again")
    ends = sorted({str(plan).rpartition("| ")[2] for plan in rows["plan"].unique()})
    budgets, inits = ({end.split(", ")[i] for end in ends} for i in (0, 1))
    start = (
        "Every generation starts from scratch"
        if inits == {"scratch"}
        else f"Initial weights: {', '.join(sorted(inits))}"
    )
    return f"{start}; budget: {', '.join(BUDGETS[b] for b in BUDGETS if b in budgets)}."


def data_statement(inputs: Inputs) -> str:
    """Say which data a figure shows and at which scale; a laptop figure never poses as the paper's."""
    of: dict[str, list[str]] = {}
    for name, facts in sorted(inputs.facts.items()):
        of.setdefault(facts["source"], []).append(name)
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in of.items())
    return f"Scale: {inputs.scale}." + (f" Data, the same for all seeds: {sources}." if sources else "")
