"""What test loss does not show: diversity, tails and lengths of samples over generations. Not in a paper.

What to see: a loop may lose the tails (rare words die out, the loss on rare tokens rises) while the mean loss moves
little, and it may drift to either side: towards few texts said again and again, or towards noise. Real texts, measured
in the place of generated ones, are the level to compare with.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError, unknown
from collapse.plotting import (
    BUDGETS,
    GENERATION,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    integer_ticks,
    line,
    look,
    model_names,
    only,
    ordered,
    over_generations,
    pick,
    seeds_statement,
    style,
    summary,
    training_statement,
    until,
)


@dataclass(frozen=True)
class Measure:
    """A panel.

    Attributes:
        column: of the rows.
        title: above the panel.
        bad: which way is bad, beside the title.
        says: what it is, in the caption.
        level: that of real texts: a column of the rows, or a number where it is known by definition; None: none.
    """

    column: str
    title: str
    bad: str
    says: str
    level: str | float | None = None


MEASURES = {
    measure.title: measure
    for measure in (
        Measure(
            "sample_distinct_2", "distinct-2", "↓ repetitive, ↑ noise",
            "different pairs of neighbouring words over all pairs", "sample_real_distinct_2",
        ),
        Measure(
            "sample_self_bleu", "self-BLEU", "↑ repetitive, ↓ noise",
            "BLEU-4 of a text against all others, mean", "sample_real_self_bleu",
        ),
        Measure(
            "sample_c2st_accuracy", "C2ST accuracy", "↑ told from real",
            "how often a logistic regression on words and pairs of words tells held-out generated texts from real test "
            "texts; 0.5 is by chance",
            "sample_real_c2st_accuracy",
        ),
        Measure(
            "sample_vocabulary_coverage", "vocabulary coverage", "↓ words lost",
            "share of the word types of as many real texts that samples use", "sample_real_vocabulary_coverage",
        ),
        Measure(
            "sample_rare_mass_ratio", "mass of rare words", "↓ tail lost",
            "share of words that belong to the rarest tenth of the types of D_1, over their share in real test texts",
            1.0,
        ),
        Measure(
            "rare_cross_entropy", "rare-token loss (nats)", "↑ tail lost",
            "the model's cross-entropy on the tokens of the real test set whose types are the rarest ones that make up "
            "a tenth of D_1",
        ),
        Measure(
            "sample_grammatical", "grammatical", "↓ broken",
            "share of texts that the grammar of the source can make", 1.0,
        ),
        Measure(
            "sample_truth_excess", "too typical (nats)", "↑ narrow, ↓ odd",
            "log-probability under the source of grammatical texts, mean, above that of real test texts", 0.0,
        ),
        Measure("sample_length_mean", "text length (words)", "away from real: bad", "mean", "sample_real_length_mean"),
    )
}  # fmt: skip
LEVEL = {"color": "0.35", "linestyle": "--", "linewidth": 1.1, "zorder": 1}


def known(rows: pd.DataFrame, measures) -> tuple[list[Measure], list[Measure]]:
    """Return the measures that the rows have, and those that none has: their panels are left out."""
    names = list(MEASURES) if measures is None else list(measures)
    for name in names:
        if name not in MEASURES:
            raise unknown("measure", name, MEASURES)
    wanted = [MEASURES[name] for name in names]
    there = [m for m in wanted if m.column in rows and np.isfinite(rows[m.column].astype(float)).any()]
    if not there:
        raise DataError(f"rows of the figure have none of {', '.join(m.column for m in wanted)}: run `measure` again")
    return there, [m for m in wanted if m not in there]


def level(rows: pd.DataFrame, measure: Measure) -> float:
    """Return the level of real texts, the same for all rows; nan where it is not known."""
    if not isinstance(measure.level, str):
        return np.nan if measure.level is None else measure.level
    found = rows[measure.level].dropna() if measure.level in rows else ()
    return float(found.iloc[0]) if len(found) else np.nan


def measured(rows: pd.DataFrame, measures: list[Measure]) -> pd.DataFrame:
    """Return mean, band and n of each curve of each panel, with the level of real texts."""
    parts, by = [], ["dataset", "recipe", "policy"]
    over_generations(rows.assign(there=1.0), by, "there")  # no row is missing
    for measure in measures:
        has = rows[np.isfinite(rows[measure.column].astype(float))]
        table = ordered(summary(has, [*by, "generation"], measure.column), by, "generation")
        table.insert(0, "measure", measure.title)
        parts.append(table.assign(level=level(rows, measure)))
    return pd.concat(parts, ignore_index=True)


def styled(policy: str) -> dict:
    """Return how a policy's line looks: a variant of another budget is dotted, with open markers."""
    _, colour, marker = look(policy)
    out = {"color": colour, "marker": marker, "linewidth": 1.8}
    variant = policy.rpartition("_")[2] in BUDGETS
    return {**out, "linestyle": ":", "markerfacecolor": "white", "linewidth": 1.4} if variant else out


