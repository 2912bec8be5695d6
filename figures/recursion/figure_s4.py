"""Figure 4 of the supplement of Shumailov et al. (arXiv 2305.17493): a Gaussian refitted to its own samples, replace.

What to see: the errors of mean and standard deviation grow, the later the more items a generation has; the typical
standard deviation falls to nothing, with the unbiased variance estimator as with maximum likelihood.
"""

import matplotlib.pyplot as plt
import numpy as np

from collapse.plotting import GENERATION, Drawing, Inputs, data_statement, pick, shades, style
from collapse.quantiles import beside_theory, draw_sizes, size_legend, with_size
from collapse.theory import gaussian

ESTIMATORS = {0: "ddof = 0, as in the code", 1: "ddof = 1, as in theorem 3.1"}
METRICS = {
    "mean_error": r"$|\mu - \hat\mu_n|$",
    "sd_error": r"$|\sigma - \hat\sigma_n|$",
    "sd": r"$\hat\sigma_n$",
}
LOWEST = 1e-4
"""End of the logarithmic axis of sigma_n."""


def theory(metric: str, of: dict, last: int) -> np.ndarray:
    """Return the median of a metric: for ``mean_error`` that of a normal law with the exact variance, to n = N."""
    size, ddof = int(of["N"]), int(of["ddof"])
    if metric == "mean_error":
        normal = gaussian.HALF * np.sqrt(gaussian.replace(last, size, ddof).drift)
        return np.where(np.arange(1, last + 1) <= size, normal, np.nan)
    if metric == "sd_error":
        return gaussian.sd_error_quantile(0.5, last, size, ddof)
    return np.exp(gaussian.log_sigma(last, size, ddof).mean)


def draw(inputs: Inputs) -> Drawing:
    """Draw both errors and the standard deviation against the generation: rows estimators, colours items N."""
    style()
    rows = with_size(pick(inputs.rows, policy="replace", d=1, ddof=ESTIMATORS))
    table = beside_theory(rows, ["ddof", "N"], METRICS, theory)
    colours, last = shades(table["N"].unique()), int(table["generation"].max())
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.6), sharex=True, sharey="col", layout="constrained")
    for row, (ddof, name) in zip(axes, ESTIMATORS.items(), strict=True):
        for facet, (metric, label) in zip(row, METRICS.items(), strict=True):
            draw_sizes(facet, pick(table, metric=metric, ddof=ddof), colours)
            facet.set(xscale="log", xlim=(1, max(last, 2)), ylabel=label)
        row[0].set_ylabel(f"{name}\n\n{METRICS['mean_error']}")
    for facet, metric in zip(axes[0], METRICS, strict=True):
        at = pick(table, metric=metric)
        facet.set_ylim(0, 1.1 * at[["upper", "one_chain", "theory"]].max().max())
    axes[0, 2].set(yscale="log", ylim=(max(LOWEST, 0.7 * pick(table, metric="sd")["lower"].min()), 2))
    for facet in axes[-1]:
        facet.set_xlabel(GENERATION)
    size_legend(figure, colours)
    caption = (
        "A Gaussian N(0, 1) fitted to N items drawn from its predecessor, after figure 4 of the supplement of "
        "Shumailov et al., arXiv 2305.17493, which shows one run of each N, with ddof = 0, and counts from the real "
        "distribution; here n = 1 is the first fit, on real data. Thick: median over chains "
        f"({table['n'].min()} of each N), band: quartiles, thin: one chain. Dashed: theory of the median. log sigma_n "
        "is a sum of n independent terms, taken as normal; for the mean, 0.674 of the exact root mean square, which "
        "would be the median if mu_n were normal. It is drawn to n = N, since few chains carry the mean square of "
        "later ones: with ddof = 1, E sigma_n^2 = 1 for ever, while the typical sigma_n falls as exp(-n / 2N) "
        f"(exp(-n / N) with ddof = 0). {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
