"""Figure 1b of Shumailov et al., Nature 631 (2024): five epochs, no original data kept (setting A).

What to look for: whether the mass of the histogram moves to the left, to blocks that the first model finds more likely,
as the paper reports; whether a tail of blocks that it would never generate grows on the right; and whether test
perplexity jumps as soon as a model is fitted on generated data, or rises from generation to generation.
"""

from collapse import histograms
from collapse.plotting import Drawing, Inputs

PUBLISHED = histograms.Published(
    figure="1b",
    says="five epochs, no original training data",
    low=35,
    high=60,
    first=34,
    other={1: 36.50, 2: 61.05, 3: 48.85, 4: 47.52, 5: 48.90, 6: 47.32, 7: 45.89, 8: 44.32, 9: 43.43, 10: 43.65},
    other_source="another replication without repetition penalty, one run (MaoField, exp018; batches of 32)",
)
GENERATIONS = (1, 2, 3, 4, 6, 10)
"""Those of the published histogram, counted from 1."""


def draw(
    inputs: Inputs, recipe: str | None = None, policy: str | None = None, generations=GENERATIONS,
    metric: str = "perplexity", bins: int = 40,
) -> Drawing:  # fmt: skip
    """Draw setting A; see `collapse.histograms.draw`."""
    return histograms.draw(inputs, PUBLISHED, recipe, policy, generations, metric, bins)