def dashed(facets, value: float) -> bool:
    """Draw the level of real texts in panels that share y, unless it would squeeze the curves to under 40 % of them."""
    if np.isnan(value):
        return True
    low, high = facets[0].get_ylim()
    if max(low - value, value - high) > 1.5 * (high - low):
        return False
    margin = 0.05 * (max(high, value) - min(low, value))
    facets[0].set_ylim(min(low, value - margin), max(high, value + margin))
    for facet in facets:
        facet.axhline(value, **LEVEL)
    return True


def grid(panels: int, models: int):
    """Return a figure and its facets, (panels, models): models are columns; the panels of one alone fill 3 or 4."""
    columns = models if models > 1 else min(panels, 3 if -panels % 3 <= -panels % 4 else 4)
    rows = -(-panels * models // columns)
    shared = {"sharex": "col", "sharey": "row"} if models > 1 else {}
    size = (max(0.2 + 2.95 * columns, 6.2), 0.9 + (1.8 if models > 1 else 1.95) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)
    facets, unused = np.split(axes.ravel(), [panels * models])
    for facet in unused:
        facet.set_visible(False)
    for facet in facets[-columns:]:
        facet.set_xlabel(GENERATION)
    return figure, facets.reshape(panels, models)


def draw(inputs: Inputs, policies=None, measures=None, last: int | None = None) -> Drawing:
    """Draw each measure against the generation, a line per policy; a column per model where there are several.

    Args:
        inputs: rows of one data set, sampler and selector.
        policies: in the order of the legend; all that the rows hold where None.
        measures: titles of the panels; all that the rows hold where None.
        last: the last generation; all where None.
    """
    style()
    policies = chosen(inputs.rows, policies)
    rows = until(pick(inputs.rows, policy=policies), last)
    dataset, sampler, _ = (only(rows, column) for column in ("dataset", "sampler", "selector"))
    there, lacking = known(rows, measures)
    table, names = measured(rows, there), model_names(rows)

    figure, axes = grid(len(there), len(names))
    far = []
    for facets, measure in zip(axes, there, strict=True):
        here = table[table["measure"] == measure.title]
        for facet, recipe in zip(facets, names, strict=True):
            for policy in policies:
                curve = here[(here["recipe"] == recipe) & (here["policy"] == policy)]
                line(facet, curve, "generation", **styled(policy))
            integer_ticks(facet, int(table["generation"].max()))
        if len(names) == 1:
            facets[0].set_title(measure.title, loc="left", fontsize=9)
            facets[0].set_title(measure.bad, loc="right", fontsize=7.5, color="0.35")
        else:
            facets[0].set_ylabel(f"{measure.title}\n{measure.bad}", fontsize=8)
        value = here["level"].iloc[0]
        if not dashed(facets, value):
            far.append(f"{measure.title} {value:.3g}")
    if len(names) > 1:
        for facet, name in zip(axes[0], names.values(), strict=True):
            facet.set_title(name)
    handles = [plt.Line2D([], [], markersize=4, label=look(policy)[0], **styled(policy)) for policy in policies]
    if table["level"].notna().any():
        handles.append(plt.Line2D([], [], label="real texts", **LEVEL))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3))
    return Drawing(figure, table, caption(inputs, rows, table, there, lacking, far, names, dataset, sampler))


def caption(inputs, rows, table, there, lacking, far, names, dataset, sampler) -> str:
    """Say what the measures are, what is dashed, what is left out, n, bands and data."""
    of = "" if len(names) > 1 else f" by {next(iter(names.values()))}"
    texts = f"As many texts for each point, drawn{of} (sampler {sampler}); words, without punctuation"
    measures = "; ".join(f"{m.title}: {m.says}" for m in there)
    sample = any(isinstance(m.level, str) and m.level in rows for m in there)
    levels = " Dashed: real texts" + ", one other sample of as many in the place of the generated ones" * sample
    levels += ", and 1 or 0 where that is so by definition" * any(isinstance(m.level, float) for m in there)
    levels = levels + "." if table["level"].notna().any() else ""
    off = f" Real texts off the axis: {', '.join(far)}." if far else ""
    gaps = [m.title for m in there if rows[m.column].isna().any()]
    off += f" Where no text is grammatical, there is no value of: {', '.join(gaps)}." * bool(gaps)
    out = f" Left out, not known for these data: {', '.join(m.title for m in lacking)}." if lacking else ""
    return (
        f"{texts}. {measures}. Beside a name: which way is bad.{levels}{off}{out} {seeds_statement(table, names)} "
        f"{training_statement(rows)} {data_statement(inputs)}"
    )
