"""Kernel density estimates with a Gaussian kernel, S chains side by side: fit, sample, evaluate."""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.mixture import Reference
from collapse.errors import ConfigError, TrainingError, unknown
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

BLOCK = 2**17
"""Pairs of points that are worked on at a time; their distances stay in the processor's cache."""


def _scott(count: np.ndarray, d: int) -> np.ndarray:
    return count ** (-1 / (d + 4))


def _silverman(count: np.ndarray, d: int) -> np.ndarray:
    return (count * (d + 2) / 4) ** (-1 / (d + 4))


RULES = {"scott": _scott, "silverman": _silverman}
"""Bandwidths that follow from the number of items; in two dimensions both are count^(-1/6)."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        bandwidth: standard deviation of the kernel, a number or ``scott`` or ``silverman``, which narrow it as items
            become more.
        scaled: False: the bandwidth is in units of the data, as in scikit-learn and in arXiv 2410.16713; True: the
            kernel has the items' covariance times its square, as in scipy.
    """

    bandwidth: float | str = "scott"
    scaled: bool = False

    def __post_init__(self):
        if isinstance(self.bandwidth, str):
            if self.bandwidth not in RULES:
                raise unknown("bandwidth", self.bandwidth, RULES)
        elif isinstance(self.bandwidth, bool) or not 1e-100 <= self.bandwidth <= 1e100:  # its square is a number
            what = f"positive, 1e-100 to 1e100, or {' or '.join(RULES)}"
            raise ConfigError(f"bandwidth must be {what}, got {self.bandwidth!r}")
        if not isinstance(self.scaled, bool):
            raise ConfigError(f"scaled must be true or false, got {self.scaled!r}")


@dataclass(frozen=True)
class Model:
    """S estimates: the mean of the kernels around their points.

    Attributes:
        points: (S, N, d).
        weights: (S, N), each row sums to 1.
        kernel: covariance of the kernel, (S, d, d).
        bandwidth: factor of the kernel's standard deviation, (S,).
    """

    points: np.ndarray
    weights: np.ndarray
    kernel: np.ndarray
    bandwidth: np.ndarray


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: the estimate is its items."""
    return Budget(passes=1)


def _covariance(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weighted covariance, sum w (x - mean)(x - mean)' / (1 - sum w^2): ddof 1 for equal weights. (S, d, d)."""
    gap = x - (w[..., None] * x).sum(axis=1, keepdims=True)
    return (w[..., None] * gap).swapaxes(1, 2) @ gap / (1 - (w**2).sum(axis=1))[:, None, None]


def fit(items: Items, *, config: Config, weights, budget, init, validation, observer, rng: Streams | None) -> Model:
    """Keep the items, and choose the kernel.

    Items with weights count as (sum w)^2 / sum w^2 equal ones where the bandwidth depends on their number.

    Args:
        items: output (S, N, d).
        config: settings.
        weights: (S, N) or None.
        budget, init, validation, observer, rng: not used.

    Raises:
        TrainingError: too few items, items that are not finite, or ``scaled`` and a singular covariance.
    """
    x = items.output
    chains, count, d = x.shape
    least = d + 1 if config.scaled else 1
    if count < least:
        raise TrainingError(f"this kernel density estimate needs at least {least} items, got {count}")
    if not np.isfinite(x).all():
        raise TrainingError("the points of a kernel density estimate are not finite")
    w = np.full((chains, count), 1 / count) if weights is None else weights / weights.sum(axis=1, keepdims=True)
    if isinstance(config.bandwidth, str):
        factor = RULES[config.bandwidth](1 / (w**2).sum(axis=1), d)
    else:
        factor = np.full(chains, float(config.bandwidth))
    shape = _covariance(x, w) if config.scaled else np.broadcast_to(np.eye(d), (chains, d, d))
    if config.scaled and not (np.linalg.eigvalsh(shape)[:, 0] > 1e-13 * np.trace(shape, axis1=1, axis2=2)).all():
        raise TrainingError("the points of a kernel density estimate lie on a line: set `scaled: false`")
    return Model(x, w, factor[:, None, None] ** 2 * shape, factor)


def sample(model: Model, contexts: int, sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``contexts`` points of each chain, (S, contexts, d): a point of the estimate, and noise from its kernel.

    Log-densities are left out: they would cost far more than the points.
    """
    ends = np.cumsum(model.weights, axis=1)
    ends[:, -1] = 1
    u = rng.each(lambda g: g.random(contexts))
    index = np.stack([np.searchsorted(end, draws, side="right") for end, draws in zip(ends, u, strict=True)])
    chosen = np.take_along_axis(model.points, index[:, :, None], axis=1)
    noise = rng.normal(contexts, chosen.shape[2]) @ np.linalg.cholesky(model.kernel).swapaxes(1, 2)
    return Items.make(chosen + noise, generation=k)


def log_density(model: Model, x: np.ndarray) -> np.ndarray:
    """Return log p(x) in nats. Shapes: x (S, M, d), result (S, M)."""
    factor = np.linalg.cholesky(model.kernel)
    log_norm = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1) + 0.5 * x.shape[2] * np.log(2 * np.pi)
    inverse = np.linalg.inv(factor).swapaxes(1, 2)
    out = np.empty(x.shape[:2])
    for s in range(len(x)):
        centre = model.points[s].mean(axis=0)  # squares of distances from it lose no digits
        points, at = (model.points[s] - centre) @ inverse[s], (x[s] - centre) @ inverse[s]
        with np.errstate(divide="ignore"):  # an item without weight has density 0
            lift = np.log(model.weights[s]) - 0.5 * (points**2).sum(axis=1)
        step = max(1, BLOCK // len(points))
        for low in range(0, len(at), step):
            here = at[low : low + step]
            exponent = here @ points.T
            exponent += lift
            top = exponent.max(axis=1, keepdims=True)
            exponent -= top
            np.exp(exponent, out=exponent)
            level = top[:, 0] - 0.5 * (here**2).sum(axis=1)
            out[s, low : low + step] = level + np.log(exponent.sum(axis=1))
    return out - log_norm[:, None]


def evaluate(model: Model, reference: Reference, rng: Streams | None) -> dict[str, np.ndarray]:
    """Return ``nll``, ``spread`` and ``kernel``, each (S,).

    ``nll``: mean -log p of fresh real points, nats a point. ``spread``: trace of the estimate's covariance, that of its
    points (ddof 0) and that of its kernel. ``kernel``: the bandwidth that was used.
    """
    x, w = model.points, model.weights[..., None]
    centre = (w * x).sum(axis=1, keepdims=True)
    points = (w * (x - centre) ** 2).sum(axis=(1, 2))
    return {
        "nll": -log_density(model, reference.points).mean(axis=1),
        "spread": points + np.trace(model.kernel, axis1=1, axis2=2),
        "kernel": model.bandwidth,
    }


def save(model: Model, path) -> None:
    """Write the model as safetensors. Raises DataError."""
    arrays = {name: getattr(model, name) for name in ("points", "weights", "kernel", "bandwidth")}
    save_arrays(path, arrays)


def load(path) -> Model:
    """Read a model. Raises DataError."""
    return Model(**load_arrays(path))
