"""Which closed form belongs to which column of a chain's rows.

`collapse.theory.comparison` tells how far the two are apart.

Rows are those of `collapse simulate`, a row per fit, with a column ``N`` (`collapse.quantiles.with_size`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from collapse.datasets.discrete import Config
from collapse.errors import DataError
from collapse.theory import discrete, gaussian

Of = Mapping[str, Any]
"""What names a group of chains: ``N``, ``ddof``, ``d``, ``share`` (of real items after generation 1), ``law``."""
NEAR = 0.01
"""A limit is compared where theory has come to it but for this share."""
Curve = Callable[[Of, int], np.ndarray]
"""(of, number of generations G) -> (G,)."""


@dataclass(frozen=True)
class Oracle:
    """A closed form.

    Attributes:
        name, formula: what it is about, and what it says, in matplotlib's mathtext.
        family: of the rows.
        policy: of the rows; a number may follow it in their policies' names, as in ``real_fraction_10``.
        value: (rows, of) -> what is averaged over chains, a number for each row.
        theory: its expectation; NaN where it is not to be compared.
        leading: the same to leading order in 1/M; None where nobody uses one. NaN where it does not hold.
        heavy: whether the law of ``value`` widens as the variance's does under replace. Then a few chains carry the
            mean, and the standard error is too small: generations are compared while 2n / N, the variance of
            log sigma_n^2, is at most a thousandth of the number of chains.
        indicator: whether ``value`` is 0 or 1, so that its standard error follows from the expectation.
        last: the last generation that is compared.
        many: whether it is of Gaussians in more than one dimension; of others it is not, then.
    """

    name: str
    formula: str
    family: str
    policy: str
    value: Callable[[pd.DataFrame, Of], Any]
    theory: Curve
    leading: Curve | None = None
    heavy: bool = False
    indicator: bool = False
    last: int | None = None
    many: bool = False


def column(name: str, power: int = 1) -> Callable[[pd.DataFrame, Of], Any]:
    """Return (rows, of) -> a column of the rows to a power."""
    return lambda rows, of: rows[name] ** power


def _n(last: int) -> np.ndarray:
    return np.arange(1, last + 1)


def _moments(policy: str, title: str, rule, drift: str, variance: str, leading=None, heavy=False) -> tuple[Oracle, ...]:
    """Return the oracles of E mu_n^2 and E s_n^2 of a policy; ``rule`` is (of, G) -> both."""
    make = partial(Oracle, family="gaussian", policy=policy, heavy=heavy)
    first = make(
        f"mean: {title}", drift, value=column("mean_error", 2), theory=lambda of, last: rule(of, last).drift,
        leading=leading,
    )  # fmt: skip
    second = make(
        f"variance: {title}", variance, value=column("sd", 2), theory=lambda of, last: rule(of, last).variance
    )
    return first, second


def _walk(of: Of, last: int) -> gaussian.Walk:
    return gaussian.log_sigma(last, of["N"], of["ddof"], of["d"])


def _spread_of_walk(rows: pd.DataFrame, of: Of) -> np.ndarray:
    n = rows["generation"].to_numpy()
    return (rows["log_sigma"].to_numpy() - _walk(of, n.max()).mean[n - 1]) ** 2


def _per_log_det(of: Of) -> int:
    """Return 2d: log det Sigma_n is so many times the column ``log_sigma``."""
    return 2 * of["d"]


def _limit(rule, limit) -> Curve:
    """Return a limit of the drift with ddof = 0 where the rule's own drift is near it, and NaN before."""

    def theory(of: Of, last: int) -> np.ndarray:
        if of["ddof"]:
            return np.full(last, np.nan)
        end = limit(of["N"], of["share"]).drift
        return np.where(abs(rule(last, of["N"], of["share"], 0).drift / end - 1) < NEAR, end, np.nan)

    return theory


def _golden_limit(of: Of, last: int) -> np.ndarray:
    return np.where(_n(last) == last, gaussian.golden_limit(of["N"]), np.nan)


