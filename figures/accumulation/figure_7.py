"""Figure 7 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): linear regression.

What to see: simulation lies on theory. Under replace the test error grows by the same amount with every generation,
without end; under accumulate it stays below pi^2 / 6 of its first value.
"""

import matplotlib.pyplot as plt

from collapse.errors import DataError
from collapse.plotting import (
    GENERATION,
    TEST_ERROR,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    line,
    log_axis,
    look,
    over_generations,
    pick,
    seeds_statement,
    shades,
    style,
    with_ridge,
)
from collapse.theory import linear

THEORY = {"replace": linear.replace, "accumulate": linear.accumulate}


def draw(inputs: Inputs, d: int = 32, T: int = 100, last: int = 10, sigma2=(0.1, 1.0, 10.0)) -> Drawing:
    """Draw test error against the generation, up to ``last``, beside its closed form; colours are noise variances."""
    style()
    rows = pick(with_ridge(inputs.rows), policy=THEORY, ridge=0.0, d=d, T=T, design="shared", sigma2=sigma2)
    rows = rows[rows["generation"] <= last]
    table = over_generations(rows, ["policy", "d", "T", "design", "sigma2"], "test_error")
    if (longest := table["generation"].max()) < last:
        raise DataError(f"the figure shows {last} generations, its rows end at {longest}: lower its option `last`")
    for (policy, noise), curve in table.groupby(["policy", "sigma2"], observed=True):
        table.loc[curve.index, "theory"] = THEORY[policy](last, d, T, noise)

    colours = shades(sigma2)
    figure, axes = plt.subplots(2, 2, figsize=(7.8, 5.6), sharex=True, sharey="row", layout="constrained")
    for column, policy in zip(axes.T, THEORY, strict=True):
        for facet in column:
            for noise, colour in colours.items():
                curve = pick(table, policy=policy, sigma2=noise)
                line(facet, curve, "generation", color=colour, markersize=3.5)
                facet.plot(curve["generation"], curve["theory"], color="black", linestyle=(0, (4, 3)), linewidth=1.1)
        column[0].set_title(look(policy)[0])
        log_axis(column[1])
        integer_ticks(column[1], last)
        column[1].set_xlabel(GENERATION)
    axes[0, 0].set_ylabel(f"{TEST_ERROR}\nlinear, as in the paper")
    axes[1, 0].set_ylabel(f"{TEST_ERROR}\nlogarithmic")
    solid = [plt.Line2D([], [], color=c, marker="o", markersize=3.5) for c in colours.values()]
    names = [f"simulation, $\\sigma^2$ = {noise:g}" for noise in colours]
    dashed = plt.Line2D([], [], color="black", linestyle=(0, (4, 3)), linewidth=1.1)
    axes[0, 1].legend([*reversed(solid), dashed], [*reversed(names), "theory"], loc="upper left")
    caption = (
        "Linear regression, after figure 7 of arXiv 2404.01413: ordinary least squares on x ~ N(0, I), y = x'w* + e, "
        f"e ~ N(0, sigma^2), d = {d}, T = {T} items per generation, one design for all generations. "
        f"{seeds_statement(table)} Theory, c = sigma^2 d / (T - d - 1): n c for replace, c (1 + 1/4 + ... + 1/n^2) for "
        "accumulate. The paper draws replace's line at (n + 1) c, one generation too high; here it is at n c. Its "
        f"panels fit no single d and T: levels are not comparable. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
