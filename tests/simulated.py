"""Chains in memory, and what their means are compared with: what tests of closed forms share."""

from functools import cache
from math import sqrt

import numpy as np

from collapse.datasets import discrete as discrete_data
from collapse.datasets import gaussian as gaussian_data
from collapse.families import discrete as discrete_family
from collapse.families import gaussian as gaussian_family
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.selection import Selector

G, M, CHAINS = 12, 20, 2000
CHECKED = np.array([1, 2, 5, 12]) - 1


def run(module, family, config, recipe, kind, generations, chains, **options):
    """Metrics of chains that run in memory, {name: (G, S)}."""
    policy, name, seeds = Policy(kind, options), f"theory_{config}", tuple(range(chains))
    data = module.for_chain(config, seeds, name, policy, generations)
    turns = run_chain(
        Cell(name, str(recipe), kind, "exact", "all"), data.size, generations, policy=policy, family=family,
        config=recipe, data=data, sampler=None, selector=Selector("all"), seeds=seeds,
    )  # fmt: skip
    found = [metrics for _, metrics, _ in turns]
    return {k: np.array([m[k] for m in found]) for k in found[0]}


@cache
def normal(kind, ddof=1, size=M, generations=G, chains=CHAINS, d=1, **options):
    config = gaussian_data.Config(T=size, shards=generations, d=d)
    recipe = gaussian_family.Config(ddof)
    return run(gaussian_data, gaussian_family, config, recipe, kind, generations, chains, **options)


@cache
def empirical(kind, law="zipf", size=M, generations=G, chains=CHAINS, states=15, **options):
    config = discrete_data.Config(states=states, T=size, law=law)
    return run(discrete_data, discrete_family, config, discrete_family.Config(), kind, generations, chains, **options)


def close(found, expected, slack=0.0, errors=4.0):
    """Assert that means over chains (last axis) lie within standard errors, and ``slack``, of what is expected."""
    error = found.std(axis=-1, ddof=1) / sqrt(found.shape[-1])
    z = (abs(found.mean(axis=-1) - expected) - slack) / np.maximum(error, 1e-15)
    assert (z <= errors).all(), z
