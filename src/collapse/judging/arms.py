"""What a claim compares: one arm per curve of its statistic, and where the rows of each are.

``rows`` of an entry names blocks of the config and narrows them, see `collapse.judging.claims`. Standard library only.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from collapse.errors import ConfigError
from collapse.judging.reading import choice, mapping

KEYS = ("dataset", "recipe", "policy", "sampler", "selector")
GRID = ("d", "T", "sigma2", "design", "shape")
"""Columns of rows that are settings of the data, in chains over a grid of them."""


@dataclass(frozen=True)
class Arm:
    """Rows of one curve: blocks, names of each key (no entry: all), values of grid columns; its own metric, if any."""

    label: str
    block: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    metric: str | None = None


@dataclass(frozen=True)
class Rows:
    """The arms of a claim, in its order; ``varied`` are the keys and grid columns in which they may differ."""

    arms: tuple[Arm, ...]
    varied: frozenset[str]

    @property
    def compared(self) -> tuple[str, ...]:
        """What the statistic compares, in words."""
        return tuple(arm.label for arm in self.arms)

    @property
    def block(self) -> tuple[str, ...]:
        """Every block that an arm names, each once."""
        return tuple(dict.fromkeys(block for arm in self.arms for block in arm.block))

    def narrowed(self, key: str, name: str) -> "Rows":
        """Return the rows in which ``key`` has one name."""
        return replace(self, arms=tuple(replace(arm, names={**arm.names, key: (name,)}) for arm in self.arms))


def parse(entry: Any, where: str) -> Rows:
    """Read ``rows`` of a claim. Raises ConfigError."""
    where = f"rows of {where}"
    compare = entry.get("compare", "policy") if isinstance(entry, dict) else "policy"
    if isinstance(compare, list) and any(isinstance(arm, dict) for arm in compare):
        return _listed(entry, where)
    return _named(entry, where)


def _listed(entry: dict[str, Any], where: str) -> Rows:
    """Arms that are written out: each what it does not share with the others."""
    shared = {key: value for key, value in entry.items() if key != "compare"}
    mapping(shared, where, (), ("block", *KEYS, *GRID))
    arms, varied = [], set()
    for own in entry["compare"]:
        mapping(own, f"an arm in {where}", (), ("block", *KEYS, *GRID, "metric"))
        if twice := set(own) & set(shared):
            raise ConfigError(f"{where}: {twice.pop()} stands in an arm and beside the arms")
        if not own:
            raise ConfigError(f"{where}: an arm is empty")
        varied |= set(own) - {"block", "metric"}
        both = {**shared, **own}
        metric = both.pop("metric", None)
        if "metric" in own and not isinstance(metric, str):
            raise ConfigError(f"metric of an arm in {where} must be the name of a column, got {metric!r}")
        told = [key for key in (*KEYS, *GRID, "metric") if key in own] or ["block"]
        label = ", ".join(_text(key, own[key]) for key in told)
        arms.append(replace(_arm(both, where), label=label, metric=metric))
    if len({arm.label for arm in arms}) < len(arms):
        raise ConfigError(f"{where} has an arm twice: {'; '.join(arm.label for arm in arms)}")
    return Rows(tuple(arms), frozenset(varied))


def _text(key: str, value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " or ".join(f"{key} = {v}" if key in GRID else str(v) for v in values)


def _named(entry: Any, where: str) -> Rows:
    """Arms that differ in one key: a name of it each."""
    entry = dict(mapping(entry, where, ("block", "policy"), (*KEYS, *GRID, "compare")))
    compare = choice(f"key to compare in {where}", entry.pop("compare", "policy"), KEYS)
    arm = _arm(entry, where)
    if compare not in arm.names:
        raise ConfigError(f"{where} must list what it compares: {compare}")
    names = arm.names[compare]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where} names one {compare} twice: {', '.join(names)}")
    if compare != "policy" and len(arm.names["policy"]) > 1:
        raise ConfigError(f"{where} compares names of {compare}, so it must have one policy")
    arms = (replace(arm, label=name, names={**arm.names, compare: (name,)}) for name in names)
    return Rows(tuple(arms), frozenset({compare}))


def _arm(entry: dict[str, Any], where: str) -> Arm:
    """Names and values of an entry without ``compare``: 'all' is no restriction, and no name of a block or a policy."""
    for key in ("block", "policy"):
        if key not in entry:
            raise ConfigError(f"{where} has no {key!r}")
    values = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in entry.items()}
    for key, names in values.items():
        if not names or (key not in GRID and not all(isinstance(name, str) for name in names)):
            raise ConfigError(f"{key} in {where} must be a name or a list of names, got {entry[key]!r}")
    free = {key for key, names in values.items() if names == ("all",) and key != "selector"}
    if free & {"block", "policy"}:
        raise ConfigError(f"{where} must name its block and its policies")
    names = {key: values[key] for key in KEYS if key in values and key not in free}
    grid = {key: values[key] for key in GRID if key in values and key not in free}
    return Arm("", values["block"], names, grid)
