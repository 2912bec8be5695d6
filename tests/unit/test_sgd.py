"""A Gaussian fitted by gradient descent: its steps, streams and sets, and the expected error of a chain."""

from functools import cache
from math import inf, sqrt

import numpy as np
import pytest
import torch

from collapse.datasets import gaussian as dataset
from collapse.datasets.gaussian import Config as Data
from collapse.datasets.gaussian import Gaussian
from collapse.datasets.sums import takes_items
from collapse.errors import ConfigError, TrainingError
from collapse.families import sgd as family
from collapse.families.gaussian import Model
from collapse.families.sgd import Config
from collapse.items import Endless, Items
from collapse.loop import Budget, Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams
from collapse.selection import Selector
from collapse.theory import sgd as theory


def fit(items, config, *, weights=None, init=None, steps=None, rng=None):
    return family.fit(
        items, config=config, weights=weights, budget=Budget(steps=steps or config.steps), init=init, validation=None,
        observer=None, rng=rng,
    )  # fmt: skip


def values(chains=3, count=60):
    return 1.5 + 0.7 * Streams(("values",), range(chains)).normal(count)


@cache
def chain(config, seeds, generations, mean=1.0, sd=0.8, size=640, kind="stream"):
    """Metrics of chains, {name: (G, S)}."""
    data = dataset.for_chain(Data(T=size, mean=mean, sd=sd), seeds, "descent", Policy(kind), generations)
    turns = run_chain(
        Cell("descent", str(config), kind, "exact", "all"), size, generations, policy=Policy(kind), family=family,
        config=config, data=data, sampler=None, selector=Selector("all"), seeds=seeds,
    )  # fmt: skip
    found = [metrics for _, metrics, _ in turns]
    return {k: np.array([m[k] for m in found]) for k in found[0]}


# steps


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_those_of_torch(weighted):
    x, config = values(), Config(steps=7, batch=20, learning_rate=0.1)
    w = 1 + Streams(("weights",), range(3)).each(lambda g: g.random(60)) if weighted else None
    found = fit(Items.make(x, generation=0), config, weights=w)
    for s in range(3):
        m, log_sd = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
        optimiser = torch.optim.SGD([m, log_sd], lr=0.1)
        for k in range(7):
            part = slice(20 * (k % 3), 20 * (k % 3) + 20)
            batch = torch.from_numpy(x[s, part])
            loss = log_sd + 0.5 * ((batch - m) / log_sd.exp()) ** 2
            optimiser.zero_grad()
            (loss * (torch.from_numpy(w[s, part]) if weighted else 1)).mean().backward()
            optimiser.step()
        assert found.mean[s] == pytest.approx(m.item(), rel=1e-12)
        assert found.sd[s] == pytest.approx(log_sd.exp().item(), rel=1e-12)


def test_many_steps_on_whole_sets_reach_the_maximum_of_likelihood():
    x = values()
    found = fit(Items.make(x, generation=0), Config(steps=2000, batch=60, learning_rate=0.1))
    np.testing.assert_allclose(found.mean, x.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.sd, x.std(axis=1), rtol=1e-9)


def test_a_fit_starts_where_it_is_told():
    x, config = values(), Config(steps=1, batch=60, learning_rate=1e-9)
    fresh = fit(Items.make(x, generation=0), config)
    np.testing.assert_allclose([fresh.mean, fresh.sd], [np.zeros(3), np.ones(3)], atol=1e-7)
    given = Model(np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0]))
    warm = fit(Items.make(x, generation=0), config, init=given)
    np.testing.assert_allclose([warm.mean, warm.sd], [given.mean, given.sd], rtol=1e-6)
    assert family.budget(Config(steps=9), 100, equal_steps=False) == Budget(steps=9)


def test_batches_are_taken_in_order_and_from_the_start_again():
    x = values(count=50)
    found = fit(Items.make(x, generation=0), Config(steps=4, batch=20))
    twice = fit(Items.make(np.concatenate([x, x], axis=1), generation=0), Config(steps=4, batch=20))
    np.testing.assert_array_equal(found.mean, twice.mean)
    other = fit(Items.make(x[:, ::-1].copy(), generation=0), Config(steps=4, batch=20))
    assert (other.mean != found.mean).all()


def test_a_stream_gives_new_items_at_every_step():
    asked = []

    def part(number):
        asked.append(number)
        return Items.make(values(count=8) + number, generation=1, start=8 * number)

    config = Config(steps=5, batch=4)
    found = fit(Endless(part, 8), config)
    joined = np.concatenate([values(count=8) + number for number in range(3)], axis=1)
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(found.mean, fit(Items.make(joined, generation=1), config).mean)
    with pytest.raises(ValueError, match="no weights"):
        fit(Endless(part, 8), config, weights=np.ones((3, 8)))


