"""Perplexity of generated blocks under the first model, and test perplexity by generation: figures 1b and 1c.

Both panels of a setting of Shumailov et al., Nature 631 (2024), and beside them what its appendix shows in three
dimensions: the histogram of every generation, here as ridges, and what is said of it in numbers, the median and the
mass beyond the tail of real data.
"""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError, unknown
from collapse.finetuned import (
    AVERAGES,
    COUNTED,
    PAPER,
    SERIES,
    kept,
    kept_name,
    log_x,
    model,
    runs,
    sampler_statement,
    start_statement,
    unmarked,
)
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    only,
    open_markers,
    over_generations,
    pick,
    shades,
    style,
)

REAL = 0  # the generation of real items in the details
GREY, COLOUR = "0.55", "#C1440E"
MEDIAN, TAIL = "sample_first_perplexity_median", "sample_first_perplexity_tail"
UNDER = "perplexity of a block under model 1"
MARK = "without the mark that begins each line"
UNMARKED = "test perplexity, unmarked"
HEIGHT = 1.9  # of the highest ridge, in distances between ridges
SHOWN = 0.995  # quantile of all blocks: the axis ends half above it, or single blocks would squeeze all others


@dataclass(frozen=True)
class Published:
    """What the paper prints of a setting, shown at paper scale alone.

    Attributes:
        figure: which one it is.
        says: how the paper sums it up.
        low, high: ends of the axis of test perplexity: the curves themselves are not given as numbers.
        first: test perplexity of the model fitted on real data, as its text gives it.
        other: generation -> test perplexity of another replication, one run; empty where there is none.
        other_source: where these come from.
    """

    figure: str
    says: str
    low: float
    high: float
    first: float
    other: dict[int, float] = field(default_factory=dict)
    other_source: str = ""


