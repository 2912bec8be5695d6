"""Random numbers of many cheap chains at once: a generator for each block of chains instead of one for each chain.

To make a generator takes longer than a whole generation of a Gaussian chain. A block draws for all its chains,
whichever of them run, and a chain takes its row: it gives the same numbers alone and beside others.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from collapse.seeding import Streams, stream

MOST, LEAST, VALUES = 1024, 16, 4096
"""Chains of a block, and the random numbers of all its chains together where that lies between the two."""


def in_blocks(rng: Streams, width: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> np.ndarray:
    """Return a row of ``draw(generator, size)`` for each chain. Shapes: each draw (size, ...), result (S, ...).

    Args:
        rng: names of the draw and its chains; the block takes the place of the seed.
        width: random numbers that a chain needs; it sets the size of the blocks.
        draw: must not depend on which chains run. Call this once for a name: a second call draws the same again.
    """
    size = min(max(VALUES // width, LEAST), MOST)
    blocks, place, row = _places(rng.seeds, size)
    drawn = [draw(stream(*rng.name, "block", block), size) for block in blocks]
    return drawn[0][row] if len(drawn) == 1 else np.stack(drawn)[place, row]


@lru_cache(maxsize=16)
def _places(seeds: tuple[int, ...], size: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return the blocks of the chains, and of each chain which of them it is in and its row there."""
    block, row = np.divmod(np.asarray(seeds), size)
    blocks, place = np.unique(block, return_inverse=True)
    return blocks.tolist(), place, row
