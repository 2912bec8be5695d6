"""Figure 2 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): language models.

What to see: fitted on the newest synthetic data alone, every model gets worse with every generation; fitted on all data
so far, none gets worse than the first one, which saw real data alone.
"""

import matplotlib.pyplot as plt
import numpy as np

from collapse.plotting import (
    CROSS_ENTROPY,
    GENERATION,
    Drawing,
    Inputs,
    chosen,
    data_statement,
    floor,
    integer_ticks,
    line,
    look,
    model_name,
    only,
    over_generations,
    pick,
    seeds_statement,
    style,
    training_statement,
)

# Test cross-entropy of generations 1..5, read off the paper's figure: one run per curve, +-0.003 (the last value of the
# first accumulate curve: +-0.006). Another tokenizer and other settings of training: levels differ by more than that.
PUBLISHED = {
    ("gpt2_9m", "replace"): (1.816, 2.111, 2.270, 2.394, 2.495),
    ("gpt2_9m", "accumulate"): (1.816, 1.763, 1.748, 1.743, 1.742),
    ("llama2_12m", "replace"): (2.057, 2.346, 2.541, 2.716, 2.873),
    ("llama2_12m", "accumulate"): (2.057, 1.976, 1.950, 1.938, 1.932),
    ("llama2_42m", "replace"): (1.900, 2.159, 2.347, 2.522, 2.648),
    ("llama2_42m", "accumulate"): (1.900, 1.810, 1.776, 1.760, 1.749),
    ("llama2_126m", "replace"): (1.706, 1.927, 2.103, 2.233, 2.369),
    ("llama2_126m", "accumulate"): (1.706, 1.630, 1.601, 1.585, 1.573),
}


def published(scale: str, recipe: str, policy: str, n: int) -> float:
    """Return the paper's value, NaN where it has none or where the scale is not the paper's."""
    values = PUBLISHED.get((recipe, policy), ()) if scale == "paper" else ()
    return values[n - 1] if n <= len(values) else np.nan


def draw(inputs: Inputs, policies=None) -> Drawing:
    """Draw test cross-entropy against the generation, a facet per policy, a colour per model."""
    style()
    policies = chosen(inputs.rows, policies)
    rows = pick(inputs.rows, policy=policies)
    dataset = only(rows, "dataset")
    sampler = only(rows, "sampler")
    only(rows, "selector")
    table = over_generations(rows, ["dataset", "policy", "recipe"], "cross_entropy")
    keys = zip(table["recipe"], table["policy"], table["generation"], strict=True)
    table["published"] = [published(inputs.scale, *key) for key in keys]
    entropy = inputs.facts.get(dataset, {}).get("source_entropy")
    table["source_entropy"] = np.nan if entropy is None else entropy

    figure, axes = plt.subplots(
        1, len(policies), figsize=(3.9 * len(policies), 3.4), sharey=True, layout="constrained", squeeze=False
    )
    colours = dict(zip(table["recipe"].unique(), plt.get_cmap("tab10").colors, strict=False))
    for facet, policy in zip(axes[0], policies, strict=True):
        for recipe, colour in colours.items():
            curve = pick(table, policy=policy, recipe=recipe)
            line(facet, curve, "generation", model_name(recipe), color=colour)
            known = curve.dropna(subset="published")
            style_of = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linestyle": "none", "alpha": 0.5}
            facet.plot(known["generation"], known["published"], color=colour, **style_of)
        facet.set(title=look(policy)[0], xlabel=GENERATION)
        integer_ticks(facet, table["generation"].max())
    axes[0, 0].set_ylabel(CROSS_ENTROPY)
    axes[0, 0].legend(title="model")
    dashed = floor(axes[0], entropy)
    open_markers = " Open markers: the paper's values, one run each, read off its figure."
    beside = open_markers if table["published"].notna().any() else ""
    caption = (
        f"Language models, after figure 2 of arXiv 2404.01413: cross-entropy on real test data; sampler {sampler}. "
        f"{seeds_statement(table)}{beside}{dashed} {training_statement(rows)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
