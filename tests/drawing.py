"""Rows as runs leave them, and what the drawings of figures are compared with: what tests of figures share."""

import importlib.util
import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from collapse import plotting, policies

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "figures" / "accumulation"
POLICIES = {
    name: policies.parse(name, entry)
    for name, entry in yaml.safe_load((ROOT / "config" / "policies.yaml").read_text())["policies"].items()
}
FACTS = {"stories": {"source": "embedded story grammar", "source_entropy": 1.25}}
N, BATCH = 1000, 16
PARAMETERS = {"gpt2_xs": 154_880, "llama2_xs": 97_000, "gpt2_9m": 8_890_880, "llama2_12m": 12_488_960}


@cache
def script(name):
    """Return the module of a figure's script."""
    spec = importlib.util.spec_from_file_location(f"figure_script_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value(policy, n, seed):
    """Return a test cross-entropy that tells policies, generations and seeds apart; generation 1 is shared."""
    return 1.5 + 0.01 * seed + (0 if n == 1 else 0.02 * n * (1 + sorted(POLICIES).index(policy)))


def fits(
    names=("replace", "accumulate"), recipes=("gpt2_xs",), seeds=(0, 1, 2), generations=3, *, sampler="temp1.0",
    dataset="stories", size=N, **recipe,
):  # fmt: skip
    """Return rows of language models; ``recipe`` holds settings of the recipes that differ from the usual."""
    out = []
    for name, policy, seed, n in product(recipes, names, seeds, range(1, generations + 1)):
        items = sum(share.count for share in policies.plan(POLICIES[policy], n, size))
        items = min(items, size) if POLICIES[policy].budget == "items" else items
        passed = size if POLICIES[policy].budget == "steps" else items
        family = name.partition("_")[0]
        settings = {
            "dataset": {"kind": "stories", "train": size},
            "recipe": {"family": family, "epochs": 5, "learning_rate": 1e-3, **recipe},
            "sampler": {"temperature": float(sampler.removeprefix("temp"))} if sampler.startswith("temp") else {},
        }
        row = {
            "dataset": dataset, "recipe": name, "policy": policy, "sampler": sampler, "selector": "all",
            "family": family, "seed": seed, "generation": n, "plan": policies.describe(POLICIES[policy], n, size),
            "items": items, "real_fraction": 1 / n, "fit_steps": 5 * -(-passed // BATCH),
            "fit_parameters": PARAMETERS.get(name.partition("_lr")[0].removesuffix("_more"), np.nan),
            "cross_entropy": value(policy, n, seed), "tokens": 14_000.0, "sample_grammatical": 0.75,
            "settings": json.dumps(settings, sort_keys=True),
        }  # fmt: skip
        out.append(row)
    return pd.DataFrame(out)


def points(rows, fractions=(0.1, 0.5, 1.0)):
    """Return learning curves that end at the rows' values."""
    out = [
        {
            **row,
            "fraction": f,
            "step": int(f * row["fit_steps"]),
            "tokens": 1_750.0,
            "cross_entropy": row["cross_entropy"] + 1 / f - 1,
        }
        for row, f in product(rows.to_dict("records"), fractions)
    ]
    return pd.DataFrame(out)


def solid(axes):
    """Return the solid lines of an axes as a set of (x, y), rounded."""
    return {
        (tuple(a.get_xdata()), tuple(np.round(a.get_ydata(), 9)))
        for a in axes.lines
        if a.get_linestyle() == "-" and len(a.get_xdata())
    }


def means(table):
    """Return the curves of a table in the form of `solid`."""
    return {
        (tuple(t["generation"]), tuple(np.round(t["mean"], 9)))
        for _, t in table.groupby([c for c in ("policy", "recipe", "ridge", "T", "design", "sigma2") if c in table])
    }


def legend(drawing):
    """Return the texts of the legend beside the facets."""
    return [text.get_text() for text in drawing.figure.legends[0].texts]


def same_files(draw, inputs, folder, **options):
    """Assert that a figure is saved with the same bytes each time, without dates, and with all that it shows."""
    drawings = [draw(inputs, **options) for _ in range(2)]
    for name, drawing in zip("ab", drawings, strict=True):
        plotting.save(drawing, folder / name)
    for kind in ("pdf", "png", "csv", "txt"):
        assert (folder / f"a.{kind}").read_bytes() == (folder / f"b.{kind}").read_bytes(), kind
    for date in (b"CreationDate", b"ModDate"):
        assert date not in (folder / "a.pdf").read_bytes()
    assert len(pd.read_csv(folder / "a.csv")) == len(drawings[0].table)
    caption = " ".join(drawings[0].caption.split())
    assert (folder / "a.txt").read_text() == caption + "\n"
    if inputs.rows is not None:
        assert f"Scale: {inputs.scale}." in caption
