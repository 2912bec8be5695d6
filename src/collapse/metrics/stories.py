"""Measures of drawn stories: `collapse.metrics.text` on what a data set of stories decodes and knows."""

from collapse.datasets.stories import Stories
from collapse.items import Items
from collapse.metrics import text


def reference(data: Stories) -> text.Reference:
    """Return what samples are measured against: as many as there are in D_1 and in the test set."""
    size = min(data.size, len(data.test))
    return text.reference(
        data.decode(data.real().first(size)),
        data.decode(data.test),
        words=data.arrays["words"].tobytes().decode().split("\n"),
        digests=frozenset(row.tobytes() for row in data.arrays["digests"]),
        grammar=data.grammar,
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
