"""Which synthetic items are kept: the selector between `sample` and `mix`. Scores in, indices out; numpy only.

A selector is a named entry of the config. It states what it needs: nothing, ``truth``, ``self_score`` or
``score:<model>``. The verification paper's selectors (arXiv 2406.07515) plug in here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from collapse.errors import ConfigError, TrainingError, unknown
from collapse.seeding import Streams


@dataclass(frozen=True)
class Selector:
    """A named entry: how items are kept, and the share of them that is."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def _all(scores, pool: int, count: int, rng: Streams) -> np.ndarray:
    return np.broadcast_to(np.arange(count), (len(rng), count))


def _random(scores, pool: int, count: int, rng: Streams) -> np.ndarray:
    return rng.each(lambda g: np.sort(g.choice(pool, count, replace=False)))


def _valid(scores, pool: int, count: int, rng: Streams) -> np.ndarray:
    def kept(row: np.ndarray) -> np.ndarray:
        good = np.flatnonzero(np.isfinite(row[:pool]))
        if len(good) == 0:
            raise TrainingError(f"not one of {pool} items is valid: there is nothing to train on")
        return np.resize(good, count)

    return np.stack([kept(row) for row in scores])


@dataclass(frozen=True)
class _Kind:
    keep: Callable[..., np.ndarray]
    options: dict[str, Any]
    needs: str | None = None


KINDS = {
    "all": _Kind(_all, {}),
    "random": _Kind(_random, {"keep": 0.5}),
    "valid": _Kind(_valid, {"keep": 0.5}, "truth"),
}
"""What each kind keeps.

all     everything
random  a share ``keep``, drawn uniformly: a control
valid   what a formal checker accepts: items of positive probability under the true source, the first ones drawn. Of
        ``count / keep`` items; where fewer than ``count`` are valid, they are taken again from the start.
"""


def parse(name: str, entry: dict[str, Any]) -> Selector:
    """Check a config entry ``{kind, <options>}``. Raises ConfigError naming the nearest valid kind or option."""
    entry = dict(entry)
    kind = entry.pop("kind", None)
    if kind not in KINDS:
        raise unknown(f"kind of selector {name!r}", str(kind), KINDS)
    for option in entry:
        if option not in KINDS[kind].options:
            raise unknown(f"option of selector {name!r}", option, [*KINDS[kind].options, "kind"])
    options = {**KINDS[kind].options, **entry}
    keep = options.get("keep", 1)
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise ConfigError(f"selector {name!r}: keep must lie in (0, 1], got {keep!r}")
    return Selector(kind, options)


def pool(selector: Selector, count: int) -> int:
    """Return how many items must be sampled so that ``count`` can be kept."""
    return ceil(count / selector.options.get("keep", 1) - 1e-9)


def needs(selector: Selector) -> str | None:
    """Return what a selector must be told of the items: ``truth``, or None."""
    return KINDS[selector.kind].needs


def select(selector: Selector, items, count: int, rng: Streams, scores: np.ndarray | None = None):
    """Keep ``count`` of the first ``pool(selector, count)`` items.

    Args:
        selector: the rule.
        items: synthetic items, S chains.
        count: how many are kept.
        rng: one generator per chain.
        scores: (S, N), what the selector needs; None where it needs nothing.

    Raises:
        ValueError: scores are missing, or too few items were sampled.
        TrainingError: no item is valid.
    """
    rule, needed = KINDS[selector.kind], pool(selector, count)
    if rule.needs and scores is None:
        raise ValueError(f"selector {selector.kind!r} needs {rule.needs}")
    if selector.kind == "all":
        return items.first(count)
    return items.take(rule.keep(scores, len(items.first(needed)), count, rng))
