"""A Gaussian refitted to its own samples: how mean and covariance move along a chain of generations.

Setting: N(mu, sigma^2) in each coordinate, M items a generation. Generation 1 is fitted on real data, its mean mu_n and
variance s_n^2 = sum (x - mean)^2 / (m - ddof) over its m items; generations n = 1..G, shape (G,), in units of sigma.
(Shumailov et al. count the real distribution as generation 0 and the fit on it as 1: the same n.)

Replace. Given model n - 1, mu_n - mu_(n-1) ~ N(0, s_(n-1)^2 / M), and s_n^2 / s_(n-1)^2 is independent of it,
chi^2(M - 1) / (M - ddof). With v its mean, (M - 1) / (M - ddof), and g = c4(M - 1) sqrt(v) the mean of its root:

    E s_n^2 = v^n,  E (mu_n - mu)^2 = sum_(i<n) v^i / M,  E s_n = g^n.

The trap: without bias E s_n^2 = sigma^2 for ever, although s_n -> 0 almost surely (theorem 3.1): the logarithm of s_n
is a random walk with negative drift. After many generations the mean over chains is carried by a few of them: look at
medians, or at log s_n.

The other policies are followed by second moments of items about mu: E x_i^2 = A and E x_i x_j = B for a random
pair of different items of a set of m. Its mean has second moment (A + (m - 1) B) / m, its variance estimate the mean
(m - 1) (A - B) / (m - ddof): exact, whatever the laws.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, ndtr, poch, polygamma

from collapse.errors import ConfigError, unknown

HALF = 0.6744897501960817
"""Median of |z|, z ~ N(0, 1)."""


class Expected(NamedTuple):
    """``drift`` E (mu_n - mu)^2 / sigma^2 of a coordinate and ``variance`` E s_n^2 / sigma^2, each (G,)."""

    drift: np.ndarray
    variance: np.ndarray


def _steps(generations: int) -> np.ndarray:
    return np.arange(1, generations + 1, dtype=float)


def c4(k) -> np.ndarray:
    """Return E sqrt(chi^2(k) / k) = sqrt(2/k) Gamma((k + 1)/2) / Gamma(k/2), about 1 - 1/4k."""
    k = np.asarray(k, float)
    return np.sqrt(2 / k) * poch(k / 2, 0.5)


def replace(generations: int, M, ddof: int = 1) -> Expected:
    """Return the second moments under replace. Exact.

    Without bias the drift is sum_i 1/M_i and the variance 1; with ddof = 0 and one M they are 1 - (1 - 1/M)^n and
    (1 - 1/M)^n.

    Args:
        generations: G.
        M: items of each generation, one number or (G,).
        ddof: 0 or 1.
    """
    sizes = np.broadcast_to(np.asarray(M, float), (generations,))
    variance = np.cumprod((sizes - 1) / (sizes - ddof))
    before = np.concatenate([[1.0], variance[:-1]])
    return Expected(np.cumsum(before / sizes), variance)


def accumulate(generations: int, M: int, ddof: int = 1) -> Expected:
    """Return the second moments where generation n is fitted on nM items, all there are. Exact.

    mu_n = mu_(n-1) + (y - mu_(n-1)) / n with y the mean of the new set: the drift grows by E s_(n-1)^2 / (M n^2).
    """
    drift, variance, total = 1 / M, (M - 1) / (M - ddof), 1.0 * M
    out = [(drift, variance)]
    for n in range(2, generations + 1):
        total += M * (variance + drift)
        drift += variance / (M * n**2)
        variance = (total - n * M * drift) / (n * M - ddof)
        out.append((drift, variance))
    return Expected(*np.array(out).T)


def accumulate_leading(generations: int, M: int) -> np.ndarray:
    """Return sum_(i<=n) 1/i^2 / M, the drift under accumulate to order 1/M (Dey & Donoho, arXiv 2410.22812).

    It stays below pi^2 / 6M. The exact drift is smaller, by O(1/M^2): E s_n^2 falls a little.
    """
    return np.cumsum(1 / _steps(generations) ** 2) / M


def accumulate_subsample(generations: int, M: int, ddof: int = 1) -> Expected:
    """Return the second moments where generation n is fitted on M of the nM items there are. Exact.

    Let A and B be those of the pool. Model n sees M random items of it. Its M samples have second moments E mu_n^2 +
    E s_n^2, and E mu_n^2 among each other; with a random item of the pool they have that of a random item of the
    training set, which is the same item with probability 1/(nM): C = A / (nM) + (1 - 1/(nM)) B.
    """
    a, b, out = 1.0, 0.0, []
    for n in range(1, generations + 1):
        drift, variance = (a + (M - 1) * b) / M, (M - 1) * (a - b) / (M - ddof)
        out.append((drift, variance))
        pool, more = n * M, (n + 1) * M
        cross = a / pool + (1 - 1 / pool) * b
        pairs = pool * (pool - 1) * b + 2 * pool * M * cross + M * (M - 1) * drift
        a, b = (pool * a + M * (drift + variance)) / more, pairs / (more * (more - 1))
    return Expected(*np.array(out).T)


def fresh_real(generations: int, M: int, share: float = 0.5, ddof: int = 1) -> Expected:
    """Return the second moments where a share of new real items joins M (1 - share) samples of model n - 1. Exact."""
    a = round(share * M) / M
    drift, variance = 1 / M, (M - 1) / (M - ddof)
    out = [(drift, variance)]
    for _ in range(1, generations):
        square = a + (1 - a) * (variance + drift)
        drift = (1 - a) ** 2 * drift + (a + (1 - a) * variance) / M
        variance = M * (square - drift) / (M - ddof)
        out.append((drift, variance))
    return Expected(*np.array(out).T)


def fresh_limit(M: int, share: float) -> Expected:
    """Return the fixed point of `fresh_real` for ddof = 0: 1/D and 1 - 1/D, D = 1 - a + a M (2 - a).

    From a first fit on real data it is approached as [(1 - a) (1 - a - 1/M)]^n: with ddof = 0 drift and variance add up
    to 1 in every generation, and the drift alone follows D_n = (1 - a)^2 D_(n-1) + (a + (1 - a) (1 - D_(n-1))) / M.
    """
    a = round(share * M) / M
    d = 1 - a + a * M * (2 - a)
    return Expected(np.array(1 / d), np.array(1 - 1 / d))


def real_fraction(generations: int, M: int, share: float, ddof: int = 1, draw: str = "redrawn") -> Expected:
    """Return the second moments where R = rM of the M real items of D_1 join M - R samples of model n - 1. Exact.

    Let c_n = E mu_n x for a random x of the real items that R are drawn from: c_1 = 1/M. The mean of R of them has
    second moment 1/R. E x y is 1/M for random ones of two draws from D_1, 1/R for two of one ``anchored`` set. With
    a = R/M and b = 1 - a,

        c_n = a E x y + b c_(n-1)        (1/M for ever where items are redrawn; towards 1/R where they are anchored),
        E mu_n^2 = a/M + 2 a b c_(n-1) + b^2 E mu_(n-1)^2 + b E s_(n-1)^2 / M,

    and E x^2 over the training set is a + b (E mu_(n-1)^2 + E s_(n-1)^2).

    Args:
        generations: G.
        M: items of each generation.
        share: r.
        ddof: 0 or 1.
        draw: ``redrawn`` or ``anchored``.

    Raises:
        ConfigError: another draw.
    """
    if draw not in ("redrawn", "anchored"):
        raise unknown("draw", draw, ("redrawn", "anchored"))
    real = round(share * M)
    a, b, pair = real / M, 1 - real / M, 1 / M if draw == "redrawn" or not real else 1 / real
    drift, variance, cross = 1 / M, (M - 1) / (M - ddof), 1 / M
    out = [(drift, variance)]
    for _ in range(1, generations):
        square = a + b * (drift + variance)
        drift = a / M + 2 * a * b * cross + b**2 * drift + b * variance / M
        cross = a * pair + b * cross
        variance = M * (square - drift) / (M - ddof)
        out.append((drift, variance))
    return Expected(*np.array(out).T)


def real_limit(M: int, share: float) -> Expected:
    """Return the fixed point of `real_fraction`, redrawn, for ddof = 0: (1 + 2ab)/D, and 1 less it; D of `fresh_limit`.

    As with fresh items, drift and variance add up to 1; b c_(n-1) = b/M adds 2ab/M to the drift. To order 1/M, R real
    items a generation leave 2R / (2R + 1) of the variance however many others there are: with a single one, half of the
    spread is never lost in expectation.
    """
    a = round(share * M) / M
    d = (1 + 2 * a * (1 - a)) / (1 - a + a * M * (2 - a))
    return Expected(np.array(d), np.array(1 - d))


def golden_ratio(generations: int, M: int, ratio: float = 1.0, weight: float | None = None, ddof: int = 1) -> Expected:
    """Return the second moments where kM new real items of weight w in all join M samples of weight 1 - w. Exact.

    (k + 1) M items of mean weight 1; arXiv 2502.18049 has w* = (sqrt(k^2 + 4k) - k) / 2, the default. The mean of the
    set is w x + (1 - w) y with the two parts' means: E mu_n^2 = w^2/kM + (1 - w)^2 (E mu_(n-1)^2 + E s_(n-1)^2 / M).
    """
    k = ratio
    w = (np.sqrt(k * k + 4 * k) - k) / 2 if weight is None else weight
    count = round(k * M)
    total = count + M
    drift, variance = 1 / M, (M - 1) / (M - ddof)
    out = [(drift, variance)]
    for _ in range(1, generations):
        square = w + (1 - w) * (variance + drift)
        drift = w**2 / count + (1 - w) ** 2 * (drift + variance / M)
        variance = total * (square - drift) / (total - ddof)
        out.append((drift, variance))
    return Expected(*np.array(out).T)


def golden_limit(M: int, ratio: float = 1.0) -> float:
    """Return w*/kM, the limit of the drift of `golden_ratio` to order 1/M: E s_n^2 is 1 to that order.

    D = w^2/kM + (1 - w)^2 (D + 1/M) has the fixed point [w^2/k + (1 - w)^2] / [1 - (1 - w)^2] / M, which is least at w*
    and equal to w*/k / M there. The neglected term is of order 1/M^2.
    """
    return (np.sqrt(ratio**2 + 4 * ratio) - ratio) / 2 / (ratio * M)


def kl(generations: int, M: int, ddof: int = 1, d: int = 1) -> np.ndarray:
    """Return E KL(truth || model n) in nats under replace, for M > d + 2 items. Exact.

    2 KL = tr Sigma_n^-1 + mu_n' Sigma_n^-1 mu_n - d + log det Sigma_n in units of the truth. A generation multiplies
    the expectation of Sigma_n^-1 by q = (M - ddof) / (M - d - 2), the inverse moment of a Wishart matrix of M - 1
    degrees of freedom; step i of mu_n has covariance Sigma_(i-1) / M and adds d q^(n-i+1) / M. To order 1/M it is
    n / 2M for each of the d (d + 3) / 2 parameters.
    """
    if d + 2 >= M:
        raise ConfigError(f"the expected KL divergence is infinite unless M > d + 2: M = {M}, d = {d}")
    power = ((M - ddof) / (M - d - 2)) ** _steps(generations)
    walk = log_sigma(generations, M, ddof, d).mean
    return 0.5 * d * (power + np.cumsum(power) / M - 1) + d * walk


class Walk(NamedTuple):
    """Mean and variance of log sigma_n, each (G,)."""

    mean: np.ndarray
    variance: np.ndarray


def log_sigma(generations: int, M: int, ddof: int = 1, d: int = 1) -> Walk:
    """Return mean and variance of log(det Sigma_n / det Sigma) / 2d under replace. Exact.

    The determinant of a Wishart matrix of m degrees of freedom is a product of independent chi^2(m - j), j = 0..d-1:
    a generation adds sum_j [psi((M - 1 - j)/2) - ln((M - ddof)/2)] / 2d, of variance sum_j psi'((M - 1 - j)/2) / 4d^2.
    To order 1/M the former is -1/2M without bias and -1/M with ddof = 0 in one dimension. The sum of n independent ones
    is normal for large n, so that the median of sigma_n is about exp(mean).
    """
    half = (M - 1 - np.arange(d)) / 2
    n = _steps(generations)
    rate = (digamma(half) - np.log((M - ddof) / 2)).sum() / (2 * d)
    return Walk(n * rate, n * polygamma(1, half).sum() / (4 * d**2))


def risk(generations: int, M: int, ddof: int = 1) -> np.ndarray:
    """Return E |mu_n - mu|^2 + E |s_n - sigma|^2 under replace in one dimension. Exact.

    The second term is v^n - 2 g^n + 1: n/M + 2 (1 - c4(M - 1)^n) in all without bias. It is W2^2 to the truth.
    """
    drift, variance = replace(generations, M, ddof)
    g = c4(M - 1) * np.sqrt((M - 1) / (M - ddof))
    return drift + variance - 2 * g ** _steps(generations) + 1


def risk_leading(generations: int, M) -> np.ndarray:
    """Return (3/2) sum_i 1/M_i, the risk to order 1/M; the neglected term is of order (n/M)^2."""
    return 1.5 * np.cumsum(1 / np.broadcast_to(np.asarray(M, float), (generations,)))


def sd_error_quantile(q: float, generations: int, M: int, ddof: int = 1) -> np.ndarray:
    """Return the quantile q of |s_n / sigma - 1| under replace, with log s_n normal: exact to order 1/M.

    F(x) = Phi((log(1 + x) - m) / t) - Phi((log(1 - x) - m) / t) with m, t of `log_sigma`, solved by bisection.
    """
    walk = log_sigma(generations, M, ddof)
    m, t = walk.mean, np.sqrt(walk.variance)
    low, high = np.zeros(generations), np.exp(m + 12 * t) + 1

    for _ in range(80):
        x = (low + high) / 2
        below = np.log1p(-np.minimum(x, 1 - 1e-16))
        inside = ndtr((np.log1p(x) - m) / t) - np.where(x < 1, ndtr((below - m) / t), 0)
        low, high = np.where(inside < q, x, low), np.where(inside < q, high, x)
    return (low + high) / 2


class Estimate(NamedTuple):
    """Mean and standard deviation over repeats."""

    mean: np.ndarray
    sd: np.ndarray


def mean_error(n) -> Estimate:
    """Return mean and spread of |mu_hat - mu| / sigma over samples of n items: sqrt(2 / pi n), sqrt((1 - 2/pi) / n)."""
    n = np.asarray(n, float)
    return Estimate(np.sqrt(2 / (np.pi * n)), np.sqrt((1 - 2 / np.pi) / n))


def sd_estimate(n, ddof: int = 0) -> Estimate:
    """Return mean and spread of sigma_hat / sigma over samples of n items; c4(n - 1) sqrt((n-1)/(n-ddof))."""
    n = np.asarray(n, float)
    scale, mean = np.sqrt((n - 1) / (n - ddof)), c4(n - 1)
    return Estimate(mean * scale, scale * np.sqrt((1 - mean) * (1 + mean)))
