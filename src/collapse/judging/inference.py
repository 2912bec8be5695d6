"""Intervals and p-values over seeds, Holm's correction, and the verdict that follows.

Intervals are two-sided, 95 %, and not adjusted for the number of claims. p-values are two-sided as well, so that
contradiction needs as much evidence as replication, and the verdict uses those adjusted by Holm over a paper's claims.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from collapse.judging.claims import Criterion

LEVEL = 0.05
RESAMPLES = 9999


@dataclass(frozen=True)
class Evidence:
    """What n seeds say about a statistic.

    Attributes:
        estimate: the statistic.
        low: lower end of the 95 % interval.
        high: upper end.
        n: number of seeds.
        above: bound -> one-sided p-value of "the statistic does not exceed the bound"; small where it does.
        below: bound -> one-sided p-value of "the statistic is not below the bound".
    """

    estimate: float
    low: float
    high: float
    n: int
    above: Callable[[float], float]
    below: Callable[[float], float]

    @property
    def degenerate(self) -> bool:
        """Whether all seeds (or resamples) gave the same value, so that no error can be estimated."""
        return self.low == self.high


def student(sample: np.ndarray) -> Evidence:
    """Return the evidence of Student's t test with df = n - 1 on one value per seed, shape (n,), n >= 2.

    The estimate is the mean. Comparisons are paired: take differences within seeds first.
    """
    mean, n = float(np.mean(sample)), len(sample)
    if np.ptp(sample) == 0:
        return Evidence(mean, mean, mean, n, lambda bound: 1.0, lambda bound: 1.0)
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(1 - LEVEL)

    def tail(side: str) -> Callable[[float], float]:
        return lambda bound: float(stats.ttest_1samp(sample, bound, alternative=side).pvalue)

    return Evidence(mean, float(low), float(high), n, tail("greater"), tail("less"))


def bootstrap(
    sample: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Evidence:
    """Return the percentile bootstrap's evidence on a statistic of the mean over seeds.

    Seeds are resampled whole, so that policies and generations stay paired and dependent cells do no harm. One-sided
    p-values are shares of resamples beyond the bound, (count + 1) / (resamples + 1) (Davison and Hinkley 1997, 4.4),
    hence 1e-4 at least by default.

    Args:
        sample: one array per seed, shape (n, ...).
        statistic: maps means over seeds, shape (b, ...), to values, shape (b,).
        rng: generator of the resampling.
        resamples: number of resamples.
    """

    def of(index, axis=-1):
        return statistic(sample[index.astype(int)].mean(axis=-sample.ndim))

    n = len(sample)
    result = stats.bootstrap(
        (np.arange(n),),
        of,
        n_resamples=resamples,
        batch=250,
        vectorized=True,
        confidence_level=1 - LEVEL,
        method="percentile",
        rng=rng,
    )
    drawn, (low, high) = result.bootstrap_distribution, result.confidence_interval

    def share(beyond: np.ndarray) -> float:
        return float((beyond.sum() + 1) / (resamples + 1))

    return Evidence(
        float(statistic(sample.mean(axis=0))),
        float(low),
        float(high),
        n,
        lambda bound: share(drawn <= bound),
        lambda bound: share(drawn >= bound),
    )


def p_value(evidence: Evidence, criterion: Criterion) -> float | None:
    """Return the two-sided p-value of a claim; None where no error can be estimated.

    ``greater``, ``less``: twice the smaller tail at the null value. ``within`` [low, high]: twice the smaller of two
    one-sided p-values, that of two one-sided tests for equivalence (the larger tail, the value lies inside) and that of
    lying outside (the smaller tail). It is below 5 % exactly where the 95 % interval lies inside the bounds or wholly
    outside, and enters Holm's correction like any other.
    """
    if evidence.degenerate:
        return None
    if criterion.direction == "within":
        inside = max(evidence.above(criterion.low), evidence.below(criterion.high))
        outside = min(evidence.below(criterion.low), evidence.above(criterion.high))
        return min(1.0, 2 * min(inside, outside))
    return min(1.0, 2 * min(evidence.above(criterion.low), evidence.below(criterion.low)))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given.

    The k-th smallest of m is multiplied by m - k + 1, then no value may be below a smaller one's, nor above 1. None
    counts as 1 and stays None: a test that cannot reject is still a test.
    """
    m, out, reached = len(p), [None] * len(p), 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda i: 1.0 if p[i] is None else p[i])):
        if p[i] is not None:
            reached = max(reached, min(1.0, (m - rank) * p[i]))
            out[i] = reached
    return out


def verdict(estimate: float, p_adjusted: float | None, criterion: Criterion) -> str:
    """Return ``replicated`` or ``contradicted``, by the side of the estimate, or ``inconclusive``."""
    if p_adjusted is None or p_adjusted >= LEVEL:
        return "inconclusive"
    holds = {
        "greater": estimate > criterion.low,
        "less": estimate < criterion.low,
        "within": criterion.low <= estimate <= criterion.high,
    }[criterion.direction]
    return "replicated" if holds else "contradicted"
