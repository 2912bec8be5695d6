"""A Gaussian fitted by its moments: fit, sample, evaluate, vectorised over chains.

The chain of theorem 3.1 of Shumailov et al., Nature 631 (2024), in one dimension or many.
"""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.gaussian import Moments
from collapse.datasets.sums import Sums
from collapse.errors import ConfigError, TrainingError
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

ROUNDING = 1e-13
"""A standard deviation below this share of the largest value is what rounding left of items that are all the same."""


@dataclass(frozen=True)
class Config:
    """``ddof``: 1 is the unbiased variance estimator, 0 maximum likelihood."""

    ddof: int = 1

    def __post_init__(self):
        if self.ddof not in (0, 1):
            raise ConfigError(f"ddof is 0 or 1, got {self.ddof}")


@dataclass(frozen=True)
class Model:
    """Estimated mean (S,) and standard deviation (S,) of each chain.

    In d > 1 dimensions ``mean`` is (S, d), and ``sd`` lower triangular, L (S, d, d): the covariance is LL'.
    """

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, scale: np.ndarray) -> "Model":
        """Build from mean (S, d) and L (S, d, d), also where d = 1."""
        return cls(mean[:, 0], scale[:, 0, 0]) if mean.shape[1] == 1 else cls(mean, scale)

    def wide(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (S, d) and L (S, d, d), also where d = 1."""
        return (self.mean, self.sd) if self.mean.ndim == 2 else (self.mean[:, None], self.sd[:, None, None])


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: the estimate has a closed form."""
    return Budget(passes=1)


def fit(
    items: Items | Moments, *, config: Config, weights, budget, init, validation, observer, rng: Streams | None
) -> Model:
    """Estimate mean and covariance, sum w (x - mean)(x - mean)' / (sum w - ddof).

    Args:
        items: training set, output (S, N) or (S, N, d); or its moments.
        config: settings.
        weights: (S, N) or None; items only.
        budget, init, validation, observer, rng: not used, the estimate has a closed form.

    Raises:
        TrainingError: fewer than d + 1 items, non-finite values, or a singular covariance.
    """
    if isinstance(items, Moments):
        if weights is not None:
            raise ValueError("moments take no weights: load the data set with items=True")
        mean, factor, total, floor = items.mean, items.factor, items.count, 0.0
    else:
        mean, factor, total, floor = _moments(items.output, weights)
    scale = factor / np.reshape(np.sqrt(total - config.ddof), (-1, 1, 1))
    least = np.diagonal(scale, axis1=1, axis2=2).min(axis=1)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise TrainingError("mean or covariance of a Gaussian is not finite")
    if (least <= floor).any():
        lost = int((least <= floor).sum())
        raise TrainingError(f"the covariance of {lost} of {len(least)} Gaussians is singular: take more items")
    return Model.of(mean, scale)


def _moments(x: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (S, d), factor of the scatter (S, d, d), sum of the weights (S,), and what counts as 0 (S,)."""
    d = 1 if x.ndim == 2 else x.shape[2]
    if x.shape[1] <= d or not np.isfinite(x).all():
        least = "two" if d == 1 else d + 1
        raise TrainingError(f"a Gaussian in {d} dimensions needs at least {least} finite items, got {x.shape[1]}")
    w = np.ones(x.shape[:2]) if weights is None else weights
    total, floor = w.sum(axis=1), ROUNDING * abs(x).reshape(len(x), -1).max(axis=1)
    if d == 1:
        mean = (w * x).sum(axis=1) / total
        scatter = (w * (x - mean[:, None]) ** 2).sum(axis=1)
        return mean[:, None], np.sqrt(scatter)[:, None, None], total, floor
    mean = (w[..., None] * x).sum(axis=1) / total[:, None]
    # scatter = R'R from a QR decomposition: no precision is lost to squares
    lower = np.linalg.qr(np.sqrt(w)[..., None] * (x - mean[:, None]), mode="r").swapaxes(1, 2)
    signs = np.sign(np.diagonal(lower, axis1=1, axis2=2))[:, None]
    return mean, np.ascontiguousarray(lower * signs), total, floor


def sample(model: Model, contexts: int | Sums, sampler, rng: Streams, k: int = 1) -> Items | Moments:
    """Draw ``contexts`` items of each chain, (S, N) or (S, N, d), with log-densities in nats; or their moments."""
    mean, scale = model.wide()
    if isinstance(contexts, Sums):
        return Moments.draw(mean, scale, contexts.count, rng)
    d = mean.shape[1]
    if d == 1:
        z = rng.normal(contexts)
        output, energy = model.mean[:, None] + model.sd[:, None] * z, 0.5 * z**2
    else:
        z = rng.normal(contexts, d)
        output, energy = mean[:, None] + z @ scale.swapaxes(1, 2), 0.5 * (z**2).sum(axis=2)
    volume = np.log(np.diagonal(scale, axis1=1, axis2=2)).sum(axis=1) + 0.5 * d * np.log(2 * np.pi)
    return Items.make(output, generation=k, logprob=-energy - volume[:, None])


def evaluate(model: Model, truth, rng: Streams | None) -> dict[str, np.ndarray]:
    """Compare with the truth N(mean, diag(sd^2)); all values are exact, each (S,).

    Returns:
        ``mean``, ``sd``: of the first coordinate.
        ``mean_error``: |mu_n - mu|.
        ``sd_error``: |Sigma_n^(1/2) - Sigma^(1/2)| in the Frobenius norm; |sigma_n - sigma| in one dimension.
        ``log_sigma``: log(det Sigma_n / det Sigma) / 2d, the mean log of the standard deviations in units of the truth.
        ``trace_ratio``: tr Sigma_n / tr Sigma. Its mean over chains stays where the typical chain collapses.
        ``risk``: mean_error^2 + sd_error^2 (the risk of the supplement of Shumailov et al., there for d = 1).
        ``wasserstein2``: W2^2 = |mu_n - mu|^2 + tr(Sigma_n + Sigma - 2 (Sigma^(1/2) Sigma_n Sigma^(1/2))^(1/2)). At
        most the risk; equal to it where the covariances commute, as for d = 1 and for one sd.
        ``kl_divergence``: KL(truth || model) in nats.

    Raises:
        TrainingError: a value is not finite, as the KL divergence from a spread of 1e-154 of the truth's downwards.
    """
    with np.errstate(all="ignore"):  # what is not finite is an error below
        found = _compared(model, truth)
    for name in ("risk", "kl_divergence"):  # one of them is not finite where any value is not
        if not np.isfinite(values := found[name]).all():
            raise TrainingError(
                f"{name} is {values[~np.isfinite(values)][0]} where Gaussians have standard deviations from "
                f"{found['sd'].min():.3g} to {found['sd'].max():.3g}: run fewer generations, or take more items"
            )
    return found


def _compared(model: Model, truth) -> dict[str, np.ndarray]:
    """Return the values of `evaluate`, finite or not."""
    mean, scale = model.wide()
    d = mean.shape[1]
    sd = np.broadcast_to(np.asarray(truth.sd, float), d)
    shift = mean - truth.mean
    logs = np.log(np.diagonal(scale, axis1=1, axis2=2)) - np.log(sd)
    square, true = (scale**2).sum(axis=(1, 2)), (sd**2).sum()
    if d == 1:
        first, sd_error = scale[:, 0, 0], abs(scale[:, 0, 0] - sd[0])
        apart, precise, shifted = sd_error**2, (sd / scale[:, :, 0])[:, 0] ** 2, (shift / scale[:, :, 0])[:, 0] ** 2
    else:
        first = np.sqrt((scale[:, 0] ** 2).sum(axis=1))
        left, values, _ = np.linalg.svd(scale)
        root = (left**2 * values[:, None]).sum(axis=2)  # the diagonal of the root of LL'
        sd_error = np.sqrt(np.maximum(square + true - 2 * (root * sd).sum(axis=1), 0))
        nuclear = np.linalg.svd(sd[:, None] * scale, compute_uv=False).sum(axis=1)
        apart = np.maximum(square + true - 2 * nuclear, 0)
        white = _solve(scale, np.concatenate([np.broadcast_to(np.diag(sd), scale.shape), shift[..., None]], axis=2))
        precise, shifted = (white[..., :-1] ** 2).sum(axis=(1, 2)), (white[..., -1] ** 2).sum(axis=1)
    distance = (shift**2).sum(axis=1)
    return {
        "mean": np.ascontiguousarray(mean[:, 0]),
        "sd": first,
        "mean_error": np.sqrt(distance),
        "sd_error": sd_error,
        "log_sigma": logs.mean(axis=1),
        "trace_ratio": square / true,
        "risk": distance + sd_error**2,
        "wasserstein2": distance + apart,
        "kl_divergence": 0.5 * (precise + shifted - d) + logs.sum(axis=1),
    }


def _solve(scale: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return L^-1 right, (S, d, m), by substitution: precise in each entry however badly L is conditioned."""
    out = np.empty_like(right)
    for j in range(right.shape[1]):
        known = (scale[:, j, None, :j] @ out[:, :j])[:, 0]
        out[:, j] = (right[:, j] - known) / scale[:, j, j, None]
    return out


def save(model: Model, path) -> None:
    """Write the model as safetensors."""
    save_arrays(path, {"mean": model.mean, "sd": model.sd})


def load(path) -> Model:
    """Read a model. Raises DataError."""
    return Model(**load_arrays(path))
