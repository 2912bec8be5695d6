"""The training loop of language models: AdamW on flat buffers, a schedule, an observer, checkpoints.

The model is that of `collapse.families.language`. Losses are cross-entropies in nats per predicted token.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

# the function, not the class torch.optim.AdamW: the class's step() imports torch._dynamo, more than a second
from torch.optim.adamw import adamw

from collapse.checkpoint import Checkpoint
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families.batches import IGNORED, Passes, padded, predictions, send, texts
from collapse.families.keep import Best
from collapse.items import Items
from collapse.loop import Budget
from collapse.progress import bar
from collapse.seeding import Streams

FETCH = {"cpu": 1, "cuda": 50}
"""Steps after which losses are fetched from a device. On a GPU each fetch waits for all that was asked of it."""


def steps(count: int, config, budget: Budget) -> int:
    """Return the optimiser steps of a fit: each pass has ceil(count / batch), the last pass may be a part of one."""
    if budget.steps is not None:
        return budget.steps
    return ceil(budget.passes * ceil(count / config.batch) - 1e-9)


def budget(config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """Return how long to train: passes over whatever set, or the steps that ``config.epochs`` passes over N items take.

    Args:
        config: ``epochs``, and ``first_epochs``: the passes of generation 1 where they are set apart.
        size: N.
        equal_steps: count steps.
        first: this is generation 1.
    """
    if equal_steps:
        return Budget(steps=steps(size, config, Budget(passes=config.epochs)))
    return Budget(passes=config.first_epochs if first and config.first_epochs is not None else config.epochs)


def learning_rate(step: int, total: int, config) -> float:
    """Return the learning rate of a step, counted from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (total - step) / (total - config.warmup_steps)


def _flatten(model) -> tuple[Tensor, Tensor, int]:
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


def _forward(model) -> Callable[..., Tensor]:
    """Return (inputs, targets, noise, position of the first) -> losses (B, T) in nats, 0 at ignored targets.

    Where the settings say so, products are in bfloat16 and the whole is compiled; losses are float32 always.
    """
    config = model.config

    def losses(inputs: Tensor, targets: Tensor, noise: torch.Generator | None, start: int = 0) -> Tensor:
        shifted = {"start": start} if start else {}  # families that take one alone have another than 0
        half = config.precision == "bfloat16"
        with torch.autocast(config.device, torch.bfloat16) if half else nullcontext():
            logits = model.head(model.trunk(inputs, noise, **shifted))  # (B, T, V)
        flat = logits.flatten(0, 1).float()
        return cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="none").view_as(targets)

    return torch.compile(losses, dynamic=True) if config.compile else losses


@dataclass
class _Tally:
    """What was counted up to a step: tokens, positions fed, losses.

    ``seen`` and ``summed``: tokens since the observer's last call, and the sum of their losses.
    """

    step: int = 0
    tokens: int = 0
    positions: int = 0
    seen: int = 0
    summed: float = 0.0
    first_loss: float = 0.0
    last_loss: float = 0.0


