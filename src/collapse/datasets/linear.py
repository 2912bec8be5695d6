"""Linear regression: x ~ N(0, I_d), y = x'w* + e, e ~ N(0, sigma^2), with w* ~ N(0, I_d) drawn once for each chain.

The setting of Gerstgrasser et al., arXiv 2404.01413, section 4, and of Kazdan et al., arXiv 2410.16713. All values of
sigma^2 ride along as K right-hand sides: same design, same standard normal noise, scaled. Items come in two forms.

Rows: X and y. Needed where a policy draws items. Designs are drawn in single precision (a pool of fresh rows is the
largest array there is), everything else is double.

Moments: X'X and X'y, sufficient for least squares. They are drawn directly, and have exactly the law of moments of m
drawn rows. X'X ~ Wishart(m, I) = AA' with A lower triangular, independent entries, A_ij ~ N(0, 1) below the diagonal
and A_jj^2 ~ chi^2(m - j), j = 0..d-1 (Bartlett's decomposition). Given X, X'e ~ N(0, sigma^2 X'X), as is sigma A z with
z ~ N(0, I_d), so that X'y = X'X w + sigma A z. A design that repeats X m times has moments m X'X, and A sqrt(m).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise

import numpy as np

from collapse import policies
from collapse.errors import ConfigError, unknown
from collapse.policies import Policy
from collapse.seeding import Streams

DESIGNS = ("shared", "fresh")
VECTOR = "sigma2"
"""The setting that rides along on the second axis of metrics."""


@dataclass(frozen=True)
class Config:
    """One cell of the grid.

    Attributes:
        d: number of inputs.
        T: items of generation 1; T >= d + 2, below which the expected error is infinite.
        design: ``shared``: one X for all generations, as in the papers' code; ``fresh``: new inputs for each.
        sigma2: variances of the label noise.
    """

    d: int = 32
    T: int = 100
    design: str = "shared"
    sigma2: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if self.d < 1 or self.d + 2 > self.T:
            raise ConfigError(f"linear regression needs d >= 1 and T >= d + 2, got d = {self.d}, T = {self.T}")
        if self.design not in DESIGNS:
            raise unknown("design", self.design, DESIGNS)
        if not self.sigma2 or not all(0 < v < np.inf for v in self.sigma2) or len(set(self.sigma2)) < len(self.sigma2):
            raise ConfigError(f"sigma2 must be different positive numbers, got {self.sigma2}")


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of ``count`` items of each chain; whole sets only.

    Attributes:
        gram: X'X / copies, (S, d, d); sets of one shared design refer to the same array.
        copies: how often the rows behind ``gram`` are there.
        cross: X'y, (S, d, K).
        count: number of items.
        distinct: a lower bound of the number of different rows, (S,); below d the design may be singular.
        real: how many of them are real, (S,).
    """

    gram: np.ndarray
    copies: float
    cross: np.ndarray
    count: int
    distinct: np.ndarray
    real: np.ndarray

    @property
    def chains(self) -> int:
        """S."""
        return len(self.gram)

    def __len__(self) -> int:
        return self.count

    def moments(self, weights=None) -> "Moments":
        """Return itself. Raises ValueError where items carry weights: they can no longer be told apart."""
        if weights is not None:
            raise ValueError("moments take no weights: load the data set with rows=True")
        return self

    def labelled(self, generation: int, start: int) -> "Moments":
        """Return the set as drawn from the model of ``generation``; 0 is real."""
        return replace(self, real=np.full(self.chains, self.count if generation == 0 else 0))

    def take(self, index: np.ndarray) -> "Moments":
        """Raise ValueError: items cannot be told apart."""
        raise ValueError("items cannot be drawn from moments: load the data set with rows=True")

    def first(self, count: int) -> "Moments":
        """Return itself, if ``count`` is all it holds. Raises ValueError otherwise."""
        if count != self.count:
            raise ValueError(f"{count} of {self.count} items cannot be cut from moments: load it with rows=True")
        return self

    @classmethod
    def concat(cls, parts: "Sequence[Moments | Rows]") -> "Moments":
        """Join sets; rows become moments."""
        parts = [p.moments() for p in parts]
        if len(parts) == 1:
            return parts[0]
        gram, copies = parts[0].gram, sum(p.copies for p in parts)
        if any(p.gram is not gram for p in parts):
            gram, copies = _total((p.copies, p.gram) for p in parts), 1.0
        return cls(
            gram,
            copies,
            cross=_total((1.0, p.cross) for p in parts),
            count=sum(p.count for p in parts),
            distinct=np.max([p.distinct for p in parts], axis=0),
            real=sum(p.real for p in parts),
        )

    def real_fraction(self) -> np.ndarray:
        """Share of real items in each chain, (S,)."""
        return self.real / self.count

    def sha256(self) -> str:
        """SHA-256 of X'y; other inputs or labels give another one."""
        return sha256(f"{self.count}{self.cross.shape}".encode() + self.cross.tobytes()).hexdigest()


