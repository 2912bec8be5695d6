"""Measures of drawn arithmetic statements: correctness and diversity, two axes that do not touch.

Correctness asks whether statements are true. Diversity asks which left-hand sides they have, right or wrong in their
results, and compares with what as many real left-hand sides hold in expectation, which is exact: 1 is the level of real
data, and sampling error alone does not move it.
"""

import numpy as np

from collapse.datasets.arithmetic import Arithmetic
from collapse.datasets.expressions import verdict
from collapse.datasets.statements import LEFT, Law
from collapse.datasets.words import entropy
from collapse.items import Items


def reference(data: Arithmetic) -> Law:
    """Return what samples are measured against: the true law."""
    return data.law


def measure(items: Items, real: Law, data: Arithmetic, limit: int) -> dict[str, float]:
    """Measure the drawn statements of one chain.

    Args:
        items: one chain; all are measured.
        real: the true law, see `reference`.
        data: the data set that decodes them.
        limit: the most characters that the sampler draws.

    Returns:
        Of all items, correctness:
        ``parsed`` the share that are statements at all, an expression and an integer (`collapse.datasets.expressions`);
        ``correct`` the share of these that are true, 0 where none is a statement;
        ``valid`` the share that the law can draw: true, and of its form. What the formal checker keeps;
        ``formed`` the share that begin with a left-hand side of the law;
        ``truncated`` the share that have ``limit`` characters, and so no end.

        Of the items with a left-hand side of the law, diversity of these, whatever their results:
        ``distinct`` different left-hand sides, over what is expected of as many real ones;
        ``coverage`` the same of the rare ones, which hold a tenth of the law (`Law.rare`);
        ``rare_mass`` share of the rare ones, over their mass in the law;
        ``entropy`` of their characters in nats, 3 H(operand) + 2 H(operator), positions pooled, as counted;
        ``entropy_ratio`` the same over that of the law;
        ``total_variation`` distance from the law (`Law.variation`), and ``real_total_variation`` what is expected of
        as many real ones. Where no item has such a left-hand side, the first five are 0 and both distances 1.
    """
    texts = data.decode(items)
    verdicts = [verdict(text) for text in texts]
    parsed = sum(v is not None for v in verdicts)
    left = [text[:LEFT] for text in texts if text[:LEFT] in real.place]
    return {
        "parsed": parsed / len(texts),
        "correct": sum(v is True for v in verdicts) / max(parsed, 1),
        "valid": float(np.isfinite(data.truth(items)).mean()),
        "formed": len(left) / len(texts),
        "truncated": float((items.output.lengths >= limit).mean()),
        **_diversity(left, real),
    }


def _diversity(left: list[str], real: Law) -> dict[str, float]:
    """Compare m left-hand sides with the law; see `measure`."""
    count = np.bincount([real.place[text] for text in left], minlength=len(real.left))  # (L,)
    expected = real.expected_distinct(len(left))
    characters = "".join(left)
    each = [np.array([characters.count(c) for c in kind]) for kind in (real.digits, real.operators)]
    spread = 3 * entropy(each[0]) + 2 * entropy(each[1])
    none = not left
    return {
        "distinct": 0.0 if none else float((count > 0).sum() / expected.sum()),
        "coverage": 0.0 if none else float((count > 0)[real.rare].sum() / expected[real.rare].sum()),
        "rare_mass": 0.0 if none else float(count[real.rare].sum() / len(left) / real.p[real.rare].sum()),
        "entropy": spread,
        "entropy_ratio": spread / real.entropy,
        "total_variation": 1.0 if none else real.variation(left),
        "real_total_variation": 1.0 if none else real.expected_variation(len(left)),
    }
