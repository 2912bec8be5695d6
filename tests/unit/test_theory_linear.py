"""Closed forms of linear regression against simulated chains: 3 standard errors, plus the neglected order where any."""

import numpy as np
import pytest

from collapse.datasets.linear import Config, InputMoments, Moments, load, wishart_factor
from collapse.errors import ConfigError
from collapse.families import linear as family
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams, stream
from collapse.selection import Selector
from collapse.theory import linear as theory

GENERATIONS = 50
CHECKED = np.array([1, 10, 50]) - 1
LAWS = {
    "replace": lambda d, T, sigma2, design: theory.replace(GENERATIONS, d, T, sigma2),
    "accumulate": lambda d, T, sigma2, design: theory.accumulate(GENERATIONS, d, T, sigma2, design),
    "replace_multiple": lambda d, T, sigma2, design: theory.replace_multiple(GENERATIONS, d, T, sigma2, design),
}


def simulate(kind, config, seeds, ridge=0.0, generations=GENERATIONS, name="theory"):
    """Test errors (G, S, K) of a chain of moments, and its data."""
    data = load(config, {}, {}, seeds, name)
    turns = run_chain(
        Cell(name, f"ridge{ridge}", kind, "noise", "all"),
        config.T,
        generations,
        policy=Policy(kind),
        family=family,
        config=family.Config(ridge),
        data=data,
        sampler=None,
        selector=Selector("all"),
        seeds=seeds,
    )
    return np.stack([metrics["test_error"] for _, metrics, _ in turns]), data


def distance(found, expected):
    """Standard errors between the mean over chains, found (G, S), and expected (G,)."""
    return (found.mean(axis=1) - expected) / (found.std(axis=1, ddof=1) / np.sqrt(found.shape[1]))


@pytest.mark.parametrize("design", ["shared", "fresh"])
@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize(("d", "T"), [(10, 100), (20, 60), (10, 316)])
def test_least_squares_follows_its_law(kind, design, d, T):
    found, _ = simulate(kind, Config(d, T, design, (0.01, 10.0)), range(300))
    for k, sigma2 in enumerate((0.01, 10.0)):
        assert (abs(distance(found[..., k], LAWS[kind](d, T, sigma2, design)))[CHECKED] < 3).all()


def test_the_line_of_the_papers_plots_is_one_generation_too_high():
    found, _ = simulate("replace", Config(32, 100, "shared", (1.0,)), range(300), generations=10)
    n = np.arange(1, 11)
    assert (distance(found[..., 0], (n + 1) * theory.unit(32, 100)) < -3).all()


@pytest.mark.parametrize("kind", ["accumulate", "replace_multiple"])
def test_designs_are_told_apart(kind):
    """Near T = d the laws of the two designs differ widely; each rejects the other's simulation."""
    for design, other in (("shared", "fresh"), ("fresh", "shared")):
        found, _ = simulate(kind, Config(20, 30, design, (1.0,)), range(200))
        assert abs(distance(found[..., 0], LAWS[kind](20, 30, 1.0, design)))[-1] < 3
        assert abs(distance(found[..., 0], LAWS[kind](20, 30, 1.0, other)))[-1] > 3


def test_published_factors():
    """Gerstgrasser et al., theorem 2: sum 1/i^2 is 1.4636 after 5 generations, 1.5498 after 10; at most pi^2 / 6."""
    c = theory.unit(32, 100)
    law = theory.accumulate(1000, 32, 100)
    np.testing.assert_allclose(law[[0, 4, 9]] / c, [1, 1.4636, 1.5498], atol=5e-5)
    bound = theory.accumulate_bound(32, 100)
    assert (law < bound).all()
    assert bound - law[-1] < c / 1000
    assert (theory.accumulate(1000, 32, 100, design="fresh")[1:] < law[1:]).all()
    np.testing.assert_allclose(theory.replace(5, 32, 100, 3.0), 3 * c * np.arange(1, 6))
    # d = 100, T = 129, 10 generations: 4.18 on fresh designs, 5.53 on a shared one, in units of sigma^2
    np.testing.assert_allclose(theory.accumulate(10, 100, 129, design="fresh")[-1], 4.18, atol=0.005)
    np.testing.assert_allclose(theory.accumulate(10, 100, 129)[-1], 5.53, atol=0.006)


def accumulate_batches(batches, d, chains):
    """Simulated errors (G, S) of accumulation with sets of given sizes on fresh designs, sigma^2 = 1."""
    truth = Streams(("batches", "truth"), range(chains)).normal(d)
    w, sets, found = truth[:, :, None], [], []
    for k, count in enumerate(batches):
        rng = Streams(("batches", k), range(chains))
        factor = wishart_factor(d, count, rng)
        inputs = InputMoments(factor @ factor.swapaxes(1, 2), factor, 1, count, count, np.ones(1))
        sets.append(inputs.label(w, rng))
        model = family.fit(
            Moments.concat(sets), config=family.Config(), weights=None, budget=None, init=None, validation=None,
            observer=None, rng=None,
        )  # fmt: skip
        w = model.w
        found.append(family.evaluate(model, truth, rng)["test_error"][:, 0])
    return np.stack(found)