def test_of_moments_items_are_drawn():
    moments = Gaussian(Data(60, mean=1.5, sd=0.7), (0, 1, 2), "x", items=False).real()
    found = fit(moments, Config(steps=2000, batch=60, learning_rate=0.1), rng=Streams(("fit",), (0, 1, 2)))
    np.testing.assert_allclose(found.mean, moments.mean[:, 0], rtol=1e-9)
    np.testing.assert_allclose(found.sd, moments.factor[:, 0, 0] / sqrt(60), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": inf}, "learning_rate must be positive"),
    ],
)
def test_config_refuses(options, text):
    with pytest.raises(ConfigError, match=text):
        Config(**options)


def test_what_cannot_be_fitted_is_an_error():
    with pytest.raises(TrainingError, match="diverged: lower learning_rate"):
        fit(Items.make(100 * values(), generation=0), Config(steps=50, batch=20, learning_rate=1.0))
    with pytest.raises(TrainingError, match="one dimension"):
        fit(Items.make(values()[..., None].repeat(2, axis=2), generation=0), Config(steps=2, batch=20))


# chains


def test_a_stream_needs_items_one_by_one():
    assert takes_items(Policy("stream"), 20, 3)
    assert takes_items(Policy("oracle", {"share": 0.1}), 20, 3)
    assert not takes_items(Policy("replace"), 20, 3)
    assert not takes_items(Policy("stream"), 20, 1)


@pytest.mark.parametrize("kind", ["stream", "replace"])
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(kind):
    config = Config(steps=6, batch=10)
    together, alone = (chain(config, seeds, 3, size=60, kind=kind) for seeds in ((0, 1, 2), (2,)))
    np.testing.assert_array_equal(alone["kl_divergence"][:, 0], together["kl_divergence"][:, 2])


def test_a_saved_model_loads_equal(tmp_path):
    model = fit(Items.make(values(), generation=0), Config(steps=2, batch=20))
    family.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(family.load(tmp_path / "model.safetensors").sd, model.sd)


# theory


@pytest.mark.parametrize("steps", [5, 20, 60])
def test_expected_error(steps):
    """Within 4 standard errors, and the neglected order: a few 1/B of the value."""
    config = Config(steps=steps, batch=64, learning_rate=0.1)
    found = chain(config, tuple(range(250)), 6, size=3840)["kl_divergence"]
    expected = theory.descent(6, steps, 64, 0.1, 1.0, 0.8).kl
    error = found.std(axis=1, ddof=1) / sqrt(250)
    assert (abs(found.mean(axis=1) - expected) < 4 * error + 3 / 64 * expected).all()


def test_more_steps_help_and_generations_compound():
    found = np.array([theory.descent(12, steps, 256, 0.05, 1.0).kl for steps in (10, 30, 60, 100)])
    assert (np.diff(found, axis=0) < 0).all()
    assert (np.diff(found, axis=1) > 0).all()
    few = theory.descent(40, 10, inf, 0.05, 1.0)
    np.testing.assert_allclose(few.path[-1], [0, 1], atol=2e-3)  # back at the initial weights
    assert few.kl[-1] == pytest.approx(0.5, rel=1e-2)  # KL(N(1, 1) || N(0, 1))


def test_a_fit_leaves_a_share_of_the_way():
    """Near its end: sigma = 1 and a mean of 0.01, where a step is linear; 1 - (1 - q)^n of the way is lost."""
    q = (1 - 0.05) ** 30
    path = theory.descent(5, 30, inf, 0.05, 0.01, 1.0).path
    np.testing.assert_allclose(0.01 - path[:, 0], 0.01 * (1 - (1 - q) ** np.arange(1, 6)), rtol=1e-3)


def test_noise_of_converged_steps_adds_up():
    """3 eta / 4B a generation to leading order in eta: variances eta / 2B of the mean and of log sigma."""
    found = theory.descent(5, 4000, 100, 0.01).kl
    np.testing.assert_allclose(found, np.arange(1, 6) * 3 * 0.01 / 400, rtol=0.02)


def test_derivatives_of_a_step():
    at, before, h = np.array([0.3, -0.2]), np.array([0.5, 0.1]), 1e-6
    gradient, noise, A, C = theory._step(at, before)
    for i in range(2):
        shift = h * np.eye(2)[i]
        up, down = theory._step(at + shift, before)[0], theory._step(at - shift, before)[0]
        np.testing.assert_allclose(A[:, i], (up - down) / (2 * h), atol=1e-8)
        up, down = theory._step(at, before + shift)[0], theory._step(at, before - shift)[0]
        np.testing.assert_allclose(C[:, i], (up - down) / (2 * h), atol=1e-8)
    x = before[0] + np.exp(before[1]) * Streams(("step",), (0,)).normal(400_000)[0]
    drawn = np.array([(at[0] - x) * np.exp(-2 * at[1]), 1 - (x - at[0]) ** 2 * np.exp(-2 * at[1])])
    np.testing.assert_allclose(drawn.mean(axis=1), gradient, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn), noise, rtol=0.03)


def test_descent_that_diverges_is_an_error():
    with pytest.raises(ConfigError, match="lower it"):
        theory.descent(2, 50, inf, 5.0, 3.0, 0.1)
