"""Hybrid data: degradation against the information from outside that each generation gets. Not in any paper.

The debate around Shumailov et al., Nature 631 (2024), ends in a proposal: synthetic data need a new source of
information, such as real seeds, experts, or a formal engine. Here each is a loop over arithmetic statements, whose law,
truth and entropies are exact. What to see: a checker keeps statements true and loses the rare ones all the faster; real
left-hand sides keep what is asked, and not what is answered; bits alone do not order the arms, what they tell counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, log2

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.captions import data_statement, seeds_statement, training_statement
from collapse.errors import DataError
from collapse.inputs import Inputs, only, over_generations, pick, settings, summary, until
from collapse.looks import GENERATION, look, model_names
from collapse.plotting import Drawing, integer_ticks, log_axis, style
from collapse.policies import Policy, parse, plan

MEASURES = {
    "excess": ("degradation", "test cross-entropy above the law's\n(nats per token)", None, (-np.inf, np.inf)),
    "sample_valid": ("correctness", "true statements", 1.0, (0, 1)),
    "sample_distinct": ("diversity", "different left-hand sides,\nover those of real data", 1.0, (0, np.inf)),
    "sample_coverage": (
        "diversity of the tail",
        "different rare left-hand sides,\nover those of real data",
        1.0,
        (0, np.inf),
    ),
}
"""Column of the rows -> title, label of the axis, level of real data where it is on the axis, bounds of the measure."""

SOURCES = {
    "real": ("Real left-hand sides (D_1)", "#7B3FA0", "P"),
    "synthetic": ("Synthetic left-hand sides", "#B98AC9", "X"),
    "checker": ("Formal checker", "#0072B2", "D"),
}
"""What helps beside the policy -> label, colour, marker."""
SHIFT = 0.05  # between arms side by side, in generations
LEVEL = {"color": "0.35", "linestyle": "--", "linewidth": 1.1, "zorder": 1}


@dataclass(frozen=True)
class Loop:
    """What information enters a loop, other than through the policy.

    Attributes:
        entropy: of a real statement, in bits; that of its left-hand side, from which its result follows.
        result_entropy: of the result of a real statement, in bits.
        prompts: statements begin with ``real`` left-hand sides, those of D_1, or with ``synthetic`` ones, from
            generation 2 on; None where the model writes them whole.
        keep: share of the statements drawn that the checker is to keep; None without a checker.
        correction: what the oracle does, ``repair`` or ``replace``.
    """

    entropy: float
    result_entropy: float
    prompts: str | None = None
    keep: float | None = None
    correction: str = "repair"

    def seeded(self, k: int) -> bool:
        """Whether statements of model ``k`` begin with left-hand sides of D_1: where prompts are synthetic, S_1 do."""
        return self.prompts == "real" or (self.prompts == "synthetic" and k == 1)

    def told(self, valid: float, formed: float, corrected: float) -> float:
        """Return the bits that checker and oracle tell about one statement of a training set.

        The checker: that a statement is true, -log2(valid), the divergence of the kept ones from all that were drawn.
        Where fewer are true than it is to keep, they are taken again, and a repetition tells nothing.

        The oracle, of each statement it looks at: which of the three things it says, "right", "wrong" or "no left-hand
        side", and in the second case the right result, in the third a real statement, at their entropies. The result is
        an upper bound: it follows from the left-hand side, and whoever can calculate learns nothing from it. With
        ``correction: replace`` a real statement each time.

        Args:
            valid, formed: shares of the statements drawn that are true, and that have a left-hand side of the law.
            corrected: share that the oracle looks at.

        Raises:
            DataError: no statement is true, and yet the checker kept some.
        """
        checked = 0.0
        if self.keep is not None:
            if not valid > 0:
                raise DataError("no statement that was drawn is true, and a checker kept some: build the rows again")
            checked, valid, formed = -min(1.0, valid / self.keep) * log2(valid), 1.0, 1.0
        if self.correction == "replace":
            return checked + corrected * self.entropy
        wrong, broken = formed - valid, 1 - formed
        surprise = -sum(p * log2(p) for p in (valid, wrong, broken) if p > 0)
        return checked + corrected * (surprise + wrong * self.result_entropy + broken * self.entropy)


def information(policy: Policy, n: int, size: int, loop: Loop, drawn: Mapping[int, tuple[float, float]]):
    """Return the real information in the training set of generation ``n``, new and reused, in bits per statement.

    New is what no generation before was given: D_1 at generation 1; fresh real statements, at the entropy of the law;
    what checker and oracle tell of the newest samples (`Loop.told`). Reused is what anchors a generation without being
    new: statements of D_1 and older shards, left-hand sides of D_1 as prompts, what was told of older samples. What the
    model itself carries is not counted, nor are loss weights.

    Args:
        policy: what generations train on.
        n: generation.
        size: N.
        loop: what else enters.
        drawn: generation k -> shares of S_k that are valid and formed; of all that the plan takes.

    Returns:
        (new, reused).

    Raises:
        DataError: the plan takes samples that ``drawn`` lacks, or `Loop.told` does.
    """
    bits, total = {"new": 0.0, "reused": 0.0}, 0
    for share in plan(policy, n, size):
        total += share.count
        each = share.count / len(share.sources)  # where some are drawn from a pool, in expectation
        for source in share.sources:
            if source.kind == "synthetic":
                if source.index not in drawn:
                    raise DataError(f"rows are missing: generation {source.index}, of whose samples {n} is made")
                bits["reused"] += each * loop.entropy * loop.seeded(source.index)
                age = "new" if source.index == n - 1 else "reused"
                bits[age] += each * loop.told(*drawn[source.index], share.correction)
            else:
                age = "new" if n == max(source.index, 1) else "reused"
                bits[age] += each * loop.entropy
    return bits["new"] / total, bits["reused"] / total


def called(policy: str, prompts: str | None, checked: bool) -> tuple[str, str, str]:
    """Return label, colour and marker of an arm: its policy's, or what helps under replace; both where both do."""
    extras = [SOURCES[name] for name in (prompts, "checker" if checked else None) if name is not None]
    if not extras:
        return look(policy)
    if policy == "replace" and len(extras) == 1:
        return extras[0]
    names = [look(policy)[0]] * (policy != "replace") + [label for label, _, _ in extras]
    return " + ".join(names), "#AA3377", "v"


