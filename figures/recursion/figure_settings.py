"""Settings A and B of Shumailov et al., Nature 631 (2024), and the two between them. Not in the paper.

The paper compares five epochs on generated data alone with ten epochs and a tenth of real data: two changes at once.
What to look for: which of the two makes setting B degrade less. On the right each change alone, the other one held
fixed, and both. Where fits keep the pass that is best on real validation data, epochs after it change nothing, and the
choice is itself a use of real data: fits whose last weights are kept stand beside, where they were run.
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

LAST = "last weights"
BY = ["recipe", "policy", "epochs", "kept"]
EFFECT = {"marker": "o", "markersize": 5, "linestyle": "", "capsize": 3, "elinewidth": 1.4}


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of fits that keep the pass best on real validation data, and of those that keep the last weights.

    Where none keeps the best one, there is nothing to set apart: all rows are in the first part.
    """
    keeps = {name: settings(rows, "recipe", name).get("keep") == "last" for name in rows["recipe"].unique()}
    last = rows["recipe"].map(keeps).astype(bool)
    return (rows, rows.iloc[:0]) if last.all() else (rows[~last], rows[last])


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with columns ``epochs`` and ``kept``: of their recipe, and of real data after generation 1.

    Raises:
        DataError: a recipe is not given in epochs.
    """
    parts = []
    for (recipe, _), here in rows.groupby(["recipe", "policy"], sort=False):
        entry = settings(rows, "recipe", recipe)
        if not entry.get("epochs"):
            raise DataError(f"figure_settings compares epochs, recipe {recipe} is not given in epochs")
        parts.append(here.assign(epochs=float(entry["epochs"]), kept=kept(here)))
    return pd.concat(parts, ignore_index=True)


def crossed(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, of `placed`. Raises DataError where they are not a 2 x 2 of epochs and kept data."""
    cells = found[["epochs", "kept"]].drop_duplicates()
    if len(cells) != 4 or not cells.nunique().eq(2).all() or len(found[["recipe", "policy"]].drop_duplicates()) != 4:
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


def averaged(rows: pd.DataFrame, panel: str) -> pd.DataFrame:
    """Return mean and interval of the ratio by series and generation, and the mean pass that was kept, if rows say."""
    rows = rows[rows["generation"] <= rows.groupby(["epochs", "kept"])["generation"].max().min()]
    found = over_generations(rows, BY, "ratio").assign(panel=panel)
    if "fit_kept_pass" in rows:
        passes = rows.groupby([*BY, "generation"], as_index=False)["fit_kept_pass"].mean()
        found = found.merge(passes, how="left", on=[*BY, "generation"], validate="1:1")
    return found


def curve_look(policy: str, epochs: float, few: float) -> dict:
    """Return the look of a line: of its policy; dashed with open markers where it has more than ``few`` epochs."""
    _, colour, marker = look(policy)
    dash = {"linestyle": "-"} if epochs == few else {"linestyle": (0, (5, 2)), "markerfacecolor": "white"}
    return {"color": colour, "marker": marker, **dash}


def draw_last(facet, curves: pd.DataFrame, selected: pd.DataFrame) -> None:
    """Draw fits whose last weights are kept; in grey what the same settings give with the best pass kept."""
    few, last = selected["epochs"].min(), curves["generation"].max()
    for (_, policy, epochs, share), curve in curves.groupby(BY, sort=False):
        line(facet, curve, "generation", f"{epochs:g} epochs, {kept_name(share)}", **curve_look(policy, epochs, few))
        same = selected[(selected["epochs"] == epochs) & (selected["kept"] == share) & (selected["generation"] <= last)]
        facet.plot(same["generation"], same["mean"], color="0.5", linewidth=1, linestyle="-" if epochs == few else "--")
    facet.axhline(1, color="0.4", linewidth=0.9, zorder=1)
    facet.plot([], [], color="0.5", linewidth=1, label="best pass kept")
    facet.legend(loc="upper left", fontsize=7.5)
    low, high = facet.get_ylim()
    facet.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    facet.set_title("weights of the last pass,\nno selection on real data", fontsize=9)
    facet.set_xlabel(GENERATION)
    integer_ticks(facet, int(last))


