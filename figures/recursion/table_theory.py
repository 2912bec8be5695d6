"""Closed forms of fits to one's own samples beside simulation; Shumailov et al. give some of them, and no such table.

What to see: all points lie within four standard errors, and what forms of leading order neglect falls with the square
of the number of items. The csv holds a row per closed form, setting and generation; the picture the worst of each form.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import Drawing, Inputs, data_statement, pick, style
from collapse.quantiles import with_size
from collapse.theory import mixture
from collapse.theory.comparison import compare
from collapse.theory.oracles import DISCRETE, ENDS, GAUSSIAN, law

SIZE, ROW, HEAD = 8, 16.5, 24  # points: font, height of a line, of the heading
LEFT = {"closed form": 4, "": 162, "worst at": 378, "chains": 548, "simulated ± s.e.": 584, "theory": 692, "z": 750}
LEFT |= {"points": 788, "leading form neglects": 826}  # left edges in points
WIDTH = 1016
L2, FORMULA = r"$L^2$ distance of two mixtures", r"sums of $w_i v_j N(m_i - l_j;\ 0,\ A_i + B_j)$"
STEP, END = 0.1, 9.0
"""Step and end of the grid on which squares of differences of densities are summed: exact to rounding at unit width."""


def integrals(rows: pd.DataFrame) -> pd.DataFrame:
    """Return squared L2 distances of the mixtures of generation 1 to the truth, N(0, I), beside sums over a grid.

    There is no chance in these: they have no ``error`` and no ``z``.
    """
    rows = rows[(rows["family"] == "mixture") & (rows["generation"] == 1)].dropna(axis="columns")
    if rows.empty:
        return pd.DataFrame()
    if set(rows["shape"]) != {"blob"}:
        raise DataError("the table integrates mixtures on the data of shape blob alone: leave the others out")
    axis = np.arange(-END, END + STEP / 2, STEP)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(1, -1, 2)
    truth = np.exp(-(x**2).sum(axis=2) / 2) / (2 * np.pi)
    fitted = mixture.of_columns(rows)
    density = np.exp(mixture.log_density(fitted, np.broadcast_to(x, (len(rows), *x.shape[1:]))))
    found = rows[["dataset", "policy", "N", "generation"]].assign(oracle=L2, formula=FORMULA, chains=1)
    return found.assign(simulated=((density - truth) ** 2).sum(axis=1) * STEP**2, theory=rows["l2"])


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Return the point of each closed form that is furthest from simulation, and ``points``, their number.

    ``loss`` says what the leading form neglects, at the largest M and last generation that have one.
    """
    names = list(dict.fromkeys(oracle.name for oracle in (*GAUSSIAN, *DISCRETE, ENDS)))
    relative = (table["simulated"] / table["theory"] - 1).abs()
    groups = table.assign(apart=table["z"].abs().fillna(relative)).groupby("oracle")["apart"]
    found = table.loc[groups.idxmax()].assign(points=groups.size().to_numpy())
    if "order" in table:
        last = table.dropna(subset="order").sort_values(["N", "generation"]).groupby("oracle").last()
        found = found.assign(loss=found["oracle"].map({name: _loss(row) for name, row in last.iterrows()}))
    return found.sort_values("oracle", key=lambda s: s.map([*names, L2].index)).reset_index(drop=True)


def _loss(row: Mapping[str, Any]) -> str:
    return f"{_number(row['neglected'])} at M = {row['N']:,}, n = {row['generation']}; $M^{{-{row['order']:.2f}}}$"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what the picture says of a closed form, column -> text."""
    many = row["d"] if pd.notna(row.get("d")) and row["d"] > 1 else None
    named = {"d": many, "ddof": row.get("ddof"), "i": row.get("state"), "n": row["generation"]}
    at = [f"M = {row['N']:,}", *(f"{k} = {v:.0f}" for k, v in named.items() if pd.notna(v))]
    said = {"closed form": row["oracle"], "": row["formula"], "worst at": ", ".join(at)}
    said |= {
        "theory": _number(row["theory"]),
        "points": str(row["points"]),
        "simulated ± s.e.": _number(row["simulated"]),
    }
    if row["oracle"] == L2:
        return {**said, "z": f"{row['simulated'] / row['theory'] - 1:.0e}"}
    said["simulated ± s.e."] += f" ± {row['error']:.1g}"
    loss = row.get("loss")
    said |= {"chains": f"{row['chains']:,}", "z": f"{row['z']:+.2f}"}
    return {**said, "leading form neglects": loss} if pd.notna(loss) else said


def draw(inputs: Inputs, laws: Mapping[str, Mapping[str, Any]], least: int = 200) -> Drawing:
    """Set simulation beside theory, a line for each closed form.

    Args:
        inputs: rows of Gaussians (of any dimension), discrete distributions and mixtures.
        laws: ``{<name>: <its entry>}`` of the data sets of discrete distributions.
        least: groups of fewer chains are left out.
    """
    style()
    rows = with_size(inputs.rows)
    known = {name: law(pick(rows, dataset=name), entry) for name, entry in laws.items()}
    table = pd.concat([compare(rows, known, least), integrals(rows)], ignore_index=True)
    shown = worst(table)
    figure = plt.figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    text = {"fontsize": SIZE, "va": "center_baseline"}
    for column, left in LEFT.items():
        axes.text(left, HEAD / 2, column, fontweight="bold", **text)
    y = HEAD
    for row in shown.to_dict("records"):
        axes.plot([0, WIDTH], [y, y], color="0.87", linewidth=0.6)
        for column, said in cells(row).items():
            axes.text(LEFT[column], y + ROW / 2, said, color="0.1" if column else "0.35", **text)
        y += ROW
    axes.plot([0, WIDTH], [y, y], color="0.4", linewidth=1)
    axes.set(xlim=(0, WIDTH), ylim=(y + 2, 0))
    figure.set_size_inches(WIDTH / 72, (y + 2) / 72)
    judged = table["z"].dropna().abs()
    caption = (
        "Means over chains that are fitted to their own samples, M items a generation, beside closed forms (mu = 0, "
        "sigma = 1 in each of d dimensions, d = 1 where none are named); the csv has all "
        f"{len(table):,} points. z = (simulated - theory) / standard error: the worst of "
        f"each form is shown, {(judged > 2).mean():.1%} of all points lie beyond 2, {(judged > 4).sum()} beyond 4. "
        "Points of one group are of the same chains and not independent. Limits are compared where the exact form is "
        "within 1 % of them. Second moments under replace, and what "
        "follows from them, are compared while 2n / M is at most a thousandth of the number of chains; all where at "
        f"least 5 chains differ from the others; groups of fewer than {least} chains not at all. Last column: "
        "what the same form to order 1/M leaves out, and the power of M that this falls with as M doubles. Last line: "
        "beside a sum over a grid, z the relative difference. n = 1 is the first fit, on real data. "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
