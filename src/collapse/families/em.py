"""Expectation maximisation (EM) of Gaussian mixtures, S chains side by side: what `families.mixture` fits with.

The algorithm is that of scikit-learn's ``GaussianMixture``, with its stopping rule, and gives the same numbers from the
same start (a test holds both against each other); it is written anew because a chain fits thousands of mixtures. Every
component's log-density is linear in the features 1, x_i, x_i x_j of a point, so that both steps are products of small
matrices, over S chains at once and in blocks that stay in the processor's cache.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from collapse.errors import TrainingError
from collapse.seeding import Streams
from collapse.theory import mixture as theory
from collapse.theory.mixture import Mixture

BLOCK = 4096
"""Points that are worked on at a time."""
SINGULAR = 1e-13
"""A component narrower than this share of the items' variance is a point; only without ``reg_covar`` it can be."""
EMPTY = 10 * np.finfo(float).eps
"""Added to the mass of each component, as scikit-learn does: one without items stays, and its mean is finite."""
LLOYD = 300
"""Most rounds of k-means."""


@dataclass(frozen=True)
class Problem:
    """What EM works on, and how.

    Attributes:
        features: of items that are centred and have unit variance, (S, P, N).
        weights: (S, N) or None.
        reg: added to each variance, (S,).
        components: K.
        covariance_type: one of `RESTRICT`.
        tol: EM stops where the mean log-likelihood of an item grows by less, in nats.
        max_iter: most iterations.
    """

    features: np.ndarray
    weights: np.ndarray | None
    reg: np.ndarray
    components: int
    covariance_type: str
    tol: float
    max_iter: int

    def of(self, chains: np.ndarray) -> "Problem":
        """Return the problem of some of the chains."""
        weights = None if self.weights is None else self.weights[chains]
        return replace(self, features=self.features[chains], weights=weights, reg=self.reg[chains])


