"""Batches of texts for a language model: their order, which can be resumed, and how they are laid out.

Layout ``stories``: each story s_1 .. s_n is fed as end, s_1 .. s_n and predicted as s_1 .. s_n, end: n + 1 predicted
tokens, with little padding. Layout ``blocks``: all are cut to one length from a running text; each block s_1 .. s_n is
fed as s_1 .. s_n-1 and predicted as s_2 .. s_n: n - 1 predicted tokens, no padding, and nothing is added.
"""

from collections.abc import Iterator
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
import torch

from collapse.errors import DataError
from collapse.items import Items, Ragged

MEGABATCH = 128
"""Batches whose stories are sorted by length together; more means less padding and less mixing of lengths."""

ROUNDING = 8
"""Padded lengths are multiples of this: `collapse.families.matmul` prepares code for each shape."""

IGNORED = -100
"""Target of a position that predicts nothing."""


def one_pass(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the indices of each batch of one pass: every item once, items of similar length together.

    Items are shuffled, sorted by length inside megabatches, cut into batches, and the batches are shuffled.

    Args:
        lengths: (N,), tokens of each item.
        size: items per batch; one batch holds the rest.
        rng: draws both orders, before the first batch.
    """
    order = rng.permutation(len(lengths))
    for first in range(0, len(order), MEGABATCH * size):
        part = order[first : first + MEGABATCH * size]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
    for i in rng.permutation(ceil(len(order) / size)):
        yield order[i * size : (i + 1) * size]


class Passes:
    """The batches of one pass after the other, without end; see `one_pass`."""

    def __init__(self, lengths: np.ndarray, size: int, rng: np.random.Generator):
        self._lengths, self._size, self._rng = lengths, size, rng
        self._before, self._taken = rng.bit_generator.state, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            self._before = self._rng.bit_generator.state
            for index in islice(one_pass(self._lengths, self._size, self._rng), self._taken, None):
                self._taken += 1
                yield index
            self._taken = 0

    @property
    def position(self) -> dict[str, Any]:
        """The generator's state before this pass and the batches taken of it, JSON-able.

        Where it is set to an earlier one, the batches that followed that one follow again.
        """
        return {"generator": _plain(self._before), "taken": self._taken}

    @position.setter
    def position(self, value: dict[str, Any]) -> None:
        self._rng.bit_generator.state, self._taken = value["generator"], value["taken"]
        self._before = self._rng.bit_generator.state


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def send(array: np.ndarray, device: str) -> torch.Tensor:
    """Return an array as a tensor on a device. A copy to a GPU goes on while the host works: nothing waits for it."""
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.contiguous().pin_memory().to(device, non_blocking=True)


class Stories:
    """Texts between two end tokens, of different lengths."""

    @staticmethod
    def check(found: Ragged, config) -> None:
        """Raise DataError where a story does not fit the model."""
        longest = int(found.lengths.argmax())
        if found.lengths[longest] >= config.positions:
            raise DataError(
                f"story {longest} has {found.lengths[longest]} tokens; with the end token in front, {config.positions} "
                f"positions take {config.positions - 1}: raise `positions`, or lower `max_tokens` of data set and "
                "sampler"
            )
        if (found.values == config.end).any():
            raise DataError(f"a story holds the end token {config.end} inside: stories are stored without it")

    @staticmethod
    def predicted(lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens are predicted of stories of these lengths."""
        return lengths + 1

    @staticmethod
    def lay_out(rows: Ragged, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets; T is the longest story with its end, rounded up so that few shapes occur."""
        ends = rows.lengths[:, None]
        width = min(-(-(ends.max() + 1) // ROUNDING) * ROUNDING, config.positions)
        at = np.arange(width)
        text = np.full((len(rows), width + 1), config.end, np.int64)  # (B, T + 1): end, story, end ..
        text[:, 1:][at < ends] = rows.values
        return text[:, :-1], np.where(at <= ends, text[:, 1:], IGNORED)


class Blocks:
    """Texts of one length, cut from a running text; the end token is one like the others."""

    @staticmethod
    def check(found: Ragged, config) -> None:
        """Raise DataError where the blocks are not of one length that fits the model."""
        shortest, longest = int(found.lengths.min()), int(found.lengths.max())
        if shortest != longest:
            raise DataError(f"blocks have {shortest} to {longest} tokens: all must be of one length")
        if longest < 2:
            raise DataError(
                f"blocks have {longest} token: 2 or more are needed, each is predicted from those before it"
            )
        if longest > config.positions:
            raise DataError(
                f"blocks have {longest} tokens, the model {config.positions} positions: raise `positions` of the "
                "recipe, or lower `block` of the data set"
            )

    @staticmethod
    def predicted(lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens are predicted of blocks of these lengths."""
        return lengths - 1

    @staticmethod
    def lay_out(rows: Ragged, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets; T is one less than the length of a block."""
        text = rows.values.reshape(len(rows), -1).astype(np.int64)
        return text[:, :-1], text[:, 1:]


LAYOUTS = {"stories": Stories, "blocks": Blocks}
"""Layout -> how its texts are checked, counted and laid out."""


def padded(texts: Ragged, index: np.ndarray, config) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay texts out for the model.

    Returns:
        Inputs and targets, both (B, T) int64; where there is nothing to predict, the target is `IGNORED`.
    """
    inputs, targets = LAYOUTS[config.layout].lay_out(texts.take(index), config)
    return send(inputs, config.device), send(targets, config.device)


def predictions(texts: Ragged, config) -> np.ndarray:
    """Return how many tokens are predicted of each text, (N,)."""
    return LAYOUTS[config.layout].predicted(texts.lengths)


def texts(items: Items, config) -> Ragged:
    """Return the texts of one chain. Raises DataError where one does not fit the model."""
    found = items.output
    if not isinstance(found, Ragged) or items.chains != 1:
        raise DataError(f"a language model trains on the {config.layout} of one chain")
    if len(found) == 0:
        raise DataError(f"no {config.layout}")
    LAYOUTS[config.layout].check(found, config)
    if found.values.size and (highest := found.values.max()) >= config.vocabulary:
        raise DataError(
            f"the {config.layout} hold token {highest}, the model knows {config.vocabulary}: another tokenizer?"
        )
    return found