@pytest.mark.parametrize("batches", [[60] * 8, [60, 10, 200, 5, 100], [60] + [3] * 40])
def test_batches_of_any_size(batches):
    d = 8
    found, exact = accumulate_batches(batches, d, 600), theory.accumulate_batches(batches, d)
    assert (abs(distance(found, exact)) < 3).all()
    limit = theory.accumulate_batches_limit(batches, d)
    assert ((limit < exact) & (exact <= limit * (1 + (d + 1) / (60 - d - 1)))).all()  # the order that is neglected
    assert (limit <= 2 * d / 60).all()


def test_equal_batches_are_plain_accumulation():
    np.testing.assert_allclose(
        theory.accumulate_batches([100] * 20, 32, 2.0), theory.accumulate(20, 32, 100, 2.0, "fresh")
    )
    near = theory.accumulate_batches_limit([10**6] * 20, 32)
    np.testing.assert_allclose(near, theory.accumulate(20, 32, 10**6), rtol=1e-4)
    tiny = theory.accumulate_batches_limit([1000] + [1] * 200_000, 10)[-1]
    assert 1.98 < tiny / (10 / 1000) < 2


def ridge_by_recursion(policy, generations, s, ridge, T, sigma2):
    """The same expectation for one eigenvalue, from the coefficients of w*, noise_1, ..., noise_G in u_n."""
    a, v = s / (s + ridge), sigma2 * s / (T * (s + ridge) ** 2)
    start = np.zeros(generations + 1)
    start[0] = 1
    history, noises, out = [start], [], []
    for n in range(1, generations + 1):
        noise = np.zeros(generations + 1)
        noise[n] = np.sqrt(v / n) if policy == "replace_multiple" else np.sqrt(v)
        noises.append(noise)
        u = a * history[-1] + noise
        if policy == "accumulate":
            u = np.mean([a * h + e for h, e in zip(history, noises, strict=True)], axis=0)
        history.append(u)
        out.append((u[0] - 1) ** 2 + (u[1:] ** 2).sum())
    return np.array(out)


@pytest.mark.parametrize("kind", LAWS)
def test_ridge_solves_its_recursion(kind):
    spectrum = np.array([0.2, 1.0, 3.0])
    expected = sum(ridge_by_recursion(kind, 30, s, 0.4, 50, 2.0) for s in spectrum)
    np.testing.assert_allclose(theory.ridge(kind, 30, spectrum, 0.4, 50, 2.0), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_ridge_follows_its_law(kind, ridge):
    d, T, sigma2 = 10, 30, (0.1, 10.0)
    found, data = simulate(kind, Config(d, T, "shared", sigma2), range(200), ridge)
    spectrum = np.linalg.eigvalsh(data.real().gram / T)
    for k, value in enumerate(sigma2):
        law = theory.ridge(kind, GENERATIONS, spectrum, ridge, T, value)
        assert (abs(distance(found[..., k], law))[CHECKED] < 3).all()


def test_ridge_without_penalty_is_least_squares_given_the_design():
    d, T = 10, 60
    spectrum = theory.spectra(d, T, 4000, stream("spectra"))
    assert spectrum.shape == (4000, d)
    c = (1 / spectrum).sum(axis=1) / T
    assert abs(c.mean() - theory.unit(d, T)) < 3 * c.std() / np.sqrt(4000)
    for kind, law in LAWS.items():
        np.testing.assert_allclose(
            theory.ridge(kind, GENERATIONS, spectrum, 0.0, T) / c.mean(),
            law(d, T, 1.0, "shared") / theory.unit(d, T),
            rtol=1e-10,
        )


def test_ridge_loses_the_truth_at_once_or_slowly():
    """Replace forgets all of w* geometrically (error d); accumulation too slowly to be seen in 50 generations."""
    replaced = theory.ridge("replace", GENERATIONS, np.ones(10), 1.0, 1000, 0.01)
    assert abs(replaced[-1] - 10) < 0.01
    assert theory.ridge("accumulate", GENERATIONS, np.ones(10), 0.01, 1000, 0.01)[-1] < 0.1


def test_what_has_no_expectation_or_no_form_is_refused():
    with pytest.raises(ConfigError, match="infinite"):
        theory.replace(3, 10, 11)
    with pytest.raises(ConfigError, match="did you mean 'shared'"):
        theory.accumulate(3, 10, 20, design="shard")
    with pytest.raises(ConfigError, match="accumulate_subsample"):
        theory.ridge("accumulate_subsample", 3, np.ones(2), 0.1, 10)
