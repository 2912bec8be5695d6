"""Settings A and B of Shumailov et al., Nature 631 (2024), and the two between them. Not in the paper.

The paper compares five epochs on generated data alone with ten epochs and a tenth of real data: two changes at once.
What to see: which of the two makes setting B degrade less. On the right each change alone, the other one held fixed.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.finetuned import (
    AVERAGES,
    COUNTED,
    PAPER,
    kept,
    kept_name,
    model,
    sampler_statement,
    start_statement,
)
from collapse.inputs import summary
from collapse.plotting import (
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
    settings,
    style,
    until,
)

EFFECT = {"marker": "o", "markersize": 5, "linestyle": "", "capsize": 3, "elinewidth": 1.4}


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with columns ``epochs`` and ``kept``. Raises DataError where they are not a 2 x 2 of both."""
    parts = []
    for (recipe, _), here in rows.groupby(["recipe", "policy"], sort=False):
        entry = settings(rows, "recipe", recipe)
        if not entry.get("epochs"):
            raise DataError(f"figure_settings compares epochs, recipe {recipe} is not given in epochs")
        parts.append(here.assign(epochs=float(entry["epochs"]), kept=kept(here)))
    found = pd.concat(parts, ignore_index=True)
    cells = found[["epochs", "kept"]].drop_duplicates()
    if len(cells) != 4 or not cells.nunique().eq(2).all() or len(parts) != 4:
        text = ", ".join(f"{e:g} epochs and {k:g} kept" for e, k in cells.itertuples(index=False))
        raise DataError(f"figure_settings shows 2 numbers of epochs x 2 shares of real data, its rows hold {text}")
    return found


def ratios(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows with ``ratio``: ``metric`` over that of generation 1 of the same chain. Raises DataError."""
    if metric not in rows or not (np.isfinite(rows[metric]) & (rows[metric] > 0)).all():
        raise DataError(f"{metric} is missing or not finite in the rows of the figure")
    chain = ["epochs", "kept", "seed"]
    first = rows[rows["generation"] == 1].set_index(chain)[metric].rename("first")
    joined = rows.join(first, on=chain)
    if joined["first"].isna().any():
        raise DataError("a chain of the figure has no generation 1: delete its rows and run again")
    return joined.assign(ratio=joined[metric] / joined["first"])


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each change does to the ratio of the last generation, in percent, paired by seed.

    Means and intervals are of differences of logarithms, then turned into percent.
    """
    last = rows["generation"].max()
    at = rows[rows["generation"] == last].pivot(index="seed", columns=["epochs", "kept"], values="ratio")
    if at.isna().any().any():
        raise DataError("settings of the figure have different seeds: changes are paired by seed")
    (few, many), (none, some) = (sorted(rows[column].unique()) for column in ("epochs", "kept"))
    more, keep = f"{many:g} instead of {few:g} epochs", f"{100 * some:.3g} % real data kept"
    bare = kept_name(none)
    pairs = {
        f"{more}\n({bare})": ((many, none), (few, none)),
        f"{more}\n({keep})": ((many, some), (few, some)),
        f"{keep}\n({few:g} epochs)": ((few, some), (few, none)),
        f"{keep}\n({many:g} epochs)": ((many, some), (many, none)),
        "both: B instead of A": ((many, some), (few, none)),
    }
    parts = []
    for change, (to, base) in pairs.items():
        logs = np.log(at[to]) - np.log(at[base])
        found = summary(pd.DataFrame({"change": change, "log": logs}), ["change"], "log")
        parts.append(found.assign(**{c: 100 * np.expm1(found[c]) for c in ("mean", "low", "high")}))
    return pd.concat(parts, ignore_index=True).assign(panel="changes", generation=last)


def draw(inputs: Inputs, metric: str = "perplexity", last: int | None = None) -> Drawing:
    """Draw the test perplexity of the four settings over that of generation 1, and what each change does at the end."""
    style()
    rows = ratios(placed(until(pick(inputs.rows), last)), metric)
    only(rows, "dataset"), only(rows, "sampler"), only(rows, "selector")
    rows = rows[rows["generation"] <= rows.groupby(["epochs", "kept"])["generation"].max().min()]
    by = ["recipe", "policy", "epochs", "kept"]
    curves = over_generations(rows, by, "ratio").assign(panel="ratio")
    changes = effects(rows)

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), width_ratios=[1.15, 1], layout="constrained")
    few, none = rows["epochs"].min(), rows["kept"].min()
    named = {(few, none): "A: ", (rows["epochs"].max(), rows["kept"].max()): "B: "}
    for (_, policy, epochs, share), curve in curves.groupby(by, sort=False):
        _, colour, marker = look(policy)
        name = f"{named.get((epochs, share), '')}{epochs:g} epochs, {kept_name(share)}"
        dash = {"linestyle": "-"} if epochs == few else {"linestyle": (0, (5, 2)), "markerfacecolor": "white"}
        line(left, curve, "generation", name, color=colour, marker=marker, **dash)
    left.axhline(1, color="0.4", linewidth=0.9, zorder=1)
    left.set(xlabel=GENERATION, ylabel="test perplexity over that of generation 1")
    left.legend(loc="best", fontsize=8)
    integer_ticks(left, int(rows["generation"].max()))
    places = -np.arange(len(changes))
    reach = [(changes["mean"] - changes["low"]).fillna(0), (changes["high"] - changes["mean"]).fillna(0)]
    right.errorbar(changes["mean"], places, xerr=reach, color="0.2", **EFFECT)
    right.axvline(0, color="0.4", linewidth=0.9, zorder=1)
    right.axhline(places[-1] + 0.5, color="0.7", linewidth=0.8)
    right.set_yticks(places, changes["change"], fontsize=8)
    right.set(ylim=(places[-1] - 0.5, 0.5), xlabel=f"change of the ratio at n = {changes['generation'][0]} (%)")
    right.grid(visible=False, axis="y")
    right.set_title("each change alone", fontsize=9)

    changes["change"] = changes["change"].str.replace("\n", " ")
    columns = ["panel", *by, "change", "generation", "mean", "low", "high", "n"]
    table = pd.concat([curves, changes], ignore_index=True).reindex(columns=columns)
    bars = "" if changes["n"].max() == 1 else f", bars: their 95 % t interval (n = {changes['n'].min()})"
    caption = (
        f"{model(rows)}: settings A and B of {PAPER}, which differ in two things, and the two settings between them, "
        f"which are not in the paper. Perplexity on real test data: {AVERAGES[metric]}; over that of generation 1 of "
        f"the same run. {seeds_statement(curves)} Right: geometric mean of ratios of the last generation, paired by "
        f"seed{bars}; below 0: less degradation. {start_statement(rows)} {sampler_statement(rows)} {COUNTED} "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
