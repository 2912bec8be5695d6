"""A one-dimensional Gaussian fitted by its moments: fit, sample, evaluate, vectorised over chains."""

from dataclasses import dataclass

import numpy as np

from collapse.errors import ConfigError, TrainingError
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays


@dataclass(frozen=True)
class Config:
    """``ddof``: 1 is the unbiased variance estimator, 0 maximum likelihood."""

    ddof: int = 1

    def __post_init__(self):
        if self.ddof not in (0, 1):
            raise ConfigError(f"ddof is 0 or 1, got {self.ddof}")


@dataclass(frozen=True)
class Model:
    """Estimated mean and standard deviation, each of shape (S,)."""

    mean: np.ndarray
    sd: np.ndarray


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: the estimate has a closed form."""
    return Budget(passes=1)


def fit(items: Items, *, config: Config, weights, budget, init, validation, observer, rng: Streams) -> Model:
    """Estimate mean and variance, sum w (x - mean)^2 / (sum w - ddof).

    Shapes: items (S, N), weights None or (S, N). Raises TrainingError on fewer than two items or non-finite values.
    """
    x = items.output
    if x.shape[1] < 2 or not np.isfinite(x).all():
        raise TrainingError(f"a Gaussian needs at least two finite items, got {x.shape[1]}")
    w = np.ones_like(x) if weights is None else weights
    total = w.sum(axis=1)
    mean = (w * x).sum(axis=1) / total
    variance = (w * (x - mean[:, None]) ** 2).sum(axis=1) / (total - config.ddof)
    return Model(mean, np.sqrt(variance))


def sample(model: Model, contexts: int, sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``contexts`` values of each chain, shape (S, contexts), with their log-densities in nats."""
    z = rng.normal(contexts)
    output = model.mean[:, None] + model.sd[:, None] * z
    logprob = -0.5 * z**2 - np.log(model.sd * np.sqrt(2 * np.pi))[:, None]
    return Items.make(output, generation=k, logprob=logprob)


def evaluate(model: Model, truth, rng: Streams) -> dict[str, np.ndarray]:
    """Return mean, sd, and KL(truth || model) in nats, each (S,). ``truth`` has ``mean`` and ``sd``."""
    ratio = truth.sd / model.sd
    kl = 0.5 * (ratio**2 + ((model.mean - truth.mean) / model.sd) ** 2 - 1) - np.log(ratio)
    return {"mean": model.mean, "sd": model.sd, "kl_divergence": kl}


def save(model: Model, path) -> None:
    """Write the model as safetensors."""
    save_arrays(path, {"mean": model.mean, "sd": model.sd})


def load(path) -> Model:
    """Read a model. Raises DataError."""
    return Model(**load_arrays(path))