_REPLACE = partial(Oracle, family="gaussian", policy="replace")
_MANY = partial(_REPLACE, many=True)
GAUSSIAN = (
    *_moments(
        "replace", "replace", lambda of, last: gaussian.replace(last, of["N"], of["ddof"]),
        r"$E\,\mu_n^2 = \Sigma_{i<n}\, v^i / M,\ \ v = (M - 1) / (M - ddof)$", r"$E\,s_n^2 = v^n$",
        leading=lambda of, last: _n(last) / of["N"], heavy=True,
    ),
    _REPLACE(
        "log spread: replace", r"$E\, \log s_n = (n/2)\,[\psi((M-1)/2) - \ln((M - ddof)/2)]$",
        value=column("log_sigma"), theory=lambda of, last: _walk(of, last).mean,
        leading=lambda of, last: -_n(last) * (2 - of["ddof"]) / of["N"] / 2,
    ),
    _REPLACE(
        "its variance: replace", r"$Var\, \log s_n = (n/4)\,\psi'((M-1)/2)$", value=_spread_of_walk,
        theory=lambda of, last: _walk(of, last).variance, leading=lambda of, last: _n(last) / of["N"] / 2,
    ),
    _REPLACE(
        r"risk, $E\,W_2^2$: replace", r"$E\,\mu_n^2 + v^n - 2\,(c_4 \sqrt{v})^n + 1$", value=column("wasserstein2"),
        theory=lambda of, last: gaussian.risk(last, of["N"], of["ddof"]),
        leading=lambda of, last: gaussian.risk_leading(last, of["N"]), heavy=True,
    ),
    _REPLACE(
        "KL divergence: replace", r"$E\,s_n^{-2} = q^n,\ \ q = (M - ddof)/(M - 3)$", value=column("kl_divergence"),
        theory=lambda of, last: gaussian.kl(last, of["N"], of["ddof"]), leading=lambda of, last: _n(last) / of["N"],
        heavy=True,
    ),
    _REPLACE(
        "one estimate", r"$E\,s_1 = c_4(M - 1) \sqrt{v}$", value=column("sd"), last=1,
        theory=lambda of, last: np.full(last, gaussian.sd_estimate(of["N"], of["ddof"]).mean),
    ),
    *_moments(
        "accumulate", "accumulate", lambda of, last: gaussian.accumulate(last, of["N"], of["ddof"]),
        r"$E\,\mu_n^2 = \Sigma_{i \leq n}\, E\,s_{i-1}^2 / (M i^2) < \pi^2 / 6M$", "recursion of second moments",
        leading=lambda of, last: gaussian.accumulate_leading(last, of["N"]),
    ),
    *_moments(
        "accumulate_subsample", "subsample of the pool",
        lambda of, last: gaussian.accumulate_subsample(last, of["N"], of["ddof"]), "recursion of second moments",
        "recursion of second moments",
    ),
    *_moments(
        "real_fraction", "real items, redrawn",
        lambda of, last: gaussian.real_fraction(last, of["N"], of["share"], of["ddof"]),
        "recursion of second moments", "recursion of second moments",
    ),
    Oracle(
        "limit of the mean: items redrawn", r"$(1 + 2ab)/D,\ \ a = 1 - b = R/M$, for ddof = 0", "gaussian",
        "real_fraction", column("mean_error", 2), _limit(gaussian.real_fraction, gaussian.real_limit),
    ),
    *_moments(
        "fresh_real", "real items, fresh", lambda of, last: gaussian.fresh_real(last, of["N"], of["share"], of["ddof"]),
        "recursion of second moments", "recursion of second moments",
    ),
    Oracle(
        "limit of the mean: items fresh", r"$1/D,\ \ D = 1 - a + a M (2 - a)$, for ddof = 0", "gaussian",
        "fresh_real", column("mean_error", 2), _limit(gaussian.fresh_real, gaussian.fresh_limit),
    ),
    *_moments(
        "golden_ratio", "golden ratio", lambda of, last: gaussian.golden_ratio(last, of["N"], ddof=of["ddof"]),
        r"$\to w^* / M$ to order $1/M$, $w^* = (\sqrt{5} - 1)/2$", "recursion of second moments", leading=_golden_limit,
    ),
    _MANY(
        "mean: replace, d > 1", r"$E\,|\mu_n|^2 = d\,\Sigma_{i<n}\, v^i / M$", value=column("mean_error", 2),
        heavy=True, theory=lambda of, last: of["d"] * gaussian.replace(last, of["N"], of["ddof"]).drift,
    ),
    _MANY(
        "trace: replace, d > 1", r"$E\,tr\,\Sigma_n / d = v^n$", value=column("trace_ratio"), heavy=True,
        theory=lambda of, last: gaussian.replace(last, of["N"], of["ddof"]).variance,
    ),
    _MANY(
        "log determinant: replace, d > 1",
        r"$n\,\Sigma_{j \leq d}\,[\psi((M-j)/2) - \ln((M - ddof)/2)]$",
        value=lambda rows, of: _per_log_det(of) * rows["log_sigma"],
        theory=lambda of, last: _per_log_det(of) * _walk(of, last).mean,
    ),
    _MANY(
        "its variance: replace, d > 1", r"$n\,\Sigma_{j \leq d}\,\psi'((M-j)/2)$",
        value=lambda rows, of: _per_log_det(of) ** 2 * _spread_of_walk(rows, of),
        theory=lambda of, last: _per_log_det(of) ** 2 * _walk(of, last).variance,
    ),
    _MANY(
        "KL divergence: replace, d > 1", r"$E\,\Sigma_n^{-1} = q^n,\ \ q = (M - ddof)/(M - d - 2)$",
        value=column("kl_divergence"), heavy=True,
        theory=lambda of, last: gaussian.kl(last, of["N"], of["ddof"], of["d"]),
    ),
)  # fmt: skip


