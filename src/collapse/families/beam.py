"""Beam search, batched over stories: all hypotheses of all stories at once, stories retire when they are done.

Outputs equal those of transformers' ``generate(num_beams=..., do_sample=False)`` on the same weights, for its
``length_penalty`` and for its ``early_stopping`` true and false.

Shapes: A stories at work, b beams, V tokens, M tokens of a story at most, N stories in all.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from collapse.errors import ConfigError, DataError
from collapse.families.slots import SLOTS, beginnings, check_finite, compact, move, prefill
from collapse.samplers import Sampler

HYPOTHESES = {"cpu": 320, "cuda": 1024}
"""Hypotheses searched together, of all stories."""


@dataclass(frozen=True)
class Beams:
    """The hypotheses of N stories, best first.

    Attributes:
        tokens: (N, b, M) int64, a prefix included, no end token; beyond the length, -1.
        lengths: (N, b) tokens.
        scores: (N, b) float32, the log-probability divided by (number of decoded tokens) ** ``length_penalty``.
        logprob: (N, b) float64, nats: the log-probability under the model of the tokens decoded, and of the end token
            where it was. A prefix has none.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    logprob: Tensor


@torch.inference_mode()
def search(model, contexts: int | np.ndarray, sampler: Sampler, batch: int | None = None) -> Beams:
    """Return all hypotheses of each story.

    Args:
        model: as in `collapse.families.decoding`.
        contexts: number of stories, at least 1, or the tokens that they begin with, integers (N, P).
        sampler: of kind ``beam``.
        batch: stories decoded together; None for as many as have `HYPOTHESES`.

    Raises:
        ConfigError: more beams than half the vocabulary, or a sampler of another kind; see also
            `collapse.families.slots.beginnings`.
        DataError: no stories, or a context holds something that is no token of a story.
        TrainingError: the model gives probabilities that are not finite.
    """
    if sampler.kind != "beam":
        raise ConfigError(f"beam search needs a sampler of kind 'beam', this one is of kind {sampler.kind!r}")
    prompts, parts = beginnings(model, contexts, sampler), []
    if len(prompts) == 0:
        raise DataError("beam search of no stories")
    batch = batch or together(model, sampler)
    cache = model.cache(min(batch, len(prompts)) * sampler.beams, sampler.max_tokens)
    for start in range(0, len(prompts), batch):
        given = prompts[start : start + batch].to(cache.device)
        parts.append(decode(model, given, sampler, cache[:, :, : len(given) * sampler.beams]))
    return Beams(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Beams)))


