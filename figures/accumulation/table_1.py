"""Table 1 of Gerstgrasser, Schaeffer et al., *Is Model Collapse Inevitable?* (arXiv 2404.01413): stories side by side.

What to see: under replace stories lose their thread generation by generation, under accumulate they keep it. One story
says little; the share of grammatical ones beside it says more.
"""

import matplotlib.pyplot as plt
import pandas as pd

from collapse import typeset
from collapse.errors import DataError
from collapse.plotting import Drawing, Inputs, data_statement, look, model_names, pick, style

SIZE, LEADING = 8, 11.5  # points: font, line
LEFT, COLUMN, PAD = 70, 300, 9  # points: width of the first column and of the others, margin inside a cell
HEADING = 19  # points: height of the band with the name of a model
GOOD, BAD = "#00694D", "#B2182B"


def wrap(text: str, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` points; see `collapse.typeset.wrap`."""
    return typeset.wrap(text, width, SIZE)


def first_story(inputs: Inputs, recipe: str, policy: str, n: int) -> dict:
    """Return the first story that model ``n`` of the first seed drew. Raises DataError where there is none."""
    found = {key: value for key, value in inputs.examples.items() if key[1:3] == (recipe, policy)}
    if len({key[:5] for key in found}) != 1:
        raise DataError(f"the table shows one cell of {recipe} and {policy}, it was given {len(found)}: name one cell")
    key = min(found, key=lambda key: int(key[5].removeprefix("seed")))
    stories = found[key].get(str(n), [])
    if not stories:
        raise DataError(f"no stories of generation {n} of {'/'.join(key)}: delete its examples.json and run again")
    names = dict(zip(("dataset", "recipe", "policy", "sampler", "selector"), key, strict=False))
    seed, story = int(key[5].removeprefix("seed")), stories[0]
    row = pick(inputs.rows, **names, seed=seed, generation=n).iloc[0]
    share = row.get("sample_grammatical")
    return {
        **names, "seed": seed, "generation": n, "text": story["text"], "grammatical": story.get("grammatical"),
        "grammatical_share": None if pd.isna(share) else share,
    }  # fmt: skip


def verdict(row: dict) -> tuple[str, str]:
    """Return what stands below a story, and its colour; nothing where no grammar is known."""
    if row["grammatical"] is None:
        return "", "0.4"
    mark, colour = ("✓ grammatical", GOOD) if row["grammatical"] else ("✗ not grammatical", BAD)
    share = row["grammatical_share"]
    return mark + ("" if share is None else f" · {share:.0%} of this model's stories are"), colour


def cell(axes, row: dict, x: float, y: float, width: float, characters: int) -> float:
    """Write a story with its upper left corner at (x, y); return the height that it takes, in points."""
    text = typeset.cut(row["text"], characters)
    lines, (below, colour) = wrap(text, width - 2 * PAD), verdict(row)
    plain = {"fontsize": SIZE, "va": "top", "parse_math": False}
    for i, line in enumerate(lines):
        axes.text(x + PAD, y + PAD + i * LEADING, line, color="0.1", **plain)
    if below:
        axes.text(x + PAD, y + PAD + (len(lines) + 0.3) * LEADING, below, color=colour, style="italic", **plain)
    return 2 * PAD + (len(lines) + (1.3 if below else 0)) * LEADING


def draw(inputs: Inputs, policies=None, generations=(1, 3, 5), recipes=None, characters: int = 700) -> Drawing:
    """Set the first story of each model of the first seed side by side; longer ones are cut at ``characters``."""
    style()
    recipes = list(recipes or dict.fromkeys(key[1] for key in inputs.examples))
    policies = list(policies or dict.fromkeys(key[2] for key in inputs.examples))
    rows = [first_story(inputs, recipe, policy, n) for recipe in recipes for n in generations for policy in policies]
    if not rows:
        raise DataError("the table needs stories: ask for examples.json in the config")
    table = pd.DataFrame(rows)
    if len(seeds := table["seed"].unique()) != 1 or table["sampler"].nunique() != 1:
        raise DataError(f"the table shows one seed and one sampler, its cells begin with seeds {sorted(seeds)}")

    width = LEFT + COLUMN * len(policies)
    figure = plt.figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for i, policy in enumerate(policies):
        name, colour, _ = look(policy)
        axes.text(LEFT + i * COLUMN + PAD, 8, name, fontsize=11, fontweight="bold", color=colour, va="top")
    names, y = model_names(pick(inputs.rows, recipe=recipes)), 26.0
    for at in range(0, len(rows), len(policies)):
        shown = rows[at : at + len(policies)]
        first, before = shown[0], rows[at - 1] if at else {"recipe": None}
        if first["recipe"] != before["recipe"]:
            axes.add_patch(plt.Rectangle((0, y), width, HEADING, facecolor="0.92", linewidth=0))
            name = {"fontsize": SIZE + 1.5, "fontweight": "bold", "va": "center_baseline"}
            axes.text(4, y + HEADING / 2, names[first["recipe"]], **name)
            y += HEADING
        else:
            axes.plot([0, width], [y, y], color="0.8", linewidth=0.7)
        real = "\n(real data)" if first["generation"] == 1 else ""
        label = {"fontsize": SIZE, "fontweight": "bold", "va": "top", "linespacing": 1.5}
        axes.text(4, y + PAD, f"n = {first['generation']}{real}", **label)
        shared = first["generation"] == 1 and all(row["text"] == first["text"] for row in shown)
        cells = shown[:1] if shared else shown
        each = COLUMN * len(policies) / len(cells)
        y += max(cell(axes, row, LEFT + i * each, y, each, characters) for i, row in enumerate(cells))
    axes.plot([0, width], [y, y], color="0.75", linewidth=0.8)
    axes.set(xlim=(0, width), ylim=(y + 2, 0))
    figure.set_size_inches(width / 72, (y + 2) / 72)
    cut = f" Stories are cut at the last word within {characters} characters here, the csv has all of them."
    known = " Grammatical: the grammar that the real stories come from can derive it."
    caption = (
        "Stories that the models drew, after table 1 of arXiv 2404.01413: for each model the first story of seed "
        f"{seeds[0]}, not a chosen one. Sampler {table['sampler'].iloc[0]}. Model 1, fitted on real data, is the same "
        f"for all policies.{known * int(table['grammatical'].notna().any())}"
        f"{cut * int(table['text'].str.len().max() > characters)} {data_statement(inputs)}"
    )
    return Drawing(figure, table, caption)
