"""Batched sampling from a language model: a cache allocated once, no Python per story, finished stories retire.

A model is a module with ``config`` (``vocabulary``, ``end``, ``positions``), ``cache(stories, length)`` and
``step(tokens, t, cache)``.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch

from collapse.errors import ConfigError, TrainingError, unknown
from collapse.items import Items, Ragged
from collapse.progress import bar
from collapse.seeding import Streams

BATCH = 128
"""Stories sampled together: more shares the overhead of a step, fewer keeps keys and values in the CPU's cache."""

SLOTS = 16
"""Finished stories retire in multiples of this: `collapse.families.matmul` prepares code for each number of rows."""

STARTS = ("bos",)


@dataclass(frozen=True)
class Sampler:
    """How stories are drawn from a language model.

    Attributes:
        temperature: logits are divided by it; 1 samples the model itself.
        max_tokens: draws per story at most. A story that has not ended by then is truncated: ``max_tokens`` tokens and
            no end.
        start: ``bos``: each story starts from the end token alone.
    """

    temperature: float
    max_tokens: int
    start: str = "bos"

    def __post_init__(self):
        if not (self.temperature > 0 and isfinite(self.temperature)):
            raise ConfigError(
                f"temperature must be positive, got {self.temperature}: its limit 0 is greedy decoding, another sampler"
            )
        if type(self.max_tokens) is not int or self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be a whole number above 0, got {self.max_tokens!r}")
        if self.start not in STARTS:
            raise unknown("start of the sampler", str(self.start), STARTS)


def truncated(items: Items, sampler: Sampler) -> int:
    """Return how many sampled stories were cut off by ``max_tokens``; those that ended are shorter."""
    return int((items.output.lengths == sampler.max_tokens).sum())


def choose(logits: torch.Tensor, uniform: torch.Tensor, sampler: Sampler) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per story by inverting its distribution function.

    Shapes: logits (B, V), uniform (B,) float64 in [0, 1), result tokens (B,) and their log-probabilities (B,) in nats.
    """
    probability = (logits / sampler.temperature).softmax(-1)
    below = probability.cumsum(-1, dtype=torch.float64)  # in float32 rare tokens would drown in rounding
    token = torch.searchsorted(below, (uniform * below[:, -1])[:, None], right=True)
    token = token.clamp_(max=logits.shape[1] - 1)  # a product rounded up to the total
    return token[:, 0], probability.gather(1, token)[:, 0].double().log()


def _decode(
    model, uniform: torch.Tensor, sampler: Sampler, cache: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample one batch of B stories, all in step.

    Shapes: uniform (B, M), cache as the model's; result tokens (B, M), lengths (B,), log-probabilities (B,).
    """
    (B, M), device = uniform.shape, cache.device
    end = model.config.end
    # row B is nobody's: slots of stories that have ended write there until they are taken or dropped
    uniform = torch.cat([uniform.to(device), torch.zeros(1, M, dtype=uniform.dtype, device=device)])
    tokens, lengths = torch.empty(B + 1, M, dtype=torch.int64, device=device), torch.full((B + 1,), M, device=device)
    total = torch.zeros(B + 1, dtype=torch.float64, device=device)
    story, token = (
        torch.arange(B, device=device),
        torch.full((B,), end, device=device),
    )  # per slot: which story, and its newest token
    left = B
    for t in range(M):
        token, logprob = choose(model.step(token, t, cache[:, :, : len(story)]), uniform[story, t], sampler)
        tokens[story, t] = token
        total[story] += logprob
        ended = (token == end) & (story < B)
        if not ended.any():
            continue
        lengths[story[ended]] = t
        left -= int(ended.sum())
        if left == 0:
            break
        story[ended] = B
        slots = -(-left // SLOTS) * SLOTS
        if slots < len(story):  # stories of the last slots move to slots of stories that have ended
            moved = (story[slots:] < B).nonzero()[:, 0] + slots
            free = (story[:slots] == B).nonzero()[: len(moved), 0]
            cache[:, :, free, :, : t + 1] = cache[:, :, moved, :, : t + 1]
            for array in (story, token):
                array[free] = array[moved]
            story, token = story[:slots], token[:slots]
    return tuple(array[:B].cpu().numpy() for array in (tokens, lengths, total))


@torch.inference_mode()
def sample(model, count: int, sampler: Sampler, rng: Streams, batch: int = BATCH) -> Items:
    """Draw stories.

    Token t of story i depends on the model and on one uniform number u(i, t); the stream gives ``max_tokens`` of them
    to one story after the other. So story i is the same whatever ``count`` and ``batch`` are, unless a u lies within
    float32 rounding of a boundary between two tokens: matrix products of another size may round otherwise. Equal calls
    give equal bits.

    Args:
        model: see the module.
        count: number of stories.
        sampler: temperature and limits.
        rng: one chain.
        batch: stories sampled together.

    Returns:
        Items without the end token; ``logprob`` (1, count) is the log-probability in nats of the tokens drawn, the end
        token included where it was, under the tempered distribution. Generation and index are the caller's to set.

    Raises:
        ConfigError: ``max_tokens`` leaves no room for the end token in front when the story is trained on.
        TrainingError: the model gives probabilities that are not finite.
    """
    if sampler.max_tokens >= model.config.positions:
        raise ConfigError(
            f"max_tokens is {sampler.max_tokens}, but the model's {model.config.positions} positions take "
            f"{model.config.positions - 1} beside the end token: lower `max_tokens` of the sampler"
        )
    generator, cache, parts = rng.alone, model.cache(min(batch, count), sampler.max_tokens), []
    for start in bar(range(0, count, batch), "sample", f"batches of {batch} stories"):
        rows = min(batch, count - start)
        uniform = torch.from_numpy(generator.random((rows, sampler.max_tokens)))
        tokens, lengths, logprob = _decode(model, uniform, sampler, cache[:, :, :rows])
        if not np.isfinite(logprob).all():
            raise TrainingError("the model gives probabilities that are not finite: its training diverged")
        values = tokens[np.arange(sampler.max_tokens) < lengths[:, None]].astype(np.uint16)
        parts.append((Ragged(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)), logprob))
    if not parts:
        return Items.make(Ragged.of([]), generation=1, logprob=np.zeros((1, 0)))
    output = Ragged.concat([text for text, _ in parts])
    return Items.make(output, generation=1, logprob=np.concatenate([logprob for _, logprob in parts])[None])
