"""Decoding a language model: a cache allocated once, no Python per story, finished stories retire from the batch.

A model is a module with ``config`` (``vocabulary``, ``end``, ``positions``, ``layout``), ``cache(stories, length)``,
``prefill(tokens, cache)`` and ``step(tokens, t, cache)``. Beam search is in `collapse.families.beam`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from collapse.errors import ConfigError
from collapse.families import beam
from collapse.families.slots import SLOTS, beginnings, check_finite, compact, included, length, penalised
from collapse.items import Items, Ragged
from collapse.progress import bar
from collapse.samplers import Sampler
from collapse.seeding import Streams

__all__ = ["BATCH", "Sampler", "choose", "sample", "truncated"]

BATCH = {"cpu": 128, "cuda": 512}
"""Stories decoded together, at most: more shares the overhead of a step, fewer stays in the CPU's cache."""

SHARE = 0.5
"""Of a GPU's free memory that keys and values may take."""

PATIENCE = {"cpu": 1, "cuda": 8}
"""Steps from one look at which stories have ended to the next: on a GPU a look waits for all work in flight."""


def together(model, positions: int) -> int:
    """Return how many texts of some positions to decode together: `BATCH`, or what a GPU's free memory has room for."""
    if model.config.device == "cpu":
        return BATCH["cpu"]
    free, _ = torch.cuda.mem_get_info()
    one = model.cache(1, positions)
    return max(1, min(BATCH["cuda"], int(SHARE * free) // (one.numel() * one.element_size())))


def truncated(items: Items, sampler: Sampler) -> int:
    """Return how many sampled stories were cut off by ``max_tokens``; those that ended are shorter."""
    return int((items.output.lengths == sampler.max_tokens).sum())


def choose(logits: Tensor, uniform: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """Draw one token per story by inverting its distribution function.

    Shapes: logits (B, V), uniform (B,) float64 in [0, 1), result tokens (B,) and their log-probabilities (B,) in nats.
    """
    probability = (logits.float() / sampler.temperature).softmax(-1)
    if sampler.top_k is not None or sampler.top_p is not None:
        probability = restrict(probability, sampler.top_k, sampler.top_p)
    below = probability.cumsum(-1, dtype=torch.float64)  # in float32 rare tokens would drown in rounding
    token = torch.searchsorted(below, (uniform * below[:, -1])[:, None], right=True)
    token = token.clamp_(max=logits.shape[1] - 1)  # a product rounded up to the total
    return token[:, 0], probability.gather(1, token)[:, 0].double().log()


def restrict(probability: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Keep the most likely tokens and renormalise: at most ``top_k``, and of these the fewest that hold ``top_p``.

    The share that ``top_p`` asks for is of the tokens that ``top_k`` left. Tokens as likely as the last one kept are
    kept too. Shapes: probability and result (B, V).
    """
    ordered = _descending(probability)[:, :top_k]
    last = ordered[:, -1:]
    if top_p is not None:
        mass = ordered.cumsum(-1, dtype=torch.float64)
        kept = (mass - ordered < top_p * mass[:, -1:]).sum(-1, keepdim=True)  # those that begin below the share
        last = ordered.gather(1, kept - 1)
    probability = probability.masked_fill(probability < last, 0)
    return probability / probability.sum(-1, keepdim=True)


def _descending(x: Tensor) -> Tensor:
    """Sort each row; on a CPU numpy does that forty times as fast as torch. Shapes: x and result (B, V)."""
    if x.device.type != "cpu":
        return x.sort(descending=True).values
    return torch.from_numpy(np.sort(x.numpy())).flip(-1)


def _greedy(logits: Tensor, uniform: Tensor, sampler: Sampler) -> tuple[Tensor, None]:
    """Take the most likely token. Shapes: those of `choose`."""
    return logits.argmax(-1), None


def decode(
    model, prompts: Tensor, uniform: Tensor, sampler: Sampler, cache: Tensor, *, pick: Callable, patience: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode one batch of B texts, all in step.

    Args:
        model: see the module.
        prompts: (B, P) tokens that are given.
        uniform: (B, M) numbers for ``pick``.
        sampler: its settings.
        cache: the model's, B texts of `collapse.families.slots.length`.
        pick: (logits (A, V), uniform (A,), sampler) -> tokens (A,), log-probabilities (A,), None for the model's own.
        patience: steps between two looks at which texts have ended.

    Returns:
        tokens (B, M), lengths (B,), and the log-probabilities of what was picked (B,).
    """
    (B, P), M, device, end = prompts.shape, sampler.max_tokens, cache.device, model.config.end
    given, ends, penalty = included(prompts, sampler), sampler.start != "continuation", sampler.repetition_penalty
    # row B is nobody's: slots of texts that have ended write there until they are taken or dropped
    uniform = torch.cat([uniform, uniform.new_zeros(1, M)])
    tokens, lengths = torch.zeros(B + 1, M, dtype=torch.int64, device=device), torch.full((B + 1,), M, device=device)
    tokens[:B, :given] = prompts[:, P - given :]
    before = torch.cat([prompts[:, : P - given], prompts.new_zeros(1, P - given)])  # what is given and not told
    total = torch.zeros(B + 1, dtype=torch.float64, device=device)
    story = torch.arange(B, device=device)  # of each slot
    logits = model.prefill(prompts, cache)
    for t in range(given, M):
        scores = logits
        if penalty != 1:
            scores = penalised(scores, torch.cat([before[story], tokens[story, :t]], 1), penalty)
        if not ends:
            scores = scores.clone()
            scores[:, end] = -torch.inf
        token, logprob = pick(scores, uniform[story, t], sampler)
        if logprob is None:
            logprob = logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0].double()
        tokens[story, t] = token
        total[story] += logprob
        if ends:
            ended = token == end
            lengths[story] = torch.where(ended, t, M)
            story.masked_fill_(ended, B)
        if t + 1 == M:
            break
        place = P - given + t
        if ends and (t + 1) % patience == 0:
            story, token = compact(story, B, SLOTS, cache[:, :, : len(story)], place, token)
            if len(story) == 0:
                break
        logits = model.step(token, place, cache[:, :, : len(story)])
    return tokens[:B], lengths[:B], total[:B]


def _one_by_one(pick: Callable, draws: bool) -> Callable:
    """Return the decoder that picks one token after the other, from ``max_tokens`` random numbers where it draws."""

    def decoder(model, prompts: Tensor, sampler: Sampler, cache: Tensor, rng: Streams):
        shape = (len(prompts), sampler.max_tokens)
        uniform = torch.from_numpy(rng.alone.random(shape) if draws else np.zeros(shape)).to(cache.device)
        patience = PATIENCE[model.config.device]
        return decode(model, prompts, uniform, sampler, cache, pick=pick, patience=patience)

    return decoder


def _best_beam(model, prompts: Tensor, sampler: Sampler, cache: Tensor, rng: Streams):
    found = beam.decode(model, prompts, sampler, cache)
    return found.tokens[:, 0], found.lengths[:, 0], found.logprob[:, 0]


DECODERS: dict[str, Callable] = {
    "sample": _one_by_one(choose, True),
    "greedy": _one_by_one(_greedy, False),
    "beam": _best_beam,
}
"""Kind of sampler -> (model, prompts, sampler, cache, rng) -> tokens (B, M), lengths (B,), log-probabilities (B,)."""


@torch.inference_mode()
def sample(model, contexts: int | np.ndarray, sampler: Sampler, rng: Streams, batch: int | None = None) -> Items:
    """Decode texts: stories, or with ``start: continuation`` what continues each context.

    Kind ``sample``: token t of story i depends on the model and on one uniform number u(i, t); the stream gives
    ``max_tokens`` of them to one story after the other. So story i is the same whatever number and ``batch`` are,
    unless a u lies within float32 rounding of a boundary between two tokens: matrix products of another size may round
    otherwise. ``greedy`` and ``beam`` draw nothing: unless contexts differ, all stories are the same one.

    Args:
        model: see the module.
        contexts: number of texts, or the tokens that they begin with or continue, integers (N, P). With ``start:
            bos_fixed_length`` their number alone counts.
        sampler: kind and limits.
        rng: one chain.
        batch: texts decoded together; None for `together`, or `collapse.families.beam.together`.

    Returns:
        Items without the end token, a prefix included, a prompt that is continued not. ``logprob`` (1, N) is the
        log-probability in nats of the tokens decoded, of the end token where it was, and not of what was given: for
        ``sample`` under the distribution that was drawn from (after repetition penalty, temperature, ``top_k`` and
        ``top_p``), for ``greedy`` and ``beam`` under the model. Generation and index are the caller's to set.

    Raises:
        ConfigError: the sampler draws nothing; see also `collapse.families.slots.beginnings` and
            `collapse.families.beam.search`.
        DataError: a context holds something that is no token of a text.
        TrainingError: the model gives probabilities that are not finite.
    """
    if sampler.kind not in DECODERS:
        raise ConfigError(
            f"a sampler of kind {sampler.kind!r} draws nothing from a language model: take one of {', '.join(DECODERS)}"
        )
    prompts = beginnings(model, contexts, sampler)
    decoder, fed = DECODERS[sampler.kind], length(prompts, sampler)
    if sampler.kind == "beam":
        fed = beam.columns(prompts, sampler)
    if batch is None:
        batch = beam.together(model, sampler) if sampler.kind == "beam" else together(model, fed)
    cache, parts = model.cache(min(batch, len(prompts)), fed), []
    for start in bar(range(0, len(prompts), batch), "sample", f"batches of {batch} texts"):
        given = prompts[start : start + batch].to(cache.device)
        tokens, lengths, logprob = decoder(model, given, sampler, cache[:, :, : len(given)], rng)
        check_finite(logprob)
        tokens, lengths = tokens.cpu().numpy(), lengths.cpu().numpy()
        values = tokens[np.arange(sampler.max_tokens) < lengths[:, None]].astype(np.uint16)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parts.append((Ragged(values, offsets), logprob.cpu().numpy()))
    if not parts:
        return Items.make(Ragged.of([]), generation=1, logprob=np.zeros((1, 0)))
    output = Ragged.concat([text for text, _ in parts])
    return Items.make(output, generation=1, logprob=np.concatenate([logprob for _, logprob in parts])[None])