@dataclass(frozen=True)
class _Part:
    """Items that lie together. Inputs stay where they were drawn: item i of chain s has x[at[s, i]][s, row[s, i]].

    Shapes: x is a tuple of (S, R, d), ``at`` (S, N) or None where there is one x, ``row`` (S, N) or None where items
    are its rows in order, y (S, N, K), ``generation`` (S, N).
    """

    x: tuple[np.ndarray, ...]
    at: np.ndarray | None
    row: np.ndarray | None
    y: np.ndarray
    generation: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Items one by one: N of each of S chains, in ``parts`` that are never copied into one."""

    parts: tuple[_Part, ...]

    @classmethod
    def make(cls, x: np.ndarray, y: np.ndarray, row: np.ndarray | None = None) -> "Rows":
        """Build items of one source, real until labelled. Shapes: x (S, R, d), y (S, N, K), row (S, N) or None."""
        return cls((_Part((x,), None, row, y, np.broadcast_to(np.int32(0), y.shape[:2])),))

    @property
    def chains(self) -> int:
        """S."""
        return len(self.parts[0].y)

    def __len__(self) -> int:
        return sum(p.y.shape[1] for p in self.parts)

    @property
    def generation(self) -> np.ndarray:
        """Generation of each item, (S, N); 0 is real."""
        return np.concatenate([p.generation for p in self.parts], axis=1)

    @property
    def y(self) -> np.ndarray:
        """Labels, (S, N, K)."""
        return np.concatenate([p.y for p in self.parts], axis=1)

    @property
    def x(self) -> np.ndarray:
        """Inputs, (S, N, d)."""
        return np.concatenate([_gather(p, slice(None)) for p in self.parts], axis=1)

    def labelled(self, generation: int, start: int) -> "Rows":
        """Return the items as drawn from the model of ``generation``; 0 is real."""
        born = (np.broadcast_to(np.int32(generation), p.generation.shape) for p in self.parts)
        return Rows(tuple(replace(p, generation=g) for p, g in zip(self.parts, born, strict=True)))

    def take(self, index: np.ndarray) -> "Rows":
        """Return the items ``index``, (S, n), chain by chain."""
        sources = {id(x): x for p in self.parts for x in p.x}
        number = {key: i for i, key in enumerate(sources)}
        ends = np.cumsum([p.y.shape[1] for p in self.parts])
        y = np.empty((*index.shape, self.parts[0].y.shape[2]))
        at, row, generation = (np.empty(index.shape, t) for t in (np.int16, np.int32, np.int32))
        for p, end, here in zip(self.parts, ends, _groups(np.searchsorted(ends, index, side="right")), strict=False):
            chain, item = here[0], index[here] - (end - p.y.shape[1])
            names = np.array([number[id(x)] for x in p.x], np.int16)
            at[here] = names[0] if p.at is None else names[p.at[chain, item]]
            row[here] = item if p.row is None else p.row[chain, item]
            y[here], generation[here] = p.y[chain, item], p.generation[chain, item]
        return Rows((_Part(tuple(sources.values()), at if len(sources) > 1 else None, row, y, generation),))

    def first(self, count: int) -> "Rows":
        """Return the first ``count`` items of each chain. Raises ValueError where there are fewer."""
        if count > len(self):
            raise ValueError(f"{count} items asked for, {len(self)} there")
        if count == len(self):
            return self
        return self.take(np.broadcast_to(np.arange(count), (self.chains, count)))

    @classmethod
    def concat(cls, parts: "Sequence[Rows | Moments]") -> "Rows | Moments":
        """Join sets, in order, without copying them; moments among them make moments of all."""
        if any(isinstance(p, Moments) for p in parts):
            return Moments.concat(parts)
        return cls(tuple(p for rows in parts for p in rows.parts))

    def moments(self, weights: np.ndarray | None = None) -> Moments:
        """Return the sufficient statistics; ``weights`` (S, N) count an item as often as they say."""
        ends = np.cumsum([p.y.shape[1] for p in self.parts])
        cut = (
            None if weights is None else weights[:, e - p.y.shape[1] : e] for p, e in zip(self.parts, ends, strict=True)
        )
        return Moments.concat([_moments(p, w) for p, w in zip(self.parts, cut, strict=True)])

    def real_fraction(self) -> np.ndarray:
        """Share of real items in each chain, (S,)."""
        return (self.generation == 0).mean(axis=1)

    def sha256(self) -> str:
        """SHA-256 of the labels and their generations; other inputs give other labels."""
        digest = sha256()
        for p in self.parts:
            digest.update(f"{p.y.shape}".encode() + p.y.tobytes() + p.generation.tobytes())
        return digest.hexdigest()


def _groups(number: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for 0, 1, ..., where it stands in the (S, N) array ``number``: a pair of index arrays."""
    flat = number.astype(np.int16).ravel()
    order = np.argsort(flat, kind="stable")  # of small integers: linear in time
    bounds = np.searchsorted(flat[order], np.arange(flat.max(initial=-1) + 2))
    for low, high in pairwise(bounds):
        yield np.divmod(order[low:high], number.shape[1])