class _Run:
    """A training run: all that changes from step to step, and a step."""

    def __init__(self, model, lengths: np.ndarray, total: int, rng: Streams, look: Callable[[], float] | None):
        self.config, self.total, self.tally = model.config, total, _Tally()
        self.weights, self.grads, self._decayed = _flatten(model)
        self._first, self._second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self._clock = torch.zeros((), device=self.weights.device)
        self._noise = rng.torch("dropout", self.config.device) if self.config.dropout else None
        self.batches = Passes(lengths, self.config.batch, rng.alone)
        self._forward, self._start = _forward(model), model.start
        self._pending: list[tuple[int, Tensor, Tensor]] = []  # of each step: predicted tokens, loss, gradient norm
        self.best = None if look is None else Best(self.weights, look)

    def step(self, inputs: Tensor, targets: Tensor, scale: Tensor | None, predicted: int) -> None:
        """Take a step on the mean of the losses, each times its text's scale. Shapes: (B, T), (B, T), (B,)."""
        config, tally = self.config, self.tally
        losses = self._forward(inputs, targets, self._noise, self._start(tally.step, inputs.shape[1]))
        if scale is not None:
            losses = losses * scale[:, None]
        mean = losses.sum() / predicted
        self.grads.zero_()
        mean.backward()
        norm, rate = self.grads.norm(), learning_rate(tally.step, self.total, config)
        if config.clip is not None:  # in float64 and on the device: nothing waits for the norm
            self.grads.mul_((config.clip / norm.double()).clamp_(max=1.0))
        self.weights[: self._decayed].mul_(1 - rate * config.weight_decay)
        adamw(
            [self.weights], [self.grads], [self._first], [self._second], [], [self._clock], fused=True, amsgrad=False,
            beta1=config.betas[0], beta2=config.betas[1], lr=rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip
        tally.step, tally.tokens = tally.step + 1, tally.tokens + predicted
        tally.positions += inputs.numel()
        self._pending.append((predicted, mean.detach(), norm))
        if len(self._pending) >= FETCH[config.device]:
            self.fetch()

    def fetch(self) -> None:
        """Fetch and count the losses of the steps since the last time.

        Raises:
            TrainingError: a loss or a gradient is not finite; names the first such step.
        """
        if not self._pending:
            return
        tally, values = self.tally, torch.stack([v for _, *pair in self._pending for v in pair]).view(-1, 2).tolist()
        for behind, ((predicted, *_), (loss, norm)) in enumerate(zip(self._pending, values, strict=True)):
            step = tally.step - len(values) + behind + 1
            if not (isfinite(loss) and isfinite(norm)):
                rate = learning_rate(step - 1, self.total, self.config)
                what = (
                    f"loss {loss}, gradient norm {norm}, at step {step} of {self.total} with learning rate {rate:.3g}"
                )
                raise TrainingError(f"training diverged: {what}: lower `learning_rate` or set `clip`")
            tally.first_loss = loss if step == 1 else tally.first_loss
            tally.last_loss = loss
            tally.summed, tally.seen = tally.summed + loss * predicted, tally.seen + predicted
        self._pending.clear()

    def _buffers(self) -> dict[str, Tensor]:
        return {"weights": self.weights, "first": self._first, "second": self._second, "clock": self._clock}

    def state(self) -> dict[str, Any]:
        """Return all that the steps to come depend on: what `Checkpoint.save` takes."""
        self.fetch()
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._buffers().items()}
        if self._noise is not None:
            arrays["noise"] = self._noise.get_state().numpy()
        best = {} if self.best is None else self.best.state()
        return {**arrays, **best, "tally": asdict(self.tally), "batches": self.batches.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was called."""
        for name, tensor in self._buffers().items():
            tensor.copy_(torch.from_numpy(state[name].copy()))
        if self._noise is not None:
            self._noise.set_state(torch.from_numpy(state["noise"].copy()))
        if self.best is not None:
            self.best.restore(state["best"], state["looks"])
        self.tally, self.batches.position = _Tally(**state["tally"]), state["batches"]


def train(
    model, items: Items, *, weights: np.ndarray | None, budget: Budget, observer: Callable | None, rng: Streams,
    checkpoint: Checkpoint | None = None, look: Callable[[], float] | None = None,
):  # fmt: skip
    """Train a model in place with AdamW (Loshchilov and Hutter, arXiv 1711.05101) and return it, in eval mode.

    The loss of a step is the mean over the batch's predicted tokens, each times the weight of its text; weights are
    scaled so that their mean over the predicted tokens of the whole set is 1. All weights equal is no weights.

    Args:
        model: see the module; its ``config`` holds the settings.
        items: texts of the layout of the settings, one chain.
        weights: (1, N), not negative, or None.
        budget: passes or steps of the whole schedule; ``config.stop`` may end training before.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations`` and at the last
            step, in eval mode; ``fraction`` is of the whole schedule, ``loss`` the training loss in nats per token
            since the last call.
        rng: one chain; draws the order and the dropout.
        checkpoint: where the state is saved now and then, and where an interrupted fit goes on from; None for nowhere.
        look: the loss on the validation set, called in eval mode after each pass and after the last step; the model
            that is returned has the weights at which it was lowest. None for those of the last step.

    Returns:
        The model. Its ``facts``: ``steps`` done, ``tokens`` (predicted ones, counted as often as seen), ``padding``
        (share of positions fed that held none), ``first_loss`` and ``last_loss`` (of the first and the last step, nats
        per token), ``weight_change`` (L2 norm), and where there is a look `Best.facts`. Its ``pace``, what this process
        did: ``train_steps``, the ``train_seconds`` they took without observer and looks, ``train_tokens_per_second``.

    Raises:
        ConfigError: the warm-up is longer than the training.
        DataError: a text does not fit the model, or the checkpoint is of another fit.
        TrainingError: the loss is not finite, or the weights did not move.
        StoppedError: a signal asked to stop; the state is saved.
    """
    config, found = model.config, texts(items, model.config)
    counts, total = predictions(found, config), steps(len(items), config, budget)
    of_a_pass = ceil(len(items) / config.batch)
    if config.warmup_steps >= total:
        raise ConfigError(f"warmup_steps is {config.warmup_steps}, but training has {total} steps: lower it")
    scale = None if weights is None else _scale(np.asarray(weights)[0], counts)
    fractions = (*(f for f in config.evaluations if f <= config.stop), config.stop)
    calls = {max(1, ceil(f * total - 1e-9)): f for f in fractions}
    run = _Run(model, found.lengths, total, rng, look)
    start = run.weights.clone()
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        run.restore(state)
    done, tokens, left, seconds = run.tally.step, run.tally.tokens, max(calls) - run.tally.step, 0.0
    model.train()
    since = time.perf_counter()
    for index in bar(islice(run.batches, left), "train", "steps", total=left):
        inputs, targets = padded(found, index, config)  # (B, T)
        factors = None if scale is None else send(scale[index], config.device)
        run.step(inputs, targets, factors, int(counts[index].sum()))
        step, call = run.tally.step, run.tally.step in calls
        passed = run.best is not None and (step % of_a_pass == 0 or step == max(calls))
        due = checkpoint is not None and checkpoint.due()
        if not (call or passed or due):
            continue
        run.fetch()
        seconds += time.perf_counter() - since
        model.eval()
        if passed:
            run.best.look(step)
        if call:
            if observer is not None:
                loss = run.tally.summed / run.tally.seen
                observer(model, {"step": step, "fraction": calls[step], "loss": loss})
            run.tally.summed, run.tally.seen = 0.0, 0
        model.train()
        if due:
            checkpoint.save(run.state())
        since = time.perf_counter()
    if run.best is not None:
        run.best.put_back()
    change, tally = (run.weights - start).norm().item(), run.tally
    if not change > 0:
        raise TrainingError(
            f"the weights did not move in {tally.step} steps: check `learning_rate` and the loss weights"
        )
    for p in model.parameters():
        p.grad = None
    model.facts = {
        "steps": tally.step,
        "tokens": tally.tokens,
        "padding": 1 - tally.tokens / tally.positions,
        "first_loss": tally.first_loss,
        "last_loss": tally.last_loss,
        "weight_change": change,
        "parameters": sum(p.numel() for p in model.parameters()),
        **({} if run.best is None else run.best.facts(of_a_pass)),
    }
    pace = {"train_steps": tally.step - done, "train_seconds": round(seconds, 3)}
    model.pace = {**pace, "train_tokens_per_second": round((tally.tokens - tokens) / seconds, 1) if seconds else None}
    return model.eval()


def _scale(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Scale weights (N,) so that their mean over predicted tokens (N,) is 1; float32. Raises DataError."""
    if weights.shape != counts.shape or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise DataError("loss weights must be one number of 0 or more for each text, not all 0")
    return (weights / np.average(weights, weights=counts)).astype(np.float32)
