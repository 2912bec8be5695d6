"""Chains of the Gaussian family, in memory and through files: what tests of the loop share."""

import json
from math import ceil
from types import SimpleNamespace

import numpy as np

from collapse import paths, policies, selection, store
from collapse.commands.fit import fit, sample
from collapse.commands.job import Job
from collapse.commands.prepare import prepare
from collapse.datasets import gaussian as data_module
from collapse.families import gaussian as family
from collapse.items import Items
from collapse.loop import Budget, Cell, run_chain
from collapse.policies import parse, synthetic

SELECTORS = {
    "all": {"kind": "all"},
    "half": {"kind": "random", "keep": 0.5},
    "third": {"kind": "random", "keep": 0.3},
    "valid": {"kind": "valid", "keep": 0.4},
}
POLICIES = {
    "replace": {"kind": "replace"},
    "accumulate": {"kind": "accumulate"},
    "accumulate_items": {"kind": "accumulate", "budget": "items"},
    "accumulate_subsample": {"kind": "accumulate_subsample"},
    "replace_multiple": {"kind": "replace_multiple"},
    "anchored": {"kind": "real_fraction", "share": 0.3, "draw": "anchored"},
    "redrawn": {"kind": "real_fraction", "share": 0.3},
    "fresh": {"kind": "fresh_real", "share": 0.5, "pool": "all"},
    "golden": {"kind": "golden_ratio", "ratio": 0.5},
    "golden_items": {"kind": "golden_ratio", "budget": "items"},
    "growing": {"kind": "growing", "exponent": 0.25},
    "repeat": {"kind": "real_repeat", "budget": "steps", "init": "previous"},
    "corrupted": {"kind": "real_corrupted", "rate": 0.3},
}
"""Those that the Gaussian family and data set can do as they are."""
SIZE, LAST = 10, 4
DATA = {"kind": "gaussian", "train": SIZE, "mean": 2.0, "sd": 3.0, "shards": LAST}


def chain(
    policy, seeds=(0,), selector="all", size=SIZE, last=LAST, ddof=1, name=None, mean=2.0, sd=3.0, sampler=None
):  # fmt: skip
    """Run a Gaussian chain in memory; a list of (turn, metrics, samples)."""
    data = data_module.Gaussian(data_module.Config(size, mean, sd, shards=last), tuple(seeds), "normal")
    parsed = parse("policy", POLICIES[policy] if isinstance(policy, str) else policy)
    cell = Cell("normal", "moments", name or str(policy), "exact", selector)
    return list(
        run_chain(
            cell, size, last, policy=parsed, family=family, config=family.Config(ddof), data=data, sampler=sampler,
            selector=selection.parse(selector, SELECTORS[selector]), seeds=seeds,
        )
    )  # fmt: skip


