"""`collapse check`: every entry of a config, down to the settings that families and data sets check themselves."""

from dataclasses import fields
from importlib import import_module
from itertools import product
from pathlib import Path

from collapse import config as configs
from collapse import grid, policies
from collapse.commands.settings import build
from collapse.commands.simulate import grid as points
from collapse.config import Config
from collapse.errors import ConfigError


def check(path: Path) -> str:
    """Return what a config holds, in one line.

    Raises:
        CollapseError: the first entry that is wrong, and how to mend it.
    """
    config = configs.load(path)
    for name, entry in config.datasets.items():
        points(import_module(f"collapse.datasets.{entry['kind']}"), entry)
        _fits(config, name)
    for block in (*config.cells, *config.chains):
        _can(config, block)
    for name, source in config.pretrained.items():
        if source.recipe is None and not hasattr(_family(source.family), "load_pretrained"):
            raise ConfigError(f"pretrained {name!r}: family {source.family!r} reads no weights of another layout")
    jobs = grid.jobs(config)
    return (
        f"{path}: {len(config.policies)} policies, {len(jobs)} jobs, {sum(map(len, config.figures.values()))} figures"
    )


def _fits(config: Config, dataset: str) -> None:
    """Build the settings of each recipe that meets a data set, with stand-ins for what the data will provide."""
    stand_in = {"vocabulary": config.datasets[dataset].get("vocabulary", 2), "end": 0, "shape": [1, 32, 32]}
    stand_in["device"] = config.device
    for block in [*config.cells.values(), *config.chains.values()]:
        for name in block.recipe if dataset in block.dataset else []:
            entry = {k: v for k, v in configs.recipe(config, name).items() if k != "start"}
            cls = import_module(f"collapse.families.{entry.pop('family')}").Config
            names = {f.name for f in fields(cls)}
            build(cls, {**{k: v for k, v in stand_in.items() if k in names}, **entry}, f"recipe {name!r}")


def _family(name: str):
    return import_module(f"collapse.families.{name}")


def _can(config: Config, name: str) -> None:
    """Raise ConfigError where a block asks of a data set, or of a family, what it cannot do."""
    block = {**config.cells, **config.chains}[name]
    later = range(2, block.generations + 1)
    for dataset, policy in product(block.dataset, block.policy):
        rule, able = policies.parse(policy, config.policies[policy]), _methods(config.datasets[dataset]["kind"])
        if "correct" not in able and any(s.correction for n in later for s in policies.plan(rule, n, 1000)):
            raise ConfigError(f"block {name!r}: policy {policy!r} corrects items, which dataset {dataset!r} cannot")
        for sampler in getattr(block, "sampler", ()):
            if "prompts" not in able and later and config.samplers[sampler].get("prompts") == "synthetic":
                raise ConfigError(
                    f"block {name!r}: dataset {dataset!r} makes no prompts of synthetic items, as sampler {sampler!r} "
                    "wants them: set `prompts: real`"
                )
        for recipe in block.recipe if any(policies.streamed(rule, n, 1000) for n in later) else ():
            family = configs.recipe(config, recipe)["family"]
            if not getattr(_family(family), "STREAMS", False):
                raise ConfigError(
                    f"block {name!r}: policy {policy!r} is a stream, recipe {recipe!r} of family {family!r} trains on "
                    "sets alone"
                )


def _methods(kind: str) -> set[str]:
    """Return what the classes of a data set's module can do, by name."""
    module = import_module(f"collapse.datasets.{kind}")
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    return {name for c in classes for name in dir(c)}
