"""How much real data keep a recursive Gaussian from collapse, not in Shumailov et al.: real share against half-life.

What to see: without real data half of the spread is gone after about half as many generations as there are items. Each
real item beside them postpones it, and a handful, however small their share, for longer than anyone waits: in units of
N generations all sizes lie on one curve of the number of real items. The mean square never falls to a quarter where
there is a single one.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import Drawing, Inputs, data_statement, only, pick, shades, style
from collapse.quantiles import DASHED, with_size
from collapse.theory import gaussian, passage

SHARE = "real share of a training set"
LONGEST = 20.0
"""Half-lives in units of N generations up to which theory is drawn."""


def with_share(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with ``real``, the number of real items in each training set after the first, as the rows tell it.

    Raises:
        DataError: it changes along a chain, or two policies come to the same number for one N.
    """
    later = rows[rows["generation"] > 1]
    keys = ["policy", "N"]
    if later.empty or (later.groupby(keys)["real_fraction"].nunique() != 1).any():
        raise DataError("the figure needs chains of several generations whose real share does not change")
    share = later.groupby(keys)["real_fraction"].first().rename("share")
    rows = rows.join(share, on=keys)
    rows = rows.assign(real=(rows["share"] * rows["N"]).round().astype(int))
    same = rows[["N", "real", "policy"]].drop_duplicates().groupby(["N", "real"])["policy"].agg(list)
    if len(twice := same[same.str.len() > 1]):
        (size, real), names = next(twice.items())
        raise DataError(
            f"{' and '.join(names)} come to the same {real} real items of N = {size}: leave all but one out"
        )
    return rows