def _fates(of: Of, last: int) -> discrete.Fates:
    return discrete.fates(of["law"].probabilities, of["N"], last)


def _pairs(policy: str, title: str, formula: str, rule: Callable) -> Oracle:
    """Return the oracle of the heterozygosity of a policy; ``rule`` is (G, M), or (G, M, share) with real items."""

    def theory(of: Of, last: int) -> np.ndarray:
        return rule(last, of["N"], *([of["share"]] if policy in ("real_fraction", "fresh_real") else []))

    return Oracle(f"heterozygosity: {title}", formula, "discrete", policy, column("heterozygosity_ratio"), theory)


_COUNTS = partial(Oracle, family="discrete", policy="replace")
DISCRETE = (
    _pairs("replace", "replace", r"$H_n / H_0 = (1 - 1/M)^n$", discrete.replace),
    _pairs("accumulate", "accumulate", r"$H_n / H_0 = \Pi_{i \leq n}\, (1 - 1/(M i^2))$", discrete.accumulate),
    _pairs("accumulate_subsample", "subsample of the pool", "recursion of pairs", discrete.accumulate_subsample),
    _pairs("real_fraction", "real items, redrawn", "recursion of pairs", discrete.real_fraction),
    _pairs("fresh_real", "real items, fresh", r"$\to (1 - b^2 - a/M) / (1 - b^2 + b/M)$", discrete.fresh_real),
    _COUNTS(
        "states alive at n = 1", r"$K - \Sigma_i\, (1 - p_i)^M$", value=column("states_alive"), last=1,
        theory=lambda of, last: np.full(last, (1 - discrete.extinction(of["law"].probabilities, of["N"])).sum()),
    ),
    _COUNTS(
        "one state left", r"chain of each count, $X_n \sim Bin(M, X_{n-1}/M)$", value=column("absorbed"),
        theory=lambda of, last: _fates(of, last).fixed.sum(axis=1), indicator=True,
    ),
)  # fmt: skip


ENDS = _COUNTS(
    "state i is the one left", r"the same, of state i; $\to p_0(i)$", value=lambda rows, of: _ended(rows, of["state"]),
    theory=lambda of, last: _fates(of, last).fixed[:, of["state"] - 1], indicator=True,
)  # fmt: skip
"""Of a state, ``of["state"]``, from 1."""


def _ended(rows: pd.DataFrame, state: int) -> pd.Series:
    return rows["absorbed"] * (rows["top_state"] == state - 1)


def law(rows: pd.DataFrame, entry: Mapping[str, Any]) -> Config:
    """Return the settings of a data set of discrete distributions, without its T.

    Args:
        rows: of this data set alone.
        entry: of the config.

    Raises:
        DataError: the rows are of another law.
    """
    config = Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k not in ("kind", "T")})
    true = 1 - (config.probabilities**2).sum()
    if not np.allclose(rows["heterozygosity"], rows["heterozygosity_ratio"] * true, rtol=1e-9, atol=1e-12):
        names = ", ".join(map(str, rows["dataset"].unique()))
        raise DataError(f"rows of {names} are of another law than the figure's options say: give it its entry")
    return config
