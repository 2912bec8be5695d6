"""What decoder-only language models share: batches without padding waste, the training loop, evaluation, files.

A model is a module with ``config``, ``trunk(tokens, noise)`` (B, T) -> (B, T, C), ``head`` (..., C) -> (..., V). Each
story s_1 .. s_n is fed as end, s_1 .. s_n and predicted as s_1 .. s_n, end: n + 1 predicted tokens. Losses are
cross-entropies in nats per predicted token.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from math import ceil, isfinite
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

# the function, not the class torch.optim.AdamW: the class's step() imports torch._dynamo, more than a second
from torch.optim.adamw import adamw

from collapse.errors import ConfigError, DataError, TrainingError, unknown
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.progress import bar
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

MEGABATCH = 128
"""Batches whose stories are sorted by length together; more means less padding and less mixing of lengths."""

ROUNDING = 8
"""Padded lengths are multiples of this: `collapse.families.matmul` prepares code for each shape."""

IGNORED = -100
"""Target of a position that predicts nothing."""

EVALUATION_TOKENS = 4096
"""Positions per batch in evaluation."""

SCHEDULES = ("linear", "constant")


def check_settings(config) -> None:
    """Check the settings that language models share, and make lists tuples. Raises ConfigError naming the setting."""

    def require(name: str, good: bool, what: str) -> None:
        if not good:
            raise ConfigError(f"{name} must be {what}, got {getattr(config, name)!r}")

    for name in ("betas", "evaluations"):
        object.__setattr__(config, name, tuple(getattr(config, name)))
    for name in ("vocabulary", "hidden", "layers", "heads", "batch"):
        require(name, type(getattr(config, name)) is int and getattr(config, name) > 0, "a whole number above 0")
    require("vocabulary", config.vocabulary <= 65536, "at most 65536: tokens are stored in 16 bits")
    require("positions", type(config.positions) is int and config.positions > 1, "a whole number above 1")
    require("end", type(config.end) is int and 0 <= config.end < config.vocabulary, "a token of the vocabulary")
    require("warmup_steps", type(config.warmup_steps) is int and config.warmup_steps >= 0, "a whole number, 0 or more")
    require("dropout", 0 <= config.dropout < 1, "at least 0 and below 1")
    require("device", config.device in ("cpu", "cuda"), "cpu or cuda")
    for name in ("epochs", "learning_rate", "init_sd"):
        require(name, 0 < getattr(config, name) < np.inf, "positive")
    require("weight_decay", 0 <= config.weight_decay < np.inf, "0 or more")
    require("clip", config.clip is None or config.clip > 0, "positive, or null for no limit")
    require("betas", len(config.betas) == 2 and all(0 <= b < 1 for b in config.betas), "two numbers in [0, 1)")
    require("evaluations", all(0 < f <= 1 for f in config.evaluations), "fractions above 0, at most 1")
    if config.schedule not in SCHEDULES:
        raise unknown("schedule", str(config.schedule), SCHEDULES)


def place(model):
    """Move a model to the device of its settings. Raises ConfigError where that is not there: no other one is taken."""
    device = model.config.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device: cuda` is asked for and torch finds no GPU: set `device: cpu`, or mend the driver")
    return model.to(device)


def steps(count: int, config, budget: Budget) -> int:
    """Return the optimiser steps of a fit: each pass has ceil(count / batch), the last pass may be a part of one."""
    if budget.steps is not None:
        return budget.steps
    return ceil(budget.passes * ceil(count / config.batch) - 1e-9)


def budget(config, size: int, *, equal_steps: bool) -> Budget:
    """Return how long to train: ``config.epochs`` passes over any set, or the steps they take over ``size`` items."""
    passes = Budget(passes=config.epochs)
    return Budget(steps=steps(size, config, passes)) if equal_steps else passes


def one_pass(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the indices of each batch of one pass: every item once, items of similar length together.

    Items are shuffled, sorted by length inside megabatches, cut into batches, and the batches are shuffled.

    Args:
        lengths: (N,), tokens of each item.
        size: items per batch; one batch holds the rest.
        rng: draws both orders.
    """
    order = rng.permutation(len(lengths))
    for first in range(0, len(order), MEGABATCH * size):
        part = order[first : first + MEGABATCH * size]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
    for i in rng.permutation(ceil(len(order) / size)):
        yield order[i * size : (i + 1) * size]


