"""Figure 1a of Shumailov et al., Nature 631 (2024): the process, and two of the errors that it adds up.

Drawn anew, and computed: every bar is what a small chain over twelve states drew or fitted. What to look for: rare
states, on the right of each box, that get no item in some generation and are then gone for good; which states gain what
others lose; and a model that cannot express the real law, which goes wrong even where items are without number, but
only once.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import ConnectionPatch, Patch

from collapse.plotting import Drawing, Inputs, style
from collapse.seeding import stream

STATES, ITEMS = 12, 40
REAL, SYNTHETIC, MODEL = "#E3B23C", "#6FA8D6", "#D4708F"
OVER, UNDER = "#D55E00", "#0072B2"
ARROW = {"arrowstyle": "-|>", "mutation_scale": 12, "linewidth": 1.3, "color": "0.2"}
EDGES = np.arange(STATES + 1) + 0.5


def law() -> np.ndarray:
    """Return the real law, shape (STATES,): state i has a probability that is proportional to 1/i."""
    weight = 1 / np.arange(1, STATES + 1)
    return weight / weight.sum()


def chain(generations: int, items: int, seed: int) -> list[np.ndarray]:
    """Return the counts of D_1, S_1, ..., S_(G-1), each (STATES,): model n is the law of what it is fitted on.

    The real items are drawn from `law`; then Replace, with as many items in every generation.
    """
    probabilities, counts = law(), []
    for n in range(generations):
        counts.append(stream("figure_1a", n, seed).multinomial(items, probabilities))
        probabilities = counts[-1] / items
    return counts


def geometric(probabilities: np.ndarray) -> np.ndarray:
    """Return the law p_i ~ r^i that is nearest to ``probabilities`` by Kullback-Leibler divergence, shape (STATES,).

    It is the one of equal mean: the maximum of likelihood of an exponential family, here with items without number.
    """
    state = np.arange(STATES)
    mean, low, high = state @ probabilities, -20.0, 20.0
    for _ in range(200):  # the mean grows with log r: bisection
        middle = (low + high) / 2
        weight = np.exp(middle * (state - (STATES if middle > 0 else 0)))
        fitted = weight / weight.sum()
        low, high = (middle, high) if state @ fitted < mean else (low, middle)
    return fitted


def bars(facet, values, colour, label: str) -> None:
    """Draw a box of the process: bars, beside the real law in grey."""
    facet.bar(np.arange(1, STATES + 1), values, width=0.86, color=colour, linewidth=0)
    facet.stairs(law(), EDGES, color="0.45", linewidth=0.9)
    facet.set(xticks=[], yticks=[], xlim=(0.2, STATES + 0.8), ylim=(0, 0.52))
    facet.set_title(label, fontsize=9)


def arrow(figure, left, right, text: str) -> None:
    """Draw an arrow from the box on the left to that on the right, with its name."""
    ends = {"xyA": (1.03, 0.5), "coordsA": left.transAxes, "xyB": (-0.03, 0.5), "coordsB": right.transAxes}
    figure.add_artist(ConnectionPatch(**ends, **ARROW, linestyle="-" if text == "fit" else (0, (3, 2))))
    (x0, x1), y = (left.get_position().x1, right.get_position().x0), left.get_position().y0
    height = left.get_position().height
    figure.text((x0 + x1) / 2, y + 0.57 * height, text, ha="center", fontsize=8.5, style="italic")


def compared(facet, fitted: np.ndarray, title: str) -> None:
    """Draw a fitted law beside the real one; what it has too much or too little of is coloured."""
    real, state = law(), np.arange(1, STATES + 1)
    look = {"width": 0.86, "linewidth": 0}
    facet.bar(state, np.minimum(real, fitted), color="0.82", **look)
    facet.bar(state, np.maximum(fitted - real, 0), bottom=real, color=OVER, alpha=0.75, **look)
    facet.bar(state, np.maximum(real - fitted, 0), bottom=fitted, color=UNDER, alpha=0.75, **look)
    facet.stairs(fitted, EDGES, color="black", linewidth=1.3)
    for i in state[fitted == 0]:
        facet.text(i, real[i - 1] + 0.012, "×", ha="center", va="bottom", fontsize=9, color=UNDER)
    facet.set(xlabel="state, from probable to improbable", xticks=state, xlim=(0.2, STATES + 0.8))
    facet.set_title(title, fontsize=9.5, loc="left")
    facet.grid(visible=False, axis="x")


def first_statement(sampled: np.ndarray, fitted: np.ndarray, seed: int) -> str:
    """Say how the most probable state fares in both panels, beside what the paper says of probable events."""
    real = law()[0]
    left, right = (
        f"{'over' if value > real else 'under'}estimated {side} ({value:.2f}, really {real:.2f})"
        for value, side in ((sampled[0], "on the left"), (fitted[0], "on the right"))
    )
    first = "; the seed is the first, not a chosen one" if seed == 0 else ""
    return (
        "The paper says that probable events are overestimated and improbable ones underestimated; here the most "
        f"probable state is {left} and {right}. On the left that is chance: lost states leave their share to others, "
        f"but over many chains the mean probability of each state stays the real one{first}. On the right it is the "
        "form of the model."
    )


def draw(inputs: Inputs, generations: int = 8, items: int = ITEMS, seed: int = 0) -> Drawing:
    """Draw the process up to model ``generations`` of one chain, and finite sampling and approximate fitting apart."""
    style()
    counts = chain(generations, items, seed)
    models, once = [count / items for count in counts], geometric(law())
    boxes = [("real data $D_1$", counts[0] / items, REAL), ("model 1", models[0], MODEL)]
    boxes += [("synthetic $S_1$", counts[1] / items, SYNTHETIC), ("model 2", models[1], MODEL)]
    boxes += [(f"synthetic $S_{{{generations - 1}}}$", counts[-1] / items, SYNTHETIC)]
    boxes += [(f"model {generations}", models[-1], MODEL)]

    figure = plt.figure(figsize=(10.2, 5.6))
    top = figure.add_gridspec(1, 6, left=0.02, right=0.98, top=0.93, bottom=0.70, wspace=0.55)
    facets = [figure.add_subplot(cell) for cell in top]
    for facet, (label, values, colour) in zip(facets, boxes, strict=True):
        bars(facet, values, colour, label)
    for i, (left, right) in enumerate(pairwise(facets)):
        if i == 3:
            x = (left.get_position().x1 + right.get_position().x0) / 2
            figure.text(x, (left.get_position().y0 + left.get_position().y1) / 2, "…", ha="center", fontsize=15)
        else:
            arrow(figure, left, right, "sample" if i % 2 else "fit")
    low = figure.add_gridspec(1, 2, left=0.06, right=0.98, top=0.55, bottom=0.17, wspace=0.14)
    left, right = low.subplots(sharey=True)
    compared(left, models[-1], f"finite sampling: model {generations}, {items} items a generation")
    compared(right, once, "approximate fitting: model 1, infinitely many items, only $p_i \\propto r^i$")
    left.set(ylabel="probability", ylim=(0, 1.1 * max(models[-1].max(), law().max(), once.max())))
    handles = [Patch(color=REAL, label="real items"), Patch(color=SYNTHETIC, label="synthetic items")]
    handles += [Patch(color=MODEL, label="model"), plt.Line2D([], [], color="0.45", linewidth=1, label="real law")]
    handles += [
        Patch(color=OVER, alpha=0.75, label="overestimated"),
        Patch(color=UNDER, alpha=0.75, label="underestimated"),
    ]
    handles += [plt.Line2D([], [], color="black", linewidth=1.3, label="model (below)")]
    handles += [plt.Line2D([], [], marker="$×$", linestyle="", color=UNDER, label="lost")]
    figure.legend(handles=handles, loc="lower center", ncols=8, fontsize=8.5)

    rows = [("process", label.replace("$", ""), values) for label, values, _ in boxes]
    rows += [("finite sampling", f"model {generations}", models[-1]), ("approximate fitting", "model 1", once)]
    table = pd.concat(
        [
            pd.DataFrame({"panel": panel, "box": box, "state": EDGES[1:] - 0.5, "value": values, "real_law": law()})
            for panel, box, values in rows
        ],
        ignore_index=True,
    ).astype({"state": int})
    caption = (
        "The process, after figure 1a of Shumailov et al., Nature 631 (2024), drawn anew from a computation: real "
        f"items of {STATES} states with probabilities proportional to 1/i (grey line), {items} items in every "
        f"generation, one chain (n = 1, so no bands), seed {seed}, Replace, exact sampling; a model is the law of the "
        "items that it is fitted on, from scratch. The paper counts models from 0: its model 0 is model 1 here. Its "
        "caption has the data of a generation added to the others, its experiments replace them, as here. Below, two "
        "errors apart. Left: finite samples alone; states that got no item are lost for good. Right: no sampling "
        "error, but a model that cannot express the real law; fitted to its own output it stays what it is, so that "
        f"this error alone acts once. {first_statement(models[-1], once, seed)}"
    )
    return Drawing(figure, table, caption)
