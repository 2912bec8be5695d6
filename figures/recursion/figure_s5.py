"""Figure 5 of the supplement of Shumailov et al. (arXiv 2305.17493): a Gaussian refitted while all data are kept.

Its caption says that each model is fitted on a sample of fixed size from the pool, its code fits the whole pool: both
are here. What to see: either way the errors level off. Fitted on the whole pool, their mean square stays below 1.65
times that of the first generation; on a sample of it, where each generation adds its own error, below 3 times.
"""

import matplotlib.pyplot as plt
import numpy as np

from collapse.plotting import GENERATION, Drawing, Inputs, data_statement, pick, shades, style
from collapse.quantiles import beside_theory, draw_sizes, size_legend, with_size
from collapse.theory import gaussian

POOLS = {
    "accumulate": ("the whole pool, as in the code", gaussian.accumulate),
    "accumulate_subsample": ("N items of the pool, as in the caption", gaussian.accumulate_subsample),
}
METRICS = {"mean_error": r"$|\mu - \hat\mu_n|$", "sd_error": r"$|\sigma - \hat\sigma_n|$"}


def theory(metric: str, of: dict, last: int) -> np.ndarray:
    """Return the median of a normal error: of the exact variance for the mean, to order 1/N for the deviation.

    To that order log sigma_n moves as mu_n does, with half its variance: that of a set's log sd is 1/2N, of its mean
    1/N.
    """
    drift = POOLS[of["policy"]][1](last, int(of["N"]), int(of["ddof"])).drift
    return gaussian.HALF * np.sqrt(drift if metric == "mean_error" else drift / 2)


def draw(inputs: Inputs, ddof: int = 0) -> Drawing:
    """Draw both errors against the generation: rows what of the pool is fitted, colours items N."""
    style()
    rows = with_size(pick(inputs.rows, policy=POOLS, d=1, ddof=ddof))
    table = beside_theory(rows, ["policy", "ddof", "N"], METRICS, theory)
    colours, last = shades(table["N"].unique()), int(table["generation"].max())
    figure, axes = plt.subplots(2, 2, figsize=(7.8, 5.6), sharex=True, sharey="col", layout="constrained")
    for row, (policy, (name, _)) in zip(axes, POOLS.items(), strict=True):
        for facet, (metric, label) in zip(row, METRICS.items(), strict=True):
            draw_sizes(facet, pick(table, metric=metric, policy=policy), colours)
            facet.set(xscale="log", xlim=(1, max(last, 2)), ylabel=label)
        row[0].set_ylabel(f"{name}\n\n{METRICS['mean_error']}")
    for column, metric in zip(axes.T, METRICS, strict=True):
        at = pick(table, metric=metric)
        column[0].set_ylim(0, 1.1 * at[["upper", "one_chain", "theory"]].max().max())
        column[-1].set_xlabel(GENERATION)
    size_legend(figure, colours)
    low, high = table["n"].min(), table["n"].max()
    chains = f"{low} of each N" if low == high else f"{low} to {high} of each N"
    caption = (
        "A Gaussian N(0, 1) refitted while all real and synthetic data are kept, N new items a generation, after "
        "figure 5 of the supplement of Shumailov et al., arXiv 2305.17493, which shows one run of each N and counts "
        "from the real distribution; here n = 1 is the first fit, on real data. Its caption says that a sample of "
        f"fixed size is fitted, its code fits the whole pool. Variance with ddof = {ddof}. Thick: median over chains "
        f"({chains}), band: quartiles, thin: one chain. Dashed: the median of a normal error, of the exact variance "
        "for the mean (below pi^2 / 6N with the whole pool), of the variance to order 1/N for the standard deviation. "
        f"{data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
