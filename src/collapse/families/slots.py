"""Texts decoded together, each in a slot of the cache: what sampling, greedy decoding and beam search share.

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
    """Return what is given of each text, (N, P) int64.

    That is the end token, where the model's texts are stories, and then the context, where the sampler takes one.

    Args:
        model: as in `collapse.families.decoding`.
        contexts: number of texts, or integers (N, n): the tokens that they begin with, or that they continue.
        sampler: with ``start: bos_fixed_length`` only the number of contexts counts.

    Raises:
        ConfigError: the model's positions leave no room for ``max_tokens``, and for the end token in front where a
            story is trained on; or ``max_tokens`` leaves none after the prefix; or the sampler takes contexts and there
            are none; or it starts from the end token, which blocks do not.
        DataError: a context holds something that is no token of a text.
    """
    config, most, start = model.config, sampler.max_tokens, sampler.start
    stories, continued = config.layout == "stories", start == "continuation"
    if not (stories or continued):
        raise ConfigError(f"a model of blocks continues others: set `start: continuation` of the sampler, not {start}")
    if most >= config.positions and stories:
        raise ConfigError(
            f"max_tokens is {most}, but the model's {config.positions} positions take {config.positions - 1} beside "
            "the end token: lower `max_tokens` of the sampler"
        )
    count = int(contexts) if np.ndim(contexts) == 0 else len(contexts)
    ends = np.full((count, int(stories)), config.end, np.int64)
    if start == "bos_fixed_length":
        return torch.from_numpy(ends)
    given = np.asarray(contexts)
    if given.ndim != 2 or given.shape[1] == 0 or not np.issubdtype(given.dtype, np.integer):
        what = "prompts" if continued else "the first P tokens of stories"
        raise ConfigError(f"`start: {start}` needs contexts: integers (N, P), {what}")
    if not continued and given.shape[1] >= most:
        raise ConfigError(f"contexts of {given.shape[1]} tokens leave none of max_tokens = {most} to decode: raise it")
    if continued and (length := ends.shape[1] + given.shape[1] + most) > config.positions:
        raise ConfigError(
            f"prompts of {given.shape[1]} tokens and max_tokens = {most} need {length} positions, the model has "
            f"{config.positions}: lower `max_tokens` of the sampler, or raise `positions` of the recipe"
        )
    if given.size and not 0 <= given.min() <= given.max() < config.vocabulary:
        raise DataError(f"contexts hold tokens {given.min()} to {given.max()}, the model knows {config.vocabulary}")
    if stories and (given == config.end).any():
        raise DataError(f"a context holds the end token {config.end}: stories are stored without it")
    return torch.from_numpy(np.concatenate([ends, given.astype(np.int64)], axis=1))


def included(prompts: Tensor, sampler: Sampler) -> int:
    """Return how many of the last tokens of each prompt (N, P) belong to the text that is told."""
    return 0 if sampler.start == "continuation" else prompts.shape[1] - 1


def length(prompts: Tensor, sampler: Sampler) -> int:
    """Return how many tokens are fed of a text that begins with a prompt of (N, P) and is as long as it may be."""
    return prompts.shape[1] + sampler.max_tokens - included(prompts, sampler) - 1


def penalised(scores: Tensor, spoken: Tensor, penalty: float) -> Tensor:
    """Penalise what was said before: divide positive scores by the penalty, multiply negative ones with it.

    Equation in section 4.1 of Keskar et al., arXiv 1909.05858, and as in transformers also for negative scores.
    Shapes: scores and result (A, V), spoken tokens (A, n).
    """
    before = scores.gather(1, spoken)
    return scores.scatter(1, spoken, torch.where(before < 0, before * penalty, before / penalty))


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
