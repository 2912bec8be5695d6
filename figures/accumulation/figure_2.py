"""Figure 2 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): language models.

What to see: fitted on the newest synthetic data alone, every model gets worse with every generation; fitted on all data
so far, none gets worse than the first one, which saw real data alone.
"""

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
from collapse.published import FIGURE_2, shown


def draw(inputs: Inputs, policies=None, last: int | None = None) -> Drawing:
    """Draw test cross-entropy against the generation, up to ``last``: a facet per policy, a colour per model."""
    style()
    policies = chosen(inputs.rows, policies)
    rows = until(pick(inputs.rows, policy=policies), last)
    sampler, _ = (only(rows, column) for column in ("sampler", "selector"))
    table, names = measured(inputs, rows, shown(FIGURE_2, inputs.scale)), model_names(rows)
    figure, dashed = facets(table, policies, names)
    beside = f" Open markers: {FIGURE_2.source}, {FIGURE_2.precision}." if table["published"].notna().any() else ""
    caption = (
        f"Language models, after figure 2 of arXiv 2404.01413: cross-entropy on real test data; sampler {sampler}. "
        f"{seeds_statement(table, names)}{beside}{dashed} {training_statement(rows)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