class Folder:
    """The same chain through files, one job after the other, as the workflow's rules run them.

    ``policy`` is a name of `POLICIES`, or an entry of the config, of the name ``policy``; ``recipe`` and ``sampler``
    are entries, and ``start`` is the file of the weights that the recipe starts from.
    """

    def __init__(self, root, policy, seed, selector="all", last=LAST, *, name="moments", sampler=None, start=None):
        self.root, self.seed, self.last, self.recipe, self.size = root, seed, last, name, SIZE
        entry, policy = (POLICIES[policy], policy) if isinstance(policy, str) else (policy, "policy")
        self.names = {"policy": policy, "sampler": "exact", "selector": selector}
        self.start = {} if start is None else {"start": str(start)}
        self.entries = {
            "dataset": DATA,
            "recipe": {"family": "gaussian", **({} if start is None else {"start": "weights"})},
            "sampler": sampler or {},
            "policy": entry,
            "selector": SELECTORS[selector],
        }
        self.policy, self.selector = parse(policy, entry), selection.parse(selector, SELECTORS[selector])

    def job(self, *axes, names=None, **more):
        names = {"policy": "real", "sampler": "none", "selector": "none", **(self.names if names is None else names)}
        settings = json.loads(json.dumps({**{axis: self.entries[axis] for axis in axes}, **more}))
        return Job(self.root, Cell("normal", self.recipe, **names), self.seed, settings)

    def whole(self, **more):
        """A job that is told all entries."""
        return self.job(*self.entries, **more)

    def one(self, n):
        """The jobs of generation n."""
        if n == 1:
            fit(self.job("dataset", "recipe", names={}, **self.start), 1)
            read = [0]
            for m in range(2, self.last + 1):
                for share in policies.plan(self.policy, m, SIZE):
                    if synthetic(1) in share.sources:
                        read.append(selection.pool(self.selector, policies.needs(share, SIZE)))
            if self.entries["sampler"].get("prompts") == "synthetic":
                read.append(selection.pool(self.selector, SIZE))
            for part in range(max(1, ceil(max(read) / SIZE))):
                sample(self.job("dataset", "recipe", "sampler", names={"sampler": "exact"}), part)
        else:
            fit(self.whole(count=policies.drawn(self.policy, n, self.last, SIZE), **self.start), n)

    def run(self):
        prepare(self.root, "normal", DATA)
        for n in range(1, self.last + 1):
            self.one(n)
        return self

    def path(self, n):
        return self.root / self.relative(n)

    def relative(self, n):
        return paths.generation(n, dataset="normal", recipe=self.recipe, seed=self.seed, **self.names)

    def tables(self):
        """The folder of the series' tables."""
        names = {"dataset": "normal", "recipe": self.recipe, "seed": self.seed, "last": self.last, **self.names}
        return self.root / paths.TABLES.format(**names)


def draw_from_every_stream(monkeypatch):
    """Make the Gaussian family and data set use all that they are given: streams, weights to start from, budgets."""
    exact = SimpleNamespace(fit=family.fit, evaluate=family.evaluate)

    def noisy_fit(items, *, init, observer, budget, rng, **options):
        model = exact.fit(items, init=init, observer=observer, budget=budget, rng=rng, **options)
        start = 0 if init is None else 0.1 * init.mean
        model = family.Model(model.mean + 0.1 * rng.normal(1)[:, 0] + start, model.sd * (1 + budget.passes))
        if observer is not None:
            observer(model, {"step": 1})
        return model

    def noisy_evaluate(model, truth, rng):
        return {**exact.evaluate(model, truth, rng), "noise": rng.normal(1)[:, 0]}

    def noisy_budget(config, size, *, equal_steps, first):
        return Budget(passes=0.5 if equal_steps else 0.25 + first)

    def noisy_contexts(self, count, rng):
        return count + int(rng.normal(1).max() > 1e9)

    monkeypatch.setattr(family, "fit", noisy_fit)
    monkeypatch.setattr(family, "evaluate", noisy_evaluate)
    monkeypatch.setattr(family, "budget", noisy_budget)
    monkeypatch.setattr(data_module.Gaussian, "contexts", noisy_contexts)


def same_bytes(folder, turns):
    """Assert that a chain through files left what the same chain in memory gives, to the byte."""
    for n, (made, metrics, samples) in enumerate(turns, 1):
        here = folder.path(n)
        family.save(made.model, folder.root / "model")
        assert (folder.root / "model").read_bytes() == (here / "model.safetensors").read_bytes()
        record = store.read_json(here / "metrics.json")
        assert record["metrics"] == {k: v.item() for k, v in metrics.items()}
        assert {**made.facts, "real_fraction": made.facts["real_fraction"][0]}.items() <= record.items()
        parts = [samples] if n > 1 else [part(samples, p) for p in range(len(samples) // SIZE)]
        # of generation 1, later jobs draw the parts that they read
        files = [here / "samples.safetensors"] if n > 1 else sorted((here / "exact").glob("part*.safetensors"))
        assert 0 < len(files) <= len(parts)
        for file, items in zip(files, parts[: len(files)], strict=True):
            store.save_arrays(folder.root / "samples", items.arrays())
            assert (folder.root / "samples").read_bytes() == file.read_bytes()


def part(items: Items, number: int) -> Items:
    """Return a part of N items of one chain."""
    return items.take(np.arange(number * SIZE, (number + 1) * SIZE)[None])