def draw(inputs: Inputs, metric: str = "perplexity", last: int | None = None) -> Drawing:
    """Draw the test perplexity of the four settings over that of generation 1, and what each change does at the end."""
    style()
    rows = until(pick(inputs.rows), last)
    only(rows, "dataset"), only(rows, "sampler"), only(rows, "selector")
    rows, unselected = split(rows)
    rows = ratios(crossed(placed(rows)), metric)
    rows = rows[rows["generation"] <= rows.groupby(["epochs", "kept"])["generation"].max().min()]
    curves, changes = averaged(rows, "ratio"), effects(rows)
    parts = [curves]
    if len(unselected):
        unselected = ratios(placed(unselected), metric)
        parts.append(averaged(unselected, LAST))

    widths = [1.15, 0.75, 1] if len(parts) > 1 else [1.15, 1]
    size = (9.6 + 3.2 * (len(parts) - 1), 3.9)
    figure, axes = plt.subplots(1, len(widths), figsize=size, width_ratios=widths, layout="constrained")
    left, right = axes[0], axes[-1]
    if len(parts) > 1:
        draw_last(axes[1], parts[1], curves)
    few, none = rows["epochs"].min(), rows["kept"].min()
    named = {(few, none): "A: ", (rows["epochs"].max(), rows["kept"].max()): "B: "}
    for (_, policy, epochs, share), curve in curves.groupby(BY, sort=False):
        name = f"{named.get((epochs, share), '')}{epochs:g} epochs, {kept_name(share)}"
        line(left, curve, "generation", name, **curve_look(policy, epochs, few))
    left.axhline(1, color="0.4", linewidth=0.9, zorder=1)
    left.set(xlabel=GENERATION, ylabel="test perplexity over that of generation 1")
    left.legend(loc="upper left", fontsize=8)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    integer_ticks(left, int(rows["generation"].max()))
    places = -np.arange(len(changes))
    reach = [(changes["mean"] - changes["low"]).fillna(0), (changes["high"] - changes["mean"]).fillna(0)]
    right.errorbar(changes["mean"], places, xerr=reach, color="0.2", **EFFECT)
    right.axvline(0, color="0.4", linewidth=0.9, zorder=1)
    right.axhline(places[-1] + 0.5, color="0.7", linewidth=0.8)
    right.set_yticks(places, changes["change"], fontsize=8)
    right.set(ylim=(places[-1] - 0.5, 0.5), xlabel=f"change of the ratio at n = {changes['generation'][0]} (%)")
    right.grid(visible=False, axis="y")
    right.set_title("each change alone, and both (last row)", fontsize=9)

    changes["change"] = changes["change"].str.replace("\n", " ")
    columns = ["panel", *BY, "change", "generation", "mean", "low", "high", "n"]
    columns += ["fit_kept_pass"] * ("fit_kept_pass" in curves)
    table = pd.concat([*parts, changes], ignore_index=True).reindex(columns=columns)
    beside = ""
    if len(parts) > 1:
        epochs = " or ".join(f"{e:g}" for e in sorted(unselected["epochs"].unique()))
        beside = (
            f" Middle: {epochs} epochs, the weights of the last pass kept, with no selection on real data; grey: the "
            "same settings with the best pass kept, as on the left, dashed where epochs are more; own axis."
        )
    bars = "" if changes["n"].max() == 1 else f", bars: their 95 % t interval (n = {changes['n'].min()})"
    caption = (
        f"{model(rows)}: settings A and B of {PAPER}, which differ in two things, and the two settings between them, "
        f"which are not in the paper. Perplexity on real test data: {AVERAGES[metric]}; over that of generation 1 of "
        f"the same run. {seeds_statement(curves)} Right: geometric mean of ratios of the last generation, paired by "
        f"seed{bars}; below 0: less degradation.{beside} {start_statement(rows)} {sampler_statement(rows)} {COUNTED} "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
