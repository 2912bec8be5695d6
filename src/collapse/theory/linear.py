"""Expected test error E ||w_n - w*||^2 of linear regression along a chain of generations.

Setting: x ~ N(0, I_d), labels y = x'w + e with e ~ N(0, sigma^2), sets of T items, w_0 = w* labels the real data.
Every function returns the errors of generations n = 1..G, shape (G,), in units of the squared label.

Let c = sigma^2 d / (T - d - 1). It is the error of one fit: w_1 - w* = (X'X)^-1 X'e has mean 0 and covariance
sigma^2 (X'X)^-1, and E (X'X)^-1 = I / (T - d - 1) for X'X ~ Wishart(T, I), T > d + 1. For other covariances of x the
error E (x'w_n - x'w*)^2 is the same.

*Shared* design: one X for all generations. *Fresh*: new inputs in each.

Replace (theorem 1 of Gerstgrasser et al., arXiv 2404.01413; Dohmatob et al., 2024). w_n is fitted on labels of w_(n-1):
w_n = w_(n-1) + (X'X)^-1 X'e_n. Noises of generations are independent, so that errors add up.

Accumulate (theorem 2). Let P_n be X'X over all n sets and G_n over the n-th. The normal equations
P_n w_n = sum_i G_i w_(i-1) + X_i'e_i and those of n - 1 give P_n w_n = P_(n-1) w_(n-1) + G_n w_(n-1) + X_n'e_n, so that
w_n = w_(n-1) + P_n^-1 X_n'e_n. Generation i adds sigma^2 tr(P_i^-1 G_i P_i^-1). On a shared design P_i = i X'X: this
is c / i^2. On fresh ones the sets are exchangeable: G_i can be replaced by P_i / i, and E tr P_i^-1 = d / (iT - d - 1).

The dashed line of the papers' plots for replace is (n + 1) c, one generation too high: Dohmatob et al. count the fit on
real data as generation 0. Here generation 1 is fitted on real data and its error is c.

No closed form is known for accumulate_subsample. There is none for ridge on fresh designs here.
"""

import numpy as np

from collapse.errors import ConfigError, unknown


def unit(d: int, T: int, sigma2: float = 1.0) -> float:
    """Return c = sigma^2 d / (T - d - 1), the error of one fit on T items. Raises ConfigError unless T > d + 1."""
    if d + 1 >= T:
        raise ConfigError(f"the expected error is infinite unless T > d + 1: T = {T}, d = {d}")
    return sigma2 * d / (T - d - 1)


def _steps(generations: int) -> np.ndarray:
    return np.arange(1, generations + 1, dtype=float)


def _shared(design: str) -> bool:
    if design not in ("shared", "fresh"):
        raise unknown("design", design, ("shared", "fresh"))
    return design == "shared"


def replace(generations: int, d: int, T: int, sigma2: float = 1.0) -> np.ndarray:
    """Return n c, for shared and fresh designs. Exact."""
    return unit(d, T, sigma2) * _steps(generations)


def accumulate(generations: int, d: int, T: int, sigma2: float = 1.0, design: str = "shared") -> np.ndarray:
    """Return c sum_i 1 / i^2 (shared) or sigma^2 d sum_i 1 / (i (iT - d - 1)) (fresh), i = 1..n. Exact."""
    i = _steps(generations)
    if _shared(design):
        return unit(d, T, sigma2) * np.cumsum(1 / i**2)
    return np.cumsum([unit(d, int(k) * T, sigma2) / k for k in i])


def accumulate_bound(d: int, T: int, sigma2: float = 1.0) -> float:
    """Return c pi^2 / 6, which accumulate never exceeds: the limit for a shared design, above that for fresh ones."""
    return unit(d, T, sigma2) * np.pi**2 / 6


def replace_multiple(generations: int, d: int, T: int, sigma2: float = 1.0, design: str = "shared") -> np.ndarray:
    """Return the error where generation n is fitted on nT items of model n - 1.

    Generation i adds the error of a fit on iT items: c / i on a shared design that repeats i times (X'X is i times as
    large), in sum c H_n; sigma^2 d / (iT - d - 1) on fresh ones. Exact.
    """
    i = _steps(generations)
    if _shared(design):
        return unit(d, T, sigma2) * np.cumsum(1 / i)
    return np.cumsum([unit(d, int(k) * T, sigma2) for k in i])


