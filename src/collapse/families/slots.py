"""Stories decoded together, each in a slot of the cache: what sampling, greedy decoding and beam search share.

A cache of keys and values is (L, 2, slots, ..., M, D): slots in the third dimension, positions in the last but one.
"""

import numpy as np
import torch
from torch import Tensor

from collapse.errors import ConfigError, DataError, TrainingError
from collapse.samplers import Sampler

SLOTS = 16
"""Slots are dropped in multiples of this: `collapse.families.matmul` prepares code for each number of rows."""


def beginnings(model, contexts: int | np.ndarray, sampler: Sampler) -> Tensor:
    """Return what stories start from, (N, P) int64: the end token, then a prefix where the sampler takes one.

    Args:
        model: as in `collapse.families.decoding`.
        contexts: number of stories, or the tokens that they begin with, integers (N, P - 1).
        sampler: with ``start: bos_fixed_length`` only the number of contexts counts.

    Raises:
        ConfigError: ``max_tokens`` leaves no room for the end token in front when a story is trained on, or for a token
            after the prefix; or the sampler takes prefixes and there are none.
        DataError: a prefix holds something that is no token of a story.
    """
    config, most = model.config, sampler.max_tokens
    if most >= config.positions:
        raise ConfigError(
            f"max_tokens is {most}, but the model's {config.positions} positions take {config.positions - 1} beside "
            "the end token: lower `max_tokens` of the sampler"
        )
    count = int(contexts) if np.ndim(contexts) == 0 else len(contexts)
    ends = np.full((count, 1), config.end, np.int64)
    if sampler.start == "bos_fixed_length":
        return torch.from_numpy(ends)
    given = np.asarray(contexts)
    if given.ndim != 2 or given.shape[1] == 0 or not np.issubdtype(given.dtype, np.integer):
        raise ConfigError(
            "`start: first_token_inclusive` needs contexts: integers (N, P), the first P tokens of stories"
        )
    if given.shape[1] >= most:
        raise ConfigError(f"contexts of {given.shape[1]} tokens leave none of max_tokens = {most} to decode: raise it")
    if given.size and not 0 <= given.min() <= given.max() < config.vocabulary:
        raise DataError(f"contexts hold tokens {given.min()} to {given.max()}, the model knows {config.vocabulary}")
    if (given == config.end).any():
        raise DataError(f"a context holds the end token {config.end}: stories are stored without it")
    return torch.from_numpy(np.concatenate([ends, given.astype(np.int64)], axis=1))


def prefill(model, prompts: Tensor, cache: Tensor) -> Tensor:
    """Feed the beginnings of stories, position by position; return the logits of what follows.

    Shapes: prompts (B, P), cache as the model's with B slots, result (B, V).
    """
    for t in range(prompts.shape[1]):
        logits = model.step(prompts[:, t], t, cache)
    return logits


def move(cache: Tensor, length: int, source: Tensor, target: Tensor) -> None:
    """Copy the first ``length`` positions of some slots of a cache into others; all are read before one is written.

    On a CPU numpy copies four times as fast as torch. Shapes: source and target (n,), indices of the third dimension.
    """
    filled = cache.narrow(-2, 0, length)
    if cache.device.type == "cpu":
        filled, source, target = filled.numpy(), source.numpy(), target.numpy()
    filled[:, :, target] = filled[:, :, source]


def compact(story: Tensor, none: int, multiple: int, cache: Tensor, length: int, *states: Tensor) -> tuple[Tensor, ...]:
    """Drop slots without a story: stories of the last slots move to free ones in front.

    Args:
        story: (B,), which story each slot holds; ``none``, above all of them, where it holds none.
        none: see there.
        multiple: the number of slots left is a multiple of this, or B.
        cache: B slots or more; changed in place.
        length: positions of the cache that are filled.
        *states: tensors whose first dimension is the slots; changed in place.

    Returns:
        ``story`` and ``states`` of the slots that are left: no slots where no story is.
    """
    slots = -(-int((story < none).sum()) // multiple) * multiple
    if slots < len(story):
        moved = (story[slots:] < none).nonzero()[:, 0] + slots
        free = (story[:slots] == none).nonzero()[: len(moved), 0]
        move(cache, length, moved, free)
        for state in (story, *states):
            state[free] = state[moved]
    return tuple(state[:slots] for state in (story, *states))


def check_finite(logprob: Tensor) -> None:
    """Raise TrainingError where a log-probability is not finite: nothing that such a model tells is kept."""
    if not torch.isfinite(logprob).all():
        raise TrainingError("the model gives probabilities that are not finite: its training diverged")
