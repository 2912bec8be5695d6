"""The quantities that claims are about: named pure functions of curves over generations. NumPy only.

A statistic maps y, shape (..., C, G), to shape (...): C curves (of policies, or whatever the claim compares, in its
order), G generations n. What is averaged over seeds depends on the claim's test:

    t          the statistic of each seed's curve, then the mean over seeds: a statement about single runs
    bootstrap  the statistic of the mean curve over seeds: a statement about expectations, as theory makes

The two differ where the statistic is not linear. The mean of a minimum lies below the minimum of the means, and the
mean of a maximum above the maximum of the means, by noise alone. `minimum_step` > 0, `largest` < b and
`largest_excess` < 0 are therefore harder to show with noise, never easier; shown the other way round, they say that a
single run of the mean size of noise breaks the rule, not that the expected curve does. The same holds for
`least_excess` > 0 and `largest_step` < 0.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse.theory import linear

TRANSFORMS = {"log": np.log, "square": np.square}
"""Functions of the value of a row: of each seed's, before any mean over seeds."""


@dataclass(frozen=True)
class Statistic:
    """A named statistic.

    Attributes:
        function: ``(y, n, **options)``; y (..., C, G), n (G,) the generations; returns shape (...).
        curves: C, how many curves it compares.
        generations: the least G.
        unit: the unit that y must be in; None where any will do.
        options: further arguments, name -> default (``inspect.Parameter.empty`` where it must be given).
        choices: option -> its valid values, or a function that tells whether one is, its docstring what it must be.
        kind: the only test that it makes sense with; None where any will do.
        encode: ``(y, **options)`` -> what seeds are averaged, (..., C', G); None where they are as they are. The
            function then gets means of these.
    """

    function: Callable[..., np.ndarray]
    curves: int
    generations: int
    unit: str | None
    options: dict[str, object]
    choices: dict[str, tuple[str, ...] | Callable[..., bool]]
    kind: str | None = None
    encode: Callable[..., np.ndarray] | None = None

    def encoded(self, sample: np.ndarray, **options) -> np.ndarray:
        """Return what seeds are averaged, out of the curves of all seeds, (S, C, G) -> (S, C', G)."""
        return sample if self.encode is None else self.encode(sample, **options)

    def __call__(self, y: np.ndarray, n: np.ndarray, **options) -> np.ndarray:
        """Return the statistic of (encoded) curves y (..., C, G) at generations n (G,), shape (...)."""
        curves = y.shape[-2] if self.encode else self.curves
        if y.shape[-2:] != (curves, len(n)):
            raise ValueError(f"curves of shape {y.shape[-2:]}, expected {(curves, len(n))}")
        return self.function(y, np.asarray(n), **options)


STATISTICS: dict[str, Statistic] = {}


def statistic(*, curves: int = 1, generations: int = 1, unit=None, kind=None, encode=None, **choices):
    """Register a function ``(y, n, *, options) -> values`` under its name."""

    def register(function):
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        STATISTICS[function.__name__] = Statistic(function, curves, generations, unit, options, choices, kind, encode)
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
def largest_step(y, n):
    """Largest increase between successive generations; < 0 where the curve falls at every step."""
    return np.diff(y[..., 0, :], axis=-1).max(axis=-1)


@statistic(generations=2)
def least_excess(y, n):
    """Smallest value after the first generation, minus the value there; > 0 where the curve never returns to it."""
    return y[..., 0, 1:].min(axis=-1) - y[..., 0, 0]


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


def _changes(y: np.ndarray) -> np.ndarray:
    """Value at the last generation minus the value at the first, y (..., C, G) -> (..., C)."""
    return y[..., -1] - y[..., 0]


@statistic(generations=2)
def change(y, n):
    """Value at the last generation minus the value at the first, whatever lies between."""
    return _changes(y)[..., 0]


@statistic(curves=2, generations=2)
def change_difference(y, n):
    """Change of the first curve from the first to the last generation, minus that of the second, paired by seed."""
    changes = _changes(y)
    return changes[..., 0] - changes[..., 1]


@statistic(curves=4, generations=2)
def main_effect(y, n):
    """Mean change of the first two curves minus that of the other two, paired by seed: an effect in a 2 x 2 design."""
    changes = _changes(y)
    return changes[..., :2].mean(axis=-1) - changes[..., 2:].mean(axis=-1)


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


def _probabilities(p) -> bool:
    """a list of positive numbers with sum 1"""
    numbers = isinstance(p, list) and all(isinstance(x, int | float) and not isinstance(x, bool) and x > 0 for x in p)
    return numbers and abs(sum(p) - 1) < 1e-4


def _indicators(y, *, p):
    """Values of one curve that are states 0..K-1, (..., 1, G) -> a curve for each state, 1 where it is it, (..., K, G).

    K is the length of ``p``; a value that is none of them belongs to no curve.
    """
    return (y == np.arange(len(p))[:, None]).astype(float)


@statistic(kind="bootstrap", encode=_indicators, p=_probabilities)
def largest_deviation(y, n, *, p):
    """Largest |f_i - p_i|, f_i the share of seeds whose value is i, averaged over the generations.

    Positive also where p is true, by about one standard error sqrt(p_i (1 - p_i) / S) over S seeds, and resamples of
    the bootstrap lie higher still: that f is near p is harder to show with noise, never easier, and that it is not is
    easier, where it differs by nearly as much as the bound.
    """
    return abs(y - np.asarray(p)[:, None]).max(axis=-2).mean(axis=-1)
