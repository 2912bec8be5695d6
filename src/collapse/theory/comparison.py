"""How far simulation and closed forms are apart, in standard errors.

Rows are those of `collapse simulate`, a row per fit, with a column ``N`` (`collapse.quantiles.with_size`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from collapse.datasets.discrete import Config
from collapse.errors import DataError
from collapse.theory.oracles import DISCRETE, ENDS, GAUSSIAN, Curve, Of, Oracle

GENERATIONS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 500, 1000)
"""Those that are compared, beside the last one of a chain."""
FEW = 10
"""States up to which each one's chance to be left is compared."""
LEAST = 5
"""Chains that differ from the most frequent value, or are expected to: the mean of fewer has no normal law."""


def compare(rows: pd.DataFrame, laws: Mapping[str, Config], least: int = 200) -> pd.DataFrame:
    """Return simulation beside theory: a row per closed form, group of chains and generation.

    Args:
        rows: those of the families gaussian and discrete count.
        laws: data set -> the law of its states.
        least: groups of fewer chains are left out. Most values are skewed, and the means of a few of them not normal.

    Returns:
        Columns ``oracle``, ``formula``, ``dataset``, ``policy``, ``N``, ``ddof``, ``d``, ``state`` (from 1),
        ``generation``, ``chains``, ``simulated`` (mean), ``error`` (its standard error), ``theory``, ``z``; where
        there is a leading form ``leading``, ``neglected`` = theory - leading, and ``order``, the power of 1/M at
        which that falls as M doubles.

    Raises:
        DataError: a value is missing or not finite, or a data set has no law.
    """
    rows, out = rows[rows["family"].isin({oracle.family for oracle in (*GAUSSIAN, *DISCRETE)})], []
    keys = ["family", "dataset", "policy", "N", *(name for name in ("ddof", "d") if name in rows)]
    for key, group in rows.groupby(keys, sort=False, dropna=False):
        names = dict(zip(keys, key, strict=True))
        if group["seed"].nunique() < least:
            continue
        of = _of(names, group, laws)
        states = of["law"].states if "law" in of and of["law"].states <= FEW else 0
        asked = [(oracle, of) for oracle in (*GAUSSIAN, *DISCRETE)]
        asked += [(ENDS, {**of, "state": state}) for state in range(1, states + 1)]
        for oracle, this in asked:
            if (
                oracle.family == names["family"]
                and _is(names["policy"], oracle.policy)
                and oracle.many == (this.get("d", 1) > 1)
            ):
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
    return {**found, "ddof": int(names["ddof"]), "d": int(names["d"])}


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
    return pd.DataFrame(out)[(differ >= LEAST) & np.isfinite(theory)]
