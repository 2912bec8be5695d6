"""The empirical measure of K states: fit, sample, evaluate, vectorised over chains.

Refitting it to its own samples is the exact case of Shumailov et al., Nature 631 (2024): Wright-Fisher resampling,
whose only absorbing states are those with all mass on one point.
"""

from dataclasses import dataclass

import numpy as np

from collapse.datasets.discrete import DECILES, Counts, Truth, draw
from collapse.datasets.sums import Sums
from collapse.errors import TrainingError
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays


@dataclass(frozen=True)
class Config:
    """Nothing to set: the empirical measure is what it is."""


@dataclass(frozen=True)
class Model:
    """Probabilities, p (S, k). States of number k and above have probability 0."""

    p: np.ndarray


def budget(config: Config, size: int, *, equal_steps: bool, first: bool = False) -> Budget:
    """One pass: the estimate has a closed form."""
    return Budget(passes=1)


def fit(
    items: Items | Counts, *, config: Config, weights, budget, init, validation, observer, rng: Streams | None
) -> Model:
    """Return the share of each state among the items, sum of weights over sum of weights.

    Args:
        items: training set, states (S, N) or their counts.
        config: settings.
        weights: (S, N) or None; items one by one only.
        budget, init, validation, observer, rng: not used, the estimate has a closed form.

    Raises:
        TrainingError: no items, or a total weight that is not positive.
    """
    if isinstance(items, Counts):
        if weights is not None:
            raise ValueError("counts take no weights: load the data set with items=True")
        mass = items.counts
    else:
        states = items.output
        width = int(states.max(initial=0)) + 1
        place = (states + width * np.arange(len(states))[:, None]).ravel()
        flat = None if weights is None else weights.ravel()
        mass = np.bincount(place, flat, len(states) * width).reshape(-1, width)
    total = mass.sum(axis=1, keepdims=True)
    if not (np.isfinite(total).all() and (total > 0).all()):
        raise TrainingError("an empirical measure needs at least one item of positive weight")
    return Model(mass / total)


def sample(model: Model, contexts: int | Sums, sampler, rng: Streams, k: int = 1) -> Items | Counts:
    """Draw ``contexts`` states of each chain, (S, N), with their log-probabilities in nats; or their counts."""
    one_by_one = not isinstance(contexts, Sums)
    return draw(model.p, contexts if one_by_one else contexts.count, rng, one_by_one).labelled(k, 0)


def evaluate(model: Model, truth: Truth, rng: Streams | None) -> dict[str, np.ndarray]:
    """Compare with the true law p_0; all values are exact, each (S,).

    Returns:
        ``states_alive``: states of positive probability.
        ``heterozygosity``: 1 - sum_i p_i^2, the probability that two draws differ.
        ``heterozygosity_ratio``: the same in units of the true law's.
        ``absorbed``: 1 where one state is left, else 0.
        ``top_state``: the most probable state, numbered from 0; the first of several.
        ``total_variation``: sum_i |p_i - p_0(i)| / 2.
        ``alive_decile_1`` (the rarest tenth of the states under p_0) to ``alive_decile_10``: share of its states that
            is alive; where K >= 10.
    """
    p = np.zeros((len(model.p), len(truth.p)))
    p[:, : model.p.shape[1]] = model.p
    alive = p > 0
    heterozygosity = 1 - (p**2).sum(axis=1)
    out = {
        "states_alive": alive.sum(axis=1),
        "heterozygosity": heterozygosity,
        "heterozygosity_ratio": heterozygosity / (1 - (truth.p**2).sum()),
        "absorbed": (alive.sum(axis=1) == 1).astype(float),
        "top_state": p.argmax(axis=1),
        "total_variation": abs(p - truth.p).sum(axis=1) / 2,
    }
    if truth.deciles is not None:
        for decile in range(1, DECILES + 1):
            out[f"alive_decile_{decile}"] = alive[:, truth.deciles == decile].mean(axis=1)
    return out


def save(model: Model, path) -> None:
    """Write the model as safetensors. Raises DataError."""
    save_arrays(path, {"p": model.p})


def load(path) -> Model:
    """Read a model. Raises DataError."""
    return Model(**load_arrays(path))
