"""The config: read, checked, expanded to the grid. An unknown name is an error that gives the nearest valid one.

Standard library and pydantic; families and data sets are checked by the field names of their ``Config`` without being
imported, so that the workflow parses in a fraction of a second.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from collapse import digest, policies, samplers, selection
from collapse.errors import ConfigError, DataError, unknown
from collapse.schema import NAME, Block, Chains, Config, Figure, Gate, Pretrained, Selection

RESERVED = {"policies": ("real",)}  # generation 1 lies in the folder real/
SERIES = ("dataset", "recipe", "policy", "sampler", "selector", "seed")


def _message(error: ValidationError, raw: dict) -> ConfigError:
    errors = error.errors()
    # a misspelt key is unknown, and the one that was meant is missing: say the former
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where, name = ".".join(str(p) for p in first["loc"]), str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        models = {
            "cells": Block,
            "chains": Chains,
            "figures": Figure,
            "rows": Selection,
            "gates": Gate,
            "pretrained": Pretrained,
        }
        model = next((models[p] for p in reversed(first["loc"]) if p in models), Config)
        model = Selection if "rows" in first["loc"] else model
        return ConfigError(f"config {where}: {unknown('key', name, model.model_fields)}")
    if first["type"] == "missing":
        return ConfigError(f"config {where}: this key is missing")
    return ConfigError(f"config {where}: {first['msg']}, got {first['input']!r}")


def _check_names(what: str, entries: Iterable[str]) -> None:
    import re

    for name in entries:
        if not re.fullmatch(NAME.removesuffix("$"), name):
            raise ConfigError(f"{what} {name!r}: names are letters, digits, '_' and '.', and begin with a letter")
        if name in RESERVED.get(what, ()):
            raise ConfigError(f"{what} {name!r}: this name is taken: choose another")


def _check_options(what: str, name: str, entry: dict, module: str, extra: tuple[str, ...], cls: str = "Config") -> None:
    for option in entry:
        valid = (*digest.dataclass_fields(module, cls), *extra)
        if option not in valid:
            raise ConfigError(f"{what} {name!r}: {unknown('option', option, valid)}")


def available(folder: str) -> list[str]:
    """Return the names of the modules in a folder of the package that hold a ``Config``: families or datasets."""
    found = []
    for path in sorted((digest.SOURCE / folder).glob("*.py")):
        try:
            digest.dataclass_fields(f"collapse.{folder}.{path.stem}")
        except LookupError:
            continue
        found.append(path.stem)
    return found


def recipe(config: Config, name: str) -> dict[str, Any]:
    """Return a recipe's entry with what it inherits from its ``base``."""
    entry = dict(config.recipes[name])
    base = entry.pop("base", None)
    if base is None:
        return entry
    if base not in config.recipes:
        raise ConfigError(f"recipe {name!r}: {unknown('base', str(base), config.recipes)}")
    if "base" in config.recipes[base]:
        raise ConfigError(f"recipe {name!r}: base {base!r} has a base itself: name that one")
    return {**config.recipes[base], **entry}


