"""Verdicts: claims and rows in, one record per claim out, as ``verdicts.json`` holds them."""

from collections.abc import Iterable
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


def judge(claims: Iterable[Claim], rows: pd.DataFrame, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge claims on rows.

    Args:
        claims: all claims of one or several papers. Holm's correction is over each paper's judged ones, so a part of a
            paper's claims may give other verdicts than the whole.
        rows: the rows that `collapse.judging.needs` names, see `collapse.judging.tables`; more do no harm.
        config: the scale's config, with ``cells`` and ``chains``.

    Returns:
        Records in the order of the claims, split where they ask for it. ``estimate``, ``low``, ``high`` (95 %, not
        adjusted), ``n`` (seeds), ``p`` (two-sided) and ``p_adjusted`` (Holm) are None where a claim is not judged;
        ``reason`` then says why.

    Raises:
        CollapseError: a row is missing or doubled or a value is not finite; the claim and the cell are named.
    """
    found = [(claim, resolve(claim, config)) for claim in split(claims, config)]
    records = [
        _judged(claim, resolution, weigh(claim, resolution, rows)) if resolution.needs else _absent(claim, resolution)
        for claim, resolution in found
    ]
    for paper in {claim.paper for claim, _ in found}:
        family = [i for i, (claim, resolution) in enumerate(found) if claim.paper == paper and resolution.needs]
        for i, adjusted in zip(family, holm([records[i]["p"] for i in family]), strict=True):
            records[i]["p_adjusted"] = adjusted
            records[i]["verdict"] = verdict(records[i]["estimate"], adjusted, found[i][0].test)
    return records


def weigh(claim: Claim, resolution: Resolution, rows: pd.DataFrame) -> Evidence:
    """Return what the rows say about a claim: its estimate, interval and tails. Raises CollapseError like `judge`."""
    sample, n = values(claim, resolution.needs, rows), np.array(claim.statistic.generations)
    quantity = claim.statistic

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
        "statistic": {
            "name": quantity.name,
            "metric": quantity.metric,
            "unit": quantity.unit,
            "generations": [quantity.first, quantity.last],
            **quantity.options,
        },
        "test": {"kind": test.kind, "direction": test.direction, "low": test.low, "high": test.high},
    }


def _judged(claim: Claim, resolution: Resolution, evidence: Evidence) -> dict[str, Any]:
    need = resolution.needs[0]
    return {
        **_head(claim),
        "dataset": need["dataset"],
        "recipe": need["recipe"],
        "estimate": evidence.estimate,
        "low": evidence.low,
        "high": evidence.high,
        "n": evidence.n,
        "p": p_value(evidence, claim.test),
        "reason": "all seeds gave the same value: no error can be estimated" if evidence.degenerate else None,
    }


def _absent(claim: Claim, resolution: Resolution) -> dict[str, Any]:
    empty = ("dataset", "recipe", "estimate", "low", "high", "n", "p", "p_adjusted")
    return {**_head(claim), **dict.fromkeys(empty), "verdict": NOT_JUDGED, "reason": resolution.reason}
