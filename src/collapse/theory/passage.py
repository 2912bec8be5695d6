"""When a chain of Gaussians has lost half of its spread, beside real data: the limit of many items a generation.

Setting of `collapse.theory.gaussian`: M items a generation, R of them real, the others drawn from model n - 1, N(u, v)
in units of the truth. With R fixed and M large a generation moves u and log v by little. In the time t = n / M they are
diffusions, whatever M is, and whether the real items are new or redrawn from M ones:

    du = -R u dt + sqrt(v) dW_1,    d log v = [R (1 + u^2) / v - R - 1 - e] dt + sqrt(2) dW_2,

e = 1 - ddof. The R items pull the mean to the truth, chance pushes it; the variance has a spread of sqrt(2 / M) v in a
generation, and R real items at distance u add R (1 + u^2) / M (Ito's rule takes 1 off the drift of the logarithm). What
counts is thus the number R of real items and not their share: three do the same among 30 items and among 30,000.

Neglected is a relative O(1 / sqrt(M)), and more where R / M is not small: a chain is looked at in steps of 1/M, between
which a diffusion may have been below the level, so that it comes later, by some 5 % without real items at M = 100; and
near the level the real items' own noise, of order 16 R / M of what counts here, brings it sooner.

The chance S(t) of not having come to v <= 1/4, half of the standard deviation, solves the backward equation
dS/dt = L S, S = 0 at v = 1/4, with L the generator of the diffusion. The median time is where S = 1/2. Without real
items u does not count, log v is a Brownian motion with drift, and the time has the inverse Gaussian law.
"""

from math import exp, inf, log, sqrt

import numpy as np
from scipy.special import ndtr

LEVEL = log(4)
"""How far log v falls where sd <= 1/2."""
TOP, WIDE = 3.0, 5.0
"""Ends of the grid: of log v, and of u in units of 1 / sqrt(2R), its spread at rest where v = 1."""
CELLS = (120, 30)
"""Cells of the grid between the level and `TOP`, and between u = 0 and `WIDE`."""
STEP, LAST = 0.02, 4.0
"""Step of time, and from where on the rate of loss is taken to be constant: the chain forgets at a rate near 2R + 1."""


def half_life(real: float, ddof: int = 0) -> float:
    """Return the median time, in units of M generations, after which sd <= 1/2 for the first time.

    The grid gives it to 1 % up to R = 4, and to 3 % at R = 5, where it is 30. Beyond 1e8 it is infinite here.

    Args:
        real: R, real items a generation; need not be a whole number.
        ddof: of the variance estimate.
    """
    if not real:
        return _without(ddof)
    times, alive = survival(real, ddof)
    if alive[-1] > 0.5:
        rate = log(alive[-2] / alive[-1]) / (times[-1] - times[-2])
        return times[-1] + log(2 * alive[-1]) / rate if rate > 1e-8 else inf
    return float(np.interp(-0.5, -alive, times))


def _without(ddof: int) -> float:
    """Median of the inverse Gaussian law: a Brownian motion of variance 2 falls by `LEVEL` at a drift of 2 - ddof."""
    drift, low, high = 2 - ddof, 0.0, 100.0
    for _ in range(80):
        t = (low + high) / 2
        s = sqrt(2 * t)
        passed = ndtr((drift * t - LEVEL) / s) + exp(drift * LEVEL) * ndtr(-(drift * t + LEVEL) / s)
        low, high = (t, high) if passed < 0.5 else (low, t)
    return (low + high) / 2


def survival(real: float, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return times t from 0 to `LAST`, and the chance that sd has stayed above 1/2 until then, from u = log v = 0.

    Central differences on a grid of log v and u >= 0 (u enters as u^2), no flow through the other three sides; in time,
    the rule of Crank and Nicolson after four half steps of implicit Euler, since S jumps at the level at first.
    """
    from scipy.sparse import diags, identity, kron
    from scipy.sparse.linalg import splu

    count, wide = CELLS
    dx, du = (LEVEL + TOP) / count, WIDE / sqrt(2 * real) / wide
    x, u = -LEVEL + dx * np.arange(1, count + 1), du * (np.arange(wide) + 0.5)
    X, U = (g.ravel() for g in np.meshgrid(x, u, indexing="ij"))

    def derivatives(size: int, step: float, *ends: int):
        """First and second one; outside of an end the last value inside goes on, outside of the others S is 0."""
        one = diags([-np.ones(size - 1), np.ones(size - 1)], [-1, 1]).tolil() / (2 * step)
        two = diags([np.ones(size - 1), -2 * np.ones(size), np.ones(size - 1)], [-1, 0, 1]).tolil() / step**2
        for end in ends:
            one[end, end] += (-1 if end == 0 else 1) / (2 * step)
            two[end, end] += 1 / step**2
        return one, two

    (x1, x2), (u1, u2) = derivatives(count, dx, -1), derivatives(wide, du, 0, -1)
    of_x, of_u = identity(count), identity(wide)
    drift = real * (1 + U**2) * np.exp(-X) - real - 2 + ddof
    L = diags(drift) @ kron(x1, of_u) + kron(x2, of_u)
    L = L + diags(-real * U) @ kron(of_x, u1) + diags(np.exp(X) / 2) @ kron(of_x, u2)

    half = splu((identity(count * wide) - STEP / 2 * L).tocsc())
    forward, alive = (identity(count * wide) + STEP / 2 * L).tocsr(), np.ones(count * wide)
    found = [1.0]
    for n in range(1, round(LAST / STEP) + 1):
        alive = half.solve(half.solve(alive) if n <= 2 else forward @ alive)
        near, next_ = alive.reshape(count, wide)[:, :2].T
        found.append(np.interp(0.0, x, near + (near - next_) / 8))  # at u = 0, of which S is an even function
    return STEP * np.arange(len(found)), np.array(found)
