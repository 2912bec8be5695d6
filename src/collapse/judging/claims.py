"""Claims: what a paper says, one statement per entry of ``config/claims/<paper>.yaml``.

An entry::

    - id: P1
      figure: figure_2
      statement: With replaced data, test cross-entropy rises at every generation from 1 to 5.
      per: recipe                              # optional: one claim per recipe (P1.gpt2_xs, ...), or per dataset
      rows: {block: main, policy: replace, sampler: temp1.0}
      statistic: {name: minimum_step, metric: cross_entropy, first: 1, last: 5}
      test: {kind: t, direction: greater, than: 0}
      published: {value: {gpt2_9m: 0.101}, source: "figure 2, digitised"}     # optional

``rows`` names blocks of the config (``cells`` or ``chains``) and narrows them: ``policy``, ``dataset``, ``recipe``,
``sampler``, ``selector``, and the columns d, T, sigma2, design of linear regression. A key left out, or ``all``,
selects every value (``selector: all`` is the selector of that name). What the statistic compares are the policies, in
the order given, or the names of the key that ``compare`` gives; of every other key one name must remain::

      rows: {block: [temperature, main], policy: replace, compare: sampler, sampler: [temp0.3, temp1.0]}
      statistic: {name: difference, metric: cross_entropy, generation: 4}        # temp0.3 minus temp1.0

Of several blocks each compared name takes the first that holds it together with all the other names.
``generation: 5`` in ``statistic`` stands for ``first: 5, last: 5``; ``unit: c`` divides by sigma2 d / (T - d - 1).
``test`` has ``kind: t`` or ``bootstrap``, and ``direction: greater`` or ``less`` with ``than``, or ``within`` with
``low`` and ``high``. Neither pandas nor scipy is imported here.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from collapse.errors import ConfigError, unknown
from collapse.judging.statistics import STATISTICS, Statistic

KEYS = ("dataset", "recipe", "policy", "sampler", "selector")
GRID = ("d", "T", "sigma2", "design")
UNITS = ("c",)
PER = ("recipe", "dataset")
DIRECTIONS = ("greater", "less", "within")
# fewest seeds: a variance needs two; the bootstrap's percentiles are too narrow below about ten
SEEDS = {"t": 2, "bootstrap": 10}


@dataclass(frozen=True)
class Rows:
    """Which rows: blocks of the config, names of each key (no entry: all), the key compared, values of grid columns."""

    block: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    compare: str = "policy"
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def compared(self) -> tuple[str, ...]:
        """What the statistic compares, in its order."""
        return self.names[self.compare]


@dataclass(frozen=True)
class Quantity:
    """A statistic with its arguments: of ``metric`` at generations ``first`` to ``last``, in ``unit``."""

    name: str
    metric: str
    first: int
    last: int
    unit: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> Statistic:
        """The statistic itself."""
        return STATISTICS[self.name]

    @property
    def generations(self) -> list[int]:
        """The generations it is about."""
        return list(range(self.first, self.last + 1))


@dataclass(frozen=True)
class Criterion:
    """A test and what it tests: the statistic is ``greater`` or ``less`` than low = high, or ``within`` [low, high]."""

    kind: str
    direction: str
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """One statement of a paper; `parse` makes it, `grid.split` gives one per recipe where ``per`` says so."""

    id: str
    paper: str
    figure: str
    statement: str
    rows: Rows
    statistic: Quantity
    test: Criterion
    per: str | None = None
    published: Any = None
    source: str | None = None


def parse(path: str | Path) -> tuple[Claim, ...]:
    """Read a file of claims; its name is the paper's.

    Raises:
        ConfigError: the file cannot be read, a key, statistic, unit, test or direction is unknown (the nearest valid
            name is given), a value is missing or of the wrong type, or two claims have one id.
    """
    import yaml

    path = Path(path)
    try:
        entries = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{path} must be a list of claims")
    claims = tuple(_claim(entry, path) for entry in entries)
    for one, other in pairwise(sorted(c.id for c in claims)):
        if one == other:
            raise ConfigError(f"{path}: two claims have the id {one!r}")
    return claims


def _claim(entry: Any, path: Path) -> Claim:
    where = f"claim {entry.get('id')!r} of {path}" if isinstance(entry, dict) else f"claim of {path}"
    required = ("id", "figure", "statement", "rows", "statistic", "test")
    entry = _mapping(entry, where, required, ("per", "published"))
    for key in ("id", "figure", "statement"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ConfigError(f"{key} of {where} must be text")
    if entry.get("per", PER[0]) not in PER:
        raise unknown(f"per of {where}", entry["per"], PER)
    claim = Claim(
        entry["id"],
        path.stem,
        entry["figure"],
        " ".join(entry["statement"].split()),
        _rows(entry["rows"], where),
        _quantity(entry["statistic"], where),
        _criterion(entry["test"], where),
        entry.get("per"),
        *_published(entry.get("published"), entry.get("per"), where),
    )
    rows, expected = claim.rows, claim.statistic.function.curves
    if rows.compare == claim.per:
        raise ConfigError(f"{where}: 'per: {claim.per}' would split what 'compare: {claim.per}' compares: drop one")
    if len(rows.compared) != expected:
        what = f"{claim.statistic.name} is about {expected} {'curve' if expected == 1 else 'curves'}"
        raise ConfigError(f"{where}: {what}, {len(rows.compared)} given: {rows.compare} {', '.join(rows.compared)}")
    return claim


def _mapping(entry: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Return ``entry`` if it is a mapping with the required keys and no unknown one."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a mapping, got {entry!r}")
    for key in entry:
        if key not in (known := [*required, *optional]):
            raise unknown(f"key of {where}", key, known)
    for key in required:
        if key not in entry:
            raise ConfigError(f"{where} has no {key!r}")
    return entry


def _choice(what: str, name: Any, valid: Iterable[str]) -> str:
    if name not in list(valid):
        raise unknown(what, name, valid)
    return name


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{what} must be a number, got {value!r}")
    return value


def _rows(entry: Any, where: str) -> Rows:
    where = f"rows of {where}"
    entry = dict(_mapping(entry, where, ("block", "policy"), (*KEYS, *GRID, "compare")))
    compare = _choice(f"key to compare in {where}", entry.pop("compare", "policy"), KEYS)
    values = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in entry.items()}
    for key, names in values.items():
        if not names or (key not in GRID and not all(isinstance(name, str) for name in names)):
            raise ConfigError(f"{key} in {where} must be a name or a list of names, got {entry[key]!r}")
    free = {key for key, names in values.items() if names == ("all",) and key != "selector"}
    if free & {"block", "policy"}:
        raise ConfigError(f"{where} must name its block and its policies")
    names = {key: values[key] for key in KEYS if key in values and key not in free}
    if compare not in names:
        raise ConfigError(f"{where} must list what it compares: {compare}")
    if len(set(names[compare])) < len(names[compare]):
        raise ConfigError(f"{where} names one {compare} twice: {', '.join(names[compare])}")
    if compare != "policy" and len(names["policy"]) > 1:
        raise ConfigError(f"{where} compares names of {compare}, so it must have one policy")
    grid = {key: values[key] for key in GRID if key in values and key not in free}
    return Rows(values["block"], names, compare, grid)


def _quantity(entry: Any, where: str) -> Quantity:
    where = f"statistic of {where}"
    if not isinstance(entry, dict) or "name" not in entry:
        raise ConfigError(f"{where} must be a mapping with a name")
    known = STATISTICS[_choice(where, entry["name"], STATISTICS)]
    ends = ("generation",) if "generation" in entry else ("first", "last")
    given = [key for key, default in known.options.items() if default is inspect.Parameter.empty]
    entry = _mapping(entry, where, ("name", "metric", *ends, *given), ("unit", *known.options))
    if not isinstance(entry["metric"], str):
        raise ConfigError(f"metric in {where} must be the name of a column, got {entry['metric']!r}")
    first, last = entry[ends[0]], entry[ends[-1]]
    if not all(type(n) is int for n in (first, last)) or not 1 <= first <= last:
        raise ConfigError(f"{where}: generations count from 1 and run forwards, got {first!r} to {last!r}")
    if last - first + 1 < known.generations:
        raise ConfigError(f"{where}: {entry['name']} needs at least {known.generations} generations")
    unit = entry.get("unit")
    if unit is not None:
        _choice(f"unit in {where}", unit, UNITS)
    if known.unit not in (None, unit):
        raise ConfigError(f"{where}: {entry['name']} needs 'unit: {known.unit}'")
    for key, valid in known.choices.items():
        _choice(f"{key} in {where}", entry[key], valid)
    options = {key: entry[key] for key in known.options if key in entry}
    return Quantity(entry["name"], entry["metric"], first, last, unit, options)


def _criterion(entry: Any, where: str) -> Criterion:
    where = f"test of {where}"
    direction = entry.get("direction", "greater") if isinstance(entry, dict) else "greater"
    bounds = ("low", "high") if _choice(f"direction in {where}", direction, DIRECTIONS) == "within" else ("than",)
    entry = _mapping(entry, where, ("kind", "direction", *bounds))
    _choice(f"kind in {where}", entry["kind"], SEEDS)
    low, high = (_number(entry[key], f"{key} in {where}") for key in (bounds[0], bounds[-1]))
    if direction == "within" and not low < high:
        raise ConfigError(f"{where}: low must be below high, got {low} and {high}")
    return Criterion(entry["kind"], direction, float(low), float(high))


def _published(entry: Any, per: str | None, where: str) -> tuple[Any, str | None]:
    if entry is None:
        return None, None
    where = f"published of {where}"
    entry = _mapping(entry, where, ("source",), ("value",))
    value = entry.get("value")
    if isinstance(value, dict) and per is None:
        raise ConfigError(f"value in {where} must be a number: the claim is not split")
    for number in value.values() if isinstance(value, dict) else [] if value is None else [value]:
        _number(number, f"value in {where}")
    return value, " ".join(str(entry["source"]).split())
