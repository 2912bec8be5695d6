"""Gaussian mixtures fitted by expectation maximisation (`families.em`), S chains side by side: fit, sample, evaluate.

Each fit sees its items centred and divided by one scale, which changes neither the likelihood's increments nor the
fitted mixture, and keeps the second moments accurate when a collapsed mixture lies far from the origin.
"""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.mixture import Reference
from collapse.errors import ConfigError, TrainingError, unknown
from collapse.families import em
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays
from collapse.theory import mixture as theory
from collapse.theory.mixture import Mixture


@dataclass(frozen=True)
class Config:
    """Settings, with scikit-learn's names; defaults are those of arXiv 2305.17493.

    Attributes:
        components: K.
        covariance_type: ``full``, ``tied`` (one for all components), ``diag`` or ``spherical``.
        init: where EM starts unless the policy hands over a model: ``kmeans``, or ``random``: means at K items drawn
            at random, all with the covariance of the items, at equal weights.
        n_init: starts, of which the most likely end is kept.
        tol: EM stops where the mean log-likelihood of an item grows by less than this, in nats.
        max_iter: most iterations of EM.
        reg_covar: added to each variance after each iteration. It is the rule for singular covariances: no component
            is narrower than its root, not even one on a single item, and all numbers stay finite.
    """

    components: int = 2
    covariance_type: str = "full"
    init: str = "kmeans"
    n_init: int = 1
    tol: float = 1e-5
    max_iter: int = 2000
    reg_covar: float = 1e-6

    def __post_init__(self):
        if self.covariance_type not in em.RESTRICT:
            raise unknown("covariance_type", self.covariance_type, em.RESTRICT)
        if self.init not in em.STARTS:
            raise unknown("init of a mixture", self.init, em.STARTS)
        for name in ("components", "n_init", "max_iter"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not 0 < self.tol < np.inf or not 0 <= self.reg_covar < np.inf:
            raise ConfigError(f"tol must be positive and reg_covar not negative, got {self.tol}, {self.reg_covar}")


@dataclass(frozen=True)
class Model:
    """S fitted mixtures, and the iterations of EM that each took, (S,)."""

    mixture: Mixture
    iterations: np.ndarray


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: EM runs until it has converged, whatever the budget."""
    return Budget(passes=1)


def fit(
    items: Items, *, config: Config, weights, budget, init: Model | None, validation, observer, rng: Streams
) -> Model:
    """Maximise the (weighted) log-likelihood of the items by EM.

    Args:
        items: output (S, N, d).
        config: settings.
        weights: (S, N) or None.
        init: model to start from instead of ``config.init``, where the policy says so.
        rng: draws the start.
        budget, validation, observer: not used.

    Raises:
        TrainingError: fewer items than components, items that are not finite, a singular covariance (only where
            ``reg_covar`` is 0).
    """
    x = items.output
    if x.ndim != 3:
        raise TrainingError(f"a mixture is fitted to points, (S, N, d), got items of shape {x.shape}")
    if x.shape[1] < config.components:
        count = x.shape[1]
        raise TrainingError(f"a mixture of {config.components} components needs at least as many items, got {count}")
    if not np.isfinite(x).all():
        raise TrainingError("the points that a mixture is fitted on are not finite")
    centre = x.mean(axis=1, keepdims=True)
    scale = np.sqrt(((x - centre) ** 2).mean(axis=(1, 2)))
    scale = np.where(scale > 0, scale, 1)[:, None, None]
    x = (x - centre) / scale
    problem = em.Problem(
        theory.features(x), weights, config.reg_covar / scale[:, 0, 0] ** 2, config.components, config.covariance_type,
        config.tol, config.max_iter,
    )  # fmt: skip
    if init is None:
        starts = (em.STARTS[config.init](problem, x, rng) for _ in range(config.n_init))
    else:
        given = init.mixture
        starts = [Mixture(given.weights, (given.means - centre) / scale, given.covariances / scale[..., None] ** 2)]
    found, iterations = em.best_of([em.maximise(problem, start) for start in starts])
    found = Mixture(found.weights, centre + scale * found.means, scale[..., None] ** 2 * found.covariances)
    if not all(np.isfinite(v).all() for v in (found.weights, found.means, found.covariances)):
        raise TrainingError("the parameters of a mixture are not finite")
    return Model(found, iterations)


def sample(model: Model, contexts: int, sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``contexts`` independent points of each chain, (S, contexts, d), with their log-densities in nats."""
    m = model.mixture
    ends = np.cumsum(m.weights, axis=1)[:, None, :-1]
    component = (rng.each(lambda g: g.random(contexts))[:, :, None] >= ends).sum(axis=2)
    means = np.take_along_axis(m.means, component[:, :, None], axis=1)
    factors = np.take_along_axis(np.linalg.cholesky(m.covariances), component[:, :, None, None], axis=1)
    output = means + np.einsum("snij,snj->sni", factors, rng.normal(contexts, m.d))
    return Items.make(output, generation=k, logprob=theory.log_density(m, output))


def evaluate(model: Model, reference: Reference, rng: Streams | None) -> dict[str, np.ndarray]:
    """Return metrics, each (S,), and the fitted parameters: rows of a chain hold its models.

    ``l2``: squared L2 distance to the true density, exact. ``nll``: mean -log p of fresh real points, nats a point.
    ``weight_entropy``: of the components' weights, nats. ``spread``: trace of the mixture's covariance.
    ``iterations`` of EM. Parameters: see `collapse.theory.mixture.as_columns`.
    """
    m = model.mixture
    return {
        "l2": theory.squared_l2(m, reference.truth, reference.norm),
        "nll": -theory.log_density(m, reference.points).mean(axis=1),
        "weight_entropy": theory.entropy(m.weights),
        "spread": np.trace(theory.covariance(m), axis1=1, axis2=2),
        "iterations": model.iterations,
        **theory.as_columns(m),
    }


def save(model: Model, path) -> None:
    """Write the model as safetensors. Raises DataError."""
    m = model.mixture
    arrays = {"weights": m.weights, "means": m.means, "covariances": m.covariances}
    save_arrays(path, {**arrays, "iterations": model.iterations})


def load(path) -> Model:
    """Read a model. Raises DataError."""
    arrays = load_arrays(path)
    iterations = arrays.pop("iterations")
    return Model(Mixture(**arrays), iterations)