def half_lives(rows: pd.DataFrame) -> pd.DataFrame:
    """Return quartiles over chains of the first generation with sd <= sigma / 2, and theory, by N and policy.

    A chain that never comes there counts as infinity; ``n`` chains, of ``last`` generations, of which a share ``never``
    does.
    """
    out, theory = [], {real: passage.half_life(real) for real in rows["real"].unique()}
    for (size, policy), here in rows.groupby(["N", "policy"], sort=False):
        sd = here.pivot(index="seed", columns="generation", values="sd").sort_index(axis=1)
        if sd.isna().any(axis=None) or list(sd.columns) != list(range(1, len(sd.columns) + 1)):
            raise DataError(f"rows are missing: N = {size}, {policy}")
        below = (sd <= 0.5).to_numpy()
        first = np.where(below.any(axis=1), 1.0 + below.argmax(axis=1), np.inf)
        lower, median, upper = np.quantile(first, [0.25, 0.5, 0.75], method="higher")
        real = int(only(here, "real"))
        found = {"N": size, "policy": policy, "real": real, "share": real / size, "last": sd.shape[1], "n": len(sd)}
        found |= {"lower": lower, "median": median, "upper": upper, "never": np.isinf(first).mean()}
        out.append({"panel": "half-life", **found, "theory": size * theory[real]})
    return pd.DataFrame(out).sort_values(["N", "real", "policy"], ignore_index=True)


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard error of sd^2 over chains at the last generation, and theory, by N and policy."""
    out = []
    for (size, policy), here in rows.groupby(["N", "policy"], sort=False):
        last, real = int(here["generation"].max()), int(only(here, "real"))
        square = here.loc[here["generation"] == last, "sd"] ** 2
        found = {"N": size, "policy": policy, "real": real, "share": real / size, "last": last, "n": len(square)}
        expected = gaussian.real_fraction(last, size, real / size, int(only(here, "ddof"))).variance[-1]
        error = square.std() / np.sqrt(len(square))
        out.append({"panel": "variance", **found, "mean": square.mean(), "error": error, "theory": expected})
    return pd.DataFrame(out).sort_values(["N", "real", "policy"], ignore_index=True)


def curve(most: float) -> pd.DataFrame:
    """Return half-lives in units of N by number of real items, while they are below `LONGEST`."""
    real = np.arange(0, most + 0.5, 0.5)
    found = pd.DataFrame({"panel": "theory", "real": real, "theory": [passage.half_life(r) for r in real]})
    return found[found["theory"].cummax() <= LONGEST]


def draw(inputs: Inputs) -> Drawing:
    """Draw half-lives against the share, in generations; against real items, in units of N; and E sd^2 at the end."""
    style()
    rows = with_share(with_size(pick(pick(inputs.rows, d=1), ddof=0)))
    lives, variance = half_lives(rows), kept(rows)
    theory = curve(min(lives["real"].max(), 6.0))
    colours = shades(lives["N"].unique())
    figure, axes = plt.subplots(1, 3, figsize=(10.6, 3.7), layout="constrained")
    for size, colour in colours.items():
        here = pick(lives, N=size)
        axes[0].plot(theory["real"] / size, theory["theory"] * size, **{**DASHED, "color": colour})
        _points(axes[0], here, here["share"], 1, colour)
        _points(axes[1], here, here["real"], size, colour)
        end = pick(variance, N=size)
        axes[2].errorbar(end["real"], end["mean"], 2 * end["error"], color=colour, fmt="o", markersize=4, capsize=2)
        axes[2].plot(end["real"], end["theory"], "_", color="black", markersize=11)
    axes[1].plot(theory["real"], theory["theory"], **DASHED)
    axes[2].axhline(0.25, color="0.6", linewidth=0.8)
    axes[2].annotate("half of the spread", (axes[2].get_xlim()[1], 0.25), ha="right", va="bottom", fontsize=8)
    axes[0].set(xlabel=SHARE, ylabel=r"generations until $\hat\sigma_n \leq \sigma / 2$", yscale="log")
    axes[1].set(xlabel="real items of a training set", ylabel="the same in units of N", yscale="log")
    last = variance["last"].max()
    axes[2].set(xlabel="real items of a training set", ylabel=rf"mean of $\hat\sigma_n^2$ at n = {last}")
    axes[2].set_ylim(-0.04, 1.6)
    dot, none = {"marker": "o", "markersize": 4, "linestyle": ""}, {"marker": "^", "markersize": 6, "linestyle": ""}
    handles = [plt.Line2D([], [], color=c, label=f"N = {n}", **dot) for n, c in colours.items()]
    handles.append(plt.Line2D([], [], color="0.4", label="never within the run", **none))
    handles.append(plt.Line2D([], [], **DASHED, label="theory"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    caption = (
        "A Gaussian N(0, 1) fitted by maximum likelihood to N items: R real ones, redrawn from the N of generation 1 "
        "for each generation, and N - R drawn from its predecessor. Not in Shumailov et al. Left and middle: median "
        f"over chains ({lives['n'].min()} of each point) of the first generation whose standard deviation is at most "
        "half of the true one; bars: quartiles, to the end of the run where they lie beyond it. Triangles: the median "
        f"chain does not come there within the {_runs(lives)} generations of the run. Dashed: the limit of many items "
        "with R fixed, which depends on R and n / N alone; neglected terms are of order 1 / sqrt(N), and large where "
        "the share is: what real items add by chance counts then, and chains come there sooner. Right: mean over "
        "chains of the estimated variance at the end, bars: two standard errors; black: its exact expectation, near "
        f"2R / (2R + 1) where R > 0. n = 1 is the first fit, on real data alone. {data_statement(inputs)}"
    )
    return Drawing(figure, pd.concat([lives, variance, theory], ignore_index=True), caption)


def _points(axes, here: pd.DataFrame, x: pd.Series, unit: int, colour) -> None:
    """Draw medians with quartiles; a triangle at the end of the run where there is no median."""
    there = np.isfinite(here["median"])
    low, mid, high = (here[c].clip(upper=here["last"]) / unit for c in ("lower", "median", "upper"))
    reach = [(mid - low)[there], (high - mid)[there]]
    axes.errorbar(x[there], mid[there], reach, color=colour, fmt="o", markersize=4, capsize=2)
    axes.plot(x[~there], mid[~there], "^", color=colour, markersize=6)


def _runs(lives: pd.DataFrame) -> str:
    low, high = lives["last"].min(), lives["last"].max()
    return f"{low}" if low == high else f"{low} to {high}"
