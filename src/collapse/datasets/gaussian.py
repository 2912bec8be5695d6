"""Real data from a Gaussian: the smallest data set on which a chain can be run and checked by hand.

Items come in two forms. One by one, where a policy draws them, and wherever generations are persisted. And as
`Moments`, mean and scatter, which are sufficient for the family that estimates these two. Moments are drawn directly
and have exactly the law of those of m drawn items. For x_i = mu + L z_i, z_i ~ N(0, I_d), their mean is
mu + L z / sqrt(m) with z ~ N(0, I_d); their scatter sum_i (x_i - mean)(x_i - mean)' is independent of it and LWL' with
W ~ Wishart(m - 1, I_d). By Bartlett's decomposition W = AA' with A lower triangular, independent entries,
A_ij ~ N(0, 1) below the diagonal and A_jj^2 ~ chi^2(m - 1 - j), j = 0..d-1. A scatter is held as the factor LA:
products of triangular matrices keep the precision of each diagonal entry, however far a chain collapses.

Real items have the same moments in both forms. Given mean and scatter FF', the items are mean + F h_i, where the rows
h_i form a uniformly distributed matrix H with H'1 = 0 and H'H = I that is independent of both: it is the orthonormal
factor of any centred normal sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np

from collapse.blocks import in_blocks
from collapse.datasets.sums import Sums, takes_items
from collapse.errors import ConfigError, TrainingError
from collapse.items import Items
from collapse.policies import Policy
from collapse.seeding import Streams

TRAIN = 100
"""N where an entry of the config names none."""


@dataclass(frozen=True)
class Config:
    """N(mean, sd^2) in each of d independent coordinates.

    Attributes:
        train: N, items of each chain.
        mean: of all coordinates.
        sd: standard deviation, one for all coordinates or d of them.
        shards: disjoint sets of N real items.
        d: number of coordinates.
        T: N, in place of ``train``: of chains in memory, a list of it is a grid.
    """

    train: int = TRAIN
    mean: float = 0.0
    sd: float | tuple[float, ...] = 1.0
    shards: int = 1
    d: int = 1
    T: int | None = None

    def __post_init__(self):
        if self.T is not None and self.train != TRAIN:
            raise ConfigError(
                f"a Gaussian data set has one N, got train = {self.train} and T = {self.T}: leave one out"
            )
        for name in ("d", "train" if self.T is None else "T", "shards"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} of a Gaussian data set is a whole number, got {getattr(self, name)!r}")
        if not isinstance(self.mean, int | float) or not np.isfinite(self.mean):
            raise ConfigError(f"mean of a Gaussian data set is a number, got {self.mean!r}")
        if self.d < 1 or self.size < self.d + 1 or self.shards < 1:
            raise ConfigError(f"a Gaussian data set needs d >= 1, train > d and shards >= 1, got {self}")
        sd = np.asarray(self.sd)
        if sd.shape not in ((), (self.d,)) or not ((sd >= 1e-100) & (sd <= 1e100)).all():
            raise ConfigError(
                f"sd of a Gaussian data set must be positive, 1e-100 to 1e100, one number or {self.d}, got {self.sd}"
            )

    @property
    def size(self) -> int:
        """N."""
        return self.train if self.T is None else self.T


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of ``count`` items of each chain; whole sets only.

    Attributes:
        mean: (S, d).
        factor: lower triangular, (S, d, d); the scatter about the mean is FF'.
        count: number of items.
        real: how many of them are real.
    """

    mean: np.ndarray
    factor: np.ndarray
    count: int
    real: int = 0

    @classmethod
    def draw(cls, mean: np.ndarray, scale: np.ndarray, count: int, rng: Streams) -> "Moments":
        """Draw those of ``count`` > d items of N(mean, LL') for each chain; see the module.

        Shapes: mean (S, d) or (d,), scale L (S, d, d) or (d, d), lower triangular.
        """
        d = mean.shape[-1]
        below = np.tril_indices(d, -1)
        freedom = count - 1 - np.arange(d)

        def block(g: np.random.Generator, size: int) -> np.ndarray:
            normal = g.standard_normal((size, d + len(below[0])))
            return np.concatenate([normal, np.sqrt(g.chisquare(freedom, (size, d)))], axis=1)

        drawn = in_blocks(rng, 2 * d + len(below[0]), block)
        A = np.zeros((len(rng), d, d))
        A[:, below[0], below[1]] = drawn[:, d:-d]
        A[:, range(d), range(d)] = drawn[:, -d:]
        shift = (scale @ drawn[:, :d, None])[..., 0] / np.sqrt(count)
        return cls(mean + shift, np.ascontiguousarray(scale @ A), count)

    @property
    def chains(self) -> int:
        """S."""
        return len(self.mean)

    def __len__(self) -> int:
        return self.count

    def labelled(self, generation: int, start: int) -> "Moments":
        """Return the set as drawn from the model of ``generation``; 0 is real."""
        return replace(self, real=self.count if generation == 0 else 0)

    def take(self, index: np.ndarray) -> "Moments":
        """Raise ValueError: items cannot be told apart."""
        raise ValueError("items cannot be drawn from moments: load the data set with items=True")

    def first(self, count: int) -> "Moments":
        """Return itself, if ``count`` is all it holds. Raises ValueError otherwise."""
        if count != self.count:
            raise ValueError(f"{count} of {self.count} items cannot be cut from moments: load it with items=True")
        return self

    @classmethod
    def concat(cls, parts: "Sequence[Moments]") -> "Moments":
        """Join sets.

        The scatter of all is sum_k F_k F_k' + m_k (mean_k - mean)(mean_k - mean)' = WW', W = [F_k, sqrt(m_k) (mean_k -
        mean)]_k.

        Raises:
            TrainingError: the scatter is singular.
        """
        if len(parts) == 1:
            return parts[0]
        sizes = np.array([p.count for p in parts], float)
        means = np.stack([p.mean for p in parts], axis=-1)  # (S, d, k)
        mean = means @ (sizes / sizes.sum())
        between = (means - mean[..., None]) * np.sqrt(sizes)
        wide = np.concatenate([*(p.factor for p in parts), between], axis=-1)
        try:
            factor = np.linalg.cholesky(wide @ wide.swapaxes(1, 2))
        except np.linalg.LinAlgError:
            raise TrainingError(
                "the scatter of a Gaussian sample is singular: take more items or fewer generations"
            ) from None
        return cls(mean, factor, int(sizes.sum()), sum(p.real for p in parts))

    def real_fraction(self) -> np.ndarray:
        """Share of real items in each chain, (S,)."""
        return np.full(self.chains, self.real / self.count)

    def sha256(self) -> str:
        """SHA-256 of means, scatters and the number of items."""
        return sha256(
            f"{self.mean.shape}{self.count}".encode() + self.mean.tobytes() + self.factor.tobytes()
        ).hexdigest()

    def spread(self, rng: Streams) -> np.ndarray:
        """Draw items that have these moments, (S, N, d); see the module."""
        z = rng.normal(self.count, self.mean.shape[1])
        z -= z.mean(axis=1, keepdims=True)
        if z.shape[2] == 1:
            h = z / np.sqrt((z**2).sum(axis=1, keepdims=True))
        else:
            h, r = np.linalg.qr(z)
            h *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
        return self.mean[:, None] + h @ self.factor.swapaxes(1, 2)


