"""`collapse check`: every entry of a config, down to the settings that families and data sets check themselves."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path

from collapse import config as configs
from collapse import grid
from collapse.commands.settings import build
from collapse.commands.simulate import grid as points
from collapse.config import Config


def check(path: Path) -> str:
    """Return what a config holds, in one line.

    Raises:
        CollapseError: the first entry that is wrong, and how to mend it.
    """
    config = configs.load(path)
    for name, entry in config.datasets.items():
        points(import_module(f"collapse.datasets.{entry['kind']}"), entry)
        _fits(config, name)
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