def together(model, sampler: Sampler) -> int:
    """Return how many stories are best searched together."""
    return max(1, HYPOTHESES[model.config.device] // sampler.beams)


def decode(model, prompts: Tensor, sampler: Sampler, cache: Tensor) -> Beams:
    """Return all hypotheses of one batch of stories; see `search`.

    Shapes: prompts (N, P), the end token first; cache the model's for N b stories of M positions.
    """
    (N, P), b, M, V = prompts.shape, sampler.beams, sampler.max_tokens, model.config.vocabulary
    end, penalty, device = model.config.end, sampler.length_penalty, cache.device
    if 2 * b > V:
        raise ConfigError(f"beams is {b}, but the vocabulary has {V} tokens: at most half of them")
    logits = prefill(model, prompts, cache[:, :, :N])
    cache.narrow(-2, 0, P)[:] = cache[:, :, :N].narrow(-2, 0, P).repeat_interleave(b, 2)
    cache = cache.unflatten(2, (N, b))
    story = torch.arange(N, device=device)
    score = torch.zeros(N, 1, device=device)  # of the hypotheses that run: one at first, then b
    # of those that ended: their scores, best first, and where in `tree` they did, as one number
    best = torch.full((N, b), -torch.inf, device=device)
    leaf = torch.zeros(N, b, dtype=torch.int64, device=device)
    # row N is nobody's: slots of stories that are done write there until they are taken or dropped
    scores, leaves = torch.empty(N + 1, b, device=device), torch.empty(N + 1, b, dtype=torch.int64, device=device)
    tree = torch.empty(2, M, N + 1, b, dtype=torch.int64, device=device)  # tokens, and the beams that they follow
    for t in range(P - 1, M):
        drawn, last = t - P + 2, t + 1 == M
        total = logits.float().log_softmax(-1).view(len(story), -1, V).add_(score[:, :, None])
        total, at = _top(total.flatten(1), 2 * b)  # (A, 2 b): enough, as each of b beams ends at most once
        parent, token = at // V, at % V
        ends = (token == end) | last
        ended = torch.where(ends, total, -torch.inf)[:, :b] / drawn**penalty
        best, leaf = _keep_best(best, leaf, ended, ((t * b + parent) * V + token)[:, :b])
        score, order = total.masked_fill(ends, -torch.inf).topk(b)
        done = best[:, -1] > -torch.inf if sampler.early_stopping else score[:, 0] / drawn**penalty <= best[:, -1]
        rows = story if last else torch.where(done, story, N)
        scores[rows], leaves[rows] = best, leaf
        if last:
            break
        parent, token = parent.gather(1, order), token.gather(1, order)
        slot, copied = _slots(parent)
        if drawn > 1:  # else all follow the only one, whose keys and values all have
            first = b * torch.arange(len(story), device=device)[:, None]
            copied &= ~done[:, None]
            move(cache.flatten(2, 3), t + 1, (first + parent)[copied], (first + slot)[copied])
        score, token, parent = (torch.empty_like(x).scatter_(1, slot, x) for x in (score, token, parent))
        tree[0, t, story], tree[1, t, story] = token, parent
        story.masked_fill_(done, N)
        multiple, used = max(1, SLOTS // b), cache[:, :, : len(story)]
        story, score, token, best, leaf = compact(story, N, multiple, used, t + 1, score, token, best, leaf)
        if len(story) == 0:
            break
        logits = model.step(token.flatten(), t + 1, cache[:, :, : len(story)].flatten(2, 3))
    check_finite(scores[:N])
    return _told(prompts, scores[:N], leaves[:N], tree[:, :, :N], sampler, end, V)


def _top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and where they are, largest first: ``topk``, three times as fast on a CPU.

    They are in those k columns of the row, laid out as a rectangle, whose maxima are largest. Shapes: x (A, n), results
    (A, k).
    """
    rows = next(r for r in (16, 8, 4, 2, 1) if x.shape[1] % r == 0 and x.shape[1] >= r * k)
    x = x.view(len(x), rows, -1)
    columns = x.amax(1).topk(k).indices  # (A, k)
    found, at = x.gather(2, columns[:, None].expand(-1, rows, -1)).flatten(1).topk(k)
    return found, at // k * x.shape[2] + columns.gather(1, at % k)


def _keep_best(best: Tensor, leaf: Tensor, more: Tensor, leaves: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the b best of two sets of b hypotheses that ended, best first. Shapes: all (A, b)."""
    best, which = torch.cat([best, more], 1).topk(best.shape[1])
    return best, torch.cat([leaf, leaves], 1).gather(1, which)


def _slots(parent: Tensor) -> tuple[Tensor, Tensor]:
    """Give each new hypothesis a slot of its story so that few keys and values move.

    The first child of a beam takes its place; others take those of beams without children.

    Shapes: parent (A, b), result: slots (A, b), and whether the parent's keys and values must be copied there (A, b).
    """
    b = parent.shape[1]
    same = parent[:, :, None] == parent[:, None, :]
    later = same.tril(-1).any(-1)
    childless = torch.ones_like(parent).scatter_(1, parent, 0)
    free = childless.argsort(dim=1, descending=True, stable=True)
    rank = (later.cumsum(1) - 1).clamp_(0, b - 1)
    return torch.where(later, free.gather(1, rank), parent), later


def _told(prompts: Tensor, scores: Tensor, leaves: Tensor, tree: Tensor, sampler: Sampler, end: int, V: int) -> Beams:
    """Read the hypotheses from their last tokens back. Shapes: scores and leaves (N, b), tree (2, M, N, b)."""
    b, M, given = sampler.beams, sampler.max_tokens, prompts.shape[1] - 1
    token, beam, step = leaves % V, leaves // V % b, leaves // (V * b)
    tokens = torch.full((*leaves.shape, M), -1, device=leaves.device)
    tokens[:, :, :given] = prompts[:, None, 1:]
    for t in reversed(range(given, M)):
        before = step > t
        last = torch.where((step == t) & (token != end), token, -1)
        tokens[:, :, t] = torch.where(before, tree[0, t].gather(1, beam), last)
        beam = torch.where(before, tree[1, t].gather(1, beam), beam)
    logprob = scores.double() * (step - given + 1).double() ** sampler.length_penalty
    return Beams(tokens, step + (token != end), scores, logprob)
