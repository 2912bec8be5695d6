"""Verdicts: claims and rows in, one record per claim out, as ``verdicts.json`` holds them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from collapse.errors import DataError
from collapse.judging.claims import Claim
from collapse.judging.grid import Resolution, resolve, split
from collapse.judging.inference import Evidence, bootstrap, holm, p_value, student, verdict
from collapse.judging.tables import values
from collapse.seeding import stream

NOT_JUDGED = "not judged at this scale"


def judge(
    claims: Iterable[Claim],
    rows: pd.DataFrame,
    config: dict[str, Any],
    closed: Mapping[tuple[str, str], str] | None = None,
) -> list[dict[str, Any]]:
    """Judge claims on rows.

    Args:
        claims: all claims of one or several papers. Holm's correction is over each paper's judged ones, so a part of a
            paper's claims may give other verdicts than the whole.
        rows: the rows that `collapse.judging.needs` names, see `collapse.judging.tables`; more do no harm.
        config: the scale's config, with ``cells`` and ``chains``.
        closed: (dataset, recipe) -> why its rows may not be judged, e.g. the quality gate that it failed. A claim that
            compares any of them is not judged.

    Returns:
        Records in the order of the claims, split where they ask for it. ``compared`` lists what the claim compares;
        ``dataset`` and ``recipe`` are one name, or several with commas between where the claim compares them.
        ``estimate``, ``low``, ``high`` (95 %, not adjusted), ``n`` (seeds), ``p`` (two-sided) and ``p_adjusted`` (Holm)
        are None where rows are absent; only ``p_adjusted`` is where they are closed: no claim that is not judged counts
        in Holm's correction. ``reason`` says why it is not.

    Raises:
        CollapseError: a row is missing or doubled or a value is not finite; the claim and the cell are named.
    """
    closed, records, families = closed or {}, [], {}
    for claim in split(claims, config):
        resolution = resolve(claim, config)
        if not resolution.needs:
            records.append(_absent(claim, resolution.reason))
            continue
        record = _measured(claim, resolution, weigh(claim, resolution, rows))
        records.append(record)
        pairs = dict.fromkeys((need["dataset"], need["recipe"]) for need in resolution.needs)
        if reasons := [closed[pair] for pair in pairs if pair in closed]:
            record |= {"p_adjusted": None, "verdict": NOT_JUDGED, "reason": "; ".join(reasons)}
        else:
            families.setdefault(claim.paper, []).append((claim, record))
    for family in families.values():
        for (claim, record), adjusted in zip(family, holm([record["p"] for _, record in family]), strict=True):
            record |= {"p_adjusted": adjusted, "verdict": verdict(record["estimate"], adjusted, claim.test)}
    return records


def weigh(claim: Claim, resolution: Resolution, rows: pd.DataFrame) -> Evidence:
    """Return what the rows say about a claim: its estimate, interval and tails. Raises CollapseError like `judge`."""
    quantity, n = claim.statistic, np.array(claim.statistic.generations)
    sample = quantity.function.encoded(values(claim, resolution.needs, rows), **quantity.options)

    def statistic(curves: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            out = quantity.function(curves, n, **quantity.options)
        if not np.isfinite(out).all():
            raise DataError(f"claim {claim.id!r}: {quantity.name} of {quantity.metric} is not a finite number")
        return out

    if claim.test.kind == "t":
        return student(statistic(sample))
    return bootstrap(sample, statistic, stream("judge", claim.paper, claim.id))


def _head(claim: Claim) -> dict[str, Any]:
    """The part of a record that is known before any row."""
    quantity, test = claim.statistic, claim.test
    return {
        "claim": claim.id,
        "paper": claim.paper,
        "figure": claim.figure,
        "statement": claim.statement,
        "published": claim.published,
        "source": claim.source,
        "compared": list(claim.rows.compared),
        "statistic": {
            "name": quantity.name,
            "metric": quantity.metric or ", ".join(arm.metric for arm in claim.rows.arms),
            "transform": quantity.transform,
            "unit": quantity.unit,
            "generations": [quantity.first, quantity.last],
            **quantity.options,
        },
        "test": {"kind": test.kind, "direction": test.direction, "low": test.low, "high": test.high},
    }


def _measured(claim: Claim, resolution: Resolution, evidence: Evidence) -> dict[str, Any]:
    return {
        **_head(claim),
        **{key: ", ".join(dict.fromkeys(need[key] for need in resolution.needs)) for key in ("dataset", "recipe")},
        "estimate": evidence.estimate,
        "low": evidence.low,
        "high": evidence.high,
        "n": evidence.n,
        "p": p_value(evidence, claim.test),
        "reason": "all seeds gave the same value: no error can be estimated" if evidence.degenerate else None,
    }


def _absent(claim: Claim, reason: str) -> dict[str, Any]:
    empty = ("dataset", "recipe", "estimate", "low", "high", "n", "p", "p_adjusted")
    return {**_head(claim), **dict.fromkeys(empty), "verdict": NOT_JUDGED, "reason": reason}
