"""Language models over many generations, after Kazdan et al., *Collapse or Thrive?* (arXiv 2410.16713).

What to see: replace rises without end; accumulate levels off. Between them is a pool that grows as accumulate's does,
from which each generation sees N items: it rises ever more slowly.
"""

from collapse.facets import facets, measured
from collapse.plotting import (
    Drawing,
    Inputs,
    data_statement,
    model_names,
    only,
    pick,
    seeds_statement,
    style,
    training_statement,
    until,
)
from collapse.published import LONG, shown


def draw(
    inputs: Inputs, policies=("replace", "accumulate_subsample", "accumulate"), last: int | None = None
) -> Drawing:
    """Draw test cross-entropy against the generation, as far as each model and policy ran; y logarithmic."""
    style()
    rows = until(pick(inputs.rows, policy=policies), last)
    sampler, _ = (only(rows, column) for column in ("sampler", "selector"))
    table, names = measured(inputs, rows, shown(LONG, inputs.scale), ragged=True), model_names(rows)
    figure, dashed = facets(table, list(policies), names, log=True)
    beside = f" Open markers: {LONG.source}, {LONG.precision}." if table["published"].notna().any() else ""
    caption = (
        "Language models over many generations, after arXiv 2410.16713: cross-entropy on real test data; sampler "
        f"{sampler}. A line ends where its runs end. {seeds_statement(table, names)}{beside}{dashed} "
        f"{training_statement(rows)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
