"""Figure S8 of Shumailov et al. (figure 8 of arXiv 2305.17493): images drawn from VAEs by generation.

What to see: each VAE is new and trained on images of the one before alone, its decoder's means. They blur, digits turn
into one another, and in the end all look alike.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.departures import departures_statement
from collapse.errors import DataError
from collapse.looks import sampler_look
from collapse.plotting import Drawing, Inputs, data_statement, look, only, pick, style

REAL = 0
GAP = 0.35  # grey between the images of a grid


def grid(images: np.ndarray, side: int) -> np.ndarray:
    """Return the first side^2 images, row by row, as one with a gap of one pixel around each.

    Shapes: images (n, P, H, W) bytes, result (side (H + 1) + 1, side (W + 1) + 1, P) in [0, 1].
    """
    _, planes, height, width = images.shape
    padded = np.full((side**2, planes, height + 1, width + 1), GAP)
    padded[:, :, 1:, 1:] = images[: side**2] / 255
    joined = padded.reshape(side, side, planes, height + 1, width + 1).transpose(0, 3, 1, 4, 2)
    joined = joined.reshape(side * (height + 1), side * (width + 1), planes)
    return np.pad(joined, ((0, 1), (0, 1), (0, 0)), constant_values=GAP)


def shape(inputs: Inputs, dataset: str) -> tuple[int, int, int]:
    """Return planes, height and width of the images of a data set. Raises DataError."""
    facts = inputs.facts.get(dataset, {})
    if "shape" not in facts:
        raise DataError(f"the facts of data set {dataset!r} hold no shape of its images: prepare it again")
    return tuple(facts["shape"])


def draw(
    inputs: Inputs, generations=(1, 6, 11, 21), seed: int = 0, policies=None, recipe: str | None = None,
    sampler: str | None = None, side: int = 10,
) -> Drawing:  # fmt: skip
    """Draw a grid of ``side`` x ``side`` images per policy and generation; generation 0 are real images.

    Args:
        inputs: with rows and details.
        generations: which, in order.
        seed: of the chains.
        policies: which; None for those of the details.
        recipe, sampler: which, where the details hold several.
        side: images along an edge of a grid.
    """
    style()
    wanted = {name: value for name, value in (("recipe", recipe), ("sampler", sampler)) if value is not None}
    found = pick(inputs.details, seed=seed, generation=generations, **wanted)
    policies = list(found["policy"].unique()) if policies is None else list(policies)
    found = pick(found, policy=policies)
    dataset, recipe, sampler = (only(found, column) for column in ("dataset", "recipe", "sampler"))
    size = shape(inputs, dataset)

    figure, axes = plt.subplots(
        len(policies), len(generations), figsize=(0.4 + 2.5 * len(generations), 0.3 + 2.6 * len(policies)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    parts = []
    for row, policy in zip(axes, policies, strict=True):
        for facet, generation in zip(row, generations, strict=True):
            here = found[(found["policy"] == policy) & (found["generation"] == generation)]
            if len(here) < side**2:
                raise DataError(
                    f"{policy}, generation {generation}: {len(here)} images are kept, {side**2} are to be drawn: lower "
                    "the option `side`, or add the generation to the figure's cells"
                )
            pixels = np.stack(here["pixels"].iloc[: side**2].tolist()).astype(np.uint8)
            if pixels.shape[1] != math.prod(size):
                raise DataError(f"images of {pixels.shape[1]} values, {dataset!r} has {'x'.join(map(str, size))}")
            picture = grid(pixels.reshape(-1, *size), side)
            facet.imshow(picture if size[0] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
            facet.set(xticks=[], yticks=[])
            facet.grid(visible=False)
            text = [" ".join(map(str, image)) for image in pixels]
            keys = {"policy": policy, "generation": generation, "image": range(1, side**2 + 1)}
            parts.append(pd.DataFrame({**keys, "pixels": text}))
        row[0].set_ylabel(look(policy)[0])
    for facet, generation in zip(axes[0], generations, strict=True):
        facet.set_title("real data" if generation == REAL else f"n = {generation}")
    caption = (
        "Images of VAEs by generation, after figure S8 of Shumailov et al. (figure 8 of arXiv 2305.17493), which "
        "counts generations from 0: its original model is n = 1, its generation 5 n = 6. The first "
        f"{side**2} of each, not chosen; {recipe}, sampler: {sampler_look(sampler)[0]}; seed {seed}. Every generation "
        f"is a new VAE. {departures_statement(inputs.rows, [recipe])} {data_statement(inputs)}"
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)
