"""A job: names and settings of one generation of one chain, turned into objects and files."""

from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from collapse import paths, policies, selection, store
from collapse.commands.settings import build, dataset_config
from collapse.errors import ConfigError, DataError
from collapse.items import Items
from collapse.loop import Cell, selected
from collapse.policies import Policy, Source


@dataclass(frozen=True)
class Job:
    """One generation of one chain: names, settings and the folder of the scale, turned into objects when asked for.

    Attributes:
        root: ``results/<scale>``.
        cell: names of the chain.
        seed: its seed.
        settings: entries of the config, ``{dataset, recipe, policy, sampler, selector, generations, device}``, and
            ``start``: the file, below ``root``, of the pretrained weights that the recipe starts from.
    """

    root: Path
    cell: Cell
    seed: int
    settings: dict[str, Any]

    @property
    def names(self) -> dict[str, Any]:
        """The wildcards of the paths."""
        return {**vars(self.cell), "seed": self.seed}

    @cached_property
    def data(self):
        """The prepared data set."""
        module, config = dataset_config(self.settings["dataset"])
        arrays = store.load_arrays(self.root / paths.DATA.format(dataset=self.cell.dataset))
        facts = store.read_json(self.root / paths.DATA_FACTS.format(dataset=self.cell.dataset))
        return module.load(config, arrays, facts, (self.seed,), self.cell.dataset)

    @cached_property
    def family(self):
        """The family's module."""
        return import_module(f"collapse.families.{self.settings['recipe']['family']}")

    @cached_property
    def config(self):
        """The family's settings: the recipe, and what the data set provides (a vocabulary, a width)."""
        wanted = {f.name for f in fields(self.family.Config)}
        offered = {**self.data.provides, "device": self.settings.get("device", "cpu")}
        provided = {k: v for k, v in offered.items() if k in wanted}
        recipe = {k: v for k, v in self.settings["recipe"].items() if k not in ("family", "start")}
        if twice := set(recipe) & set(provided):
            raise ConfigError(f"recipe {self.cell.recipe!r} sets {sorted(twice)}, which the data set provides")
        return build(self.family.Config, {**provided, **recipe}, f"recipe {self.cell.recipe!r}")

    @cached_property
    def policy(self) -> Policy:
        """The mixing policy; generation 1 has none."""
        return (
            policies.parse(self.cell.policy, self.settings["policy"])
            if "policy" in self.settings
            else Policy("real_only")
        )

    @cached_property
    def selector(self):
        """The selector."""
        return selection.parse(self.cell.selector, self.settings["selector"])

    @cached_property
    def sampler(self):
        """The sampler's settings; None for a family that draws exactly.

        Raises ConfigError where the family needs settings and the entry has none.
        """
        entry = self.settings["sampler"]
        if not entry:
            if hasattr(self.family, "Sampler"):
                raise ConfigError(f"sampler {self.cell.sampler!r} has no settings; {self.cell.recipe!r} needs some")
            return None
        from collapse.samplers import Sampler

        return build(Sampler, entry, f"sampler {self.cell.sampler!r}")

    @property
    def pretrained(self) -> bool:
        """Whether the recipe starts from pretrained weights."""
        return "start" in self.settings["recipe"]

    def folder(self, n: int) -> Path:
        """Folder of generation ``n``."""
        return self.root / paths.generation(n, **self.names)

    def samples(self, k: int, count: int) -> Items:
        """Read the first ``count`` items drawn from model ``k``. Raises DataError: there are fewer."""
        files = paths.samples(k, -(-count // self.data.size), **self.names)
        parts = [Items.of_arrays(store.load_arrays(self.root / file)) for file in files]
        items = Items.concat(parts)
        if len(items) < count:
            raise DataError(f"{self.root / files[-1]} holds {len(items)} of {count} items: delete it and run again")
        return items.first(count)

    def read(self, source: Source, count: int) -> Items:
        """Read ``count`` selected items of a source from files (`loop.Read`)."""
        if source.kind == "synthetic":
            drawn = self.samples(source.index, selection.pool(self.selector, count))
            return selected(drawn, self.selector, self.cell, source.index, count, (self.seed,), self.data)
        return (self.data.real() if source.kind == "real" else self.data.fresh(source.index)).first(count)
