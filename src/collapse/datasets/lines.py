"""Lines of a text to blocks of equally many tokens: what a model of Shumailov et al. (Nature 2024) is fitted on.

Each line is encoded by itself, with a mark in front of it, as OPT's tokenizer puts its ``</s>``. The tokens of the
lines of a batch are put in a row and cut into blocks; what is left over at its end is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from collapse.datasets import bpe
from collapse.errors import DataError
from collapse.items import Ragged


@dataclass(frozen=True)
class Cut:
    """A text in blocks.

    Attributes:
        blocks: (n, block) uint16, in order.
        starts: (n,) int64, where each begins in the text, in tokens. A block goes on where the one before it ends,
            unless tokens were dropped between them.
        tokens: of the whole text.
    """

    blocks: np.ndarray
    starts: np.ndarray
    tokens: int

    def first(self, count: int) -> "Cut":
        """Return the first ``count`` blocks, of the text up to where they end."""
        return Cut(self.blocks[:count], self.starts[:count], int(self.starts[count - 1]) + self.blocks.shape[1])


def encode(tokenizer: Tokenizer, lines: Sequence[str], mark: int | None) -> Ragged:
    """Return the tokens of each line, with ``mark`` in front of it where it is not None. Raises DataError."""
    tokens = bpe.encode(tokenizer, lines)
    if mark is None:
        return tokens
    values = np.insert(tokens.values, tokens.offsets[:-1], np.uint16(mark))
    return Ragged(values, tokens.offsets + np.arange(len(tokens.offsets)))


def cut(lines: Ragged, block: int, every: int | None, what: str) -> Cut:
    """Cut a text into blocks.

    Args:
        lines: tokens of each line.
        block: tokens of a block.
        every: lines of a batch, whose last tokens are dropped where they do not fill a block; None takes all lines
            together. The official code maps 1000 lines at once.
        what: the text, for errors.

    Raises:
        DataError: no batch has the tokens of one block.
    """
    batches, starts = [], []
    for start in range(0, len(lines), every or max(1, len(lines))):
        stop = min(len(lines), start + (every or len(lines)))
        first, last = lines.offsets[start], lines.offsets[stop]
        count = int(last - first) // block
        batches.append(lines.values[first : first + count * block].reshape(count, block))
        starts.append(first + block * np.arange(count))
    if not sum(map(len, batches)):
        raise DataError(_too_short(what, block, len(lines.values), every))
    return Cut(np.concatenate(batches), np.concatenate(starts).astype(np.int64), len(lines.values))


def _too_short(what: str, block: int, tokens: int, every: int | None) -> str:
    if tokens >= block and every is not None:
        return (
            f"no {every} lines of {what} have the {block} tokens of a block: raise `remainder_every`, or set it to null"
        )
    return f"a block of {block} tokens is longer than {what}, which has {tokens}: lower `block`"
