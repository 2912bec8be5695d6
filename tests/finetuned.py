"""Rows, details and texts of fine-tuned language models as runs leave them: what tests of their figures share."""

import importlib.util
import json
from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from collapse import policies
from tests.drawing import ROOT

FIGURES = ROOT / "figures" / "recursion"
FACTS = {"articles": {"source": "embedded article grammar"}}
POLICIES = {
    "replace_first": {"kind": "replace", "init": "first"},
    "real_fraction_10_first": {"kind": "real_fraction", "share": 0.1, "init": "first"},
}
BEAM = {"kind": "beam", "beams": 5, "max_tokens": 64, "start": "continuation"}
SAMPLERS = {
    "beam5": BEAM,
    "beam5_penalty2": {**BEAM, "repetition_penalty": 2.0},
    "beam5_penalty3": {**BEAM, "repetition_penalty": 3.0},
    "beam5_synthetic": {**BEAM, "prompts": "synthetic"},
    "greedy_next": {"kind": "greedy", "max_tokens": 64, "start": "continuation"},
    "temp1.0_next": {"kind": "sample", "temperature": 1.0, "max_tokens": 64, "start": "continuation"},
    "top_p0.9_next": {"kind": "sample", "top_p": 0.9, "max_tokens": 64, "start": "continuation"},
}
A, B = ("opt_xs_e5", "replace_first"), ("opt_xs_e10", "real_fraction_10_first")
KEY = ["dataset", "recipe", "policy", "sampler", "selector", "seed"]
N = 200


@cache
def script(name):
    """Return the module of a figure's script."""
    spec = importlib.util.spec_from_file_location(f"recursion_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def perplexity(recipe, policy, sampler, seed, n):
    """Return a test perplexity that tells series, generations and seeds apart; generation 1 is shared by a recipe."""
    first = 20 + 0.3 * seed + (1.5 if recipe == "opt_xs_e10" else 0)
    worse = (1 + list(SAMPLERS).index(sampler)) * (0.4 if policy == "real_fraction_10_first" else 1)
    worse *= 1.3 if recipe == "opt_xs_e10" else 1
    return first * (1 + (0 if n == 1 else 0.1 * worse * (2 - 1 / n) + 0.004 * (seed - 1) * (n - 1)))


def tuned(series=(A,), samplers=("beam5",), seeds=(0, 1, 2), generations=6):
    """Return rows of fine-tuned models: (recipe, policy) x samplers x seeds x generations."""
    out = []
    for (recipe, policy), sampler, seed, n in product(series, samplers, seeds, range(1, generations + 1)):
        parsed = policies.parse(policy, POLICIES[policy])
        share = 0.1 if policy == "real_fraction_10_first" else 0.0
        settings = {
            "dataset": {"kind": "articles", "block": 64},
            "recipe": {"family": "opt", "epochs": int(recipe.rpartition("_e")[2]), "start": "opt_xs"},
            "policy": POLICIES[policy],
            "sampler": SAMPLERS[sampler],
        }
        value, i = perplexity(recipe, policy, sampler, seed, n), list(SAMPLERS).index(sampler)
        fall = (0.9 - 0.1 * i + 0.5 * share - 0.02 * recipe.endswith("e10")) ** n * (1 - 0.01 * seed)
        row = {
            "dataset": "articles", "recipe": recipe, "policy": policy, "sampler": sampler, "selector": "all",
            "family": "opt", "seed": seed, "generation": n, "plan": policies.describe(parsed, n, N), "items": N,
            "real_fraction": 1.0 if n == 1 else share, "fit_parameters": 200_000, "settings": json.dumps(settings),
            "perplexity": value, "perplexity_batches": value + 1, "perplexity_sequences": value + 2,
            "sample_distinct_1": 0.2 * fall, "sample_distinct_2": 0.5 * fall, "sample_distinct_3": 0.8 * fall,
            "sample_repetition": 0.6 - 0.4 * fall, "sample_entropy": 5 * fall, "sample_vocabulary_coverage": fall,
            "sample_tail_coverage": fall**4, "sample_valid": 1 - 0.3 * fall,
            **{f"sample_alive_{j}": fall ** (4 - 0.4 * j) for j in range(10)},
            "sample_first_perplexity_median": 4 + 10 * fall, "sample_first_perplexity_mean": 20.0,
            "sample_first_perplexity_p99": 60.0, "sample_first_perplexity_tail": 0.01 * (1 - fall),
        }  # fmt: skip
        out.append(row)
    return pd.DataFrame(out)


def details(rows, count=N):
    """Return the perplexity of each block of the rows' series: ever lower, with a tail; generation 0 is real."""
    parts = []
    for key in rows[KEY].drop_duplicates().itertuples(index=False, name=None):
        for n in range(rows["generation"].max() + 1):
            rng = np.random.default_rng([key[-1], n])
            values = np.exp(rng.normal(2.6 - 0.25 * n, 0.4, count)) + 1
            values[: n * count // 200] *= 40
            parts.append(pd.DataFrame({**dict(zip(KEY, key, strict=True)), "generation": n, "perplexity": values}))
    return pd.concat(parts, ignore_index=True)


def texts(rows, count=2):
    """Return examples: item i continues the same prompt in every generation."""
    out = {}
    for *cell, seed in rows[KEY].drop_duplicates().itertuples(index=False, name=None):
        out[(*cell, f"seed{seed}")] = {
            str(n): [
                {"text": f"{cell[1]} {cell[2]} seed {seed} model {n} item {i}", "prompt": f"the prompt {i}"}
                for i in range(count)
            ]
            for n in range(1, rows["generation"].max() + 1)
        }
    return out
