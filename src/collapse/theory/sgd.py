"""A Gaussian fitted by K steps of gradient descent to its predecessor, again and again: expected error.

Real data N(mu, sigma^2). Model n is N(m, e^2l) after K steps from N(0, 1), each on B new items of model n - 1,
N(M, s^2); for n = 1 on real ones. A step is m -= eta g_m, l -= eta g_l with the means over the batch of

    g_m = (m - x) / e^2l,  g_l = 1 - (x - m)^2 / e^2l.

With e = m - M and r = s^2 / e^2l their expectations are e / e^2l and 1 - r - e^2 / e^2l, their covariance is 1/B times
[[r, -2 e r], [-2 e r, 2 e^2l r^2 + 4 e^2 r]] / e^2l. For large B the path is that of the expectations, and
deviations from it are a linear recursion: with A the derivative of (g_m, g_l) by (m, l), and C that by (M, log s),

    d_k+1 = (1 - eta A) d_k - eta C d' + noise,  Cov noise = eta^2 Cov(g),

where d' is the deviation of model n - 1, the same at all steps.

Near its end a fit leaves a share q of the way from its start to the mean of its items, about e^(-K eta / sigma^2), and
model n a share 1 - (1 - q)^n of the way to the real one: few steps pull each generation to the weights that all start
from, where the chain ends.
"""

from typing import NamedTuple

import numpy as np

from collapse.errors import ConfigError


class Expected(NamedTuple):
    """``path`` (G, 2): mean and standard deviation of the model for B = infinity; ``kl`` (G,): see `descent`."""

    path: np.ndarray
    kl: np.ndarray


def descent(
    generations: int, steps: int, batch: float, learning_rate: float, mean: float = 0.0, sd: float = 1.0
) -> Expected:
    """Return E KL(truth || model n) in nats to order 1/B, and the path of B = infinity.

    The KL divergence of the path, and half the trace of its second derivative times the covariance of the deviations.
    Neglected: deviations of the mean from the path, of order 1/B too; they count where the KL divergence itself is of
    order 1, and by 1/B of that.

    Args:
        generations: G.
        steps: K.
        batch: B; infinity for gradient descent without noise.
        learning_rate: eta.
        mean, sd: of the real data.

    Raises:
        ConfigError: it diverges.
    """
    before, spread = np.array([mean, np.log(sd)]), np.zeros((2, 2))  # model n - 1 and Cov d'
    path, kl = np.empty((generations, 2)), np.empty(generations)
    for n in range(generations):
        at, own, inherited = np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2))
        for _ in range(steps):  # Cov d = own + inherited Cov(d') inherited'
            gradient, noise, A, C = _step(at, before)
            keep = np.eye(2) - learning_rate * A
            at = at - learning_rate * gradient
            own = keep @ own @ keep.T + learning_rate**2 / batch * noise
            inherited = keep @ inherited - learning_rate * C
            if not abs(at).max() < 100:
                raise ConfigError(f"gradient descent diverges at learning_rate = {learning_rate}: lower it")
        before, spread = at, own + inherited @ spread @ inherited.T
        path[n] = at[0], np.exp(at[1])
        kl[n] = _kl(at, spread, mean, sd)
    return Expected(path, kl)


def _step(at: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return expectation and covariance (B = 1) of the gradient, and its derivatives A and C; see the module."""
    p, e = np.exp(-2 * at[1]), at[0] - before[0]
    r = np.exp(2 * before[1]) * p
    gradient = np.array([e * p, 1 - r - e**2 * p])
    noise = np.array([[r * p, -2 * e * r * p], [-2 * e * r * p, 2 * r**2 + 4 * e**2 * r * p]])
    A = np.array([[p, -2 * e * p], [-2 * e * p, 2 * (r + e**2 * p)]])
    C = np.array([[-p, 0], [2 * e * p, -2 * r]])
    return gradient, noise, A, C


def _kl(at: np.ndarray, spread: np.ndarray, mean: float, sd: float) -> float:
    """Return log(e^l / sd) + (sd^2 + (m - mean)^2) / 2e^2l - 1/2, and half its second derivative times ``spread``."""
    p, e = np.exp(-2 * at[1]), at[0] - mean
    inside = (sd**2 + e**2) * p
    second = np.array([[p, -2 * e * p], [-2 * e * p, 2 * inside]])
    return float(at[1] - np.log(sd) + 0.5 * (inside - 1) + 0.5 * (second * spread).sum())
