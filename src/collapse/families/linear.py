"""Least squares and ridge regression, S chains and K noise levels at once: fit, sample, evaluate."""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.linear import InputMoments, Inputs, Moments, Rows
from collapse.errors import ConfigError, TrainingError
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

BY_PART = False
"""Samples are drawn at once: sufficient statistics have no parts."""

NEGLIGIBLE = 1e-12
"""Eigenvalues of X'X below this share of the largest count as 0 where the design may be singular."""


@dataclass(frozen=True)
class Config:
    """``ridge``: lambda >= 0 of (1/|D|) sum (y - x'w)^2 + lambda ||w||^2; 0 is ordinary least squares."""

    ridge: float = 0.0

    def __post_init__(self):
        if not 0 <= self.ridge < np.inf:
            raise ConfigError(f"ridge must not be negative, got {self.ridge}")


@dataclass(frozen=True)
class Model:
    """Estimated coefficients, w (S, d, K)."""

    w: np.ndarray


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: the estimate has a closed form."""
    return Budget(passes=1)


def fit(
    items: Rows | Moments, *, config: Config, weights, budget, init, validation, observer, rng: Streams | None
) -> Model:
    """Minimise (1/|D|) sum_i weight_i (y_i - x_i'w)^2 + lambda ||w||^2.

    w = (X'X + |D| lambda I)^-1 X'y. Without ridge and where X'X is singular, the solution of smallest norm.

    Args:
        items: training set.
        config: settings.
        weights: (S, N) or None; rows only.
        budget, init, validation, observer, rng: not used, the estimate has a closed form.

    Raises:
        TrainingError: the estimate is not finite.
    """
    m = items.moments(weights)
    gram, cross, d = m.gram, m.cross / m.copies, m.gram.shape[1]
    singular = m.distinct < d
    if config.ridge:
        gram, singular = gram.copy(), np.zeros_like(singular)
        gram[:, range(d), range(d)] += m.count / m.copies * config.ridge
    try:
        if singular.any():  # chain by chain: what a chain gives must not depend on its neighbours
            w = np.empty_like(cross)
            w[singular] = _smallest(gram[singular], cross[singular])
            w[~singular] = np.linalg.solve(gram[~singular], cross[~singular])
        else:
            w = np.linalg.solve(gram, cross)
    except np.linalg.LinAlgError as error:
        raise TrainingError("X'X is singular although it has d different rows: check the inputs") from error
    if not np.isfinite(w).all():
        raise TrainingError("the coefficients of a linear regression are not finite")
    return Model(w)


def _smallest(gram: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Solve gram w = cross in the span of gram's eigenvectors with non-zero eigenvalues."""
    values, vectors = np.linalg.eigh(gram)
    used = values > NEGLIGIBLE * values[:, -1:]
    inverse = np.where(used, 1 / np.where(used, values, 1), 0)
    return vectors @ (inverse[:, :, None] * (vectors.swapaxes(1, 2) @ cross))


def sample(model: Model, contexts: Inputs | InputMoments, sampler, rng: Streams, k: int = 1) -> Rows | Moments:
    """Label inputs: y = x'w + sigma e, with the data set's sigma. ``sampler`` is not used."""
    return contexts.label(model.w, rng).labelled(k, 0)


def evaluate(model: Model, truth: np.ndarray, rng: Streams | None) -> dict[str, np.ndarray]:
    """Return ``test_error`` (S, K): E (x'w - x'w*)^2 = ||w - w*||^2, exact for x ~ N(0, I). ``truth`` is w* (S, d)."""
    return {"test_error": ((model.w - truth[:, :, None]) ** 2).sum(axis=1)}


def save(model: Model, path) -> None:
    """Write the model as safetensors. Raises DataError."""
    save_arrays(path, {"w": model.w})


def load(path) -> Model:
    """Read a model. Raises DataError."""
    return Model(**load_arrays(path))
