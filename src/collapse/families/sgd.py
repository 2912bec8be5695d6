"""A Gaussian fitted by stochastic gradient descent: what an optimiser that stops early adds, apart from all else.

The family of `collapse.families.gaussian` in one dimension, whose maximum of likelihood a formula gives, fitted by K
steps instead. On a stream of its predecessor it sees no finite sample, and it can represent what it is shown: of the
three errors of Shumailov et al., Nature 631 (2024), the approximation alone is left.
"""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.gaussian import Moments
from collapse.errors import ConfigError, TrainingError
from collapse.families.gaussian import Model, evaluate, load, sample, save
from collapse.items import Endless, Items
from collapse.loop import Budget
from collapse.seeding import Streams

__all__ = ["STREAMS", "Config", "Model", "budget", "evaluate", "fit", "load", "sample", "save"]

STREAMS = True
"""`fit` takes a stream."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        steps: K.
        batch: B, items of a step.
        learning_rate: eta, the same at every step.
    """

    steps: int = 100
    batch: int = 256
    learning_rate: float = 0.05

    def __post_init__(self):
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not 0 < self.learning_rate < np.inf:
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """K steps, however many items there are."""
    return Budget(steps=config.steps)


def fit(
    items: Items | Moments | Endless, *, config: Config, weights, budget: Budget, init: Model | None, validation,
    observer, rng: Streams | None,
) -> Model:  # fmt: skip
    """Minimise -log N(x; m, e^2l) by K steps on batches of B items, from N(0, 1) or from a model.

    A step is m -= eta (m - x) / e^2l and l -= eta (1 - (x - m)^2 / e^2l), each the (weighted) mean over a batch.

    Args:
        items: output (S, N), of which batches are taken in their order, from the start again at the end; or a stream.
            Of moments, items that have them are drawn.
        config: settings.
        weights: (S, N) or None.
        budget: the steps.
        init: where to start; None for N(0, 1).
        rng: draws items of moments alone: all others come in random order.
        validation, observer: not used.

    Raises:
        TrainingError: items that are not numbers in one dimension, or parameters that are not finite.
    """
    steps = budget.steps
    x, w = _batches(items, weights, steps, config.batch, rng)
    mass = w.mean(axis=2)  # these three: (S, K)
    centre = (w * x).mean(axis=2) / mass
    spread = (w * (x - centre[..., None]) ** 2).mean(axis=2) / mass
    m, log_sd = np.zeros(len(x)), np.zeros(len(x))
    if init is not None:
        m, log_sd = init.mean.copy(), np.log(init.sd)
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges is an error below
        for k in range(steps):
            precision, gap = np.exp(-2 * log_sd), m - centre[:, k]
            rate = config.learning_rate * mass[:, k]
            m, log_sd = m - rate * gap * precision, log_sd - rate * (1 - (spread[:, k] + gap**2) * precision)
        sd = np.exp(log_sd)
    if not (np.isfinite(m).all() and np.isfinite(sd).all() and (sd > 0).all()):
        raise TrainingError("gradient descent has diverged: lower learning_rate")
    return Model(m, sd)


def _batches(items, weights, steps: int, size: int, rng: Streams | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the items of all steps, (S, K, B), and their weights, of a shape that fits it."""
    count, w = steps * size, np.ones((1, steps, 1))
    if isinstance(items, Endless):
        if weights is not None:
            raise ValueError("a stream takes no weights")
        x = items.batch(count).output
    else:
        x = items.spread(rng) if isinstance(items, Moments) else items.output
        x = x[..., 0] if x.shape[2:] == (1,) else x
        place = np.arange(count) % x.shape[1]
        x = np.ascontiguousarray(x[:, place])  # so that sums do not depend on how many chains there are
        if weights is not None:
            w = np.ascontiguousarray(weights[:, place]).reshape(-1, steps, size)
    if x.ndim != 2:
        raise TrainingError(f"gradient descent fits Gaussians in one dimension, to items (S, N), got {x.shape}")
    return x.reshape(-1, steps, size), w
