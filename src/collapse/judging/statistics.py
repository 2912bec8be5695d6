"""The quantities that claims are about: named pure functions of curves over generations. NumPy only.

A statistic maps y, shape (..., C, G), to shape (...): C curves (of policies, or whatever the claim compares, in its
order), G generations n. What is averaged over seeds depends on the claim's test:

    t          the statistic of each seed's curve, then the mean over seeds: a statement about single runs
    bootstrap  the statistic of the mean curve over seeds: a statement about expectations, as theory makes

The two differ where the statistic is not linear. The mean of a minimum lies below the minimum of the means, and the
mean of a maximum above the maximum of the means, by noise alone. `minimum_step` > 0, `largest` < b and
`largest_excess` < 0 are therefore harder to show with noise, never easier; shown the other way round, they say that a
single run of the mean size of noise breaks the rule, not that the expected curve does.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse.theory import linear


@dataclass(frozen=True)
class Statistic:
    """A named statistic.

    Attributes:
        function: ``(y, n, **options)``; y (..., C, G), n (G,) the generations; returns shape (...).
        curves: C, how many curves it compares.
        generations: the least G.
        unit: the unit that y must be in; None where any will do.
        options: further arguments, name -> default (``inspect.Parameter.empty`` where it must be given).
        choices: option -> its valid values.
    """

    function: Callable[..., np.ndarray]
    curves: int
    generations: int
    unit: str | None
    options: dict[str, object]
    choices: dict[str, tuple[str, ...]]

    def __call__(self, y: np.ndarray, n: np.ndarray, **options) -> np.ndarray:
        """Return the statistic of curves y (..., C, G) at generations n (G,), shape (...)."""
        if y.shape[-2:] != (self.curves, len(n)):
            raise ValueError(f"curves of shape {y.shape[-2:]}, expected {(self.curves, len(n))}")
        return self.function(y, np.asarray(n), **options)


STATISTICS: dict[str, Statistic] = {}


def statistic(*, curves: int = 1, generations: int = 1, unit: str | None = None, **choices: tuple[str, ...]):
    """Register a function ``(y, n, *, options) -> values`` under its name."""

    def register(function):
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        STATISTICS[function.__name__] = Statistic(function, curves, generations, unit, options, choices)
        return function

    return register


LAWS = {law.__name__: law for law in (linear.replace, linear.accumulate, linear.replace_multiple)}
"""Closed forms of the expected test error of ordinary least squares on a design that all generations share."""


def law_in_units_of_c(law: str, n: np.ndarray) -> np.ndarray:
    """Return a closed form over c at generations n, shape (G,); d and T drop out, and c is 1 at d = 1, T = 3."""
    return LAWS[law](int(n[-1]), 1, 3)[n - 1]


def _slopes(y: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Least-squares slope of each curve, y (..., C, G) -> (..., C)."""
    centred = n - n.mean()
    return (y * centred).sum(axis=-1) / (centred**2).sum()


@statistic(generations=2)
def minimum_step(y, n):
    """Smallest increase between successive generations; > 0 where the curve rises at every step."""
    return np.diff(y[..., 0, :], axis=-1).min(axis=-1)


@statistic(generations=2)
def largest_excess(y, n):
    """Largest value after the first generation, minus the value there; <= 0 where the curve never exceeds its start."""
    return y[..., 0, 1:].max(axis=-1) - y[..., 0, 0]


@statistic()
def largest(y, n):
    """Largest value over the generations."""
    return y[..., 0, :].max(axis=-1)


@statistic(generations=2)
def ratio(y, n):
    """Value at the last generation over the value at the first."""
    return y[..., 0, -1] / y[..., 0, 0]


@statistic(generations=2)
def slope(y, n):
    """Least-squares slope over the generations, in the metric's unit per generation."""
    return _slopes(y, n)[..., 0]


@statistic(curves=2, generations=2)
def slope_difference(y, n):
    """Least-squares slope of the first curve minus that of the second, paired by seed; < 0 where the first rises less.

    In the metric's unit per generation. Where the curves begin is of no account.
    """
    slopes = _slopes(y, n)
    return slopes[..., 0] - slopes[..., 1]


@statistic(unit="c", law=tuple(LAWS))
def theory_ratio(y, n, *, law):
    """Value over the closed form ``law``, averaged over the generations; 1 where theory holds. y is in units of c."""
    return (y[..., 0, :] / law_in_units_of_c(law, n)).mean(axis=-1)


@statistic(curves=2)
def difference(y, n):
    """First curve minus second, averaged over the generations, paired by seed."""
    return (y[..., 0, :] - y[..., 1, :]).mean(axis=-1)


@statistic(curves=2)
def largest_difference(y, n):
    """Largest value over the generations of first curve minus second; < 0 where the first is lower at all of them."""
    return (y[..., 0, :] - y[..., 1, :]).max(axis=-1)
