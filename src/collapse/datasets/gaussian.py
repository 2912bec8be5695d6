"""Real data from a one-dimensional Gaussian: the smallest data set on which a chain can be run and checked by hand."""

from dataclasses import dataclass, replace

import numpy as np

from collapse.errors import ConfigError
from collapse.items import Items
from collapse.seeding import Streams


@dataclass(frozen=True)
class Config:
    """N(mean, sd^2), ``train`` items of each chain, ``shards`` disjoint sets of them."""

    train: int = 100
    mean: float = 0.0
    sd: float = 1.0
    shards: int = 1

    def __post_init__(self):
        if self.train < 2 or self.shards < 1 or not self.sd > 0:
            raise ConfigError(f"a Gaussian data set needs train >= 2, shards >= 1 and sd > 0, got {self}")


@dataclass(frozen=True)
class Gaussian:
    """The data set of S chains; each chain has real items of its own."""

    config: Config
    seeds: tuple[int, ...]
    name: str = "gaussian"
    validation: None = None
    floor: None = None

    @property
    def size(self) -> int:
        """N."""
        return self.config.train

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data: none."""
        return {}

    @property
    def test(self) -> Config:
        """The true distribution: evaluation against it is exact."""
        return self.config

    def real(self) -> Items:
        """D_1, shape (S, N)."""
        return self.fresh(1)

    def fresh(self, n: int) -> Items:
        """The n-th shard, shape (S, N). Raises ConfigError where there is none."""
        if not 1 <= n <= self.config.shards:
            raise ConfigError(f"shard {n} was asked for, {self.config.shards} were cut: raise `shards`")
        rng = Streams(("real", self.name, n), self.seeds)
        draws = self.config.mean + self.config.sd * rng.normal(self.config.train)
        return Items.make(draws, generation=0, start=(n - 1) * self.config.train)

    def contexts(self, count: int, rng: Streams) -> int:
        """Unconditional: the number of items asked for."""
        return count

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace a share ``rate`` of the values by a uniform draw within three standard deviations."""
        shape = items.output.shape[1:]
        hit = rng.each(lambda g: g.random(shape)) < rate
        noise = self.config.mean + self.config.sd * rng.each(lambda g: g.uniform(-3, 3, shape))
        return replace(items, output=np.where(hit, noise, items.output))

    def truth(self, items: Items) -> np.ndarray:
        """Log-density of each item under the true distribution in nats, (S, N)."""
        z = (items.output - self.config.mean) / self.config.sd
        return -0.5 * z**2 - np.log(self.config.sd * np.sqrt(2 * np.pi))

    def decode(self, items: Items) -> list[str]:
        """Return the values of the only chain as text."""
        return [f"{value:.4g}" for value in items.output[0]]


def prepare(config: Config, name: str, progress=None) -> tuple[dict, dict]:
    """Nothing is stored: the items are drawn from named streams. Returns (arrays, facts)."""
    return {}, {"source": f"N({config.mean}, {config.sd}^2)"}


def load(config: Config, arrays: dict, facts: dict, seeds, name: str = "gaussian") -> Gaussian:
    """Return the data set for the chains ``seeds``."""
    return Gaussian(config, tuple(seeds), name)


def for_chain(config: Config, seeds, name: str, policy, generations: int) -> Gaussian:
    """Return the data set for chains that run in memory."""
    return Gaussian(config, tuple(seeds), name)