def check(raw: dict[str, Any]) -> Config:
    """Check a config and return it.

    Raises:
        ConfigError: an unknown key, policy, family, data set, sampler, selector, block, or an option out of range.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise _message(error, raw) from None
    for what in ("datasets", "recipes", "policies", "samplers", "selectors", "pretrained", "cells", "chains", "gates"):
        _check_names(what, getattr(config, what))
    for name, entry in config.policies.items():
        policies.parse(name, entry)
    for name, entry in config.selectors.items():
        selection.parse(name, entry)
    for name, entry in config.samplers.items():
        if entry:
            _check_options("sampler", name, entry, "collapse.samplers", (), "Sampler")
            try:
                samplers.Sampler(**entry)
            except ConfigError as error:
                raise ConfigError(f"sampler {name!r}: {error}") from None
    for name, entry in config.datasets.items():
        kind = entry.get("kind")
        if kind not in available("datasets"):
            raise unknown(f"kind of dataset {name!r}", str(kind), available("datasets"))
        _check_options("dataset", name, entry, f"collapse.datasets.{kind}", ("kind",))
    for name in config.recipes:
        entry = recipe(config, name)
        if entry.get("family") not in available("families"):
            raise unknown(f"family of recipe {name!r}", str(entry.get("family")), available("families"))
        _check_options("recipe", name, entry, f"collapse.families.{entry['family']}", ("family", "start"))
    for name in config.pretrained:
        _check_pretrained(config, name)
    for name in config.recipes:
        if "start" in (entry := recipe(config, name)):
            _check_start(config, name, entry)
    for name, block in {**config.cells, **config.chains}.items():
        for axis in ("dataset", "recipe", "policy", "sampler", "selector"):
            valid = getattr(config, {"policy": "policies"}.get(axis, f"{axis}s"))
            for value in getattr(block, axis, []):
                if value not in valid:
                    raise ConfigError(f"block {name!r}: {unknown(axis, value, valid)}")
    for name, block in config.cells.items():
        if block.generations > 1 and (idle := [s for s in block.sampler if not draws(config, s)]):
            raise ConfigError(f"block {name!r}: sampler {idle[0]!r} draws nothing to train generation 2 on")
    _check_streams(config)
    if both := set(config.cells) & set(config.chains):
        raise ConfigError(f"block {both.pop()!r} is named twice: under cells and under chains")
    _check_shards(config)
    _check_parts(config)
    for paper, figures in config.figures.items():
        for name, figure in figures.items():
            for rows in figure.rows:
                try:
                    resolve(config, rows)
                except ConfigError as error:
                    raise ConfigError(f"figure {paper}/{name}: {error}") from None
    for name, gate in config.gates.items():
        if demanded := [b for b in (gate.block, gate.against) if b in config.cells and config.cells[b].on_demand]:
            raise ConfigError(f"gate {name!r}: block {demanded[0]!r} is built on demand alone, a gate always")
        for block in (gate.block, gate.against, *gate.closes):
            if block is not None and block not in config.cells:
                raise ConfigError(f"gate {name!r}: {unknown('block', block, config.cells)}")
        for block, named in ((gate.block, gate.recipe), (gate.against, gate.against_recipe)):
            if named is not None and named not in (there := config.cells[block].recipe if block else ()):
                raise ConfigError(f"gate {name!r}: {unknown('recipe', named, there)}")
            if gate.against is not None and named is None and len(config.cells[block].recipe) > 1:
                raise ConfigError(f"gate {name!r} compares two recipes, block {block!r} has several: name one")
        if gate.at_least is None and gate.at_most is None:
            raise ConfigError(f"gate {name!r} bounds nothing: give at_least or at_most")
    return config


def _check_pretrained(config: Config, name: str) -> None:
    """Pretrained weights must be of a family, or of a fit that is there and from fresh weights itself."""
    what, source = f"pretrained {name!r}", config.pretrained[name]
    if source.recipe is None:
        if source.family not in available("families"):
            raise ConfigError(f"{what}: {unknown('family', str(source.family), available('families'))}")
        return
    if source.dataset not in config.datasets:
        raise ConfigError(f"{what}: {unknown('dataset', str(source.dataset), config.datasets)}")
    if source.recipe not in config.recipes:
        raise ConfigError(f"{what}: {unknown('recipe', source.recipe, config.recipes)}")
    if "start" in recipe(config, source.recipe):
        raise ConfigError(f"{what}: recipe {source.recipe!r} has a start itself: name one from fresh weights")


def _check_start(config: Config, name: str, recipe_: dict) -> None:
    """Pretrained weights must be there and of the same family; chains in memory have none."""
    start = recipe_["start"]
    if start not in config.pretrained:
        raise ConfigError(f"recipe {name!r}: {unknown('start', str(start), config.pretrained)}")
    source = config.pretrained[start]
    family = source.family if source.recipe is None else recipe(config, source.recipe)["family"]
    if family != recipe_["family"]:
        raise ConfigError(
            f"recipe {name!r} is of family {recipe_['family']!r}, its start pretrained {start!r} of {family!r}"
        )
    for block, entry in config.chains.items():
        if name in entry.recipe:
            raise ConfigError(
                f"block {block!r}: recipe {name!r} starts from pretrained weights, and chains in memory do not: "
                "put the block under `cells`"
            )


def _check_streams(config: Config) -> None:
    """Nothing is kept of a stream: a selector beside one would be left out without a word."""
    for name, block in config.cells.items():
        for policy, selector in product(block.policy, block.selector):
            parsed = policies.parse(policy, config.policies[policy])
            streams = any(policies.streamed(parsed, n, 1000) for n in range(2, block.generations + 1))
            if streams and config.selectors[selector]["kind"] != "all":
                raise ConfigError(
                    f"block {name!r}: policy {policy!r} is a stream, of which selector {selector!r} keeps nothing: "
                    "take one of kind 'all'"
                )


PART = ("kind", "source", "path", "repository", "revision", "test", "vocabulary", "max_tokens")
"""What a data set must share with the one whose stories it is a part of."""


def _check_parts(config: Config) -> None:
    """A data set that is a part of another one must be, or a comparison of the two would be of different stories."""
    for name, entry in config.datasets.items():
        whole = entry.get("drawn_as", name)
        if whole == name:
            continue
        if whole not in config.datasets:
            raise ConfigError(f"dataset {name!r}: {unknown('drawn_as', str(whole), config.datasets)}")
        other = config.datasets[whole]
        for key in PART:
            if entry.get(key) != other.get(key):
                raise ConfigError(f"dataset {name!r} is drawn as {whole!r}, and has another {key}: make them equal")
        if entry.get("tokenizer_stories") != other.get("tokenizer_stories", other.get("train")):
            raise ConfigError(f"dataset {name!r} is drawn as {whole!r}: set `tokenizer_stories` to its `train`")


def _check_shards(config: Config) -> None:
    """Fresh real data must have been cut before generation 1; otherwise it would silently be D_1 again."""
    for name, block in {**config.cells, **config.chains}.items():
        for dataset, policy in product(block.dataset, block.policy):
            entry = config.datasets[dataset]
            size, has = entry.get("train"), digest.dataclass_fields(f"collapse.datasets.{entry['kind']}")
            if name in config.cells and "train" not in has:
                raise ConfigError(f"block {name!r}: dataset {dataset!r} runs in memory: put the block under `chains`")
            if name in config.cells and not (type(size) is int and size > 0):
                raise ConfigError(f"block {name!r}: dataset {dataset!r} must say what N is: set its `train`")
            if "shards" not in has:
                continue  # a source without end
            parsed, cut = policies.parse(policy, config.policies[policy]), entry.get("shards", 1)
            plans = [policies.sources(parsed, n, size or 1000) for n in range(1, block.generations + 1)]
            last = max((s.index for sources in plans for s in sources if s.kind == "fresh"), default=0)
            if last > cut:
                raise ConfigError(
                    f"block {name!r}: policy {policy!r} needs {last} disjoint real shards, dataset {dataset!r} has "
                    f"{cut}: raise its `shards` or lower `generations`"
                )


def resolve(config: Config, rows: Selection) -> list[dict[str, Any]]:
    """Expand a selection.

    Returns:
        One dict a series ({dataset, recipe, policy, sampler, selector, seed}, and generations), or one a file of chains
        ({dataset, recipe, policy}, and seeds and generations).

    Raises:
        ConfigError: unknown block, or a filter value that the block does not have.
    """
    blocks = {**config.cells, **config.chains}
    if rows.block not in blocks:
        raise unknown("block", rows.block, blocks)
    block = blocks[rows.block]
    axes = [a for a in SERIES if a in type(block).model_fields]
    values = {}
    for axis in SERIES:
        wanted, has = getattr(rows, axis), getattr(block, axis, None)
        if axis not in axes:
            if wanted != "all":
                raise ConfigError(f"block {rows.block!r} has no {axis}")
            continue
        for value in [] if wanted == "all" else wanted:
            if value not in has:
                raise ConfigError(f"block {rows.block!r}: {unknown(axis, value, has)}")
        values[axis] = has if wanted == "all" else wanted
    rest = {k: getattr(block, k) for k in ("seeds", "generations") if k in type(block).model_fields}
    return [{**dict(zip(values, combination, strict=True)), **rest} for combination in product(*values.values())]


def usual(config: Config) -> Config:
    """Return the config without what is built on demand alone: its blocks, and the figures that show one of them."""
    cells, chains = ({k: b for k, b in blocks.items() if not b.on_demand} for blocks in (config.cells, config.chains))

    def shown(figure: Figure) -> bool:
        return all(rows.block in cells or rows.block in chains for rows in figure.rows)

    figures = {p: {k: f for k, f in each.items() if shown(f)} for p, each in config.figures.items()}
    return config.model_copy(update={"cells": cells, "chains": chains, "figures": figures})


def draws(config: Config, sampler: str) -> bool:
    """Whether a sampler draws anything; ``kind: none`` is for chains of generation 1 alone."""
    return config.samplers[sampler].get("kind") != "none"


def series(config: Config) -> dict[tuple, int]:
    """Return every persisted series, (dataset, recipe, policy, sampler, selector, seed) -> its most generations."""
    found: dict[tuple, int] = {}
    for name in config.cells:
        for cell in resolve(config, Selection(block=name)):
            key = tuple(cell[a] for a in SERIES)
            found[key] = max(cell["generations"], found.get(key, 0))
    return found


def load(path: str | Path) -> Config:
    """Read and check a scale's YAML file on top of policies.yaml, which all scales share, as in the workflow.

    policies.yaml is the one beside the file, or else the project's, config/policies.yaml.

    Raises:
        DataError: a file cannot be read.
        ConfigError: it is not valid YAML, or wrong.
    """
    beside = Path(path).with_name("policies.yaml")
    shared = beside if beside.is_file() else Path("config/policies.yaml")
    raw = _read(shared) if shared.is_file() else {}
    for key, value in _read(Path(path)).items():  # two levels, as Snakemake merges them
        both = isinstance(value, dict) and isinstance(raw.get(key), dict)
        raw[key] = {**raw[key], **value} if both else value
    return check(raw)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a mapping of keys")
    return raw
