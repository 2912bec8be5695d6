"""Figure 1c of Shumailov et al., Nature 631 (2024): ten epochs, 10 % of the original data kept (setting B).

What to look for, beside figure 1b: whether, with a tenth of real blocks in every training set, the loss of test
perplexity is smaller and the histogram moves less. Two things differ between 1b and 1c, epochs and kept data:
figure_settings takes them apart.
"""

from collapse import histograms
from collapse.plotting import Drawing, Inputs

PUBLISHED = histograms.Published(
    figure="1c", says="ten epochs, 10 % of the original training data preserved", low=32, high=42, first=34
)
GENERATIONS = (1, 2, 3, 4, 6, 10)
"""Those of the published histogram, counted from 1."""


def draw(
    inputs: Inputs, recipe: str | None = None, policy: str | None = None, generations=GENERATIONS,
    metric: str = "perplexity", bins: int = 40,
) -> Drawing:  # fmt: skip
    """Draw setting B; see `collapse.histograms.draw`."""
    return histograms.draw(inputs, PUBLISHED, recipe, policy, generations, metric, bins)