def padded(texts: Ragged, index: np.ndarray, config) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay stories out for the model.

    Returns:
        Inputs and targets, both (B, T) int64. T is the longest story with its end, rounded up so that few shapes occur;
        where there is nothing to predict, the target is `IGNORED`.
    """
    rows = texts.take(index)
    ends = rows.lengths[:, None]
    width = min(-(-(ends.max() + 1) // ROUNDING) * ROUNDING, config.positions)
    at = np.arange(width)
    text = np.full((len(index), width + 1), config.end, np.int64)  # (B, T + 1): end, story, end ..
    text[:, 1:][at < ends] = rows.values
    targets = np.where(at <= ends, text[:, 1:], IGNORED)
    return tuple(torch.from_numpy(array).to(config.device) for array in (text[:, :-1], targets))


def _texts(items: Items, config) -> Ragged:
    """Return the stories of one chain. Raises DataError where one does not fit the model."""
    texts = items.output
    if not isinstance(texts, Ragged) or items.chains != 1:
        raise DataError("a language model trains on the stories of one chain")
    if len(texts) == 0:
        raise DataError("no stories")
    longest = int(texts.lengths.argmax())
    if texts.lengths[longest] >= config.positions:
        raise DataError(
            f"story {longest} has {texts.lengths[longest]} tokens; with the end token in front, {config.positions} "
            f"positions take {config.positions - 1}: raise `positions`, or lower `max_tokens` of data set and sampler"
        )
    if texts.values.size and (highest := texts.values.max()) >= config.vocabulary:
        raise DataError(f"the stories hold token {highest}, the model knows {config.vocabulary}: another tokenizer?")
    if (texts.values == config.end).any():
        raise DataError(f"a story holds the end token {config.end} inside: stories are stored without it")
    return texts


def learning_rate(step: int, total: int, config) -> float:
    """Return the learning rate of a step, counted from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (total - step) / (total - config.warmup_steps)


def _flatten(model) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Make all parameters and gradients views of two flat buffers: one call each to clip, to step and to clear.

    Returns:
        parameters (P,), gradients (P,), and the number of those in front that weight decay shrinks (matrices).
    """
    ordered = sorted(model.parameters(), key=lambda p: p.ndim < 2)  # stable
    flat = torch.cat([p.detach().reshape(-1) for p in ordered])
    grads, at = torch.zeros_like(flat), 0
    for p in ordered:
        p.data, p.grad = (b[at : at + p.numel()].view_as(p) for b in (flat, grads))
        at += p.numel()
    return flat, grads, sum(p.numel() for p in ordered if p.ndim >= 2)


def train(model, items: Items, *, weights: np.ndarray | None, budget: Budget, observer: Callable | None, rng: Streams):
    """Train a model in place with AdamW (Loshchilov and Hutter, arXiv 1711.05101) and return it, in eval mode.

    The loss of a step is the mean over the batch's predicted tokens, each times the weight of its story; weights are
    scaled so that their mean over the predicted tokens of the whole set is 1. All weights equal is no weights.

    Args:
        model: see the module; its ``config`` holds the settings.
        items: stories without the end token, one chain.
        weights: (1, N), not negative, or None.
        budget: passes or steps.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations`` and at 1.0, in
            eval mode; ``loss`` is the training loss in nats per token since the last call.
        rng: one chain; draws the order and the dropout.

    Returns:
        The model. Its ``facts``: ``steps``, ``tokens`` (predicted ones, counted as often as seen), ``padding`` (share
        of positions fed that held none), ``first_loss`` and ``last_loss`` (of the first and the last step, nats per
        token), ``weight_change`` (L2 norm).

    Raises:
        ConfigError: the warm-up is longer than the training.
        DataError: a story does not fit the model.
        TrainingError: the loss is not finite, or the weights did not move.
    """
    config = model.config
    texts = _texts(items, config)
    lengths, total = texts.lengths, steps(len(items), config, budget)
    if config.warmup_steps >= total:
        raise ConfigError(f"warmup_steps is {config.warmup_steps}, but training has {total} steps: lower it")
    scale = None if weights is None else _scale(np.asarray(weights)[0], lengths)
    calls = {max(1, ceil(f * total - 1e-9)): f for f in (*config.evaluations, 1.0)}
    noise = rng.torch("dropout", config.device) if config.dropout else None
    order = rng.alone

    def batches() -> Iterator[np.ndarray]:
        while True:
            yield from one_pass(lengths, config.batch, order)

    flat, grads, decayed = _flatten(model)
    start, first, second, clock = (
        flat.clone(),
        torch.zeros_like(flat),
        torch.zeros_like(flat),
        torch.zeros((), device=flat.device),
    )
    tokens = positions = seen = 0
    summed = first_loss = loss = 0.0
    model.train()
    for step, index in enumerate(bar(islice(batches(), total), "train", "steps", total=total), 1):
        inputs, targets = padded(texts, index, config)  # (B, T)
        logits = model.head(model.trunk(inputs, noise))  # (B, T, V)
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
        if scale is not None:
            losses = losses.view_as(targets) * torch.from_numpy(scale[index]).to(targets.device)[:, None]
        predicted = int(lengths[index].sum()) + len(index)
        mean = losses.sum() / predicted
        grads.zero_()
        mean.backward()
        loss, norm, rate = mean.item(), grads.norm().item(), learning_rate(step - 1, total, config)
        if not (isfinite(loss) and isfinite(norm)):
            what = f"loss {loss}, gradient norm {norm}, at step {step} of {total} with learning rate {rate:.3g}"
            raise TrainingError(f"training diverged: {what}: lower `learning_rate` or set `clip`")
        if config.clip is not None and norm > config.clip:
            grads.mul_(config.clip / norm)
        flat[:decayed].mul_(1 - rate * config.weight_decay)
        adamw(
            [flat], [grads], [first], [second], [], [clock], fused=True, amsgrad=False, beta1=config.betas[0],
            beta2=config.betas[1], lr=rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip
        first_loss = loss if step == 1 else first_loss
        tokens, positions = tokens + predicted, positions + inputs.numel()
        summed, seen = summed + loss * predicted, seen + predicted
        if step in calls:
            if observer is not None:
                model.eval()
                observer(model, {"step": step, "fraction": calls[step], "loss": summed / seen})
                model.train()
            summed, seen = 0.0, 0
    change = (flat - start).norm().item()
    if not change > 0:
        raise TrainingError(f"the weights did not move in {total} steps: check `learning_rate` and the loss weights")
    for p in model.parameters():
        p.grad = None
    model.facts = {
        "steps": total,
        "tokens": tokens,
        "padding": 1 - tokens / positions,
        "first_loss": first_loss,
        "last_loss": loss,
        "weight_change": change,
    }
    return model.eval()


def _scale(weights: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Scale weights (N,) so that their mean over predicted tokens is 1; float32. Raises DataError."""
    if weights.shape != lengths.shape or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise DataError("loss weights must be one number of 0 or more for each story, not all 0")
    return (weights / np.average(weights, weights=lengths + 1)).astype(np.float32)


