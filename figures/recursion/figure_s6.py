"""Figure S6 of Shumailov et al. (figure 6 of arXiv 2305.17493): points of a Gaussian mixture by generation.

What to see: two components, fitted to one round cloud of real points and then to their own samples alone. The two
share the cloud out among them, lose its tails, drift apart and shrink to specks that lie where chance has driven them.

Rows hold the parameters of each fitted mixture, so that its points can be drawn here anew.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from collapse.datasets import mixture as dataset
from collapse.families import mixture as family
from collapse.plotting import Drawing, Inputs, data_statement, look, only, pick, style
from collapse.seeding import Streams
from collapse.theory import mixture as theory

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
REAL = 0


def snapshots(rows: pd.DataFrame, count: int, name: tuple) -> pd.DataFrame:
    """Return points drawn from the mixtures of the rows: generation, component (from 1), x1, x2."""
    mixtures = theory.of_columns(rows.dropna(axis="columns"))
    generations = rows["generation"].tolist()
    model = family.Model(mixtures, np.zeros(len(rows), int))
    points = family.sample(model, count, None, Streams(name, generations)).output
    component = theory.assignment(mixtures, points) + 1
    x1, x2 = points.reshape(-1, 2).T
    at = np.repeat(generations, count)
    return pd.DataFrame({"generation": at, "component": component.ravel(), "x1": x1, "x2": x2})


def ellipses(rows: pd.DataFrame, radius: float = 2.0) -> np.ndarray:
    """Return the curves at ``radius`` standard deviations of each component, (rows, K, 2, 73)."""
    mixtures = theory.of_columns(rows.dropna(axis="columns"))
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = radius * np.stack([np.cos(angle), np.sin(angle)])
    return mixtures.means[..., None] + np.linalg.cholesky(mixtures.covariances) @ circle


def draw(
    inputs: Inputs, T: int = 1000, seed: int = 0, policy: str = "replace",
    generations=(1, 51, 101, 151, 201, 351, 2001), points: int = 1000,
) -> Drawing:  # fmt: skip
    """Draw real points and points of some generations' mixtures; colours are the component they belong to."""
    style()
    rows = pick(inputs.rows, T=T, policy=policy, seed=seed, generation=generations).sort_values("generation")
    name, recipe, shape = (only(rows, column) for column in ("dataset", "recipe", "shape"))
    data = dataset.load(dataset.Config(shape=shape, T=points), {}, {}, (seed,), "snapshot")
    x1, x2 = data.real().output[0].T
    real = pd.DataFrame({"generation": REAL, "component": REAL, "x1": x1, "x2": x2})
    table = pd.concat([real, snapshots(rows, points, ("snapshot", name, recipe, policy, T, seed))], ignore_index=True)

    columns = -(-(len(rows) + 1) // 2)
    figure, axes = plt.subplots(
        2, columns, figsize=(1.95 * columns + 0.4, 4.3), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    outlines = dict(zip(rows["generation"], ellipses(rows), strict=True))
    for facet in axes.flat[len(rows) + 1 :]:
        facet.remove()
    for facet, (generation, here) in zip(axes.flat, table.groupby("generation"), strict=False):
        for component, part in here.groupby("component"):
            colour = "0.45" if component == REAL else COLOURS[(component - 1) % len(COLOURS)]
            facet.plot(part["x1"], part["x2"], ".", color=colour, markersize=2, alpha=0.5, markeredgewidth=0)
        for x, y in outlines.get(generation, ()):
            facet.plot(x, y, color="black", linewidth=0.7)
        facet.set_title("real data" if generation == REAL else f"n = {generation}")
        facet.set_aspect("equal")
    limit = max(3.0, np.ceil(table[["x1", "x2"]].abs().max().max()))
    plt.setp(axes[0, 0], xlim=(-limit, limit), ylim=(-limit, limit))
    count = len([column for column in rows if column.startswith("weight_") and column != "weight_entropy"])
    caption = (
        "Points of a Gaussian mixture fitted again and again to its own samples, after figure S6 of Shumailov et al. "
        f"(figure 6 of arXiv 2305.17493), which counts generations from 0: its 0 is n = 1. {look(policy)[0]}, "
        f"{count} components fitted by EM to T = {T} points, seed {seed}; real data: {shape}. {points} points a panel, "
        "drawn anew from the fitted mixture, coloured by the component that they most probably belong to; black: two "
        f"standard deviations of each component. {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
