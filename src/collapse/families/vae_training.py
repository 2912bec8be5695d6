"""The training loop of the variational autoencoder: Adam on flat buffers, images of a set or of a stream, an observer.

Losses are in nats per image: summed over pixels and latent dimensions, means over images.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from math import ceil, isfinite

import numpy as np
import torch
from torch import Tensor

# the function, not the class torch.optim.Adam: the class's step() imports torch._dynamo, more than a second
from torch.optim.adam import adam

from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families.training import FETCH, steps
from collapse.items import Endless, Items
from collapse.loop import Budget
from collapse.progress import bar
from collapse.seeding import Streams


def images(items: Items, config) -> Tensor:
    """Return the images of one chain, (N, P, H, W) as stored. Raises DataError where they do not fit the model."""
    found, shape = items.output, config.shape
    if not isinstance(found, np.ndarray) or found.shape[0] != 1 or found.shape[2:] != shape:
        there = getattr(found, "shape", "texts")
        raise DataError(f"the model takes images of one chain, (1, N, {', '.join(map(str, shape))}), got {there}")
    if found.shape[1] == 0:
        raise DataError("no images")
    if not np.isfinite(found).all() or (config.output == "sigmoid" and (found.min() < 0 or found.max() > 1)):
        raise DataError("images hold values that are not in [0, 1]")
    return torch.from_numpy(np.ascontiguousarray(found[0]))


def batches(items: Items | Endless, config, rng: Streams) -> Iterator[tuple[Tensor, np.ndarray | None]]:
    """Yield images (B, P, H, W) and their places in the set, pass after pass in new orders; new images of a stream."""
    if hasattr(items, "batch"):
        while True:
            yield images(items.batch(config.batch), config).to(config.device).float(), None
    every = images(items, config).to(config.device)
    while True:
        order = rng.alone.permutation(len(every))
        for at in range(0, len(order), config.batch):
            index = order[at : at + config.batch]
            yield every[torch.from_numpy(index).to(config.device)].float(), index


class _Run:
    """A training run: all that changes from step to step, and a step."""

    def __init__(self, model, each: int, rng: Streams):
        self.model, self.config, self.each = model, model.config, each
        self.weights, self.grads = _flatten(model)
        self._moments = [torch.zeros_like(self.weights) for _ in range(2)]
        self._clock = torch.zeros((), device=self.weights.device)
        self._noise = rng.torch("posterior", self.config.device)
        self._pending: list[Tensor] = []
        self.losses: list[float] = []
        self.step_, self.seen = 0, 0

    def step(self, x: Tensor, scale: Tensor | None) -> None:
        """Follow the gradient of the sum of the losses, each times its scale. Shapes: x (B, P, H, W), scale (B,)."""
        config = self.config
        noise = torch.empty((len(x), config.latent), device=x.device).normal_(generator=self._noise)
        reconstruction, kl = self.model.losses(x, noise)
        losses = reconstruction + config.kl_weight * kl
        loss = (losses if scale is None else losses * scale).sum()
        self.grads.zero_()
        loss.backward()
        rate = config.learning_rate * config.decay ** (self.step_ // self.each)
        adam(
            [self.weights], [self.grads], *([m] for m in self._moments), [], [self._clock], fused=True, amsgrad=False,
            beta1=config.betas[0], beta2=config.betas[1], lr=rate, weight_decay=config.weight_decay, eps=1e-8,
            maximize=False,
        )  # fmt: skip
        self.step_, self.seen = self.step_ + 1, self.seen + len(x)
        self._pending.append(loss.detach() / len(x))
        if len(self._pending) >= FETCH[config.device]:
            self.fetch()

    def fetch(self) -> None:
        """Fetch the losses of the steps since the last time. Raises TrainingError where one is not finite."""
        if not self._pending:
            return
        values = torch.stack(self._pending).tolist()
        self._pending.clear()
        for step, loss in enumerate(values, len(self.losses) + 1):
            if not isfinite(loss):
                rate = self.config.learning_rate
                raise TrainingError(
                    f"training diverged: loss {loss} at step {step}: lower `learning_rate`, now {rate:g}"
                )
        self.losses += values


def _flatten(model) -> tuple[Tensor, Tensor]:
    """Make all parameters and gradients views of two flat buffers, (parameters,): Adam is one call."""
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    grads, at = torch.zeros_like(flat), 0
    for p in model.parameters():
        p.data, p.grad = (b[at : at + p.numel()].view_as(p) for b in (flat, grads))
        at += p.numel()
    return flat, grads


def _scale(weights: np.ndarray, items: Items | Endless) -> np.ndarray:
    """Scale loss weights (1, N) to mean 1, (N,) float32. Raises ConfigError for a stream, DataError for bad ones."""
    if hasattr(items, "batch"):
        raise ConfigError("a stream of images takes no loss weights")
    row = np.asarray(weights)[0]
    if row.shape != (len(items),) or not (np.isfinite(row).all() and (row >= 0).all() and row.any()):
        raise DataError("loss weights must be one number of 0 or more for each image, not all 0")
    return (row / row.mean()).astype(np.float32)


def train(
    model, items: Items | Endless, *, weights: np.ndarray | None, budget: Budget, observer: Callable | None,
    rng: Streams,
):  # fmt: skip
    """Train a model in place with Adam, one posterior draw per image and step; return it, in eval mode.

    Args:
        model: module with ``config`` and ``losses(x, noise)``.
        items: images of one chain, (1, N, P, H, W); or a stream of them, of which each step sees new ones; a pass is
            then as many steps as over N items.
        weights: loss weight of each image, (1, N), scaled to mean 1; or None.
        budget: passes or steps.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations`` and at the last
            step, in eval mode; the loss is that of the step.
        rng: one chain; draws the order and, from a stream of its own, the posterior noise.

    Returns:
        The model. Its ``facts``: ``steps``, ``images`` (counted as often as seen), ``first_loss`` and ``last_loss``
        (means of the first and the last batch), ``weight_change`` (L2 norm), ``parameters``. Its ``pace``, what this
        process did: ``train_steps``, ``train_seconds`` without the observer, ``train_images_per_second``.

    Raises:
        ConfigError: loss weights for a stream.
        DataError: the images do not fit the model, or the weights do not fit the images.
        TrainingError: a loss is not finite, or the weights did not move.
    """
    config, total = model.config, steps(len(items), model.config, budget)
    scale = None if weights is None else _scale(weights, items)
    calls = {max(1, ceil(f * total - 1e-9)): f for f in (*config.evaluations, 1.0)}
    run = _Run(model.train(), ceil(len(items) / config.batch), rng)
    start, seconds, since = run.weights.clone(), 0.0, time.perf_counter()
    for x, index in bar(islice(batches(items, config, rng), total), "train", "steps", total=total):
        run.step(x, None if scale is None else torch.from_numpy(scale[index]).to(config.device))
        if run.step_ not in calls:
            continue
        run.fetch()
        seconds += time.perf_counter() - since
        if observer is not None:
            here = {"step": run.step_, "fraction": calls[run.step_], "loss": run.losses[-1]}
            observer(model.eval(), here)
            model.train()
        since = time.perf_counter()
    change = (run.weights - start).norm().item()
    if not (isfinite(change) and change > 0):
        raise TrainingError(f"the weights changed by {change} in {total} steps: check `learning_rate`")
    for p in model.parameters():
        p.grad = None
    model.facts = {
        "steps": total,
        "images": run.seen,
        "first_loss": run.losses[0],
        "last_loss": run.losses[-1],
        "weight_change": change,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    model.pace = {
        "train_steps": total,
        "train_seconds": round(seconds, 3),
        "train_images_per_second": round(run.seen / seconds, 1),
    }
    return model.eval()
