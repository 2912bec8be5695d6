"""From claims to rows: which cells of a scale's grid each claim needs, and why it is not judged where they are absent.

The grid is the config's ``cells`` (a job per generation) and ``chains`` (whole chains in memory), both block name ->
lists of names. The workflow's input functions read it from here, so neither pandas nor scipy is imported.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collapse.config import Config, Selection
from collapse.errors import CollapseError, ConfigError, unknown
from collapse.judging.arms import KEYS, Arm
from collapse.judging.claims import PER, SEEDS, Claim, parse


@dataclass(frozen=True)
class Resolution:
    """What a claim needs at one scale: one dict per arm, or none and the ``reason``."""

    needs: tuple[dict[str, Any], ...]
    reason: str | None = None


class _AbsentError(Exception):
    """The claim's rows are not in this scale's grid."""


def blocks(config) -> dict[str, dict[str, Any]]:
    """Return the config's blocks of ``cells`` and ``chains`` in one form: KEYS -> names, ``seeds``, ``generations``.

    Chains run in memory and have neither sampler nor selector in their key: these are None.

    Args:
        config: a checked `collapse.config.Config`, or a mapping with the same ``cells`` and ``chains``.

    Raises:
        ConfigError: a block is in both.
    """
    if not isinstance(config, dict):
        config = config.model_dump(include={"cells", "chains"})
    cells, chains = config.get("cells") or {}, config.get("chains") or {}
    for name in cells:
        if name in chains:
            raise ConfigError(f"block {name!r} is in cells and in chains: rename one")
    out = {}
    for name, block in cells.items():
        names = {key: list(block[key]) for key in KEYS}
        out[name] = {**names, "seeds": list(block["seed"]), "generations": block["generations"]}
    for name, block in chains.items():
        names = {key: list(block[key]) if key in block else [None] for key in KEYS}
        out[name] = {**names, "seeds": list(range(block["seeds"])), "generations": block["generations"]}
    return out


def split(claims: Iterable[Claim], config) -> tuple[Claim, ...]:
    """Return claims as they stand at a scale: one per recipe (or dataset) where a claim asks for it, ends as numbers.

    The recipes are those of all the claim's blocks, each once; its name is appended to the id. A claim without any
    recipe here stays whole; `resolve` says why. An ``end`` becomes the last generation that all arms' blocks have.
    """
    grid, out = blocks(config), []
    for claim in claims:
        parts = _names(claim, grid) if claim.per else []
        for name in parts:
            published = claim.published.get(name) if isinstance(claim.published, dict) else claim.published
            rows = claim.rows.narrowed(claim.per, name)
            part = replace(claim, id=f"{claim.id}.{name}", rows=rows, per=None, published=published)
            out.append(_ended(part, grid))
        if not parts:
            whole = replace(claim, published=None) if isinstance(claim.published, dict) else claim
            out.append(_ended(whole, grid))
    return tuple(out)


def _names(claim: Claim, grid: dict[str, dict]) -> list[str]:
    """The recipes (or data sets) that a claim is split by at this scale."""
    listed = dict.fromkeys(name for block in claim.rows.block if block in grid for name in grid[block][claim.per])
    wanted = [arm.names[claim.per] for arm in claim.rows.arms if claim.per in arm.names]
    return [name for name in listed if all(name in names for names in wanted)]


def _ended(claim: Claim, grid: dict[str, dict]) -> Claim:
    """The claim with generations in numbers, where its rows are in the grid."""
    quantity = claim.statistic
    if quantity.last is not None:
        return claim
    try:
        last = min(_cell(claim, arm, grid)[1]["generations"] for arm in claim.rows.arms)
    except _AbsentError:
        return claim
    first = last if quantity.first is None else quantity.first
    return replace(claim, statistic=replace(quantity, first=first, last=last))


def resolve(claim: Claim, config) -> Resolution:
    """Return what a claim (after `split`) needs at this scale.

    Each need is a dict: ``block``, the KEYS (sampler and selector None for chains), ``seeds``, the list of those that
    all arms have, and ``generations``, a list; needs are in the order of the arms. There is none, and a reason, where
    the claim is not judged at this scale: a block, policy, recipe, ... or generation is not in the grid, or there are
    too few seeds.

    An arm's block is the first listed that holds its names together with all the other names of the claim. A series may
    be longer in another block: what counts is that block's ``generations``.

    Raises:
        ConfigError: an arm selects several datasets, recipes, ..., or arms differ in one that they do not name, or a
            sampler or a selector of chains is named, which have none.
    """
    grid = blocks(config)
    try:
        found = [_cell(claim, arm, grid) for arm in claim.rows.arms]
        for key in KEYS:
            if key not in claim.rows.varied and len(names := sorted({str(cell[key]) for cell, _ in found})) > 1:
                raise ConfigError(f"claim {claim.id!r} compares rows of different {key}: {', '.join(names)}")
        _check_generations(claim, found)
        seeds = [s for s in found[0][1]["seeds"] if all(s in block["seeds"] for _, block in found)]
        if len(seeds) < (least := SEEDS[claim.test.kind]):
            raise _AbsentError(f"{len(seeds)} seed(s) at this scale, the {claim.test.kind} test needs {least}")
    except _AbsentError as absent:
        return Resolution((), str(absent))
    ends = {"seeds": sorted(seeds), "generations": claim.statistic.generations}
    return Resolution(tuple({**cell, **ends} for cell, _ in found))


def _check_generations(claim: Claim, found: list[tuple[dict, dict]]) -> None:
    """Every block reaches the last generation, and from the first to an ``end`` there are enough."""
    quantity = claim.statistic
    for cell, block in found:
        if quantity.last > (last := block["generations"]):
            raise _AbsentError(f"needs generation {quantity.last}, block {cell['block']} ends at {last}")
    if quantity.last - quantity.first + 1 < quantity.function.generations:
        needed = quantity.first + quantity.function.generations - 1
        raise _AbsentError(f"needs generation {needed}, this scale ends at {quantity.last}")


def _cell(claim: Claim, arm: Arm, grid: dict[str, dict]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one cell that an arm selects, and its block: the first that holds all names together."""
    there = [name for name in arm.block if name in grid]
    if not there:
        raise _AbsentError(f"block {' or '.join(arm.block)} is not in this scale's grid")
    for block in there:
        if memory := next((key for key in arm.names if grid[block][key] == [None]), None):
            raise ConfigError(f"claim {claim.id!r}: chains of block {block!r} have no {memory}: leave it out")
    fitting = [b for b in there if all(set(names) & set(grid[b][key]) for key, names in arm.names.items())]
    if not fitting:
        raise _AbsentError(_missing(arm.names, there, grid))
    block, cell = grid[fitting[0]], {"block": fitting[0]}
    for key in KEYS:
        names = [value for value in block[key] if value in arm.names.get(key, block[key])]
        if len(names) > 1:
            hint = f", or split the claim with 'per: {key}'" if key in PER else ""
            raise ConfigError(f"claim {claim.id!r} selects several of {key} ({', '.join(names)}): name one{hint}")
        cell[key] = names[0]
    return cell, block