@torch.inference_mode()
def log_probabilities(model, items: Items) -> np.ndarray:
    """Return the log-probability of each story with its end token, in nats, at temperature 1: (N,) float64.

    Raises:
        DataError: a story does not fit the model.
    """
    texts, config = _texts(items, model.config), model.config
    out, order, at = np.empty(len(texts)), np.argsort(texts.lengths, kind="stable"), 0
    while at < len(order):
        widths = (texts.lengths[order[at : at + EVALUATION_TOKENS]] + 1) * np.arange(1, len(order) - at + 1)[
            :EVALUATION_TOKENS
        ]
        index = order[at : at + max(1, int(np.searchsorted(widths, EVALUATION_TOKENS, side="right")))]
        inputs, targets = padded(texts, index, config)
        logits = model.head(model.trunk(inputs)).transpose(1, 2)  # (B, V, T)
        out[index] = (
            -cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none").sum(1, dtype=torch.float64).cpu()
        )
        at += len(index)
    return out


def evaluate(model, items: Items, rng: Streams | None) -> dict[str, np.ndarray]:
    """Return ``cross_entropy`` (1,), nats per predicted token, mean over all tokens of the set, and ``tokens`` (1,).

    Deterministic: ``rng`` is not used. Raises DataError where a story does not fit the model.
    """
    total = -log_probabilities(model, items).sum()
    tokens = items.output.offsets[-1] + len(items)
    return {"cross_entropy": np.array([total / tokens]), "tokens": np.array([tokens])}


def _json(value) -> np.ndarray:
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8)


def save(model, path: str | Path) -> None:
    """Write weights, settings and facts as safetensors. Raises DataError."""
    weights = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    save_arrays(path, {**weights, "config": _json(asdict(model.config)), "facts": _json(model.facts)})


def load(path: str | Path, model_class: type, config_class: type):
    """Read what `save` wrote, as a model in eval mode.

    Raises:
        DataError: the file is missing or corrupted, or holds another kind of model.
    """
    arrays = load_arrays(path)
    try:
        config, facts = (json.loads(arrays.pop(name).tobytes()) for name in ("config", "facts"))
        model = model_class(config_class(**config))
        model.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
    except (KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise DataError(f"{path} does not hold a {model_class.__name__}: {error}") from error
    model.facts = facts
    return place(model).eval()
