"""Every figure of language models can be drawn from the rows that its entry of the config names, and from no others."""

import json
from functools import cache

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse import config as configs
from collapse import policies
from collapse.plotting import Inputs
from tests.drawing import ROOT, points, script

NAMES = (
    "figure_2",
    "figure_3",
    "figure_8",
    "figure_calibration",
    "figure_long",
    "figure_policies",
    "table_1",
    "table_2",
)
SCALES = ("smoke", "laptop", "paper")


@cache
def config(scale):
    return configs.load(ROOT / "config" / f"{scale}.yaml")


CASES = [(s, n) for s in SCALES for n in NAMES if n in config(s).figures["accumulation"]]


def rows_of(config, entry):
    """Return a row per fit of the cells that a figure names; a series of two blocks has the longer one's rows."""
    ends = {}
    for cell in (cell for rows in entry.rows for cell in configs.resolve(config, rows)):
        key = tuple(cell[axis] for axis in configs.SERIES)
        ends[key] = max(ends.get(key, 0), cell["generations"])
    out = []
    for key, last in ends.items():
        names = dict(zip(configs.SERIES, key, strict=True))
        recipe, size = configs.recipe(config, names["recipe"]), config.datasets[names["dataset"]]["train"]
        policy = policies.parse(names["policy"], config.policies[names["policy"]])
        entries = {"recipe": recipe, "sampler": config.samplers[names["sampler"]]}
        for n in range(1, last + 1):
            items = sum(share.count for share in policies.plan(policy, n, size))
            items = min(items, size) if policy.budget == "items" else items
            passed = size if policy.budget == "steps" else items
            row = {
                **names, "family": recipe["family"], "generation": n, "plan": policies.describe(policy, n, size),
                "items": items, "real_fraction": 1 / n, "fit_steps": -(-passed // recipe["batch"]),
                "fit_parameters": 100 * recipe["hidden"] ** 2 + recipe["layers"],
                "cross_entropy": 2 + 0.1 * (n - 1) + 0.01 * names["seed"], "tokens": 14_000.0,
                "settings": json.dumps(entries),
            }  # fmt: skip
            out.append(row)
    return pd.DataFrame(out)


@pytest.mark.parametrize(("scale", "name"), CASES)
def test_a_figure_is_drawn_from_the_rows_that_it_names(scale, name):
    entry = config(scale).figures["accumulation"][name]
    rows = rows_of(config(scale), entry)
    curves = points(rows, (0.01, 0.1, 1.0)) if "curves.parquet" in entry.extra else None
    told = {"text": "Once upon a time.", "grammatical": None}
    series = rows[list(configs.SERIES)].drop_duplicates().itertuples(index=False)
    examples = {(*key[:5], f"seed{key[5]}"): {str(n): [told] for n in range(1, 6)} for key in series}
    drawing = script(name).draw(Inputs(scale, rows, curves, examples), **entry.options)
    assert len(drawing.table)
    assert f"Scale: {scale}." in drawing.caption
    plt.close("all")
