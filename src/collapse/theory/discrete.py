"""A discrete distribution refitted to its own samples: heterozygosity, absorption, extinction. All exact.

The model of generation n is the empirical measure p_n of M items over K states; generation 1 is fitted on items of the
true law, p_0. Heterozygosity H_n = E [1 - sum_i p_n(i)^2] is the probability that two draws from the model differ. The
functions named after policies return H_n / H_0 for n = 1..G, shape (G,); they hold for every p_0.

Two draws with replacement from m items are the same item with probability 1/m, so that a fit on m items drawn from a
law of heterozygosity H has (1 - 1/m) H. This is replace (Seddik et al., arXiv 2404.05090), and replace_multiple with m
growing. For accumulate, p_n = ((n-1) p_(n-1) + x) / n with x the empirical measure of M draws from p_(n-1): its mean is
p_(n-1), and the variances of its entries add up to H_(n-1) / M, so that H_n = H_(n-1) (1 - 1 / (M n^2)): the product
converges, diversity is kept. The others follow the descent of pairs of items; see each function.

Under replace the counts are a Markov chain whose absorbing states are the K point masses. Each p_n(i) is a martingale,
so that the chain ends in i with probability p_0(i).
"""

from typing import NamedTuple

import numpy as np


def _steps(generations: int) -> np.ndarray:
    return np.arange(1, generations + 1, dtype=float)


def replace(generations: int, M: int) -> np.ndarray:
    """Return (1 - 1/M)^n: E sum_i p_n(i)^2 = 1 - (1 - 1/M)^n (1 - S_0)."""
    return (1 - 1 / M) ** _steps(generations)


def replace_multiple(generations: int, M: int) -> np.ndarray:
    """Return prod_(i<=n) (1 - 1/(iM)), about n^(-1/M): generation i is fitted on iM items of model i - 1."""
    return np.cumprod(1 - 1 / (M * _steps(generations)))


def accumulate(generations: int, M: int) -> np.ndarray:
    """Return prod_(i<=n) (1 - 1/(M i^2)), which stays above 1 - pi^2 / 6M."""
    return np.cumprod(1 - 1 / (M * _steps(generations) ** 2))


def accumulate_subsample(generations: int, M: int) -> np.ndarray:
    """Return (1 - 1/M) U_n, U_n the probability that two different items of the pool of nM differ, over H_0.

    Model n is fitted on M items of the pool, so H_n = (1 - 1/M) U_n. Its M samples join the pool: two of them differ
    with probability H_n; one of them, a copy of a random item of the pool, and a random item of the pool are the same
    item with probability 1/(nM), and differ with probability (1 - 1/(nM)) U_n. U_1 = 1, and over pairs of (n+1)M items

        U_(n+1) = [nM (nM - 1) U_n + 2 nM M (1 - 1/(nM)) U_n + M (M - 1) H_n] / [(n+1)M ((n+1)M - 1)].
    """
    out, differ = np.empty(generations), 1.0
    for n in range(1, generations + 1):
        out[n - 1] = (1 - 1 / M) * differ
        pool, more = n * M, (n + 1) * M
        pairs = (pool * (pool - 1) + 2 * M * (pool - 1)) * differ + M * (M - 1) * out[n - 1]
        differ = pairs / (more * (more - 1))
    return out


def real_fraction(generations: int, M: int, share: float = 0.1) -> np.ndarray:
    """Return H_n / H_0 where R = rM of the M real items, redrawn each generation, join M - R synthetic ones.

    A random item of D_1 and a random one of a training set differ with probability (1 - 1/M) H_0 at each generation: so
    do those of D_1 with itself, and a synthetic item is a copy of one of the training set before. Pairs of different
    real items differ with probability H_0, of different synthetic ones with H_(n-1):

        M^2 H_n = R (R - 1) H_0 + 2 R (M - R) (1 - 1/M) H_0 + (M - R) (M - R - 1) H_(n-1).
    """
    real = round(share * M)
    rest = M - real
    out = np.empty(generations)
    out[0] = 1 - 1 / M
    for n in range(1, generations):
        fixed = real * (real - 1) + 2 * real * rest * (1 - 1 / M)
        out[n] = (fixed + rest * (rest - 1) * out[n - 1]) / M**2
    return out


def fresh_real(generations: int, M: int, share: float = 0.5) -> np.ndarray:
    """Return H_n / H_0 where R = aM new real items join M - R synthetic ones in each generation.

    With a = R/M, b = 1 - a and E sum_i p_0(i) p_n(i) = S_0, it is
    H_n = (1 - b^2) H_0 + b^2 H_(n-1) - (a H_0 + b H_(n-1)) / M, and converges to ((1 - b^2) - a/M) / (1 - b^2 + b/M).
    """
    a = round(share * M) / M
    b = 1 - a
    out = np.empty(generations)
    out[0] = 1 - 1 / M
    for n in range(1, generations):
        out[n] = (1 - b**2) + b**2 * out[n - 1] - (a + b * out[n - 1]) / M
    return out


def extinction(p, M: int) -> np.ndarray:
    """Return (1 - p)^M, the probability that a state of probability p is lost in one generation. Shape of ``p``."""
    return np.exp(M * np.log1p(-np.asarray(p, float)))


class Fates(NamedTuple):
    """Probabilities by generation n = 1..G and state i, each (G, K)."""

    alive: np.ndarray
    fixed: np.ndarray


def fates(p, M: int, generations: int) -> Fates:
    """Return the probabilities that a state is alive, and that it is the only one left, under replace.

    The count of one state is a Markov chain of its own, X_n ~ Bin(M, X_(n-1) / M), X_1 ~ Bin(M, p_0(i)): exact, at
    a cost of M^2 for each generation and each different probability. States are fixed in disjoint events: the
    probability that the chain is absorbed by generation n is the sum of ``fixed`` over states, and their limit is p_0.

    Args:
        p: p_0, (K,).
        M: items of a generation.
        generations: G.
    """
    from scipy.stats import binom

    different, place = np.unique(np.asarray(p, float), return_inverse=True)
    count = np.arange(M + 1)
    step = binom.pmf(count, M, count[:, None] / M)
    law = binom.pmf(count, M, different[:, None])
    alive, fixed = np.empty((generations, len(different))), np.empty((generations, len(different)))
    for n in range(generations):
        if n:
            law = law @ step
        alive[n], fixed[n] = 1 - law[:, 0], law[:, -1]
    return Fates(alive[:, place], fixed[:, place])
