"""Figure 3 of the supplement of Shumailov et al. (arXiv 2305.17493): a Gaussian estimated from n points.

The published figure is labelled |mu - mu_hat|; the values that its code stores are those of np.std, the estimate of
sigma, which tends to 1 and not to 0. What to see: both errors fall as 1 / sqrt(n), and the published numbers lie on the
curve of np.std.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.plotting import Drawing, Inputs, data_statement, log_axis, pick, style
from collapse.quantiles import with_size
from collapse.theory import gaussian

# what the notebook of the paper's code stores: n -> mean and standard deviation of np.std over 1,000 repeats
STORED = {
    10: (0.9206, 0.2212),
    30: (0.9831, 0.1320),
    100: (0.9916, 0.0676),
    500: (0.9978, 0.0310),
    1_000: (0.9995, 0.0222),
    10_000: (0.9997, 0.0073),
    100_000: (1.0000, 0.0022),
    1_000_000: (1.0000, 0.00073),
    10_000_000: (1.0000, 0.00023),
}
COLOUR, THEORY = "#0072B2", {"color": "black", "linestyle": (0, (4, 3)), "linewidth": 1.1}
PANELS = {
    "mean_error": ("as labelled: the error of the mean", r"$|\hat\mu - \mu|$", gaussian.mean_error),
    "sd": ("as stored: np.std", r"$\hat\sigma$ (ddof = 0)", gaussian.sd_estimate),
}


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over repeats, theory and published values, by statistic and n."""
    parts = []
    for metric, (_, _, theory) in PANELS.items():
        if metric not in rows or not np.isfinite(rows[metric]).all():
            raise DataError(f"{metric} is missing or not finite in the rows of the figure")
        table = rows.groupby("N")[metric].agg(["mean", "std", "count"]).reset_index()
        table.columns = ["N", "mean", "sd", "repeats"]
        expected = theory(table["N"])
        table = table.assign(theory_mean=expected.mean, theory_sd=expected.sd)
        for i, name in enumerate(("published_mean", "published_sd")):
            stored = [STORED[n][i] if metric == "sd" and n in STORED else np.nan for n in table["N"]]
            table[name] = stored
        parts.append(table.assign(statistic=metric))
    return pd.concat(parts, ignore_index=True)


def draw(inputs: Inputs) -> Drawing:
    """Draw both statistics of generation 1 against n: mean and standard deviation over chains, theory, published."""
    style()
    rows = with_size(pick(pick(inputs.rows, generation=1), ddof=0, d=1))
    table = measured(rows)
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.5), layout="constrained")
    for facet, (metric, (title, label, _)) in zip(axes, PANELS.items(), strict=True):
        at = pick(table, statistic=metric)
        facet.fill_between(at["N"], at["mean"] - at["sd"], at["mean"] + at["sd"], color=COLOUR, alpha=0.2, linewidth=0)
        facet.plot(at["N"], at["mean"], color=COLOUR, marker="o", markersize=4, label="simulation")
        facet.plot(at["N"], at["theory_mean"], **THEORY, label="theory")
        for side in (-1, 1):
            facet.plot(at["N"], at["theory_mean"] + side * at["theory_sd"], **{**THEORY, "linewidth": 0.7})
        if at["published_mean"].notna().any():
            shown = at.dropna(subset="published_mean")
            bars = {"fmt": "o", "markersize": 8, "markerfacecolor": "none", "elinewidth": 0.8, "capsize": 4}
            facet.errorbar(
                shown["N"], shown["published_mean"], shown["published_sd"], color="#D55E00", **bars, label="published"
            )
        facet.set_xscale("log")
        facet.set(title=title, xlabel="points n", ylabel=label)
        facet.legend(loc="upper right")
    log_axis(axes[0])
    caption = (
        "A Gaussian N(0, 1) estimated from n points, after figure 3 of the supplement of Shumailov et al., arXiv "
        "2305.17493. Left: what its axis is labelled. Right: what its code computes and stores, the estimate of the "
        "standard deviation, with ddof = 0; circles: the stored values, 1,000 repeats (the published caption says "
        f"10,000). Points: mean over {_count(table)} repeats; bands: one standard deviation of them, as published. "
        "Theory: sqrt(2 / (pi n)) on the left, c4(n - 1) sqrt((n - 1) / n) on the right, thin lines one standard "
        f"deviation around it. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)


def _count(table: pd.DataFrame) -> str:
    low, high = table["repeats"].min(), table["repeats"].max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
