"""Kernel density estimates: densities against scipy and scikit-learn, samples, chains against closed forms."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from collapse.commands.simulate import simulate
from collapse.datasets import mixture as dataset
from collapse.datasets.mixture import Config as DataConfig
from collapse.errors import ConfigError, TrainingError
from collapse.families import kde as family
from collapse.items import Items
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams
from collapse.selection import Selector
from collapse.theory.mixture import kernel_spread


def cloud(chains=2, count=60, d=2, name="cloud"):
    rng = Streams((name,), range(chains))
    return rng.normal(count, d) @ (np.eye(d) + 0.4 * np.ones((d, d))) + 3.0


def fit(x, weights=None, **options):
    return family.fit(
        Items.make(np.asarray(x, float), generation=0), config=family.Config(**options), weights=weights, budget=None,
        init=None, validation=None, observer=None, rng=None,
    )  # fmt: skip


def chain(policy="replace", data=None, config=None, generations=4, seeds=range(3), name="test"):
    data = dataset.load(data or DataConfig(shape="moons", T=40, test=50), {}, {}, seeds, name)
    return list(
        run_chain(
            Cell(name, "kde", policy, "exact", "all"), data.size, generations, policy=Policy(policy), family=family,
            config=config or family.Config(), data=data, sampler=None, selector=Selector("all"), seeds=tuple(seeds),
        )
    )  # fmt: skip


def close(values, expected, errors=4):
    """Whether the mean over chains lies within 4 standard errors of its expectation."""
    return abs(values.mean() - expected) <= errors * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize(
    "options",
    [{"bandwidth": "scot"}, {"bandwidth": 0.0}, {"bandwidth": float("nan")}, {"bandwidth": True}, {"scaled": 1}],
)
def test_settings_refuse(options):
    with pytest.raises(ConfigError):
        family.Config(**options)


@pytest.mark.parametrize("rule", ["scott", "silverman"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_scaled_estimates_are_those_of_scipy(rule, d):
    from scipy.stats import gaussian_kde

    x, at = cloud(d=d), cloud(count=25, d=d, name="at")
    weights = Streams(("weights",), range(2)).each(lambda g: g.random(60))
    for w in (None, weights):
        model = fit(x, weights=w, bandwidth=rule, scaled=True)
        for s in range(2):
            theirs = gaussian_kde(x[s].T, bw_method=rule, weights=None if w is None else w[s])
            assert model.bandwidth[s] == pytest.approx(theirs.factor)
            np.testing.assert_allclose(model.kernel[s], theirs.covariance, rtol=1e-10)
            np.testing.assert_allclose(family.log_density(model, at)[s], theirs.logpdf(at[s].T), rtol=1e-9)


@pytest.mark.parametrize("bandwidth", [0.1, 1.0, "scott", "silverman"])
def test_estimates_in_units_of_the_data_are_those_of_scikit_learn(bandwidth):
    from sklearn.neighbors import KernelDensity

    for d in (2, 3):
        x, at = cloud(d=d), cloud(count=25, d=d, name="at")
        model = fit(x, bandwidth=bandwidth)
        for s in range(2):
            theirs = KernelDensity(kernel="gaussian", bandwidth=bandwidth).fit(x[s])
            assert model.bandwidth[s] == pytest.approx(theirs.bandwidth_)
            np.testing.assert_allclose(family.log_density(model, at)[s], theirs.score_samples(at[s]), rtol=1e-8)


def test_both_rules_are_the_same_in_the_plane_alone():
    for d in (1, 2, 3):
        scott, silverman = (fit(cloud(d=d), bandwidth=rule).bandwidth[0] for rule in family.RULES)
        assert (scott == pytest.approx(silverman)) == (d == 2)


def test_a_weight_counts_an_item_as_often_as_it_says():
    x, at = cloud(), cloud(count=25, name="at")
    times = Streams(("times",), range(2)).each(lambda g: g.integers(0, 4, 60))
    times[:, -1] += 150 - times.sum(axis=1)
    repeated = np.stack([np.repeat(v, t, axis=0) for v, t in zip(x, times, strict=True)])
    weighted = family.log_density(fit(x, weights=times.astype(float), bandwidth=0.3), at)
    np.testing.assert_allclose(weighted, family.log_density(fit(repeated, bandwidth=0.3), at), rtol=1e-10)
    assert not np.allclose(weighted, family.log_density(fit(x, bandwidth=0.3), at), rtol=1e-3)


def test_blocks_and_distance_from_the_origin_change_nothing(monkeypatch):
    x, at = cloud(), cloud(count=25, name="at")
    expected = family.log_density(fit(x, bandwidth=0.2), at)
    np.testing.assert_allclose(family.log_density(fit(x + 1e6, bandwidth=0.2), at + 1e6), expected, rtol=1e-7)
    monkeypatch.setattr(family, "BLOCK", 100)
    np.testing.assert_allclose(family.log_density(fit(x, bandwidth=0.2), at), expected, rtol=1e-13)


def test_far_points_have_a_finite_density():
    x, at = cloud(chains=1), np.array([[[1e4, -1e4]]])
    found = family.log_density(fit(x, bandwidth=0.1), at)[0, 0]
    nearest = ((at[0, 0] - x[0]) ** 2).sum(axis=1).min()
    assert np.isfinite(found)
    assert found == pytest.approx(-0.5 * nearest / 0.01, rel=1e-6)


@pytest.mark.parametrize("options", [{"bandwidth": 0.4}, {"bandwidth": "scott", "scaled": True}])
def test_samples_follow_the_estimate(options):
    x = cloud()
    weights = Streams(("weights",), range(2)).each(lambda g: g.random(60) * (np.arange(60) % 3 > 0))
    for w in (None, weights):
        model = fit(x, weights=w, **options)
        items = family.sample(model, 30_000, None, Streams(("sample",), range(2)))
        assert items.output.shape == (2, 30_000, 2)
        mean = (model.weights[..., None] * x).sum(axis=1)
        gap = x - mean[:, None]
        cov = (model.weights[..., None] * gap).swapaxes(1, 2) @ gap + model.kernel
        for s in range(2):
            found = items.output[s] - mean[s]
            assert (abs(found.mean(axis=0)) < 4 * found.std(axis=0) / np.sqrt(30_000)).all()
            products = found[:, :, None] * found[:, None]
            assert (abs(products.mean(axis=0) - cov[s]) < 4 * products.std(axis=0) / np.sqrt(30_000)).all()
        metrics = family.evaluate(model, dataset.Reference(x, None), None)
        assert metrics["spread"] == pytest.approx(np.trace(cov, axis1=1, axis2=2))


def test_items_without_weight_are_never_drawn():
    x = np.stack([np.arange(5.0), np.zeros(5)], axis=1)[None]
    model = fit(x, weights=np.array([[0.0, 1.0, 0.0, 2.0, 0.0]]), bandwidth=1e-3)
    drawn = family.sample(model, 2000, None, Streams(("sample",), (0,))).output[0, :, 0]
    near, counts = np.unique(np.round(drawn), return_counts=True)
    assert near.tolist() == [1, 3]
    assert abs(counts[1] / 2000 - 2 / 3) < 4 * np.sqrt(2 / 9 / 2000)
    assert np.isfinite(family.log_density(model, x)).all()


def test_bad_input():
    with pytest.raises(TrainingError, match="not finite"):
        fit(np.full((1, 5, 2), np.inf))
    with pytest.raises(TrainingError, match="at least 3 items, got 2"):
        fit(cloud(count=2), scaled=True)
    with pytest.raises(TrainingError, match="lie on a line"):
        fit(np.repeat(cloud()[..., :1], 2, axis=2), scaled=True)
    with pytest.raises(TrainingError, match="lie on a line"):
        fit(np.ones((1, 5, 2)), scaled=True)
    assert np.isfinite(family.log_density(fit(np.ones((1, 5, 2)), bandwidth=0.1), np.zeros((1, 1, 2)))).all()


@pytest.mark.parametrize(("bandwidth", "scaled"), [(0.5, False), (0.3, True), ("scott", False)])
def test_replace_spreads_as_theory_says(bandwidth, scaled):
    """Exact for a fixed factor of the kernel, as a rule gives for a fixed number of items; 4 standard errors."""
    T, chains = 12, 800
    data, config = DataConfig(T=T, test=2), family.Config(bandwidth, scaled)
    found = chain(data=data, config=config, generations=8, seeds=range(chains))
    expected = 2 * kernel_spread(8, T, T ** (-1 / 6) if bandwidth == "scott" else bandwidth, 1.0, scaled)
    for value, (_, metrics, _) in zip(expected, found, strict=True):
        # the fitted estimate has ddof 0 inside of a scaled kernel of ddof 1: the closed form is of these
        assert close(metrics["spread"], value)


@pytest.mark.parametrize("policy", ["replace", "accumulate", "accumulate_subsample"])
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(policy):
    together, alone = chain(policy, seeds=range(4)), chain(policy, seeds=(2,))
    for (_, a, x), (_, b, y) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(x.output[0], y.output[2])
        for name, values in a.items():
            assert values[0] == b[name][2], name


def test_accumulating_keeps_the_shape_that_replacing_blurs():
    ends = {p: chain(p, generations=12, seeds=range(6)) for p in ("replace", "accumulate", "accumulate_subsample")}
    nll = {p: np.array([m["excess_nll"].mean() for _, m, _ in found]) for p, found in ends.items()}
    assert len({v[0] for v in nll.values()}) == 1  # generation 1 is the same
    assert (np.diff(nll["replace"][::4]) > 0).all()
    assert nll["accumulate"][-1] < nll["accumulate_subsample"][-1] < nll["replace"][-1]
    widths = [m["kernel"][0] for _, m, _ in ends["accumulate"]]
    np.testing.assert_allclose(widths, (40 * np.arange(1, 13)) ** (-1 / 6))


def test_rows(tmp_path):
    settings = {
        "dataset": {"kind": "mixture", "shape": ["moons"], "T": [20], "test": 30},
        "recipe": {"family": "kde", "bandwidth": "scott"}, "policy": {"kind": "accumulate"},
        "seeds": 2, "generations": 3,
    }  # fmt: skip
    simulate(tmp_path, "moons", "kde_scott", "accumulate", settings)
    rows = pd.read_parquet(tmp_path / "chains/moons/kde_scott/accumulate.parquet")
    assert rows["items"].tolist() == [20, 20, 40, 40, 60, 60]
    assert set(rows["bandwidth"]) == {"scott"}
    assert {"nll", "excess_nll", "spread", "kernel", "shape", "T"} <= set(rows)


def test_a_saved_model_loads_equal(tmp_path):
    model = fit(cloud(), bandwidth="scott")
    family.save(model, tmp_path / "model.safetensors")
    loaded = family.load(tmp_path / "model.safetensors")
    for name in ("points", "weights", "kernel", "bandwidth"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert replace(loaded, points=model.points).points is model.points
