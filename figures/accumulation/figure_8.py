"""Figure 8 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): temperature 0.3.

What to see: sampled at a low temperature, synthetic data lose their tails at once, and replace collapses far faster
than at temperature 1 (thin lines); accumulate stays close to its first generation all the same.
"""

import pandas as pd

from collapse.facets import facets, measured
from collapse.plotting import (
    Drawing,
    Inputs,
    chosen,
    data_statement,
    model_names,
    only,
    pick,
    seeds_statement,
    style,
    training_statement,
    until,
)


def draw(inputs: Inputs, policies=None, sampler: str = "temp0.3", last: int | None = None) -> Drawing:
    """Draw figure 2's facets for one sampler, up to generation ``last``, y logarithmic.

    Rows of the same models with one other sampler, if there are any, are thin pale lines behind.
    """
    style()
    policies = chosen(inputs.rows, policies)
    rows = pick(inputs.rows, policy=policies)
    only(rows, "selector")
    own = until(pick(rows, sampler=sampler), last)
    table, names = measured(inputs, own, {}), model_names(own)
    seeds = own[["dataset", "recipe", "seed"]].drop_duplicates()
    other = rows[(rows["sampler"] != sampler) & (rows["generation"] <= table["generation"].max())].merge(seeds)
    pale, beside, parts = None, "", [table.assign(sampler=sampler)]
    if len(other):
        pale = (only(other, "sampler"), measured(inputs, other, {}))
        parts.append(pale[1].assign(sampler=pale[0]))
        beside = f" Thin pale lines: the same models and seeds at {pale[0]}, without bands."
    figure, dashed = facets(table, policies, names, log=True, pale=pale)
    caption = (
        f"Language models, after figure 8 of arXiv 2404.01413: sampler {sampler}, cross-entropy on real test data "
        f"(at temperature 1). The layout is that of figure 2, but for y, which is logarithmic. "
        f"{seeds_statement(table, names)}{beside}{dashed} {training_statement(own)} {data_statement(inputs)}"
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True).drop(columns="published"), caption)
