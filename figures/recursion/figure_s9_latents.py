"""Mean and spread of latents by generation, all runs: what figure S9 of Shumailov et al. shows of one.

What to see: how the spread moves while the mean wanders a little. Where the means of the decoder are the images, as in
the paper, compare the finite sample (Replace) with images drawn anew at every step (Endless stream): as far as both
fall alike, the finite sample is not the reason. Where pixels are drawn from the decoder, p(x | z), instead of its
means, see whether the spread falls at all: if not, it is the means that lose it.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.departures import departures_statement
from collapse.looks import sampler_look
from collapse.plotting import (
    GENERATION,
    Drawing,
    Inputs,
    data_statement,
    integer_ticks,
    line,
    look,
    over_generations,
    pick,
    seeds_statement,
    settings,
    style,
    until,
)

MEAN, SD = "sample_latent_mean", "sample_latent_sd"
METRICS = {MEAN: "latent mean", SD: "latent standard deviation"}
PUBLISHED = {
    1: (0.6995, 0.6013, 0.5541, 0.4893, 0.4665),
    2: (0.6953, 0.5937, 0.5296, 0.4843, 0.4310),
    3: (0.6923, 0.6091, 0.5336, 0.4892, 0.4583),
    4: (0.6784, 0.6050, 0.5235, 0.4830, 0.4280),
    5: (0.6736, 0.6076, 0.5273, 0.4681, 0.4329),
}
"""run -> standard deviation of the latents in generations 0 to 4: outputs saved in the official notebook of VAEs."""
MEAN_WITHIN = 0.08
"""All published means of these runs lie within this distance of 0."""
OPEN = {"color": "0.4", "linestyle": ":", "marker": "o", "markersize": 3.5, "markerfacecolor": "none", "linewidth": 0.8}


def summarised(rows: pd.DataFrame, published: bool) -> pd.DataFrame:
    """Return mean, band and n of both metrics; at paper scale beside the mean of the published standard deviations."""
    by = ["recipe", "sampler", "policy"]
    table = pd.concat([over_generations(rows, by, m).assign(metric=m) for m in METRICS], ignore_index=True)
    if not published:
        return table
    means = dict(enumerate(np.mean(list(PUBLISHED.values()), axis=0), 1))
    return table.assign(published=table["generation"].map(means).where(table["metric"] == SD).astype(float))


def drawn_pixels(rows: pd.DataFrame) -> str:
    """Say which columns show images whose pixels were drawn; empty where there are none."""
    names = [s for s in rows["sampler"].unique() if settings(rows, "sampler", s).get("noise") == "bernoulli"]
    if not names:
        return ""
    titles = ", ".join(sampler_look(name)[0] for name in names)
    return f"{titles}: the same with pixels drawn from the decoder, p(x | z), instead of its means. "


def draw(inputs: Inputs, policies=None, last: int | None = None) -> Drawing:
    """Draw mean and standard deviation: rows metrics, columns recipes (and samplers), lines policies."""
    style()
    rows = until(pick(inputs.rows), last)
    policies = list(rows["policy"].unique()) if policies is None else list(policies)
    rows, published = pick(rows, policy=policies), inputs.scale == "paper"
    table = summarised(rows, published)
    columns = list(rows[["recipe", "sampler"]].drop_duplicates().itertuples(index=False, name=None))

    figure, axes = plt.subplots(
        2, len(columns), figsize=(1.9 + 3.6 * len(columns), 5), sharex=True, sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, metric in zip(axes, METRICS, strict=True):
        for facet, (recipe, sampler) in zip(row, columns, strict=True):
            of = (table["metric"] == metric) & (table["recipe"] == recipe) & (table["sampler"] == sampler)
            for policy, mean in table[of].groupby("policy", sort=False):
                colour = look(policy)[1]
                runs = rows[(rows["policy"] == policy) & (rows["recipe"] == recipe) & (rows["sampler"] == sampler)]
                for _, run in runs.sort_values("generation").groupby("seed"):
                    facet.plot(run["generation"], run[metric], color=colour, alpha=0.35, linewidth=0.7)
                line(facet, mean, "generation", color=colour, marker=look(policy)[2])
        row[0].set_ylabel(METRICS[metric])
    if published:
        for mean, sd in axes.T:
            mean.axhspan(-MEAN_WITHIN, MEAN_WITHIN, color="0.5", alpha=0.12, linewidth=0)
            for values in PUBLISHED.values():
                sd.plot(range(1, len(values) + 1), values, **OPEN)
    for facet, (recipe, sampler) in zip(axes[0], columns, strict=True):
        facet.set_title(f"{recipe}, {sampler_look(sampler)[0]}")
        facet.axhline(0, color="0.6", linewidth=0.8, zorder=1)
    for facet in axes[1]:
        facet.set(xlabel=GENERATION)
        facet.set_ylim(bottom=0)
    integer_ticks(axes[0, 0], int(rows["generation"].max()))
    handles = [
        plt.Line2D([], [], color=look(p)[1], marker=look(p)[2], markersize=4, label=look(p)[0]) for p in policies
    ]
    handles += [plt.Line2D([], [], **OPEN, label="published runs")] if published else []
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8)
    beside = (
        "Open: five runs of the official code, counted from 0 there (its generation 0 is n = 1); grey: their means lie "
        f"within {MEAN_WITHIN} of 0. "
    )
    caption = (
        "Mean and standard deviation, over 100 drawn images and all dimensions, of the latents' posterior means under "
        "the encoder of the first VAE; after figure S9 of Shumailov et al. (figure 9 of arXiv 2305.17493) and the runs "
        f"of its code. {drawn_pixels(rows)}Thin: single runs. {seeds_statement(table)} {beside if published else ''}"
        f"{departures_statement(rows, rows['recipe'].unique())} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