@dataclass(frozen=True)
class Gaussian:
    """The data set of S chains; each chain has real items of its own. ``items``: one by one instead of moments."""

    config: Config
    seeds: tuple[int, ...]
    name: str = "gaussian"
    items: bool = True
    validation: None = field(default=None, init=False)
    floor: None = field(default=None, init=False)

    @property
    def size(self) -> int:
        """N."""
        return self.config.size

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data: none."""
        return {}

    @property
    def test(self) -> Config:
        """The true distribution: evaluation against it is exact."""
        return self.config

    @property
    def _scale(self) -> np.ndarray:
        return np.diag(np.broadcast_to(np.asarray(self.config.sd, float), self.config.d))

    def real(self) -> Items | Moments:
        """D_1: items of shape (S, N), (S, N, d) where d > 1, or their moments."""
        return self.fresh(1)

    def fresh(self, n: int) -> Items | Moments:
        """The n-th shard, as `real`. Raises ConfigError where there is none."""
        if not 1 <= n <= self.config.shards:
            raise ConfigError(f"shard {n} was asked for, {self.config.shards} were cut: raise `shards`")
        rng = Streams(("real", self.name, n), self.seeds)
        moments = Moments.draw(np.full(self.config.d, float(self.config.mean)), self._scale, self.size, rng)
        if not self.items:
            return moments.labelled(0, 0)
        x = moments.spread(rng)
        return Items.make(x[..., 0] if self.config.d == 1 else x, generation=0, start=(n - 1) * self.size)

    def contexts(self, count: int, rng: Streams) -> int | Sums:
        """Unconditional: the number of items asked for."""
        return count if self.items else Sums(count)

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace a share ``rate`` of the values by a uniform draw within three standard deviations."""
        shape = items.output.shape[1:]
        hit = rng.each(lambda g: g.random(shape)) < rate
        noise = self.config.mean + np.asarray(self.config.sd) * rng.each(lambda g: g.uniform(-3, 3, shape))
        return replace(items, output=np.where(hit, noise, items.output))

    def truth(self, items: Items) -> np.ndarray:
        """Log-density of each item under the true distribution in nats, (S, N)."""
        z = (items.output - self.config.mean) / np.asarray(self.config.sd)
        terms = -0.5 * z**2 - np.log(np.asarray(self.config.sd) * np.sqrt(2 * np.pi))
        return terms if self.config.d == 1 else terms.sum(axis=2)

    def decode(self, items: Items) -> list[str]:
        """Return the values of the only chain as text."""
        return [" ".join(f"{value:.4g}" for value in np.atleast_1d(item)) for item in items.output[0]]


def prepare(config: Config, name: str, progress=None) -> tuple[dict, dict]:
    """Nothing is stored: the items are drawn from named streams. Returns (arrays, facts)."""
    law = f"N({config.mean}, {config.sd}^2)"
    return {}, {"source": law if config.d == 1 else f"{law} in each of {config.d} coordinates"}


def load(config: Config, arrays: dict, facts: dict, seeds, name: str = "gaussian", items: bool = True) -> Gaussian:
    """Return the data set for the chains ``seeds``."""
    return Gaussian(config, tuple(seeds), name, items)


def for_chain(config: Config, seeds, name: str, policy: Policy, generations: int) -> Gaussian:
    """Return the data set for chains of a policy that run in memory: items where it needs them, else moments."""
    return Gaussian(config, tuple(seeds), name, takes_items(policy, config.size, generations))
