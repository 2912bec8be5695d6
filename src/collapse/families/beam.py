"""Beam search, batched over texts: all hypotheses of all texts at once, stories retire when they are done.

Outputs equal those of transformers' ``generate(num_beams=..., do_sample=False)`` on the same weights, for its
``length_penalty``, its ``repetition_penalty``, its ``early_stopping`` true and false, and where ``min_new_tokens``
forbids the end token.

What the hypotheses of a text share is kept once, the prompt and whatever they agree on: the cache of a text has a
column for each token of the prompt, and for each token of each hypothesis one more, which all that follow from it read.
Nothing is copied when one hypothesis takes another's place. Now and then columns that none follows from are dropped.

Shapes: A texts at work, b beams, V tokens, M tokens of a text at most, N texts in all, n columns.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from collapse.errors import ConfigError, DataError
from collapse.families.slots import SLOTS, beginnings, check_finite, compact, included, penalised
from collapse.samplers import Sampler

HYPOTHESES = {"cpu": 240, "cuda": 1024}
"""Hypotheses searched together, of all texts."""

PRUNING = 8
"""Steps from one look at which columns are needed to the next."""


@dataclass(frozen=True)
class Beams:
    """The hypotheses of N texts, best first.

    Attributes:
        tokens: (N, b, M) int64, a prefix included, no end token; beyond the length, -1.
        lengths: (N, b) tokens.
        scores: (N, b) float32, the log-probability, with repetitions penalised, divided by (number of decoded tokens)
            ** ``length_penalty``.
        logprob: (N, b) float64, nats: the log-probability under the model of the tokens decoded, and of the end token
            where it was. A prefix has none.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    logprob: Tensor


@torch.inference_mode()
def search(model, contexts: int | np.ndarray, sampler: Sampler, batch: int | None = None) -> Beams:
    """Return all hypotheses of each text.

    Args:
        model: as in `collapse.families.decoding`.
        contexts: number of texts, at least 1, or the tokens that they begin with or continue, integers (N, P).
        sampler: of kind ``beam``.
        batch: texts decoded together; None for as many as have `HYPOTHESES`.

    Raises:
        ConfigError: more beams than half the vocabulary, or a sampler of another kind; see also
            `collapse.families.slots.beginnings`.
        DataError: no texts, or a context holds something that is no token of a text.
        TrainingError: the model gives probabilities that are not finite.
    """
    if sampler.kind != "beam":
        raise ConfigError(f"beam search needs a sampler of kind 'beam', this one is of kind {sampler.kind!r}")
    prompts, parts = beginnings(model, contexts, sampler), []
    if len(prompts) == 0:
        raise DataError("beam search of no stories")
    batch = batch or together(model, sampler)
    cache = model.cache(min(batch, len(prompts)), columns(prompts, sampler))
    for start in range(0, len(prompts), batch):
        given = prompts[start : start + batch].to(cache.device)
        parts.append(decode(model, given, sampler, cache[:, :, : len(given)]))
    return Beams(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Beams)))


