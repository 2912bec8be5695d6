"""Mixtures of Gaussians in closed form: densities, inner products, the squared L2 distance; and kernels over a chain.

A product of two Gaussians integrates to a Gaussian, int N(x; m, A) N(x; l, B) dx = N(m - l; 0, A + B). For mixtures p
with weights w_i and q with weights v_j, by linearity,

    <p, q> = int p q = sum_ij w_i v_j N(m_i - l_j; 0, A_i + B_j),    ||p - q||^2 = <p, p> - 2 <p, q> + <q, q>.

The squared norm of one Gaussian is 1 / ((4 pi)^(d/2) |A|^(1/2)): it grows without end as the Gaussian narrows, and so
does the distance of a collapsed mixture from any other. This is the distance of figure S7 of Shumailov et al., arXiv
2305.17493.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Mixture:
    """S mixtures of K Gaussians in d dimensions.

    Attributes:
        weights: (S, K), each row sums to 1.
        means: (S, K, d).
        covariances: (S, K, d, d), positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self.means.shape[2]


@cache
def upper(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices i <= j of a symmetric matrix; to make them anew costs a fifth of EM on few items."""
    return np.triu_indices(d)


def features(x: np.ndarray) -> np.ndarray:
    """Return 1, x_i, and x_i x_j for i <= j of each point: every Gaussian's log-density is linear in them.

    Shapes: x (S, N, d), result (S, 1 + d + d (d + 1) / 2, N).
    """
    rows = x.swapaxes(1, 2)
    first, second = upper(x.shape[2])
    return np.concatenate([np.ones_like(rows[:, :1]), rows, rows[:, first] * rows[:, second]], axis=1)


def coefficients(mixture: Mixture) -> np.ndarray:
    """Return what `features` are multiplied with to give log w_k N(x; m_k, C_k), shape (S, K, 1 + d + d (d + 1) / 2).

    Raises:
        numpy.linalg.LinAlgError: a covariance is not positive definite.
    """
    d, (first, second) = mixture.d, upper(mixture.d)
    factor = np.linalg.cholesky(mixture.covariances)
    inverse = np.linalg.inv(factor)
    precision = inverse.swapaxes(2, 3) @ inverse
    linear = (precision @ mixture.means[..., None])[..., 0]
    log_norm = np.log(np.diagonal(factor, axis1=2, axis2=3)).sum(axis=2) + 0.5 * d * np.log(2 * np.pi)
    constant = np.log(mixture.weights) - log_norm - 0.5 * (linear * mixture.means).sum(axis=2)
    quadratic = precision[..., first, second] * np.where(first == second, -0.5, -1.0)
    return np.concatenate([constant[..., None], linear, quadratic], axis=2)


def log_density(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """Return log p(x) in nats. Shapes: x (S, N, d), result (S, N). Raises numpy.linalg.LinAlgError."""
    each = coefficients(mixture) @ features(x)
    top = each.max(axis=1)
    each -= top[:, None]
    np.exp(each, out=each)
    return top + np.log(each.sum(axis=1))


def assignment(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """Return the most probable component of each point, counted from 0. Shapes: x (S, N, d), result (S, N)."""
    return (coefficients(mixture) @ features(x)).argmax(axis=1)


def inner(a: Mixture, b: Mixture) -> np.ndarray:
    """Return <a, b>, the integral of the product of two densities, (S,)."""
    gap = a.means[:, :, None] - b.means[:, None]
    total = a.covariances[:, :, None] + b.covariances[:, None]
    square = (gap * np.linalg.solve(total, gap[..., None])[..., 0]).sum(axis=-1)
    log_norm = 0.5 * (a.d * np.log(2 * np.pi) + np.linalg.slogdet(total)[1])
    each = a.weights[:, :, None] * b.weights[:, None] * np.exp(-0.5 * square - log_norm)
    return each.reshape(len(each), -1).sum(axis=1)


def squared_l2(a: Mixture, b: Mixture, norm_b: np.ndarray | None = None) -> np.ndarray:
    """Return ||a - b||^2, (S,).

    Equal mixtures give 0 up to rounding, some 1e-16 of their squared norms; what rounding makes negative is 0.

    Args:
        a, b: mixtures of as many chains.
        norm_b: <b, b> (S,), where it is known.
    """
    norm_b = inner(b, b) if norm_b is None else norm_b
    return np.maximum(inner(a, a) - 2 * inner(a, b) + norm_b, 0)


def covariance(mixture: Mixture) -> np.ndarray:
    """Return the covariance of a mixture, that inside of its components and that between them, (S, d, d)."""
    w = mixture.weights[..., None]
    gap = mixture.means - (w * mixture.means).sum(axis=1, keepdims=True)
    return (w[..., None] * mixture.covariances).sum(axis=1) + (w * gap).swapaxes(1, 2) @ gap


def entropy(weights: np.ndarray) -> np.ndarray:
    """Return -sum_k w_k log w_k in nats: log K where components share evenly, 0 where one has all. (S, K) -> (S,)."""
    return -(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=1)


def as_columns(mixture: Mixture) -> dict[str, np.ndarray]:
    """Return the parameters as columns of a table, each (S,); components and dimensions count from 1.

    ``weight_k``, ``mean_k_i``, and ``covariance_k_ij`` for i <= j. `of_columns` is the inverse.
    """
    out = {}
    for k in range(mixture.weights.shape[1]):
        out[f"weight_{k + 1}"] = mixture.weights[:, k]
        for i in range(mixture.d):
            out[f"mean_{k + 1}_{i + 1}"] = mixture.means[:, k, i]
        for i, j in zip(*upper(mixture.d), strict=True):
            out[f"covariance_{k + 1}_{i + 1}{j + 1}"] = mixture.covariances[:, k, i, j]
    return out


def of_columns(columns: Mapping[str, np.ndarray]) -> Mixture:
    """Return the mixtures of a table's columns, a row each; other columns do not count. Raises KeyError."""
    components = range(1, 1 + sum(f"weight_{k}" in columns for k in range(1, 1 + len(columns.keys()))))
    dimensions = range(1, 1 + sum(f"mean_1_{i}" in columns for i in range(1, 1 + len(columns.keys()))))

    def column(name: str) -> np.ndarray:
        return np.asarray(columns[name], dtype=float)

    weights = np.stack([column(f"weight_{k}") for k in components], axis=1)
    means = np.stack([np.stack([column(f"mean_{k}_{i}") for i in dimensions], axis=1) for k in components], axis=1)
    covariances = np.empty((*means.shape, means.shape[2]))
    for k in components:
        for i in dimensions:
            for j in dimensions:
                covariances[:, k - 1, i - 1, j - 1] = column(f"covariance_{k}_{min(i, j)}{max(i, j)}")
    return Mixture(weights, means, covariances)


def kernel_spread(
    generations: int, T: int, bandwidth: float, variance: float = 1.0, scaled: bool = False
) -> np.ndarray:
    """Return the expected variance of kernel density estimates under replace, per dimension, n = 1..G. Exact.

    Let e be the expected variance (ddof 1) of T items. An estimate on them has the variance (1 - 1/T) e of its points
    and h^2 of its kernel, which is what T items drawn from it have in expectation:

    e_n = (1 - 1/T) e_(n-1) + h^2, so that (1 - 1/T)^n variance + T h^2 (1 - (1 - 1/T)^n) follows: first the kernel
    adds h^2 each time, then what is lost of T items balances it, at T h^2. Where the kernel is ``scaled`` by the
    items' own variance, it is (1 - 1/T + h^2)^n variance: growth without end as soon as h^2 > 1/T.

    Args:
        generations: G.
        T: items of a generation.
        bandwidth: h, in units of the data, or of the items' standard deviation where it is ``scaled``.
        variance: of the real data, in one dimension.
        scaled: whether the kernel has the items' covariance.
    """
    n, keep = np.arange(1, generations + 1), 1 - 1 / T
    if scaled:
        return variance * (keep + bandwidth**2) ** n
    return variance * keep**n + T * bandwidth**2 * (1 - keep**n)
