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
``sampler``, ``selector``, and d, T, sigma2, design, shape of chains over a grid. A key left out, or ``all``, selects
every value (``selector: all`` is the selector of that name). What the statistic compares are the policies, in
the order given, or the names of the key that ``compare`` gives; of every other key one name must remain::

      rows: {block: [temperature, main], policy: replace, compare: sampler, sampler: [temp0.3, temp1.0]}
      statistic: {name: difference, metric: cross_entropy, generation: 4}        # temp0.3 minus temp1.0

Of several blocks each compared name takes the first that holds it together with all the other names.

What differs in more than one key is written out, arm by arm; a list of names is for the one that a scale has::

      rows:
        block: settings
        sampler: beam5
        compare:
          - {policy: real_fraction_10_first, recipe: [opt_xs_e10, opt_125m_e10]}
          - {policy: replace_first, recipe: [opt_xs_e5, opt_125m_e5]}

An arm may name whatever ``rows`` may, and ``metric``, which ``statistic`` then leaves out.

``generation: 5`` in ``statistic`` stands for ``first: 5, last: 5``; ``end`` for the last generation of the blocks at a
scale. ``transform: log`` or ``square`` is of each row's value; ``unit: c`` divides it by sigma2 d / (T - d - 1), the
error of one linear regression, ``unit: 1/T`` by 1/T, the variance of the mean of one set in units of sigma^2. ``test``
has ``kind: t`` or ``bootstrap``, and ``direction: greater`` or ``less`` with ``than``, or ``within`` with ``low`` and
``high``. Neither pandas nor scipy is imported here.
"""

import inspect
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from collapse.errors import ConfigError, unknown
from collapse.judging import arms
from collapse.judging.arms import Rows
from collapse.judging.reading import choice, mapping, number
from collapse.judging.statistics import STATISTICS, TRANSFORMS, Statistic

UNITS = ("c", "1/T")
END = "end"
PER = ("recipe", "dataset")
DIRECTIONS = ("greater", "less", "within")
# fewest seeds: a variance needs two; the bootstrap's percentiles are too narrow below about ten
SEEDS = {"t": 2, "bootstrap": 10}


@dataclass(frozen=True)
class Quantity:
    """A statistic with its arguments: of ``metric`` at generations ``first`` to ``last``, in ``unit``.

    ``metric`` is None where arms have their own; ``first`` and ``last`` where they are `END` and no scale is known yet.
    """

    name: str
    metric: str | None
    first: int | None
    last: int | None
    unit: str | None = None
    transform: str | None = None
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
    entry = mapping(entry, where, required, ("per", "published"))
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
        rows := arms.parse(entry["rows"], where),
        quantity := _quantity(entry["statistic"], rows, where),
        _criterion(entry["test"], quantity, where),
        entry.get("per"),
        *_published(entry.get("published"), entry.get("per"), where),
    )
    if claim.per in rows.varied:
        raise ConfigError(f"{where}: 'per: {claim.per}' would split what is compared: drop one")
    expected = quantity.function.curves
    if len(rows.arms) != expected:
        what = f"{quantity.name} is about {expected} {'curve' if expected == 1 else 'curves'}"
        raise ConfigError(
            f"{where}: {what}, {len(rows.arms)} given: {' and '.join(sorted(rows.varied))} {', '.join(rows.compared)}"
        )
    return claim


def _quantity(entry: Any, rows: Rows, where: str) -> Quantity:
    where = f"statistic of {where}"
    if not isinstance(entry, dict) or "name" not in entry:
        raise ConfigError(f"{where} must be a mapping with a name")
    known = STATISTICS[choice(where, entry["name"], STATISTICS)]
    own = [arm.metric is not None for arm in rows.arms]
    if any(own) and not all(own):
        raise ConfigError(f"{where}: a metric stands in every arm or in none")
    metric = () if all(own) else ("metric",)
    ends = ("generation",) if "generation" in entry else ("first", "last")
    given = [key for key, default in known.options.items() if default is inspect.Parameter.empty]
    entry = mapping(entry, where, ("name", *metric, *ends, *given), ("unit", "transform", *known.options))
    if metric and not isinstance(entry["metric"], str):
        raise ConfigError(f"metric in {where} must be the name of a column, got {entry['metric']!r}")
    first, last = _ends(entry[ends[0]], entry[ends[-1]], where)
    if None not in (first, last) and last - first + 1 < known.generations:
        raise ConfigError(f"{where}: {entry['name']} needs at least {known.generations} generations")
    unit, transform = entry.get("unit"), entry.get("transform")
    if unit is not None:
        choice(f"unit in {where}", unit, UNITS)
    if known.unit not in (None, unit):
        raise ConfigError(f"{where}: {entry['name']} needs 'unit: {known.unit}'")
    if transform is not None:
        choice(f"transform in {where}", transform, TRANSFORMS)
    for key, valid in known.choices.items():
        if not callable(valid):
            choice(f"{key} in {where}", entry[key], valid)
        elif not valid(entry[key]):
            raise ConfigError(f"{key} in {where} must be {valid.__doc__}, got {entry[key]!r}")
    options = {key: entry[key] for key in known.options if key in entry}
    return Quantity(entry["name"], entry.get("metric"), first, last, unit, transform, options)


def _ends(first: Any, last: Any, where: str) -> tuple[int | None, int | None]:
    """Generations as numbers, None for `END`, where only the last may be the end unless both are."""
    given = [n for n in (first, last) if n != END]
    whole = all(type(n) is int for n in given)
    if not whole or given != sorted(given) or min(given, default=1) < 1 or (first == END != last):
        raise ConfigError(f"{where}: generations count from 1 and run forwards, got {first!r} to {last!r}")
    return tuple(None if n == END else n for n in (first, last))


def _criterion(entry: Any, quantity: Quantity, where: str) -> Criterion:
    where = f"test of {where}"
    direction = entry.get("direction", "greater") if isinstance(entry, dict) else "greater"
    bounds = ("low", "high") if choice(f"direction in {where}", direction, DIRECTIONS) == "within" else ("than",)
    entry = mapping(entry, where, ("kind", "direction", *bounds))
    choice(f"kind in {where}", entry["kind"], SEEDS)
    if quantity.function.kind not in (None, entry["kind"]):
        raise ConfigError(f"{where}: {quantity.name} needs 'kind: {quantity.function.kind}'")
    low, high = (number(entry[key], f"{key} in {where}") for key in (bounds[0], bounds[-1]))
    if direction == "within" and not low < high:
        raise ConfigError(f"{where}: low must be below high, got {low} and {high}")
    return Criterion(entry["kind"], direction, float(low), float(high))


def _published(entry: Any, per: str | None, where: str) -> tuple[Any, str | None]:
    if entry is None:
        return None, None
    where = f"published of {where}"
    entry = mapping(entry, where, ("source",), ("value",))
    value = entry.get("value")
    if isinstance(value, dict) and per is None:
        raise ConfigError(f"value in {where} must be a number: the claim is not split")
    for each in value.values() if isinstance(value, dict) else [] if value is None else [value]:
        number(each, f"value in {where}")
    return value, " ".join(str(entry["source"]).split())