def together(model, sampler: Sampler) -> int:
    """Return how many texts are best searched together."""
    return max(1, HYPOTHESES[model.config.device] // sampler.beams)


def columns(prompts: Tensor, sampler: Sampler) -> int:
    """Return the columns that a text needs at most: the last tokens are not fed. Shapes: prompts (N, P)."""
    return prompts.shape[1] + sampler.beams * (sampler.max_tokens - included(prompts, sampler) - 1)


def decode(model, prompts: Tensor, sampler: Sampler, cache: Tensor) -> Beams:
    """Return all hypotheses of one batch of texts; see `search`.

    Shapes: prompts (N, P); cache the model's for N texts of `columns`.
    """
    (N, P), b, M, V = prompts.shape, sampler.beams, sampler.max_tokens, model.config.vocabulary
    given, end, penalty, device = included(prompts, sampler), model.config.end, sampler.length_penalty, cache.device
    ends, repeating = sampler.start != "continuation", sampler.repetition_penalty
    if 2 * b > V:
        raise ConfigError(f"beams is {b}, but the vocabulary has {V} tokens: at most half of them")
    logits = model.prefill(prompts, cache)
    story = torch.arange(N, device=device)
    # of the hypotheses that run, one at first, then b: scores, log-probabilities, tokens with the prompt, columns
    score, logs, spoken = torch.zeros(N, 1, device=device), torch.zeros(N, 1, device=device), prompts[:, None].clone()
    ancestors = torch.zeros(N, 1, P, device=device)
    own = torch.full((b, b), -torch.inf, device=device).fill_diagonal_(0)
    # of those that ended, best first: scores, log-probabilities, and where in `tree` they did, as one number
    best, said = torch.full((N, b), -torch.inf, device=device), torch.zeros(N, b, device=device)
    leaf = torch.zeros(N, b, dtype=torch.int64, device=device)
    # row N is nobody's: slots of stories that are done write there until they are taken or dropped
    found = [torch.empty(N + 1, b, dtype=x.dtype, device=device) for x in (best, said, leaf)]
    tree = torch.empty(2, M, N + 1, b, dtype=torch.int64, device=device)  # tokens, and the beams that they follow
    for t in range(given, M):
        drawn, last = t - given + 1, t + 1 == M
        plain = total = logits.float().log_softmax(-1)  # (A b, V)
        if repeating != 1:
            total = penalised(total, spoken.flatten(0, 1), repeating)
        if not ends:
            total[:, end] = -torch.inf
        total = total.view(len(story), -1, V).add_(score[:, :, None]).flatten(1)
        total, at = _top(total, 2 * b if ends else b)  # (A, 2 b): enough, as each of b beams ends at most once
        parent, token = at // V, at % V
        logs = total if repeating == 1 else logs.gather(1, parent) + plain.view(len(story), -1).gather(1, at)
        if ends or last:
            over = (token == end) | last
            ended = torch.where(over, total, -torch.inf)[:, :b] / drawn**penalty
            leaves = (t * b + parent) * V + token
            best, said, leaf = _keep_best((best, said, leaf), (ended, logs[:, :b], leaves[:, :b]))
            score, order = total.masked_fill(over, -torch.inf).topk(b)
            done = best[:, -1] > -torch.inf if sampler.early_stopping else score[:, 0] / drawn**penalty <= best[:, -1]
            rows = story if last else torch.where(done, story, N)
            for to, value in zip(found, (best, said, leaf), strict=True):
                to[rows] = value
            if last:
                break
            parent, token, logs = (x.gather(1, order) for x in (parent, token, logs))
        else:
            score = total
        tree[0, t, story], tree[1, t, story] = token, parent
        ancestors = _follow(ancestors, parent)
        if repeating != 1:
            spoken = torch.cat([_follow(spoken, parent), token[:, :, None]], 2)
        if ends:
            story.masked_fill_(done, N)
            states = (score, logs, token, best, said, leaf, ancestors, spoken)
            used, filled = cache[:, :, : len(story)], ancestors.shape[2]
            story, *states = compact(story, N, max(1, SLOTS // b), used, filled, *states)
            score, logs, token, best, said, leaf, ancestors, spoken = states
            if len(story) == 0:
                break
        used = cache[:, :, : len(story)]
        if drawn % PRUNING == 0:
            ancestors = _prune(used, ancestors, P)
        ancestors = torch.cat([ancestors, own.expand(len(story), b, b)], 2)
        logits = model.step(token.flatten(), P - given + t, used, ancestors)
    scores, said, leaves = (x[:N] for x in found)
    check_finite(scores)
    return _told(prompts, scores, said, leaves, tree[:, :, :N], sampler, end, V)


def _follow(x: Tensor, parent: Tensor) -> Tensor:
    """Give each hypothesis what its parent has. Shapes: x (A, b, n), parent and result's first two (A, b)."""
    return x.gather(1, parent[:, :, None].expand(-1, -1, x.shape[2]))


def _prune(cache: Tensor, ancestors: Tensor, fixed: int) -> Tensor:
    """Drop the columns behind the first ``fixed`` ones that no hypothesis follows from; the order of the others stays.

    A text that needs fewer columns than another keeps some that none reads.

    Shapes: cache (L, 2, A, H, .., D), changed in place, ancestors (A, b, n), result (A, b, fewer).
    """
    alive = (ancestors[:, :, fixed:] == 0).any(1)  # (A, n - fixed)
    kept = int(alive.sum(1).max())
    if kept == alive.shape[1]:
        return ancestors
    order = fixed + (~alive).byte().argsort(dim=1, stable=True)[:, :kept]  # (A, kept)
    moved = order != torch.arange(fixed, fixed + kept, device=order.device)
    stay = int(moved.any(0).byte().argmax()) if moved.any() else kept  # columns in front that are where they were
    order, (A, H, M, D) = order[:, stay:], cache.shape[2:]
    row = torch.arange(A * H, device=order.device).view(A, H, 1) * M + order[:, None]  # (A, H, kept - stay)
    for memory in cache.flatten(0, 1):  # (A, H, M, D)
        moving = memory.view(-1, D).index_select(0, row.flatten())  # whole rows: four times as fast as a gather
        memory[:, :, fixed + stay : fixed + kept] = moving.view(*row.shape, D)
    rest = ancestors.gather(2, order[:, None].expand(-1, ancestors.shape[1], -1))
    return torch.cat([ancestors[:, :, : fixed + stay], rest], 2)


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


def _keep_best(best: tuple[Tensor, ...], more: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keep the b best of two sets of b hypotheses that ended, best first: scores, and what goes with them (A, b)."""
    joined = [torch.cat(pair, 1) for pair in zip(best, more, strict=True)]
    scores, which = joined[0].topk(best[0].shape[1])
    return scores, *(x.gather(1, which) for x in joined[1:])


def _told(
    prompts: Tensor, scores: Tensor, said: Tensor, leaves: Tensor, tree: Tensor, sampler: Sampler, end: int, V: int
) -> Beams:
    """Read the hypotheses from their last tokens back. Shapes: scores, said, leaves (N, b), tree (2, M, N, b)."""
    b, M, given = sampler.beams, sampler.max_tokens, included(prompts, sampler)
    token, beam, step = leaves % V, leaves // V % b, leaves // (V * b)
    tokens = torch.full((*leaves.shape, M), -1, device=leaves.device)
    tokens[:, :, :given] = prompts[:, None, prompts.shape[1] - given :]
    for t in reversed(range(given, M)):
        before = step > t
        last = torch.where((step == t) & (token != end), token, -1)
        tokens[:, :, t] = torch.where(before, tree[0, t].gather(1, beam), last)
        beam = torch.where(before, tree[1, t].gather(1, beam), beam)
    return Beams(tokens, step + (token != end), scores, said.double())
