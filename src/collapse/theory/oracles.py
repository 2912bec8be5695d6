"""Which closed form belongs to which column of a chain's rows, and how far the two are apart in standard errors.

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

GENERATIONS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 500, 1000)
"""Those that are compared, beside the last one of a chain."""
FEW = 10
"""States up to which each one's chance to be left is compared."""
LEAST = 5
"""Chains that differ from the most frequent value, or are expected to: the mean of fewer has no normal law."""
Of = Mapping[str, Any]
"""What names a group of chains: ``N``, ``ddof``, ``share`` (of real items after generation 1), ``law``."""
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
        theory: its expectation.
        leading: the same to leading order in 1/M; None where nobody uses one. NaN where it does not hold.
        heavy: whether the law of ``value`` widens as the variance's does under replace. Then a few chains carry the
            mean, and the standard error is too small: generations are compared while 2n / N, the variance of
            log sigma_n^2, is at most a thousandth of the number of chains.
        indicator: whether ``value`` is 0 or 1, so that its standard error follows from the expectation.
        last: the last generation that is compared.
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
    return gaussian.log_sigma(last, of["N"], of["ddof"])


def _spread_of_walk(rows: pd.DataFrame, of: Of) -> np.ndarray:
    n = rows["generation"].to_numpy()
    return (rows["log_sigma"].to_numpy() - _walk(of, n.max()).mean[n - 1]) ** 2


def _golden_limit(of: Of, last: int) -> np.ndarray:
    return np.where(_n(last) == last, gaussian.golden_limit(of["N"]), np.nan)


_REPLACE = partial(Oracle, family="gaussian", policy="replace")
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
        r"$\to (1 + 2ab)/D,\ \ a = 1 - b = R/M$", r"$\to 1 - (1 + 2ab)/D$ for ddof = 0",
    ),
    *_moments(
        "fresh_real", "real items, fresh", lambda of, last: gaussian.fresh_real(last, of["N"], of["share"], of["ddof"]),
        r"$\to 1/D,\ \ D = 1 - a + a M (2 - a)$", r"$\to 1 - 1/D$ for ddof = 0",
    ),
    *_moments(
        "golden_ratio", "golden ratio", lambda of, last: gaussian.golden_ratio(last, of["N"], ddof=of["ddof"]),
        r"$\to w^* / M$ to order $1/M$, $w^* = (\sqrt{5} - 1)/2$", "recursion of second moments", leading=_golden_limit,
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


def compare(rows: pd.DataFrame, laws: Mapping[str, Config], least: int = 200) -> pd.DataFrame:
    """Return simulation beside theory: a row per closed form, group of chains and generation.

    Args:
        rows: those of the families gaussian (one dimension) and discrete count.
        laws: data set -> the law of its states.
        least: groups of fewer chains are left out. Most values are skewed, and the means of a few of them not normal.

    Returns:
        Columns ``oracle``, ``formula``, ``dataset``, ``policy``, ``N``, ``ddof``, ``state`` (from 1), ``generation``,
        ``chains``, ``simulated`` (mean), ``error`` (its standard error), ``theory``, ``z``; where there is a leading
        form ``leading``, ``neglected`` = theory - leading, and ``order``, the power of 1/M at which that falls as M
        doubles.

    Raises:
        DataError: a value is missing or not finite, or a data set has no law.
    """
    rows, out = rows[rows["family"].isin({oracle.family for oracle in (*GAUSSIAN, *DISCRETE)})], []
    keys = ["family", "dataset", "policy", "N", *(["ddof"] if "ddof" in rows else [])]
    for key, group in rows.groupby(keys, sort=False, dropna=False):
        names = dict(zip(keys, key, strict=True))
        if group["seed"].nunique() < least:
            continue
        of = _of(names, group, laws)
        states = of["law"].states if "law" in of and of["law"].states <= FEW else 0
        asked = [(oracle, of) for oracle in (*GAUSSIAN, *DISCRETE)]
        asked += [(ENDS, {**of, "state": state}) for state in range(1, states + 1)]
        for oracle, this in asked:
            if oracle.family == names["family"] and _is(names["policy"], oracle.policy):
                named = {"state": this.get("state", np.nan), **{k: names[k] for k in keys[1:]}}
                out.append(_compared(oracle, group, this).assign(**named))
    if not out:
        raise DataError(
            f"no closed form belongs to the rows: add at least {least} chains of Gaussians or of discrete distributions"
        )
    found = pd.concat(out, ignore_index=True)
    order = ["oracle", "formula", *keys[1:], "state"]
    return found[[*order, *(c for c in found if c not in order)]]


def _is(policy: str, kind: str) -> bool:
    """Whether a policy's name is a kind, or a kind and a number."""
    rest = policy.removeprefix(kind)
    return policy.startswith(kind) and (not rest or (rest[0] == "_" and rest[1:].isdigit()))


def _of(names: Mapping[str, Any], group: pd.DataFrame, laws: Mapping[str, Config]) -> dict[str, Any]:
    later = group.loc[group["generation"] > 1, "real_fraction"]
    found = {"N": int(names["N"]), "share": later.iloc[0] if len(later) else 1.0}
    if names["family"] == "discrete":
        if names["dataset"] not in laws:
            raise DataError(f"rows of {names['dataset']} need the law of its states: give its entry")
        return {**found, "law": laws[names["dataset"]]}
    return {**found, "ddof": int(names["ddof"])}


def _compared(oracle: Oracle, group: pd.DataFrame, of: Of) -> pd.DataFrame:
    """Return the rows of `compare` for one closed form and group."""
    last, chains = int(group["generation"].max()), group["seed"].nunique()
    end = min(last, oracle.last or last)
    if oracle.heavy:
        end = max(1, min(end, of["N"] * chains // 2000))
    n = np.array(sorted({g for g in (*GENERATIONS, last) if g <= end}))
    rows = group[group["generation"].isin(n)]
    values = pd.Series(np.asarray(oracle.value(rows, of), float), rows.index).groupby(rows["generation"])
    found = values.agg(["mean", "std", "count"]).reindex(n)
    if not ((found["count"] == chains).all() and np.isfinite(found["mean"]).all() and chains > 1):
        raise DataError(f"{oracle.name}: rows are missing or not finite, or there is one chain alone")

    def curve(rule: Curve, size: int) -> np.ndarray:
        return np.asarray(rule({**of, "N": size}, last))[n - 1]

    theory = curve(oracle.theory, of["N"])
    error = np.sqrt(theory * (1 - theory) / chains) if oracle.indicator else found["std"].to_numpy() / np.sqrt(chains)
    apart = found["mean"].to_numpy() - theory
    out = {"oracle": oracle.name, "formula": oracle.formula, "generation": n, "chains": chains}
    out |= {"simulated": found["mean"].to_numpy(), "error": error, "theory": theory}
    with np.errstate(divide="ignore", invalid="ignore"):
        out["z"] = np.where(apart == 0, 0.0, apart / error)
        if oracle.leading:
            out["leading"] = curve(oracle.leading, of["N"])
            out["neglected"] = theory - out["leading"]
            twice = curve(oracle.theory, 2 * of["N"]) - curve(oracle.leading, 2 * of["N"])
            order = np.log2(abs(out["neglected"] / twice))
            out["order"] = np.where(abs(twice) > 1e-13, order, np.nan)  # where nothing is neglected there is no order
    if oracle.indicator:
        differ = np.minimum(theory, 1 - theory) * chains
    else:
        differ = chains - values.agg(lambda v: v.value_counts().iloc[0]).reindex(n).to_numpy()
    return pd.DataFrame(out)[differ >= LEAST]