def _missing(wanted: dict[str, tuple[str, ...]], there: list[str], grid: dict[str, dict]) -> str:
    """Why no block holds all names together: one that none has, else all of them."""
    texts = {key: f"{key} {' or '.join(names)}" for key, names in wanted.items()}
    for key, names in wanted.items():
        if not any(set(names) & set(grid[b][key]) for b in there):
            return f"{texts[key]} is not in block {' or '.join(there)} of this scale's grid"
    return f"no block of {', '.join(there)} has together {', '.join(texts.values())}"


def needs(claim: Claim, config) -> list[dict[str, Any]]:
    """Return what a claim needs at this scale, recipe by recipe, as in `resolve`; empty where it is not judged."""
    return [need for part in split([claim], config) for need in resolve(part, config).needs]


def selections(files: Iterable[str | Path], config: Config) -> list[Selection]:
    """Return the selections of the config that hold the rows of every claim in some files, each once.

    Raises:
        ConfigError: a file is malformed, a claim names a policy that the config does not know, or cannot be resolved.
    """
    claims = [claim for path in files for claim in parse(path)]
    check(claims, {"policy": config.policies})  # the only names that all scales share
    out = []
    for need in (need for claim in claims for need in needs(claim, config)):
        axes = {key: [need[key]] for key in KEYS if need[key] is not None}
        seeds = {"seed": need["seeds"]} if need["sampler"] is not None else {}
        if (selection := Selection(block=need["block"], **axes, **seeds)) not in out:
            out.append(selection)
    return out


def columns(claims: Iterable[Claim]) -> list[str]:
    """Return the columns that hold the values of claims, sorted; beside them rows need `table.KEY` and grid columns."""
    return sorted({arm.metric or claim.statistic.metric for claim in claims for arm in claim.rows.arms})


def check(claims: Iterable[Claim], vocabulary: dict[str, Iterable[str]]) -> None:
    """Check the names in claims against those of all scales; a misspelt one would else pass as not judged.

    Args:
        claims: the claims.
        vocabulary: ``block`` or a key of KEYS -> every name that some scale knows; absent keys are not checked.

    Raises:
        ConfigError: a name is unknown; the nearest valid one is given.
    """
    valid = {key: set(names) for key, names in vocabulary.items()}
    for key in valid:
        if key not in ("block", *KEYS):
            raise CollapseError(f"no names of {key!r} stand in claims")
    for claim in claims:
        for arm in claim.rows.arms:
            for key, names in {"block": arm.block, **arm.names}.items():
                for name in names:
                    if key in valid and name not in valid[key]:
                        raise unknown(f"{key} in claim {claim.id!r}", name, valid[key])
