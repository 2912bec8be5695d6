"""Figure 1 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): the two protocols.

What to see: on the left each model is fitted on the newest synthetic data alone, on the right on everything so far.
What each model is fitted on comes from `collapse.policies.plan`, the function that plans the experiments.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from collapse.plotting import Drawing, Inputs, look, style
from collapse.policies import Policy, plan

REAL, SYNTHETIC, MODEL, SET = "#FFE08A", "#B5D3EE", "#F6C3D3", "#2E8B57"
PITCH, DROP, WIDTH, HEIGHT = 1.2, 1.0, 0.84, 0.42  # inches: from slot to slot, from row to row, of a box


def training_sets(policy: str, generations: int) -> pd.DataFrame:
    """Return what each generation trains on: a row per source, with the share of the training set and its size in N."""
    rows = []
    for n in range(1, generations + 1):
        (share,) = plan(Policy(policy), n, 1)
        each = [str(source) for source in share.sources]
        rows += [(policy, n, s, share.count / len(each), 1 / len(each)) for s in each]
    return pd.DataFrame(rows, columns=["policy", "generation", "source", "items_in_N", "share"])


def box(axes, slot: float, row: float, text: str, colour: str, **edge) -> None:
    x, y = slot * PITCH, row * DROP
    place = (x - WIDTH / 2, y - HEIGHT / 2)
    edge = {"edgecolor": "0.25", "linewidth": 0.9, **edge}
    rounded = "round,pad=0,rounding_size=0.07"
    axes.add_patch(FancyBboxPatch(place, WIDTH, HEIGHT, boxstyle=rounded, facecolor=colour, zorder=3, **edge))
    axes.text(x, y, text, ha="center", va="center", fontsize=8, zorder=4, color="0.1")


def arrow(axes, start, end, **look) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.3, "color": "0.15", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, zorder=5, **{**style, **look}))


def protocol(axes, sets: pd.DataFrame) -> None:
    """Draw a staircase: row n holds the training set of model n, and model n above the data that it generates."""
    last = sets["generation"].max()
    for n, rows in sets.groupby("generation"):
        y = (n - 1) * DROP
        slots = [0 if s == "real" else int(s.removeprefix("synthetic(").rstrip(")")) for s in rows["source"]]
        left, right = min(slots) * PITCH - WIDTH / 2 - 0.1, max(slots) * PITCH + WIDTH / 2 + 0.1
        rounded = "round,pad=0,rounding_size=0.12"
        axes.add_patch(
            FancyBboxPatch(
                (left, y - HEIGHT / 2 - 0.1), right - left, HEIGHT + 0.2, boxstyle=rounded,
                facecolor="#E3F3E8", edgecolor=SET, linewidth=1.8, zorder=2,
            )
        )  # fmt: skip
        for slot in range(n):
            text = "real" if slot == 0 else f"synthetic {slot}"
            if slot in slots:
                box(axes, slot, n - 1, text, REAL if slot == 0 else SYNTHETIC)
            else:
                box(axes, slot, n - 1, "", "none", edgecolor="0.75", linestyle=(0, (3, 3)))
                axes.text(
                    slot * PITCH, y, "discarded", ha="center", va="center", fontsize=7, color="0.6", style="italic"
                )
        box(axes, n, n - 1, f"Model {n}", MODEL)
        arrow(axes, (right, y), (n * PITCH - WIDTH / 2, y))
        below = y + DROP - HEIGHT / 2 - (0 if n < last else 0.1)
        arrow(axes, (n * PITCH, y + HEIGHT / 2), (n * PITCH, below), linestyle=(0, (3, 2)))
    axes.text(last * PITCH, last * DROP - 0.2, "…", ha="center", va="center", fontsize=13)
    axes.set(xlim=(-0.65, last * PITCH + 0.55), ylim=(last * DROP - 0.05, -0.45), aspect="equal")
    axes.axis("off")


def draw(inputs: Inputs, generations: int = 3) -> Drawing:
    """Draw both protocols up to model ``generations``, and below them how the test loss goes, as a cartoon."""
    style()
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 5.0), height_ratios=[3.1, 1], layout="constrained")
    tables, x = [], np.linspace(0, 1, 200)
    for column, policy in enumerate(("replace", "accumulate")):
        tables.append(training_sets(policy, generations))
        protocol(axes[0, column], tables[-1])
        name, colour, _ = look(policy)
        axes[0, column].set_title(f"{name} data", fontsize=13, fontweight="bold", color=colour, pad=8)
        loss = 0.22 + 0.62 * x * (1.8 - 0.8 * x) if policy == "replace" else 0.22 - 0.04 * (1 - np.exp(-6 * x))
        axes[1, column].plot(x, loss, color=colour, linewidth=2.4, solid_capstyle="round")
        axes[1, column].set(xticks=[], yticks=[], xlim=(-0.03, 1.06), ylim=(0, 1), xlabel="generation")
        axes[1, column].spines[["top", "right"]].set_visible(False)
        says = "collapses" if policy == "replace" else "does not"
        axes[1, column].text(0.98, loss[-1] + 0.13, says, ha="right", fontsize=9, color=colour)
    axes[1, 0].set_ylabel("test loss\n(cartoon)")
    boxes = [("real data", REAL), ("synthetic data", SYNTHETIC), ("model", MODEL)]
    handles = [Patch(facecolor=c, edgecolor="0.25", label=t) for t, c in boxes]
    handles.append(Patch(facecolor="#E3F3E8", edgecolor=SET, linewidth=1.8, label="training set"))
    handles += [
        Line2D([], [], color="0.15", label="fit"),
        Line2D([], [], color="0.15", linestyle=(0, (3, 2)), label="sample"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9)
    caption = (
        "The protocols, after figure 1 of arXiv 2404.01413, drawn anew. Model 1 is fitted on real data; model n "
        "generates as many items as there are real ones. Replace fits the next model on these alone, accumulate on all "
        "data so far; the training sets are those of `collapse.policies.plan`. The strip below shows the claim as a "
        "cartoon, not data."
    )
    return Drawing(figure, pd.concat(tables, ignore_index=True), caption)
