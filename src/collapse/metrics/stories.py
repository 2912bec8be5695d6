"""Measures of drawn stories: `collapse.metrics.text` on what a data set of stories decodes and knows."""

import numpy as np

from collapse.datasets.stories import Stories
from collapse.items import Items
from collapse.metrics import text


def others(data: Stories, size: int) -> Items | None:
    """Return ``size`` real stories that are neither among the first ``size`` of D_1 nor among those of the test set.

    The rest of D_1, then further shards, validation, and the rest of the test set; None where all together are too few.
    """
    shards = [data.fresh(n) for n in range(2, data.config.shards + 1)]
    parts, left = [], size
    for items, start in [(data.real(), size), *((s, 0) for s in shards), (data.validation, 0), (data.test, size)]:
        chosen = np.arange(start, min(len(items), start + left))
        if len(chosen):
            parts.append(items.take(chosen[None]))
            left -= len(chosen)
    return None if left else Items.concat(parts)


def reference(data: Stories) -> text.Reference:
    """Return what samples are measured against: as many as there are in D_1 and in the test set.

    The level of real texts is that of `others`; there is none where these are too few.
    """
    size = min(data.size, len(data.test))
    real = others(data, size)
    return text.reference(
        data.decode(data.real().first(size)),
        data.decode(data.test),
        words=data.arrays["words"].tobytes().decode().split("\n"),
        digests=frozenset(row.tobytes() for row in data.arrays["digests"]),
        grammar=data.grammar,
        others=None if real is None else data.decode(real),
    )


def measure(items: Items, real: text.Reference, data: Stories, limit: int) -> dict[str, float]:
    """Measure drawn stories (`collapse.metrics.text.measure`).

    Args:
        items: one chain; the first of them are measured, as many as ``real`` holds.
        real: see `reference`.
        data: the data set that decodes them.
        limit: the most tokens that the sampler draws; a story that has them is truncated.

    Raises:
        DataError: there are too few.
    """
    items = items.first(min(real.size, len(items)))
    return text.measure(data.decode(items), real, truncated=items.output.lengths >= limit)
