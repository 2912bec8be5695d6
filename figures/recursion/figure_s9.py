"""Figure S9 of Shumailov et al. (figure 9 of arXiv 2305.17493): density of latents by generation.

What to see: images of each generation, means of its decoder, are encoded by the first VAE. The density of the means of
their latents grows narrower and higher: what later models draw covers ever less of what the first one knew.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.departures import departures_statement
from collapse.errors import DataError
from collapse.looks import sampler_look
from collapse.plotting import Drawing, Inputs, data_statement, look, only, pick, shades, style

REAL = 0
PEAKS = (0.61, 1.15)
"""Heights of the highest points of the published densities, generations 0 to 4: outputs saved in the official code."""


def density(latents: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return a Gaussian kernel density estimate (Scott's rule) of all latents together. Raises DataError: no spread.

    Shapes: latents (images, D), x and result (points,).
    """
    from scipy.stats import gaussian_kde

    values = latents.ravel().astype(np.float64)
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        raise DataError("latents are not finite, or all the same: they have no density")
    return gaussian_kde(values)(x)


def dash(generation: int) -> str:
    """Return the style of a generation's line."""
    return "--" if generation == REAL else "-"


def draw(
    inputs: Inputs, seed: int = 0, policies=None, recipe: str | None = None, sampler: str | None = None,
    last: int | None = None, limit: float = 3.0, points: int = 301,
) -> Drawing:  # fmt: skip
    """Draw a facet per policy and a line per generation; real images are black.

    Args:
        inputs: with rows and details.
        seed: of the chains.
        policies: which; None for those of the details.
        recipe, sampler: which, where the details hold several.
        last: the last generation shown; None for all.
        limit: of the x axis, on both sides.
        points: where the density is computed.
    """
    style()
    wanted = {name: value for name, value in (("recipe", recipe), ("sampler", sampler)) if value is not None}
    found = pick(inputs.details, seed=seed, **wanted)
    policies = list(found["policy"].unique()) if policies is None else list(policies)
    found = pick(found, policy=policies)
    found = found if last is None else found[found["generation"] <= last]
    recipe, sampler = only(found, "recipe"), only(found, "sampler")
    x = np.linspace(-limit, limit, points)
    colours = shades(sorted(set(found["generation"]) - {REAL})) | {REAL: "black"}

    figure, axes = plt.subplots(
        1, len(policies), figsize=(1.7 + 3.4 * len(policies), 3.2), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    parts, images = [], set()
    for facet, policy in zip(axes[0], policies, strict=True):
        for generation, here in found[found["policy"] == policy].groupby("generation"):
            latents = np.stack(here["latent"].tolist())
            images.add(latents.shape)
            curve = density(latents, x)
            facet.plot(
                x, curve, color=colours[generation], linewidth=1.4, linestyle="--" if generation == REAL else "-"
            )
            keys = {"policy": policy, "generation": generation, "sd": latents.std(), "mean": latents.mean()}
            parts.append(pd.DataFrame({**keys, "x": x, "density": curve}))
        facet.set(title=look(policy)[0], xlabel="mean of the posterior under model 1")
    axes[0, 0].set_ylabel("density")
    handles = [
        plt.Line2D([], [], color=colours[g], linestyle=dash(g), label="real" if g == REAL else f"n = {g}")
        for g in sorted(set(found["generation"]))
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize=8)
    count = ", ".join(f"{n} images x {d} dimensions" for n, d in sorted(images))
    peaks = (
        f"Published densities peak at {PEAKS[0]} in the first and {PEAKS[1]} in the fifth generation. "
        if inputs.scale == "paper"
        else ""
    )
    caption = (
        "Density of the latents of drawn images under the encoder of the first VAE, after figure S9 of Shumailov et "
        "al. (figure 9 of arXiv 2305.17493), which counts generations from 0: its generation 0 is n = 1. Gaussian "
        f"kernel density estimate with Scott's rule over {count}, all dimensions together; {recipe}, sampler: "
        f"{sampler_look(sampler)[0]}; seed {seed}. Dashed: real images of D_1. {peaks}"
        f"{departures_statement(inputs.rows, [recipe])} {data_statement(inputs)}"
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)
