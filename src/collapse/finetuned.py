"""What figures of recursively fine-tuned language models share: measures, lines over generations, captions.

The language models of Shumailov et al., Nature 631 (2024): fine-tuned, then asked to continue every real block.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from collapse.errors import DataError
from collapse.looks import sampler_look
from collapse.plotting import line, look, model_names, only, over_generations, pick, settings

PAPER = "Shumailov et al., Nature 631 (2024)"
COUNTED = "The paper counts from 0: its model 0, fitted on real data, is n = 1 here."
SERIES = ["dataset", "recipe", "policy", "sampler"]
AVERAGES = {
    "perplexity": "exp of the mean loss of all tokens",
    "perplexity_batches": "mean over batches of exp of their mean loss",
    "perplexity_sequences": "mean over blocks of exp of their mean loss",
}
"""Column -> what is averaged: the paper does not say which one it shows."""


@dataclass(frozen=True)
class Measure:
    """A panel of a figure.

    Attributes:
        column: of the rows.
        title: above the panel.
        bad: which way is bad, beside the title.
        says: what it is, in the caption.
        share: whether it lies between 0 and 1: bands are drawn, and axes end, inside of that.
    """

    column: str
    title: str
    bad: str
    says: str
    share: bool = False


PERPLEXITY = Measure(
    "perplexity", "test perplexity", "↑ worse", f"of model n on real test data, {AVERAGES['perplexity']}"
)  # fmt: skip
REPETITION = Measure(
    "sample_repetition",
    "rep-4",
    "↑ repetitive",
    "share of 4-grams that stand earlier in their own block, mean over S_n",
    share=True,
)
DISTINCT = Measure(
    "sample_distinct_3", "distinct-3", "↓ repetitive, ↑ noise", "different 3-grams over all of S_n", share=True
)
ENTROPY = Measure("sample_entropy", "entropy (nats)", "↓ narrow, ↑ noise", "of the unigrams of S_n")
COVERAGE = Measure(
    "sample_vocabulary_coverage", "vocabulary coverage", "↓ types lost",
    "share of the token types of D_1 that S_n holds, at equal tokens", share=True,
)  # fmt: skip
TAIL = Measure(
    "sample_tail_coverage", "tail coverage", "↓ rare types lost",
    "share of the rarest tenth of the token types of D_1 that S_n holds", share=True,
)  # fmt: skip


def measured(rows: pd.DataFrame, measures: Iterable[Measure]) -> pd.DataFrame:
    """Return mean, 95 % interval and n over seeds of each measure (column ``measure``: title) and generation.

    Raises:
        DataError: a measure is missing or not finite, or a series lacks a generation or a seed of one.
    """
    parts = [over_generations(pick(rows), SERIES, m.column).assign(measure=m.title) for m in measures]
    return pd.concat(parts, ignore_index=True)


def draw_lines(facet, table: pd.DataFrame, measure: Measure, looks: Mapping[tuple, Mapping[str, Any]]) -> None:
    """Draw a measure against the generation: a line per series (dataset, recipe, policy, sampler) of ``looks``.

    Bands of shares are cut at 0 and 1, where no mean can lie beyond; the table keeps the intervals as computed.
    """
    here = table[table["measure"] == measure.title]
    if measure.share:
        here = here.assign(low=here["low"].clip(0, 1), high=here["high"].clip(0, 1))
    for key, curve in here.groupby(SERIES, sort=False):
        if key in looks:
            line(facet, curve, "generation", **looks[key])
    facet.set_title(measure.title, loc="left", fontsize=9)
    facet.set_title(measure.bad, loc="right", fontsize=7.5, color="0.35")


def inside(facet, measure: Measure) -> None:
    """End the y axis of a share inside of 0 and 1, with whole markers on its edges; draw first."""
    if measure.share:
        low, high = facet.get_ylim()
        facet.set_ylim(max(low, 0), min(high, 1))
        for drawn in facet.lines:
            drawn.set_clip_on(False)


def cut_statement(table: pd.DataFrame, measures: Iterable[Measure]) -> str:
    """Say that bands of shares are cut, where one of them is; starts with a space."""
    here = table[table["measure"].isin([m.title for m in measures if m.share])]
    beyond = ((here["low"] < 0) | (here["high"] > 1)).any()
    return " Bands of shares are drawn inside 0 and 1; the csv has them as computed." if beyond else ""


def model(rows: pd.DataFrame) -> str:
    """Return what the one model of the rows is called; several recipes may train it. Raises DataError."""
    names = {name.partition(",")[0] for name in model_names(rows).values()}
    if len(names) != 1:
        raise DataError(f"the figure shows one model, its rows hold {', '.join(sorted(names))}: name fewer cells")
    return names.pop()


def log_x(facet) -> None:
    """Make x logarithmic, with plain numbers; draw first."""
    facet.set_xscale("log")
    low, high = sorted(facet.get_xlim())
    subs = (1, 1.5, 2, 3, 4, 6) if high < 8 * low else (1, 2, 5) if high < 2000 * low else (1,)
    facet.xaxis.set_major_locator(LogLocator(subs=subs))
    facet.xaxis.set_major_formatter("{x:g}")
    facet.xaxis.set_minor_locator(NullLocator())


def series(rows: pd.DataFrame) -> list[tuple]:
    """Return (dataset, recipe, policy, sampler) of each series, in the order of the rows."""
    return list(pick(rows)[SERIES].drop_duplicates().itertuples(index=False, name=None))


def series_names(rows: pd.DataFrame) -> dict[tuple, str]:
    """Return series -> name: epochs, share of real data kept and decoder, as far as they differ between the series.

    Raises:
        DataError: two series have one name.
    """
    parts, found = {}, series(rows)
    for key in found:
        here = pick(rows, **dict(zip(SERIES, key, strict=True)))
        epochs = settings(rows, "recipe", key[1]).get("epochs")
        said = [key[1] if epochs is None else f"{epochs:g} epochs", kept_name(kept(here)), sampler_look(key[3])[0]]
        parts[key] = said
    differ = [len(set(column)) > 1 for column in zip(*parts.values(), strict=True)]
    differ[2] |= not any(differ)
    names = {k: ", ".join(p for p, shown in zip(said, differ, strict=True) if shown) for k, said in parts.items()}
    if len(set(names.values())) < len(names):
        raise DataError(f"series of the figure cannot be told apart: {', '.join(names.values())}: name fewer cells")
    return names


def series_looks(rows: pd.DataFrame) -> dict[tuple, dict[str, Any]]:
    """Return series -> colour, marker and dashes of its line.

    Those of the rows' first sampler look like their policy, others like their sampler; recipes after the first are
    dashed, with open markers.
    """
    found = series(rows)
    recipes = list(dict.fromkeys(recipe for _, recipe, _, _ in found))
    out = {}
    for key in found:
        _, recipe, policy, sampler = key
        _, colour, marker = look(policy) if sampler == found[0][3] else sampler_look(sampler)
        dashes = {"linestyle": (0, (5, 2)), "markerfacecolor": "white"} if recipes.index(recipe) else {}
        out[key] = {"color": colour, "marker": marker, **dashes}
    return out


def kept(rows: pd.DataFrame) -> float:
    """Return the share of real items in the training sets after generation 1. Raises DataError where it is not one."""
    later = rows[rows["generation"] > 1]
    if later.empty:
        raise DataError("the figure compares generations, its rows end at generation 1: give the block more of them")
    return float(only(later.assign(real_fraction=later["real_fraction"].round(6)), "real_fraction"))


def kept_name(share: float) -> str:
    """Return what a setting that keeps a share of real data is called."""
    return "no real data kept" if share == 0 else f"{100 * share:.3g} % real data kept"


def start_statement(rows: pd.DataFrame) -> str:
    """Say from which weights generation 1 and later ones start, how long they train, and in what seeds differ.

    Raises:
        DataError: rows without plans or settings.
    """
    if "plan" not in rows:
        raise DataError("rows of the figure have no column `plan`: delete them and run again")
    recipes = {name: settings(rows, "recipe", name) for name in rows["recipe"].unique()}
    weights = sorted({str(entry.get("start") or "") for entry in recipes.values()})
    first = (
        f"Generation 1 is fine-tuned from pre-trained weights ({', '.join(w for w in weights if w)})"
        if any(weights)
        else "Generation 1 starts from fresh weights"
    )
    afresh = "the same pre-trained weights" if any(weights) else "fresh weights"
    begins = {"first": "the weights of generation 1", "previous": "those of the one before", "scratch": afresh}
    plans = rows.loc[rows["generation"] > 1, "plan"].astype(str)
    inits = sorted({plan.rpartition(", ")[2] for plan in plans})
    later = f", every later one from {' or '.join(begins[init] for init in inits)}" if inits else ""
    epochs = sorted({entry["epochs"] for entry in recipes.values() if entry.get("epochs")})
    passes = f"; {' or '.join(f'{e:g}' for e in epochs)} epochs each{kept_pass(rows)}" if epochs else ""
    return f"{first}{later}{passes}.{seeds_differ(rows)}"


def kept_pass(rows: pd.DataFrame) -> str:
    """Say which pass of a fit is kept, where the rows hold it (``fit_kept_pass``); starts with a comma."""
    found = rows[rows["fit_kept_pass"].notna()] if "fit_kept_pass" in rows else rows.iloc[:0]
    if found.empty:
        return ""
    later = found["generation"] > 1
    means = [("generation 1", found[~later]), ("later", found[later])]
    said = ", ".join(f"{name}: {part['fit_kept_pass'].mean():.1f}" for name, part in means if len(part))
    some = "" if len(found) == len(rows) else " in part of the runs"
    return f", of which the pass best on real validation data is kept{some} ({said} on average)"


def seeds_differ(rows: pd.DataFrame) -> str:
    """Say what a seed varies, as far as the settings tell; nothing of one seed. Starts with a space."""
    if rows["seed"].nunique() < 2:
        return ""
    recipes = [settings(rows, "recipe", name) for name in rows["recipe"].unique()]
    samplers = [settings(rows, "sampler", name) for name in rows["sampler"].unique()]
    drawn = [entry.get("kind", "sample") == "sample" for entry in samplers]
    same = ["data"] + ["weights to start from"] * all(entry.get("start") for entry in recipes)
    varied = ["the order of the training blocks"]
    varied += ["the weights to start from"] * (len(same) == 1)
    varied += ["dropout"] * any(entry.get("dropout") for entry in recipes)
    varied += ["which real blocks are kept"] * bool(rows["plan"].astype(str).str.contains("redrawn").any())
    varied += ["the draws of the sampler" + (", where it draws" if not all(drawn) else "")] * any(drawn)
    listed = " and ".join([", ".join(varied[:-1]), varied[-1]] if len(varied) > 1 else [f"{varied[0]} alone"])
    return f" Seeds differ in {listed}: the {' and the '.join(same)} are the same."


def unmarked(rows: pd.DataFrame) -> bool:
    """Return whether the rows hold the loss of all tokens but the mark that begins each line.

    Real blocks hold that mark then, but a continuation never does: it is the end token.
    """
    column = "unmarked_cross_entropy"
    return column in rows and bool(np.isfinite(rows[column].astype(float)).all())


def decoding(entry: Mapping[str, Any]) -> str:
    """Say in words how a sampler decodes, from its entry of the config."""
    kind = entry.get("kind", "sample")
    if kind == "beam":
        words = f"{entry['beams']}-way beam search"
    elif kind == "sample":
        words = f"sampling at temperature {entry.get('temperature') or 1:g}"
        words += f", top-p {entry['top_p']:g}" if entry.get("top_p") else ""
        words += f", top-k {entry['top_k']}" if entry.get("top_k") else ""
    else:
        words = str(kind)
    penalty = entry.get("repetition_penalty") or 1
    return words + (f", repetition penalty {penalty:g}" if penalty != 1 else "")


def sampler_statement(rows: pd.DataFrame) -> str:
    """Say how the blocks were generated, and from which prompts."""
    entries = {name: settings(rows, "sampler", name) for name in rows["sampler"].unique()}
    length = sorted({entry["max_tokens"] for entry in entries.values() if entry.get("max_tokens")})
    real = [decoding(e) for e in entries.values() if e.get("prompts", "real") == "real"]
    other = [decoding(e) for e in entries.values() if e.get("prompts", "real") != "real"]
    tokens = f"{' or '.join(map(str, length))} tokens" if length else "what comes"
    out = f"Each model continues every real training block by {tokens}: {'; '.join(dict.fromkeys(real))}." * bool(real)
    if other:
        out += f" With synthetic prompts it continues the blocks that it was fitted on: {'; '.join(other)}."
    return out.strip()


def measures_statement(measures: Iterable[Measure]) -> str:
    """Say what the panels show; S_n is what model n generated."""
    said = "; ".join(f"{m.title}: {m.says}" for m in measures)
    return f"S_n: the blocks that model n generated, D_1: the real training set. {said[0].upper()}{said[1:]}."


def runs(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return generation, seed and value of each run. Raises DataError where one is missing or not finite."""
    if metric not in rows or not np.isfinite(rows[metric].astype(float)).all():
        raise DataError(f"{metric} is missing or not finite in the rows of the figure")
    return rows[["generation", "seed", metric]].rename(columns={metric: "value"}).sort_values(["seed", "generation"])