def _full(covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return covariances


def _tied(covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = (weights[..., None, None] * covariances).sum(axis=1, keepdims=True)
    return np.broadcast_to(mean, covariances.shape)


def _diag(covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return covariances * np.eye(covariances.shape[-1])


def _spherical(covariances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = np.trace(covariances, axis1=2, axis2=3) / covariances.shape[-1]
    return mean[..., None, None] * np.eye(covariances.shape[-1])


RESTRICT: dict[str, Callable] = {"full": _full, "tied": _tied, "diag": _diag, "spherical": _spherical}


def _mixture(moments: np.ndarray, problem: Problem) -> Mixture:
    """Return the mixture of greatest likelihood, given the mean features (S, K, P) of each component's share.

    Raises:
        TrainingError: a covariance is singular.
    """
    d = int(np.sqrt(2 * moments.shape[2])) - 1  # P = (d + 1)(d + 2) / 2
    first, second = theory.upper(d)
    mass = moments[..., 0] + EMPTY
    weights, means = mass / mass.sum(axis=1, keepdims=True), moments[..., 1 : 1 + d] / mass[..., None]
    covariances = np.empty((*means.shape, d))
    covariances[..., first, second] = moments[..., 1 + d :] / mass[..., None] - means[..., first] * means[..., second]
    covariances[..., second, first] = covariances[..., first, second]
    covariances = RESTRICT[problem.covariance_type](covariances, weights)
    covariances = covariances + problem.reg[:, None, None, None] * np.eye(d)
    if (problem.reg < SINGULAR).any() and not (np.linalg.eigvalsh(covariances)[..., 0] >= SINGULAR).all():
        raise TrainingError("a component has shrunk to a point or a line: set reg_covar, or fit fewer components")
    return Mixture(weights, means, covariances)


def _pass(problem: Problem, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return each component's share of the features, summed over the items (S, K, P), and the mean log-likelihood."""
    linear, count = theory.coefficients(mixture), problem.features.shape[2]
    moments, bound = np.zeros_like(linear), np.zeros(len(linear))
    for start in range(0, count, BLOCK):
        block = problem.features[:, :, start : start + BLOCK]
        share = linear @ block  # (S, K, B)
        top = share.max(axis=1)
        share -= top[:, None]
        np.exp(share, out=share)
        total = share.sum(axis=1)
        share /= total[:, None]
        np.log(total, out=total)
        total += top
        if problem.weights is not None:
            w = problem.weights[:, start : start + BLOCK]
            share *= w[:, None]
            total *= w
        moments += share @ block.swapaxes(1, 2)
        bound += total.sum(axis=1)
    return moments, bound / (count if problem.weights is None else problem.weights.sum(axis=1))


def maximise(problem: Problem, start: Mixture) -> tuple[Mixture, np.ndarray, np.ndarray]:
    """Run EM in each chain until it has converged; return mixtures, iterations and bounds (S,)."""
    at, chains = start, np.arange(len(problem.reg))
    bound, iterations = np.full(len(chains), -np.inf), np.zeros(len(chains), int)
    ends = tuple(np.empty(v.shape) for v in (start.weights, start.means, start.covariances))
    for iteration in range(1, problem.max_iter + 1):
        moments, reached = _pass(problem, at)
        at = _mixture(moments, problem)
        done = np.abs(reached - bound[chains]) < problem.tol
        bound[chains], iterations[chains] = reached, iteration
        if done.any() or iteration == problem.max_iter:
            for end, value in zip(ends, (at.weights, at.means, at.covariances), strict=True):
                end[chains] = value
            if done.all():
                break
            left = ~done
            problem, chains = problem.of(left), chains[left]
            at = Mixture(at.weights[left], at.means[left], at.covariances[left])
    return Mixture(*ends), iterations, bound


def best_of(ends: list[tuple[Mixture, np.ndarray, np.ndarray]]) -> tuple[Mixture, np.ndarray]:
    """Keep the most likely of several ends, chain by chain."""
    chosen = np.argmax([bound for _, _, bound in ends], axis=0)
    chain = np.arange(len(chosen))

    def pick(values):
        return np.stack(values)[chosen, chain]

    parts = zip(*((m.weights, m.means, m.covariances) for m, _, _ in ends), strict=True)
    return Mixture(*(pick(values) for values in parts)), pick([iterations for _, iterations, _ in ends])


def _random(problem: Problem, x: np.ndarray, rng: Streams) -> Mixture:
    """Means at K items, all with the covariance of the items."""
    K = problem.components
    index = rng.each(lambda g: g.choice(x.shape[1], K, replace=False))
    whole = problem.features if problem.weights is None else problem.features * problem.weights[:, None]
    found = _mixture(whole.sum(axis=2)[:, None], problem)
    weights = np.full((len(x), K), 1 / K)
    covariances = np.repeat(found.covariances, K, axis=1)
    return Mixture(weights, np.take_along_axis(x, index[:, :, None], axis=1), covariances)


def _kmeans(problem: Problem, x: np.ndarray, rng: Streams) -> Mixture:
    """Every item belongs to the nearest of K centres, found by k-means from a k-means++ start."""
    found, w = [], problem.weights
    for s, generator in enumerate(rng.generators):
        labels = _clusters(x[s], problem.components, generator)
        share = (labels == np.arange(problem.components)[:, None]).astype(float)
        found.append((share if w is None else share * w[s]) @ problem.features[s].T)
    return _mixture(np.stack(found), problem)


def _clusters(x: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return the cluster of each point, (N,), by Lloyd's algorithm.

    As scikit-learn does: greedy k-means++ with 2 + log(count) candidates for each further centre; ends where no label
    changes, or where centres move by less than 1e-4 of the variance. Weights of items do not count.
    """
    square = (x**2).sum(axis=1)

    def distance(centres: np.ndarray) -> np.ndarray:
        return np.maximum(square - 2 * centres @ x.T + (centres**2).sum(axis=1)[:, None], 0)

    centres = x[generator.integers(len(x), size=1)]
    nearest = distance(centres)[0]
    for _ in range(1, count):
        total = np.cumsum(nearest)
        drawn = generator.random(2 + int(np.log(count))) * total[-1]
        candidates = x[np.minimum(np.searchsorted(total, drawn), len(x) - 1)]
        closer = np.minimum(nearest, distance(candidates))
        best = closer.sum(axis=1).argmin()
        centres, nearest = np.concatenate([centres, candidates[best : best + 1]]), closer[best]
    labels, least = _nearest(distance(centres)), 1e-4 * x.var(axis=0).mean()
    for _ in range(LLOYD):
        share = (labels == np.arange(count)[:, None]).astype(float)
        size = share.sum(axis=1, keepdims=True)
        moved = np.where(size > 0, (share @ x) / np.maximum(size, 1), centres)
        shift, centres = ((moved - centres) ** 2).sum(), moved
        before, labels = labels, _nearest(distance(centres))
        if shift <= least or np.array_equal(before, labels):
            break
    return labels


def _nearest(distances: np.ndarray) -> np.ndarray:
    """Return ``distances.argmin(axis=0)``, several times faster than numpy along a short axis. (K, N) -> (N,)."""
    labels, best = np.zeros(distances.shape[1], int), distances[0]
    for k in range(1, len(distances)):
        labels[distances[k] < best] = k
        best = np.minimum(best, distances[k])
    return labels


STARTS: dict[str, Callable] = {"kmeans": _kmeans, "random": _random}
