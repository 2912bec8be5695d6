"""Points in the plane whose density is known: Gaussian blobs, and circles and moons blurred by Gaussian noise.

``blob`` is the real data of the Gaussian mixtures of Shumailov et al., arXiv 2305.17493: one Gaussian of unit variance
around the origin, to which two components are fitted. ``blobs``, ``circles`` and ``moons`` are those of the kernel
density estimates of Kazdan et al., arXiv 2410.16713: the laws of scikit-learn's ``make_blobs``, ``make_circles`` and
``make_moons`` at their defaults and noise 0.05, with every point drawn independently (scikit-learn spaces angles
evenly and gives all blobs equally many points, so that its points are not independent).

All are arcs, a centre, a radius, a start and a sweep, of which a point takes one at random and a uniform angle on it;
the arcs of blobs have radius 0. The density of an arc, the mean of N(x; c(t), noise^2 I) over its angles t, is computed
by Gauss-Legendre quadrature: as a mixture of Gaussians, exact to rounding, whose nodes lie half a noise apart.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, pi

import numpy as np

from collapse.errors import ConfigError, unknown
from collapse.items import Items
from collapse.seeding import Streams
from collapse.theory import mixture
from collapse.theory.mixture import Mixture

# shape -> its arcs (centre x, centre y, radius, start, sweep), and the standard deviation of its noise; blobs have
# their centres drawn for each chain
SHAPES = {
    "blob": (((0.0, 0.0, 0.0, 0.0, 0.0),), 1.0),
    "blobs": (((0.0, 0.0, 0.0, 0.0, 0.0),) * 3, 1.0),
    "circles": (((0.0, 0.0, 1.0, 0.0, 2 * pi), (0.0, 0.0, 0.8, 0.0, 2 * pi)), 0.05),
    "moons": (((0.0, 0.0, 1.0, 0.0, pi), (1.0, 0.5, 1.0, pi, pi)), 0.05),
}
BOX = 10.0
"""Centres of ``blobs`` are uniform in [-BOX, BOX]^2."""


@dataclass(frozen=True)
class Config:
    """One cell of the grid.

    Attributes:
        shape: ``blob``, ``blobs``, ``circles`` or ``moons``.
        T: items of generation 1.
        noise: standard deviation around the shape, at least 0.01; None for the shape's own.
        test: fresh real points of each chain on which models are evaluated.
    """

    shape: str = "blob"
    T: int = 1000
    noise: float | None = None
    test: int = 500

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise unknown("shape", self.shape, SHAPES)
        for name in ("T", "test"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} of a data set of points is a whole number, got {getattr(self, name)!r}")
        if self.T < 2 or self.test < 1:
            raise ConfigError(f"points need T >= 2 and test >= 1, got T = {self.T}, test = {self.test}")
        if self.noise is not None and not 0.01 <= self.noise < np.inf:
            raise ConfigError(f"noise must be at least 0.01, or the density has too many nodes, got {self.noise}")

    @property
    def sd(self) -> float:
        """Standard deviation of the noise."""
        return SHAPES[self.shape][1] if self.noise is None else self.noise


@dataclass(frozen=True)
class Reference:
    """What models are evaluated against: fresh real ``points`` (S, M, 2) and the true density."""

    points: np.ndarray
    truth: Mixture

    @cached_property
    def norm(self) -> np.ndarray:
        """Squared L2 norm of the true density, (S,)."""
        return mixture.inner(self.truth, self.truth)

    @cached_property
    def nll(self) -> np.ndarray:
        """Mean -log p of the points under the true density in nats, (S,): in expectation no model gets below."""
        return -mixture.log_density(self.truth, self.points).mean(axis=1)


@dataclass(frozen=True)
class Points:
    """The data set of S chains; each chain has real items of its own."""

    config: Config
    seeds: tuple[int, ...]
    name: str = "mixture"
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
    def _arcs(self) -> np.ndarray:
        """The arcs of each chain, (S, J, 5)."""
        arcs = np.array(SHAPES[self.config.shape][0])
        arcs = np.repeat(arcs[None], len(self.seeds), axis=0)
        if self.config.shape == "blobs":
            centres = Streams(("centres", self.name), self.seeds)
            arcs[:, :, :2] = centres.each(lambda g: g.uniform(-BOX, BOX, (arcs.shape[1], 2)))
        return arcs

    @cached_property
    def truth(self) -> Mixture:
        """The true density as a mixture of S times L Gaussians."""
        weights, means = [], []
        for j, (_, _, radius, start, sweep) in enumerate(self._arcs[0]):  # chains differ by the centres alone
            nodes, share = np.zeros(1), np.ones(1)
            if radius:
                nodes, share = np.polynomial.legendre.leggauss(16 + ceil(2 * radius * sweep / self.config.sd))
                share = share / 2
            angle = start + sweep * (nodes + 1) / 2
            circle = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            means.append(self._arcs[:, j, None, :2] + circle)
            weights.append(share / self._arcs.shape[1])
        centres = np.concatenate(means, axis=1)
        shares = np.broadcast_to(np.concatenate(weights), centres.shape[:2])
        return Mixture(shares, centres, np.broadcast_to(self.config.sd**2 * np.eye(2), (*centres.shape, 2)))

    @cached_property
    def test(self) -> Reference:
        """Fresh real points and the truth: the L2 distance to it is exact."""
        return Reference(self._draw(self.config.test, Streams(("test", self.name), self.seeds)), self.truth)

    def _draw(self, count: int, rng: Streams) -> np.ndarray:
        arc = rng.each(lambda g: g.integers(self._arcs.shape[1], size=count))
        chosen = np.take_along_axis(self._arcs, arc[:, :, None], axis=1)  # (S, count, 5)
        angle = chosen[..., 3] + chosen[..., 4] * rng.each(lambda g: g.random(count))
        circle = chosen[..., 2, None] * np.stack([np.cos(angle), np.sin(angle)], axis=2)
        return chosen[..., :2] + circle + self.config.sd * rng.normal(count, 2)

    def real(self) -> Items:
        """D_1, shape (S, T, 2)."""
        return self.fresh(1)

    def fresh(self, n: int) -> Items:
        """D_n: T more real items, shape (S, T, 2), for any n >= 1."""
        points = self._draw(self.size, Streams(("real", self.name, n), self.seeds))
        return Items.make(points, generation=0, start=(n - 1) * self.size)

    def contexts(self, count: int, rng: Streams) -> int:
        """Unconditional: the number of items asked for."""
        return count

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace a share ``rate`` of the points by uniform draws from a box three noises around the shape."""
        shape = items.output.shape[1:]
        hit = rng.each(lambda g: g.random(shape[:1])) < rate
        means, margin = self.truth.means, 3 * self.config.sd
        low, high = means.min(axis=1, keepdims=True) - margin, means.max(axis=1, keepdims=True) + margin
        noise = low + (high - low) * rng.each(lambda g: g.random(shape))
        return replace(items, output=np.where(hit[:, :, None], noise, items.output))

    def reduce(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add ``excess_nll``, what a model's ``nll`` on the fresh points is above that of the true density, (S,)."""
        return {**metrics, "excess_nll": metrics["nll"] - self.test.nll}


def prepare(config: Config, name: str, progress=None) -> tuple[dict, dict]:
    """Nothing is stored: the points are drawn from named streams. Returns (arrays, facts)."""
    return {}, {"source": f"points in the plane: {config.shape}, noise {config.sd:g}"}


def load(config: Config, arrays: dict, facts: dict, seeds, name: str = "mixture") -> Points:
    """Return the data set for the chains ``seeds``."""
    return Points(config, tuple(seeds), name)


def for_chain(config: Config, seeds, name: str, policy, generations: int) -> Points:
    """Return the data set for chains that run in memory."""
    return Points(config, tuple(seeds), name)