def blocks(inputs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    """Return seed, generation (0: real blocks) and perplexity under model 1 of each block of the rows' series.

    Raises:
        DataError: there are no details, a generation or a seed of the rows lacks its blocks, seeds have different
            numbers of them, or a perplexity is not a positive number.
    """
    if inputs.details is None or "perplexity" not in inputs.details:
        raise DataError("the figure needs the perplexity of each block: ask for details.parquet in the config")
    key = {column: only(rows, column) for column in [*SERIES, "selector"]}
    found = inputs.details
    for column, value in key.items():
        found = found[found[column] == value]
    found = found[["seed", "generation", "perplexity"]]
    found = found[found["seed"].isin(rows["seed"].unique()) & (found["generation"] <= rows["generation"].max())]
    if not (np.isfinite(found["perplexity"]) & (found["perplexity"] > 0)).all():
        raise DataError(f"{key['recipe']}/{key['policy']}: a block has no perplexity: delete its details and run again")
    wanted = pd.MultiIndex.from_product([rows["seed"].unique(), range(rows["generation"].max() + 1)])
    counts = found.groupby(["generation", "seed"]).size()
    missing = wanted.difference(counts.reorder_levels(["seed", "generation"]).index)
    if len(missing):
        raise DataError(f"details lack generation {missing[0][1]} of seed {missing[0][0]}: run `measure` again")
    if (counts.groupby("generation").nunique() > 1).any():
        raise DataError("seeds have different numbers of blocks: they cannot be counted in one histogram")
    return found


def binned(found: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Return the share of blocks in each of ``bins`` bins, equal on the logarithmic axis, by generation; seeds pooled.

    The bins span all blocks of all generations, so that the shares of each generation sum to 1. The last one takes all
    that lie above half more than the quantile `SHOWN` of all blocks, and is as wide as the others where it is drawn.
    """
    if bins < 2:
        raise DataError(f"a histogram needs 2 bins or more, got {bins}")
    values = found["perplexity"]
    low, top = values.min() / 1.001, values.max() * 1.001
    edges = np.geomspace(low, min(top, 1.5 * values.quantile(SHOWN)), bins + 1)
    edges[-1] = top
    parts = []
    for generation, here in found.groupby("generation"):
        share = np.histogram(here["perplexity"], edges)[0] / len(here)
        bars = {"bin_low": edges[:-1], "bin_high": edges[1:], "value": share}
        parts.append(pd.DataFrame({"generation": generation, **bars, "n": len(here)}))
    return pd.concat(parts, ignore_index=True)


def measured(inputs: Inputs, rows: pd.DataFrame, metric: str, bins: int, shown: list[int]) -> pd.DataFrame:
    """Return all that is shown: a column ``panel``, and in each of them what it holds."""
    found = blocks(inputs, rows)
    ridges = binned(found, bins)
    marks = found.groupby("generation")["perplexity"].quantile([0.5, 0.999]).unstack().reset_index()
    marks.columns = ["generation", "median", "p99.9"]
    real = found[found["generation"] == REAL].groupby("seed")["perplexity"]
    levels = {"median": real.median().mean(), "tail": real.agg(beyond).mean()}
    parts = [
        ridges[ridges["generation"].isin(shown)].assign(panel="histogram"),
        ridges.assign(panel="ridges"),
        marks.melt("generation", var_name="mark").assign(panel="ridges"),
    ]
    for panel, column in {"test perplexity": metric, "median": MEDIAN, "tail": TAIL}.items():
        mean = over_generations(rows, ["policy"], column).rename(columns={"mean": "value"})
        parts += [runs(rows, column).assign(panel=panel), mean.assign(panel=panel).drop(columns="policy")]
    parts += [pd.DataFrame({"panel": [panel], "generation": [REAL], "value": [v]}) for panel, v in levels.items()]
    if unmarked(rows):
        here = rows.assign(value=np.exp(rows["unmarked_cross_entropy"].astype(float)))
        mean = over_generations(here, ["policy"], "value").rename(columns={"mean": "value"})
        parts.append(mean.assign(panel=UNMARKED).drop(columns="policy"))
    columns = ["panel", "generation", "seed", "mark", "bin_low", "bin_high", "value", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def beyond(real: pd.Series) -> float:
    """Return the share of real blocks above their own 99.9th percentile, the next one of their values.

    Of up to 1000 blocks that is the largest, and the share 0.
    """
    return float((real > np.quantile(real, 0.999, method="higher")).mean())


def _edges(bars: pd.DataFrame) -> np.ndarray:
    """Return the edges of bins as drawn: the last one, which takes the rest, as wide as the others."""
    low = bars["bin_low"].to_numpy()
    return np.append(low, low[-1] ** 2 / low[-2])


def _name(generation: int) -> str:
    return "real" if generation == REAL else f"n = {generation}"


def _steps(facet, bars: pd.DataFrame, colour, base: float = 0, scale: float = 1, **look) -> None:
    edges = _edges(bars)
    top = base + scale * bars["value"]
    facet.stairs(top, edges, baseline=base, fill=True, color=colour, linewidth=0, **look)
    facet.stairs(top, edges, baseline=None, color=colour, linewidth=1.3, zorder=look.get("zorder", 1))


def _histogram(facet, bars: pd.DataFrame, colours: dict) -> None:
    for generation, here in bars.groupby("generation"):
        _steps(facet, here, colours[generation], alpha=0.35 if generation == REAL else 0.1)
    handles = [plt.Line2D([], [], color=c, linewidth=2, label=_name(g)) for g, c in colours.items()]
    facet.legend(handles=handles, loc="upper right", fontsize=8)
    facet.set(ylabel="probability", ylim=(0, None))


def _ridges(facet, table: pd.DataFrame, colours: dict) -> None:
    bars, marks = table[table["mark"].isna()], table[table["mark"].notna()]
    scale = HEIGHT / bars["value"].max()
    generations = list(bars["generation"].unique())
    end = _edges(bars[bars["generation"] == REAL])[-1]
    for place, generation in enumerate(generations):
        here = bars[bars["generation"] == generation]
        colour = colours[generation]
        _steps(facet, here, "white", -place, scale, zorder=2 * place + 2)
        _steps(facet, here, colour, -place, scale, alpha=0.45, zorder=2 * place + 3)
        at = marks[marks["generation"] == generation].set_index("mark")["value"]
        facet.vlines(at["median"], -place, 0.35 - place, color="black", linewidth=1.6, zorder=99)
        look = {"color": "black", "zorder": 99, "clip_on": False}
        if at["p99.9"] <= end:
            facet.plot(at["p99.9"], -place, "D", markersize=3.2, **look)
        else:
            facet.plot(end, -place, ">", markersize=6, **look)
    facet.set_yticks([-i for i in range(len(generations))], [_name(g) for g in generations])
    facet.set_ylim(-len(generations) + 0.7, HEIGHT + 0.1)
    facet.grid(visible=False, axis="y")
    facet.set_xlabel(UNDER)


def _runs(facet, table: pd.DataFrame, ends: tuple[float, float] = (-np.inf, np.inf)) -> None:
    """Draw each run thinly, and the mean with its interval, of which what lies inside of ``ends`` is shown."""
    each, mean = table[table["seed"].notna()], table[table["seed"].isna() & (table["generation"] != REAL)]
    for _, run in each.groupby("seed"):
        facet.plot(run["generation"], run["value"], color=COLOUR, linewidth=0.8, alpha=0.55, zorder=2)
    low, high = mean["low"].clip(*ends), mean["high"].clip(*ends)
    bars = [(mean["value"] - low).fillna(0), (high - mean["value"]).fillna(0)]
    look = {"marker": "s", "markersize": 4, "linewidth": 1.8, "capsize": 2.5, "elinewidth": 1.1, "zorder": 3}
    facet.errorbar(mean["generation"], mean["value"], bars, color=COLOUR, **look)


def _beside(facet, table: pd.DataFrame, known: Published) -> pd.DataFrame:
    """Draw what is published of a setting; return the table with it."""
    facet.axhspan(known.low, known.high, color="0.5", alpha=0.1, linewidth=0, zorder=0)
    points = {1: known.first}
    open_markers(facet, list(points), list(points.values()), "black")
    rows = [{"panel": "published", "generation": n, "value": v, "mark": "mean, text"} for n, v in points.items()]
    rows.append({"panel": "published", "low": known.low, "high": known.high, "mark": "axis"})
    last = table["generation"].max()
    other = {n: v for n, v in known.other.items() if n <= last}
    if other:
        facet.plot(list(other), list(other.values()), ":", color="0.3", marker="x", markersize=4, linewidth=1)
        rows += [{"panel": "published", "generation": n, "value": v, "mark": "other run"} for n, v in other.items()]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def draw(inputs: Inputs, known: Published, recipe=None, policy=None, generations=(), metric="perplexity", bins=40):
    """Draw a setting: histograms and ridges on the left, test perplexity, median and tail on the right.

    Args:
        inputs: rows of one data set and sampler, and their details.
        known: what is published of the setting.
        recipe, policy: which series; not needed where the rows hold one alone.
        generations: those of the histogram that were run are shown; the ridges show all.
        metric: one of `AVERAGES`.
        bins: of a histogram.

    Returns:
        A `Drawing`.

    Raises:
        ConfigError: an unknown ``metric``.
        DataError: rows or details are missing, or hold several series.
    """
    style()
    if metric not in AVERAGES:
        raise unknown("metric", metric, AVERAGES)
    wanted = {"recipe": recipe, "policy": policy}
    rows = pick(inputs.rows, **{column: value for column, value in wanted.items() if value is not None})
    last = int(rows["generation"].max())
    shown = [REAL, *(n for n in generations if n <= last)]
    if len(shown) == 1:
        raise DataError(f"the figure shows generations {', '.join(map(str, generations))}, its rows end at {last}")
    table = measured(inputs, rows, metric, bins, shown)
    of = {panel: table[table["panel"] == panel] for panel in table["panel"].unique()}

    figure = plt.figure(figsize=(9.4, 7.4), layout="constrained")
    left, right = (column.subgridspec(4, 1, hspace=0.05) for column in figure.add_gridspec(1, 2, wspace=0.06))
    histogram = figure.add_subplot(left[:2])
    ridges = figure.add_subplot(left[2:], sharex=histogram)
    test, median, tail = (figure.add_subplot(right[part]) for part in (slice(0, 2), 2, 3))
    of_all = {REAL: GREY, **shades(range(1, last + 1))}
    _histogram(histogram, of["histogram"], {g: of_all[g] for g in shown})
    _ridges(ridges, of["ridges"], of_all)
    log_x(histogram)
    for facet, panel in ((test, "test perplexity"), (median, "median"), (tail, "tail")):
        _runs(facet, of[panel], (0, 1) if panel == "tail" else (-np.inf, np.inf))
        integer_ticks(facet, last)
    real = {p: of[p].loc[of[p]["generation"] == REAL, "value"].iloc[0] for p in ("median", "tail")}
    for facet, panel in ((median, "median"), (tail, "tail")):
        facet.axhline(real[panel], color=GREY, linestyle="--", linewidth=1.2, zorder=2.6, clip_on=False)
    if UNMARKED in of:
        at = of[UNMARKED]
        test.plot(at["generation"], at["value"], "--", color=COLOUR, linewidth=1, label=MARK)
        test.legend(loc="best", fontsize=8)
    test.set(ylabel="perplexity of model n\non real test data", title="test perplexity")
    median.set_ylabel("median block\nperplexity")
    above = "all real ones" if real["tail"] == 0 else "real 99.9 %"
    tail.set(ylabel=f"blocks beyond\n{above}", xlabel=GENERATION, ylim=(0, None))
    tail.set_ylim(0, min(tail.get_ylim()[1], 1))
    histogram.set_title("generated blocks under model 1")
    beside = ""
    if inputs.scale == "paper":
        table = _beside(test, table, known)
        beside = (
            f" Grey field: the axis of the published panel, {known.low:g} to {known.high:g}; circle: its model of real "
            f"data, {known.first:g}, in the text; its averaging is not said."
        )
        beside += f" Crosses: {known.other_source}." if known.other else ""
    return Drawing(figure, table, _caption(inputs, known, rows, table, metric, beside))


def _caption(inputs: Inputs, known: Published, rows, table, metric: str, beside: str) -> str:
    seeds = rows["seed"].nunique()
    pooled = table.loc[(table["panel"] == "ridges") & table["mark"].isna() & (table["generation"] > REAL), "n"]
    low, high = int(pooled.min()), int(pooled.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    interval = "; bars: 95 % t interval of the mean, of shares inside 0 and 1" if seeds > 1 else "; one run, so no bars"
    bars = table[(table["panel"] == "ridges") & table["mark"].isna()]
    edge = bars["bin_low"].max()
    rest, limit = "", _edges(bars[bars["generation"] == REAL])[-1]
    if bars["bin_high"].max() > limit * 1.01:
        last = bars[bars["bin_low"] == edge]
        count = round((last["value"] * last["n"]).sum())
        rest = (
            f"; the last bin holds all blocks above {edge:.3g} ({count:,} in all, up to {bars['bin_high'].max():,.0f})"
        )
    marks = table.loc[(table["panel"] == "ridges") & (table["mark"] == "p99.9"), "value"]
    arrow = ", or an arrow where it lies beyond the axis" if (marks > limit).any() else ""
    real = table[(table["panel"] == "tail") & (table["generation"] == REAL)]["value"].iloc[0]
    blocks = int(bars.loc[bars["generation"] == REAL, "n"].iloc[0]) // seeds
    level = f"the largest of the {blocks:,} real blocks" if real == 0 else "the 99.9th percentile of real blocks"
    dashed = f" Dashed: {MARK}, which no model generates." if UNMARKED in set(table["panel"]) else ""
    return (
        f"{model(rows)}, {kept_name(kept(rows))}, after figure {known.figure} of {PAPER} ({known.says}). "
        f"{start_statement(rows)} {sampler_statement(rows)} Left: perplexity of each block that model n generated, "
        f"under model 1 of the same run: {each} blocks of each generation, {seeds} run{'s' * (seeds > 1)} pooled, bins "
        f"of equal width on the logarithmic axis{rest}; grey: the real training blocks, which model 1 has seen. "
        f"Ridges: every generation, to one scale of probability; tick: median, diamond: 99.9th percentile{arrow}. "
        f"Right: thin lines are runs (n = {seeds}), thick the mean{interval}. Test perplexity: {AVERAGES[metric]}."
        f"{dashed} Below it: the median of the blocks' perplexities, and the share of blocks above {level}, those that "
        "model 1 itself was fitted on, under model 1; dashed: real blocks, by the same measures. "
        f"{COUNTED}{beside} {data_statement(inputs)}"
    )