def _blocks(x: np.ndarray, count: int) -> list[slice]:
    """Cut the chains of x (S, R, d) so that ``count`` rows of a block's, in double precision, stay in the cache."""
    step = max(1, 2**18 // (count * x.shape[2]))
    return [slice(low, low + step) for low in range(0, len(x), step)]


def _gather(part: _Part, s: slice) -> np.ndarray:
    """Return the inputs of the chains ``s`` item by item, (chains, N, d), in double precision."""
    if part.row is None:
        return part.x[0][s].astype(float, copy=False)
    sources, row = [x[s] for x in part.x], part.row[s]
    if part.at is None:
        return sources[0][np.arange(len(row))[:, None], row].astype(float, copy=False)
    out = np.empty((*row.shape, sources[0].shape[2]))
    for x, here in zip(sources, _groups(part.at[s]), strict=False):
        out[here] = x[here[0], row[here]]
    return out


def _moments(part: _Part, weights: np.ndarray | None) -> Moments:
    """Return the sufficient statistics X'WX and X'Wy of one part."""
    y = part.y if weights is None else part.y * weights[:, :, None]
    (chains, count, K), (size, d) = y.shape, part.x[0].shape[1:]
    times, distinct = weights, np.full(chains, count)
    if part.at is None and part.row is not None:  # x holds each row once: add up what falls on it
        place = (part.row + size * np.arange(chains)[:, None]).ravel()

        def on_rows(values):
            flat = None if values is None else values.ravel()
            return np.bincount(place, flat, chains * size).reshape(chains, size)

        times = on_rows(weights)
        y = np.stack([on_rows(y[:, :, k]) for k in range(K)], axis=2)
        distinct, part = (times > 0).sum(axis=1), replace(part, row=None)
    elif part.at is not None:
        place = np.sort(part.at.astype(np.int64) * max(x.shape[1] for x in part.x) + part.row, axis=1)
        distinct = 1 + (np.diff(place, axis=1) > 0).sum(axis=1)
    gram, cross = np.empty((chains, d, d)), np.empty((chains, d, K))
    for s in _blocks(part.x[0], y.shape[1]):
        x = _gather(part, s)
        scaled = x if times is None else x * np.sqrt(times[s])[:, :, None]
        np.matmul(scaled.swapaxes(1, 2), scaled, out=gram[s])
        np.matmul(x.swapaxes(1, 2), y[s], out=cross[s])
    return Moments(gram, 1.0, cross, count, distinct, (part.generation == 0).sum(axis=1))


def _total(terms) -> np.ndarray:
    """Sum factor * array without a temporary for each."""
    out = None
    for factor, array in terms:
        if out is None:
            out = factor * array
        else:
            out += array if factor == 1 else factor * array
    return out


@dataclass(frozen=True)
class Inputs:
    """Contexts as rows: x (S, R, d), item i at row i modulo R; ``sigma`` (K,) scales the noise of the labels."""

    x: np.ndarray
    count: int
    sigma: np.ndarray

    def label(self, w: np.ndarray, rng: Streams) -> Rows:
        """Return y = x'w + sigma e. Shapes: w (S, d, K) or (S, d, 1)."""
        chains, size = self.x.shape[:2]
        y = np.empty((chains, size, len(self.sigma)))
        for s in _blocks(self.x, size):
            y[s] = self.x[s].astype(float, copy=False) @ w[s]
        row = None
        if self.count != size:
            row = np.broadcast_to(np.arange(self.count, dtype=np.int32) % size, (chains, self.count))
            y = y[:, row[0]]
        return Rows.make(self.x, y + rng.normal(self.count)[:, :, None] * self.sigma, row)


@dataclass(frozen=True)
class InputMoments:
    """Contexts as moments: copies * ``gram`` = X'X and ``factor`` A with AA' = ``gram`` (S, d, r); see the module."""

    gram: np.ndarray
    factor: np.ndarray
    copies: int
    count: int
    distinct: int
    sigma: np.ndarray

    def label(self, w: np.ndarray, rng: Streams) -> Moments:
        """Return X'y = X'X w + sigma A z. Shapes: w (S, d, K) or (S, d, 1)."""
        noise = self.factor @ rng.normal(self.factor.shape[2])[:, :, None]  # (S, d, 1)
        cross = self.copies * (self.gram @ w) + np.sqrt(self.copies) * noise * self.sigma
        distinct, none = np.full(len(self.gram), self.distinct), np.zeros(len(self.gram), int)
        return Moments(self.gram, float(self.copies), cross, self.count, distinct, none)


def wishart_factor(d: int, count: int, rng: Streams) -> np.ndarray:
    """Return A (S, d, r) with AA' ~ Wishart(count, I_d): Bartlett's triangle, or X' itself where count < d."""
    if count < d:
        return rng.normal(d, count)
    factor = np.zeros((len(rng), d, d))
    below = np.tril_indices(d, -1)
    factor[:, below[0], below[1]] = rng.normal(len(below[0]))
    diagonal = np.arange(d)
    factor[:, diagonal, diagonal] = np.sqrt(rng.each(lambda g: g.chisquare(count - diagonal)))
    return factor


@dataclass(frozen=True)
class Linear:
    """The data set of S chains. ``rows``: items one by one instead of moments; see `row_wise`."""

    config: Config
    seeds: tuple[int, ...]
    name: str = "linear"
    rows: bool = False
    validation: None = field(default=None, init=False)

    @property
    def size(self) -> int:
        """N = T."""
        return self.config.T

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data: none."""
        return {}

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviations of the label noise, (K,)."""
        return np.sqrt(self.config.sigma2)

    @cached_property
    def test(self) -> np.ndarray:
        """w*, (S, d): the expected error over all inputs is exact."""
        return Streams(("truth", self.name), self.seeds).normal(self.config.d)

    @cached_property
    def _x(self) -> np.ndarray:
        return self._draw(self.config.T, Streams(("design", self.name), self.seeds))

    def _draw(self, count: int, rng: Streams) -> np.ndarray:
        shape = (count, self.config.d)
        x = np.empty((len(rng), *shape), np.float32)
        for out, generator in zip(x, rng.generators, strict=True):
            generator.standard_normal(out=out, dtype=np.float32)
        return x if self.rows and self.config.design == "fresh" else x.astype(float)

    @cached_property
    def _gram(self) -> tuple[np.ndarray, np.ndarray]:
        gram = self._x.swapaxes(1, 2) @ self._x
        return gram, np.linalg.cholesky(gram)

    @cached_property
    def _real(self) -> "Rows | Moments":
        rows = Inputs(self._x, self.config.T, self.sigma).label(
            self.test[:, :, None], Streams(("noise", self.name), self.seeds)
        )
        if self.rows:
            return rows
        found = rows.moments()
        return replace(found, gram=self._gram[0]) if self.config.design == "shared" else found

    def real(self) -> "Rows | Moments":
        """D_1: the same numbers in both forms, and for all policies."""
        return self._real

    def fresh(self, n: int) -> "Rows | Moments":
        """D_n, T more real items; on the same inputs where the design is shared."""
        if n == 1:
            return self.real()
        rng = Streams(("fresh", self.name, n), self.seeds)
        return self.contexts(self.config.T, rng).label(self.test[:, :, None], rng).labelled(0, 0)

    def contexts(self, count: int, rng: Streams) -> "Inputs | InputMoments":
        """Return the inputs of ``count`` items: the shared design over and over, or fresh ones."""
        d, size, sigma = self.config.d, self.config.T, self.sigma
        if self.rows:
            return Inputs(self._x if self.config.design == "shared" else self._draw(count, rng), count, sigma)
        if self.config.design == "fresh":
            factor = wishart_factor(d, count, rng)
            return InputMoments(factor @ factor.swapaxes(1, 2), factor, 1, count, count, sigma)
        copies, rest = divmod(count, size)
        gram, factor = self._gram
        if rest:
            part = self._x[:, :rest]
            if not copies:
                return InputMoments(part.swapaxes(1, 2) @ part, part.swapaxes(1, 2), 1, count, rest, sigma)
            gram = copies * gram + part.swapaxes(1, 2) @ part
            return InputMoments(gram, np.linalg.cholesky(gram), 1, count, size, sigma)
        return InputMoments(gram, factor, copies, count, size, sigma)

    def corrupt(self, items, rate: float, rng: Streams):
        """Raise ConfigError: no channel is defined for regression items."""
        raise ConfigError("linear regression has no corruption: leave the policy real_corrupted out of its chains")


def row_wise(policy: Policy, size: int, generations: int) -> bool:
    """Return whether a policy tells items apart within a source, so that its chains need rows.

    Args:
        policy: the policy.
        size: T.
        generations: length of the chain.
    """
    for n in range(2, generations + 1):
        for share in policies.plan(policy, n, size):
            if share.draw in ("redrawn", "anchored", "dealt") or share.weight != 1:
                return True
            for source in share.sources if share.draw == "first" else ():
                synthetic = source.kind == "synthetic"
                if share.count != (policies.drawn(policy, source.index, generations, size) if synthetic else size):
                    return True
    return policy.budget == "items" and generations > 1


def prepare(config: Config, name: str, progress=None) -> tuple[dict, dict]:
    """Nothing is stored: designs, labels and w* are drawn from named streams. Returns (arrays, facts)."""
    return {}, {"source": "x ~ N(0, I), y = x'w* + e, e ~ N(0, sigma^2), w* ~ N(0, I)"}


def load(config: Config, arrays: dict, facts: dict, seeds, name: str = "linear", rows: bool = False) -> Linear:
    """Return the data set for the chains ``seeds``."""
    return Linear(config, tuple(seeds), name, rows)


def for_chain(config: Config, seeds, name: str, policy: Policy, generations: int) -> Linear:
    """Return the data set for chains of a policy that run in memory: rows where the policy needs them, else moments."""
    return Linear(config, tuple(seeds), name, row_wise(policy, config.T, generations))