def accumulate_batches(batches, d: int, sigma2: float = 1.0) -> np.ndarray:
    """Return accumulate's error for sets of T_1, T_2, ... items on fresh designs. Exact.

    As for equal sets, with G_i replaced by its share T_i / S_i of P_i, S_i = T_1 + ... + T_i:
    sigma^2 d sum_i T_i / (S_i (S_i - d - 1)).

    Args:
        batches: T_i, shape (G,); T_1 > d + 1.
        d: number of inputs.
        sigma2: variance of the label noise.
    """
    sizes = np.asarray(batches)
    total = np.cumsum(sizes)
    return np.cumsum([t / s * unit(d, int(s), sigma2) for t, s in zip(sizes, total, strict=True)])


def accumulate_batches_limit(batches, d: int, sigma2: float = 1.0) -> np.ndarray:
    """Return sigma^2 d sum_i T_i / S_i^2, the limit of `accumulate_batches` for T_1 >> d.

    Too small by a relative O((d + 1) / T_1): each term by (d + 1) / (S_i - d - 1) of itself. Since
    T_i / S_i^2 <= 1 / S_(i-1) - 1 / S_i, it is at most 2 sigma^2 d / T_1 for any batches; many tiny ones come near.
    """
    sizes = np.asarray(batches, float)
    return sigma2 * d * np.cumsum(sizes / np.cumsum(sizes) ** 2)


def ridge(policy: str, generations: int, spectrum, ridge: float, T: int, sigma2: float = 1.0) -> np.ndarray:
    """Return the error of ridge regression, (1/|D|) ||y - Xw||^2 + lambda ||w||^2, on a shared design. Exact given it.

    The expectation is over w* ~ N(0, I) and the noise. Let s be an eigenvalue of X'X / T, u w's component along its
    eigenvector, a = s / (s + lambda) and v = sigma^2 s / (T (s + lambda)^2), the variance of a fit's noise.

    replace: u_n = a u_(n-1) + noise_n, so the error is (1 - a^n)^2 + v sum_(i<n) a^(2i): the bias tends to all of w*.
    replace_multiple: the same with noise v / i in generation i, that is sum_i (v / i) a^(2(n-i)).
    accumulate: u_n = (1/n) sum_(i<=n) (a u_(i-1) + noise_i). With p_n = prod_(l<n) (1 + a / l), the sum of u_0..u_(n-1)
    follows p in w* and, from noise_i on, u_n = (p_n / (n p_i)) noise_i. The error is
    (1 - a p_n / n)^2 + v (p_n / n)^2 sum_(i<=n) 1 / p_i^2. For a = 1, p_n = n: theorem 2. The bias tends to all of w*
    here too, but as slowly as n^(a-1).

    Args:
        policy: ``replace``, ``replace_multiple`` or ``accumulate``.
        generations: G.
        spectrum: eigenvalues of X'X / T, shape (..., d), of one design or of many.
        ridge: lambda.
        T: items of a set.
        sigma2: variance of the label noise.

    Returns:
        (G,): sum over the eigenvalues, mean over the designs.

    Raises:
        ConfigError: another policy.
    """
    n = _steps(generations)
    s = np.asarray(spectrum, float)[..., None]
    a, v = s / (s + ridge), sigma2 * s / (T * (s + ridge) ** 2)
    if policy == "accumulate":
        p = np.cumprod(np.concatenate([np.ones_like(a), 1 + a / n[:-1]], axis=-1), axis=-1)
        bias, noise = 1 - a * p / n, (p / n) ** 2 * np.cumsum(1 / p**2, axis=-1)
    elif policy in ("replace", "replace_multiple"):
        each = np.ones_like(n) if policy == "replace" else 1 / n
        bias = 1 - a**n
        noise = np.stack([(each[:k] * a ** (2 * (k - n[:k]))).sum(axis=-1) for k in range(1, generations + 1)], axis=-1)
    else:
        raise unknown("policy with a closed form for ridge", policy, ("replace", "replace_multiple", "accumulate"))
    error = (bias**2 + v * noise).sum(axis=-2)
    return error.reshape(-1, generations).mean(axis=0)


def spectra(d: int, T: int, designs: int, rng: np.random.Generator) -> np.ndarray:
    """Return the eigenvalues of X'X / T of random designs, shape (designs, d), for `ridge`."""
    x = rng.standard_normal((designs, T, d))
    return np.linalg.eigvalsh(x.swapaxes(1, 2) @ x / T)
