"""Real data from a discrete distribution over K states: the exact case of Shumailov et al., Nature 631 (2024).

Items come in two forms: states one by one, where a policy tells items apart, and `Counts` of the states, which are
sufficient. Both come from the same multinomial draw; items are its counts in random order. A chain therefore gives the
same numbers in both forms wherever its policy allows both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from collapse.datasets.sums import Sums, takes_items
from collapse.errors import ConfigError, unknown
from collapse.items import Items
from collapse.policies import Policy
from collapse.seeding import Streams, stream

LAWS = ("uniform", "zipf", "given")
DECILES = 10


@dataclass(frozen=True)
class Config:
    """One cell of the grid.

    Attributes:
        states: K, at least 2.
        T: items of generation 1; M of the paper.
        law: ``uniform``; ``zipf``, p_i ~ i^-exponent for i = 1..K; or ``given``.
        exponent: of ``zipf``, not negative.
        p: the probabilities of ``given``: K of them, positive, with sum 1 (to 1e-9; they are divided by their sum).
    """

    states: int = 50
    T: int = 100
    law: str = "uniform"
    exponent: float = 1.0
    p: tuple[float, ...] = ()

    def __post_init__(self):
        if self.law not in LAWS:
            raise unknown("law", self.law, LAWS)
        for name in ("states", "T"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} of a discrete data set is a whole number, got {getattr(self, name)!r}")
        if self.states < 2 or self.T < 1:
            raise ConfigError(f"a discrete data set needs states >= 2 and T >= 1, got {self.states} and {self.T}")
        if not 0 <= self.exponent < np.inf:
            raise ConfigError(f"exponent of a discrete data set must not be negative, got {self.exponent}")
        if (self.law == "given") != bool(self.p):
            raise ConfigError(f"p belongs to law 'given' and to no other, got law {self.law!r} and p = {self.p}")
        if self.p and (len(self.p) != self.states or min(self.p) <= 0 or not abs(sum(self.p) - 1) < 1e-9):
            raise ConfigError(f"p must be {self.states} positive numbers with sum 1, got {self.p}")
        if not (self.probabilities**2).sum() < 1:
            raise ConfigError("a discrete data set has all mass on one state, and nothing to lose: lower `exponent`")

    @property
    def probabilities(self) -> np.ndarray:
        """p_0, the true law, (K,)."""
        weights = np.asarray(self.p, float)
        if self.law != "given":
            weights = np.arange(1.0, self.states + 1) ** -(self.exponent if self.law == "zipf" else 0.0)
        return weights / weights.sum()


@dataclass(frozen=True)
class Truth:
    """What models are evaluated against: the true law ``p`` (K,)."""

    p: np.ndarray

    @cached_property
    def deciles(self) -> np.ndarray | None:
        """Decile of each state by its true probability, (K,): 1 is the rarest tenth; None where K < 10."""
        states = len(self.p)
        if states < DECILES:
            return None
        rank = np.empty(states, int)
        rank[np.argsort(self.p, kind="stable")] = np.arange(states)
        return 1 + DECILES * rank // states


@dataclass(frozen=True)
class Counts:
    """How many items are in each state: ``counts`` (S, K), ``real`` of them real. Whole sets only."""

    counts: np.ndarray
    real: int = 0

    @property
    def chains(self) -> int:
        """S."""
        return len(self.counts)

    def __len__(self) -> int:
        return int(self.counts[0].sum())

    def labelled(self, generation: int, start: int) -> "Counts":
        """Return the set as drawn from the model of ``generation``; 0 is real."""
        return replace(self, real=len(self) if generation == 0 else 0)

    def take(self, index: np.ndarray) -> "Counts":
        """Raise ValueError: items cannot be told apart."""
        raise ValueError("items cannot be drawn from counts: load the data set with items=True")

    def first(self, count: int) -> "Counts":
        """Return itself, if ``count`` is all it holds. Raises ValueError otherwise."""
        if count != len(self):
            raise ValueError(f"{count} of {len(self)} items cannot be cut from counts: load it with items=True")
        return self

    @classmethod
    def concat(cls, parts: "Sequence[Counts]") -> "Counts":
        """Join sets."""
        if len(parts) == 1:
            return parts[0]
        return cls(np.sum([p.counts for p in parts], axis=0), sum(p.real for p in parts))

    def real_fraction(self) -> np.ndarray:
        """Share of real items in each chain, (S,)."""
        return np.full(self.chains, self.real / len(self))

    def sha256(self) -> str:
        """SHA-256 of the counts."""
        return sha256(f"{self.counts.shape}".encode() + self.counts.tobytes()).hexdigest()


def draw(p: np.ndarray, count: int, rng: Streams, items: bool) -> Items | Counts:
    """Draw ``count`` items of each chain from ``p`` (S, K): counts, or states one by one with log-probabilities.

    A chain with one state left needs no random numbers.
    """
    counts = np.zeros(p.shape, np.int64)
    output = np.empty((len(p), count), np.int32) if items else None
    for s, (chances, seed) in enumerate(zip(p, rng.seeds, strict=True)):
        alive = np.flatnonzero(chances)
        if len(alive) == 1:
            counts[s, alive] = count
            if items:
                output[s] = alive
            continue
        generator = stream(*rng.name, seed)
        counts[s, alive] = generator.multinomial(count, chances[alive])
        if items:
            output[s] = generator.permutation(np.repeat(alive, counts[s, alive]))
    if not items:
        return Counts(counts)
    return Items.make(output, generation=0, logprob=np.log(np.take_along_axis(p, output, axis=1)))


@dataclass(frozen=True)
class Discrete:
    """The data set of S chains; each chain has real items of its own. ``items``: one by one instead of counts."""

    config: Config
    seeds: tuple[int, ...]
    name: str = "discrete"
    items: bool = False
    validation: None = field(default=None, init=False)

    @property
    def size(self) -> int:
        """N = T."""
        return self.config.T

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data: none."""
        return {}

    @cached_property
    def test(self) -> Truth:
        """The true law: evaluation against it is exact."""
        return Truth(self.config.probabilities)

    def real(self) -> Items | Counts:
        """D_1: the same states in both forms, and for all policies."""
        return self.fresh(1)

    def fresh(self, n: int) -> Items | Counts:
        """D_n, T more real items."""
        p = np.broadcast_to(self.test.p, (len(self.seeds), self.config.states))
        drawn = draw(p, self.config.T, Streams(("real", self.name, n), self.seeds), self.items)
        return drawn.labelled(0, (n - 1) * self.config.T)

    def contexts(self, count: int, rng: Streams) -> int | Sums:
        """Unconditional: the number of items asked for."""
        return count if self.items else Sums(count)

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace a share ``rate`` of the items by states drawn uniformly from all K."""
        shape = items.output.shape[1:]
        hit = rng.each(lambda g: g.random(shape)) < rate
        noise = rng.each(lambda g: g.integers(self.config.states, size=shape, dtype=np.int32))
        return replace(items, output=np.where(hit, noise, items.output))

    def truth(self, items: Items) -> np.ndarray:
        """Log-probability of each item under the true law in nats, (S, N)."""
        return np.log(self.test.p)[items.output]


def prepare(config: Config, name: str, progress=None) -> tuple[dict, dict]:
    """Nothing is stored: the items are drawn from named streams. Returns (arrays, facts)."""
    law = f"zipf, exponent {config.exponent}" if config.law == "zipf" else config.law
    return {}, {"source": f"{config.states} states, {law}"}


def load(config: Config, arrays: dict, facts: dict, seeds, name: str = "discrete", items: bool = False) -> Discrete:
    """Return the data set for the chains ``seeds``."""
    return Discrete(config, tuple(seeds), name, items)


def for_chain(config: Config, seeds, name: str, policy: Policy, generations: int) -> Discrete:
    """Return the data set for chains of a policy that run in memory: items where the policy needs them, else counts."""
    return Discrete(config, tuple(seeds), name, takes_items(policy, config.T, generations))