def armed(inputs: Inputs, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """Return the rows with ``arm`` and the bits ``new`` and ``reused`` of their training sets, and arm -> its look.

    Raises:
        DataError: the rows or the facts of the data set are not of arithmetic.
    """
    dataset, looks, parts = only(rows, "dataset"), {}, []
    if missing := {"sample_valid", "sample_formed"} - set(rows):
        raise DataError(f"rows of the figure have no column {sorted(missing)[0]}: they are not of arithmetic")
    if missing := {"statement_entropy", "result_entropy"} - set(inputs.facts.get(dataset, {})):
        raise DataError(f"facts of {dataset} lack {sorted(missing)[0]}: it is no data set of arithmetic")
    facts, entry = inputs.facts[dataset], settings(rows, "dataset", dataset)
    for names, series in rows.groupby(["policy", "sampler", "selector"], sort=False):
        rule, sampler, selector = (
            settings(series, part, name) for part, name in zip(("policy", "sampler", "selector"), names, strict=True)
        )
        whole = sampler.get("start", "bos_fixed_length") == "bos_fixed_length"
        prompts = None if whole else sampler.get("prompts", "real")
        keep = selector.get("keep", 0.5) if selector["kind"] == "valid" else None
        correction = entry.get("correction", "repair")
        bits = (facts[name] / log(2) for name in ("statement_entropy", "result_entropy"))
        loop, policy = Loop(*bits, prompts, keep, correction), parse(names[0], rule)
        label, colour, marker = called(names[0], prompts, keep is not None)
        if label in looks:
            raise DataError(f"two arms of the figure are {label!r}: name the cells of one alone")
        looks[label] = (colour, marker)
        for _, run in series.groupby("seed", sort=False):
            run = run.sort_values("generation")
            shares = zip(run["sample_valid"], run["sample_formed"], strict=True)
            drawn = dict(zip(run["generation"], shares, strict=True))
            found = [information(policy, int(n), entry["train"], loop, drawn) for n in run["generation"]]
            new, reused = zip(*found, strict=True)
            parts.append(run.assign(arm=label, new=new, reused=reused))
    return pd.concat(parts, ignore_index=True), looks


def tables(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what is drawn: each measure by generation, and at the last one beside the mean bits of generations 2 on.

    ``new`` and ``reused`` are bits per statement: of the generation's training set where ``panel`` is generations, the
    mean over the synthetic generations where it is information.
    """
    if rows.groupby("arm")["generation"].max().nunique() > 1:
        raise DataError("arms of the figure end at different generations: set its option `last`")
    last, parts = rows["generation"].max(), []
    by_generation = rows.groupby(["arm", "generation"], sort=False)[["new", "reused"]].mean()
    overall = rows[rows["generation"] > 1].groupby("arm", sort=False)[["new", "reused"]].mean()
    for measure in MEASURES:
        curves = over_generations(rows, ["arm"], measure).assign(panel="generations", measure=measure)
        ends = summary(rows[rows["generation"] == last], ["arm"], measure)
        parts.append(curves.join(by_generation, on=["arm", "generation"]))
        ends = ends.assign(panel="information", measure=measure, generation=last)
        parts.append(ends.join(overall, on="arm"))
    return pd.concat(parts, ignore_index=True)


def curves(facet, here: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    """Draw a line for each arm with whiskers, side by side: as many bands would hide each other."""
    for shift, (arm, (colour, marker)) in zip(beside(len(looks), SHIFT), looks.items(), strict=True):
        curve = here[here["arm"] == arm].sort_values("generation")
        x = curve["generation"] + shift
        facet.plot(x, curve["mean"], color=colour, marker=marker, markersize=4, linewidth=1.5)
        facet.vlines(x, curve["low"], curve["high"], color=colour, linewidth=0.8, alpha=0.6)


def scatter(facet, ends: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    """Draw each arm at its new bits, filled, and at new and reused bits together, open, joined by a line.

    Arms of no new bits stand side by side.
    """
    ends = ends.set_index("arm").loc[list(looks)]
    x = ends["new"].copy()
    x[x == 0] = beside(int((x == 0).sum()), 0.02)
    for row, at in zip(ends.itertuples(), x, strict=True):
        colour, marker = looks[row.Index]
        if row.reused > 0:
            facet.plot([at, row.new + row.reused], [row.mean] * 2, color=colour, linewidth=0.9, linestyle=":")
            open_ = {"markerfacecolor": "white", "markersize": 6.5}
            facet.plot(row.new + row.reused, row.mean, color=colour, marker=marker, **open_)
        facet.vlines(at, row.low, row.high, color=colour, linewidth=1.2)
        facet.plot(at, row.mean, color=colour, marker=marker, markersize=7, linestyle="")


def beside(count: int, step: float) -> np.ndarray:
    """Return ``count`` places around 0, ``step`` apart."""
    return step * (np.arange(count) - (count - 1) / 2)


def draw(inputs: Inputs, last: int | None = None) -> Drawing:
    """Draw degradation, correctness and diversity: above by generation, below against information from outside.

    Args:
        inputs: rows of one data set of arithmetic and one recipe; an arm is a policy, a sampler and a selector.
        last: the last generation; all where None.
    """
    style()
    rows, looks = armed(inputs, until(pick(inputs.rows), last))
    recipe, table = only(rows, "recipe"), tables(rows)
    if (end := rows["generation"].max()) < 2:
        raise DataError("figure_hybrid needs two generations at least: the first is fitted on real data")

    figure, axes = plt.subplots(2, 4, figsize=(13.4, 6.4), layout="constrained")
    for (above, below), (measure, (title, label, level, bounds)) in zip(axes.T, MEASURES.items(), strict=True):
        here = table[table["measure"] == measure]
        here = here.assign(low=here["low"].clip(*bounds), high=here["high"].clip(*bounds))
        curves(above, here[here["panel"] == "generations"], looks)
        scatter(below, here[here["panel"] == "information"], looks)
        for facet in (above, below):
            facet.set_ylabel(label)
            if level is not None:
                facet.axhline(level, **LEVEL)
            elif (here["mean"] > 0).all():
                log_axis(facet)
        above.set(title=title, xlabel=GENERATION)
        integer_ticks(above, end)
        below.set_xscale("symlog", linthresh=0.1, linscale=0.5)
        far = max(16.0, 1.5 * (table["new"] + table["reused"])[table["panel"] == "information"].max())
        below.set(xlabel=f"real information (bits per statement)\ny: generation {end}", xlim=(-0.06, far))
        below.set_xticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    handles = [plt.Line2D([], [], color=c, marker=m, markersize=5, label=arm) for arm, (c, m) in looks.items()]
    handles.append(plt.Line2D([], [], label="real data", **LEVEL))
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return Drawing(figure, table, caption(inputs, rows, table, recipe))


def caption(inputs: Inputs, rows: pd.DataFrame, table: pd.DataFrame, recipe: str) -> str:
    """Say what the arms are, how bits are counted, n, bands and data."""
    facts = inputs.facts[only(rows, "dataset")]
    whole = facts["statement_entropy"] / log(2)
    seeds = seeds_statement(table).replace("Lines: mean", "Lines and markers: mean").replace("bands", "whiskers")
    shift = beside(table["arm"].nunique(), SHIFT).max()
    return (
        f"Hybrid data, not in any paper: arithmetic statements such as 1+2*4=9, written by {model_names(rows)[recipe]} "
        "character by character. Degradation: cross-entropy on real test statements. Correctness: share of the "
        "statements drawn that are true. Diversity: different left-hand sides, whatever their results, over the number "
        "expected of as many real ones; of the tail: the same of the rarest ones, a tenth of the law. Below, filled: "
        "new information from outside, mean over the training sets of generations 2 on. A fresh real statement counts "
        f"{whole:.1f} bits, the entropy of the law; the checker tells -log2(accept rate) of each statement that it "
        "keeps; the oracle tells right, wrong or broken, and the right result at "
        f"{facts['result_entropy'] / log(2):.1f} bits, an upper bound. Open: with what is reused, statements of D_1 or "
        "its left-hand sides as prompts, which anchor and are not new. Real left-hand sides are as diverse as D_1 by "
        "construction, only results are the model's; synthetic ones are those of D_1 once, from then on they are drawn "
        "from the samples before. Linear below 0.1; arms of no new bits stand side by side. Bits do not say what is "
        f"told: true results and rare left-hand sides cost alike. Above, arms stand side by side, up to {shift:.2g} "
        f"generations off the whole number. {seeds} Whiskers end where a measure does: at 0, shares at 1. "
        f"{training_statement(rows)} {data_statement(inputs)}"
    )
