"""`collapse simulate`: whole chains in memory, all seeds side by side, over a grid of the data set's settings."""

import time
from dataclasses import fields
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collapse import paths, policies, store, table
from collapse.commands.settings import build, provenance
from collapse.errors import ConfigError, TrainingError
from collapse.loop import Cell, run_chain
from collapse.progress import bar
from collapse.selection import Selector

SAMPLER, SELECTOR = "exact", Selector("all")


def grid(module, entry: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """Expand a data set's entry: a list for a setting that takes one value is an axis of the grid.

    Returns:
        (the point, its ``Config``) for each combination.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """
    entry = {k: v for k, v in entry.items() if k != "kind"}
    several = {f.name for f in fields(module.Config) if "tuple" in str(f.type)}
    axes = {k: v for k, v in entry.items() if isinstance(v, list) and k not in several}
    if empty := [k for k, values in axes.items() if not values]:
        raise ConfigError(f"dataset: {empty[0]} is a list of nothing: name a value")
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return [(point, build(module.Config, {**entry, **point}, "dataset")) for point in points]


def simulate(root: Path, dataset: str, recipe: str, policy: str, settings: dict[str, Any]) -> None:
    """Run a policy over the grid and write a row per fit.

    Args:
        root: ``results/<scale>``.
        dataset, recipe, policy: names; they seed the streams and stand in the rows.
        settings: entries of the config, ``{dataset, recipe, policy, seeds, generations}``.

    Raises:
        TrainingError: a metric is not finite.
        ConfigError: a setting is unknown or out of range.
    """
    started = time.time()
    module = import_module(f"collapse.datasets.{settings['dataset']['kind']}")
    options = {k: v for k, v in settings["recipe"].items() if k != "family"}
    family = import_module(f"collapse.families.{settings['recipe']['family']}")
    config = build(family.Config, options, f"recipe {recipe!r}")
    parsed, seeds = policies.parse(policy, settings["policy"]), tuple(range(settings["seeds"]))
    points = grid(module, settings["dataset"])
    names = {"dataset": dataset, "family": settings["recipe"]["family"], "recipe": recipe, "policy": policy}
    tables = []
    total = len(points) * settings["generations"]
    with bar(total, f"simulate {dataset} {recipe} {policy}", "generations") as progress:
        for point, cell_config in points:
            name = "_".join([dataset, *(f"{k}{v}" for k, v in point.items())])
            data = module.for_chain(cell_config, seeds, name, parsed, settings["generations"])
            cell = Cell(name, recipe, policy, SAMPLER, SELECTOR.kind)
            chain = run_chain(
                cell, data.size, settings["generations"], policy=parsed, family=family, config=config, data=data,
                sampler=None, selector=SELECTOR, seeds=seeds,
            )  # fmt: skip
            made = []
            for turn, metrics, _ in chain:
                made.append((turn.facts, metrics))
                progress.update(1)
            fixed = {**names, "sampler": SAMPLER, "selector": SELECTOR.kind}
            tables.append(_rows(fixed, {**options, **point}, made, module, cell_config, seeds))
    rows = pd.concat(tables, ignore_index=True)
    rows = rows.dropna(axis="columns", how="all")
    table.check(rows, f"{dataset}/{recipe}/{policy}", settings["generations"])
    out = root / paths.CHAIN.format(dataset=dataset, recipe=recipe, policy=policy)
    table.write_table(out, rows)
    store.write_json(out.with_suffix(".provenance.json"), provenance(started))


def _rows(fixed, settings, made, module, config, seeds) -> pd.DataFrame:
    """Rows of a chain, generation by generation: one for each seed, times the settings on the metrics' second axis.

    Columns are joined before the table is made: a table for each generation would take longer than the chain itself.

    Args:
        fixed, settings: columns of one value, before and after that of the generation.
        made: (facts, {metric: (S, ...)}) of each generation.
        module, config: the data set.
        seeds: one per chain.
    """
    axis = getattr(module, "VECTOR", None)
    along = getattr(config, axis) if axis else (None,)
    each, times = len(seeds) * len(along), len(made)

    def spread(fact: str) -> np.ndarray:
        return np.repeat([facts[fact] for facts, _ in made], each)

    out = {**fixed, "generation": spread("generation"), **settings, "items": spread("items")}
    out |= {"d": getattr(config, "d", None), "seed": np.tile(np.repeat(seeds, len(along)), times)}
    out["real_fraction"] = np.repeat(np.concatenate([facts["real_fraction"] for facts, _ in made]), len(along))
    if axis:
        out[axis] = np.tile(along, len(seeds) * times)
    for name in made[0][1]:
        values = [np.asarray(metrics[name]).reshape(-1) for _, metrics in made]
        for value, (facts, _) in zip(values, made, strict=True):
            if not np.isfinite(value).all():
                raise TrainingError(
                    f"{name} is not finite at generation {facts['generation']} of {fixed['dataset']}: run fewer "
                    "generations, or take more items"
                )
            if len(value) != each:
                raise ConfigError(f"{name} has {len(value)} values, not one for each of {each} rows")
        out[name] = np.concatenate(values)
    return pd.DataFrame(out)
