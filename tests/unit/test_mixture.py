"""Gaussian mixtures: closed forms, points in the plane, EM against scikit-learn, chains against theory."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma
from scipy.stats import multivariate_normal

from collapse.commands.simulate import simulate
from collapse.datasets import mixture as dataset
from collapse.datasets.mixture import Config as DataConfig
from collapse.errors import CollapseError, ConfigError, TrainingError
from collapse.families import em
from collapse.families import mixture as family
from collapse.items import Items
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams
from collapse.selection import Selector
from collapse.theory import mixture as theory
from collapse.theory.mixture import Mixture

TYPES = pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
SHAPES = pytest.mark.parametrize("shape", ["blob", "blobs", "circles", "moons"])


def random_mixture(chains=2, K=3, d=2, name="mixture", spread=1.5):
    rng = Streams((name,), range(chains))
    weights = rng.each(lambda g: g.dirichlet(np.ones(K)))
    root = rng.normal(K, d, d)
    return Mixture(weights, spread * rng.normal(K, d), root @ root.swapaxes(2, 3) + 0.2 * np.eye(d))


def reference(m, s, x):
    """Density of one mixture by scipy."""
    parts = zip(m.weights[s], m.means[s], m.covariances[s], strict=True)
    return sum(w * multivariate_normal(mean, cov).pdf(x) for w, mean, cov in parts)


def plane(limit=9.0, nodes=361):
    """Points of a grid (n, 2) and the area of its cells."""
    axis = np.linspace(-limit, limit, nodes)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), (axis[1] - axis[0]) ** 2


def points_of(mixture, count, name="points"):
    rng = Streams((name,), range(len(mixture.weights)))
    return family.sample(family.Model(mixture, np.zeros(len(mixture.weights), int)), count, None, rng)


def fit(x, weights=None, start=None, **options):
    x = np.asarray(x, float)
    return family.fit(
        Items.make(x, generation=0), config=family.Config(**options), weights=weights, budget=None, init=start,
        validation=None, observer=None, rng=Streams(("fit",), range(len(x))),
    )  # fmt: skip


def chain(policy="replace", data=None, config=None, generations=4, seeds=range(3), init="scratch", name="test"):
    """Turns and metrics of a chain."""
    data = dataset.load(data or DataConfig(T=60, test=50), {}, {}, seeds, name)
    return list(
        run_chain(
            Cell(name, "mixture", policy, "exact", "all"), data.size, generations, policy=Policy(policy, init=init),
            family=family, config=config or family.Config(), data=data, sampler=None, selector=Selector("all"),
            seeds=tuple(seeds),
        )
    )  # fmt: skip


def close(values, expected, errors=4):
    """Whether the mean over chains lies within 4 standard errors of its expectation."""
    return abs(values.mean() - expected) <= errors * values.std(ddof=1) / np.sqrt(len(values))


# closed forms


def test_densities_are_those_of_scipy():
    m = random_mixture(d=3)
    x = 2 * Streams(("x",), range(2)).normal(40, 3)
    for s in range(2):
        np.testing.assert_allclose(theory.log_density(m, x)[s], np.log(reference(m, s, x[s])), rtol=1e-10)
        each = [
            np.log(w) + multivariate_normal(mean, cov).logpdf(x[s])
            for w, mean, cov in zip(m.weights[s], m.means[s], m.covariances[s], strict=True)
        ]
        np.testing.assert_array_equal(theory.assignment(m, x)[s], np.argmax(each, axis=0))


def test_the_distance_is_that_of_a_fine_grid():
    a, b = random_mixture(K=3, name="a"), random_mixture(K=2, name="b")
    grid, area = plane(18.0, 721)
    for s in range(2):
        p, q = reference(a, s, grid), reference(b, s, grid)
        assert p.sum() * area == pytest.approx(1, abs=1e-6)
        assert theory.inner(a, b)[s] == pytest.approx((p * q).sum() * area, rel=1e-8)
        assert theory.squared_l2(a, b)[s] == pytest.approx(((p - q) ** 2).sum() * area, rel=1e-8)
    np.testing.assert_allclose(theory.squared_l2(a, b, theory.inner(b, b)), theory.squared_l2(b, a), rtol=1e-12)
    assert (theory.squared_l2(a, a) < 1e-15).all()
    assert (theory.squared_l2(a, a) >= 0).all()


def test_the_distance_of_two_gaussians():
    """Norms 1 / (4 pi s^2) and the product N(gap; 0, s^2 + t^2): by hand."""
    a = Mixture(np.ones((1, 1)), np.zeros((1, 1, 2)), 0.01**2 * np.eye(2)[None, None])
    b = Mixture(np.ones((1, 1)), np.array([[[3.0, 4.0]]]), np.eye(2)[None, None])
    product = np.exp(-0.5 * 25 / 1.0001) / (2 * np.pi * 1.0001)
    expected = 1 / (4 * np.pi * 1e-4) + 1 / (4 * np.pi) - 2 * product
    assert theory.squared_l2(a, b) == pytest.approx([expected])


def test_covariance_and_entropy():
    m = random_mixture()
    grid, area = plane(18.0, 721)
    for s in range(2):
        p = reference(m, s, grid) * area
        gap = grid - p @ grid
        np.testing.assert_allclose(theory.covariance(m)[s], (gap * p[:, None]).T @ gap, rtol=1e-6)
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.1, 0.9]])
    expected = [0, np.log(2), -0.1 * np.log(0.1) - 0.9 * np.log(0.9)]
    assert theory.entropy(weights) == pytest.approx(expected)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_mixture_survives_a_table(d):
    m = random_mixture(K=2, d=d)
    columns = theory.as_columns(m)
    assert len(columns) == 2 * (1 + d + d * (d + 1) // 2)
    assert {v.shape for v in columns.values()} == {(2,)}
    back = theory.of_columns(pd.DataFrame({"seed": [0, 1], **columns, "weight_entropy": 0.5}))
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(back, name), getattr(m, name))


# points in the plane


def points(shape, seeds=range(3), **options):
    return dataset.load(DataConfig(shape=shape, **options), {}, {}, seeds, "points")


@pytest.mark.parametrize(
    "options", [{"shape": "square"}, {"T": 1}, {"test": 0}, {"noise": 0.001}, {"noise": float("nan")}]
)
def test_points_refuse(options):
    with pytest.raises(ConfigError):
        DataConfig(**options)


@SHAPES
def test_points_follow_the_density_that_they_claim(shape):
    """Mean and covariance, and the mean log-density against the entropy by another sample: 4 standard errors."""
    data = points(shape, T=20_000, seeds=(0, 1))
    x, m = data.real().output, data.truth
    assert x.shape == (2, 20_000, 2)
    assert m.weights.sum(axis=1) == pytest.approx(1)
    mean, cov = (m.weights[..., None] * m.means).sum(axis=1), theory.covariance(m)
    for s in range(2):
        error = x[s].std(axis=0) / np.sqrt(20_000)
        assert (abs(x[s].mean(axis=0) - mean[s]) < 4 * error).all()
        products = (x[s] - mean[s])[:, :, None] * (x[s] - mean[s])[:, None]
        assert (abs(products.mean(axis=0) - cov[s]) < 4 * products.std(axis=0) / np.sqrt(20_000)).all()
    own, other = theory.log_density(m, x), theory.log_density(m, points_of(m, 20_000).output)
    gap = own.mean(axis=1) - other.mean(axis=1)
    assert (abs(gap) < 4 * np.hypot(own.std(axis=1), other.std(axis=1)) / np.sqrt(20_000)).all()


@pytest.mark.parametrize("shape", ["circles", "moons"])
def test_the_density_of_arcs_is_exact(shape):
    """Against the mean over 200,000 evenly spaced angles of each arc."""
    data = points(shape, seeds=(0,))
    x = data.real().first(25).output
    u = (np.arange(200_000) + 0.5) / 200_000
    density = np.zeros(25)
    for cx, cy, radius, start, sweep in dataset.SHAPES[shape][0]:
        angle = start + sweep * u
        centres = np.stack([cx + radius * np.cos(angle), cy + radius * np.sin(angle)], axis=1)
        square = ((x[0][:, None] - centres) ** 2).sum(axis=2)
        density += np.exp(-0.5 * square / 0.05**2).mean(axis=1) / (2 * np.pi * 0.05**2) / 2
    np.testing.assert_allclose(theory.log_density(data.truth, x)[0], np.log(density), rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", ["circles", "moons"])
def test_shapes_are_those_of_scikit_learn(shape):
    """Its points are evenly spaced: compare moments, and distances from the shape by their quantiles."""
    from sklearn import datasets

    theirs = getattr(datasets, f"make_{shape}")(20_000, noise=0.05, random_state=0)[0]
    ours = points(shape, seeds=(0,), T=20_000).real().output[0]
    assert abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 0.025
    assert abs(np.cov(ours.T) - np.cov(theirs.T)).max() < 0.025
    nodes = np.linspace(0.02, 0.98, 25)
    for axis in (0, 1):
        gap = np.quantile(ours[:, axis], nodes) - np.quantile(theirs[:, axis], nodes)
        assert abs(gap).max() < 0.05


def test_blobs_have_centres_of_their_own_in_each_chain():
    data = points("blobs", seeds=range(40))
    centres = data.truth.means
    assert centres.shape == (40, 3, 2)
    assert abs(centres).max() < 10
    assert len(np.unique(centres[:, 0, 0])) == 40
    alone = points("blobs", seeds=(7,))
    np.testing.assert_array_equal(alone.truth.means[0], centres[7])
    np.testing.assert_array_equal(alone.real().output[0], data.real().output[7])


def test_fresh_points_are_new_and_the_reference_is_held_out():
    data = points("moons", T=50, test=70)
    assert data.size == 50
    np.testing.assert_array_equal(data.real().output, data.fresh(1).output)
    assert len({data.fresh(n).sha256() for n in (1, 2, 3)}) == 3
    assert data.fresh(2).index[0].tolist() == list(range(50, 100))
    assert data.test.points.shape == (3, 70, 2)
    assert not set(data.test.points.ravel()) & set(data.real().output.ravel())
    np.testing.assert_allclose(data.test.norm, theory.inner(data.truth, data.truth))
    found = data.reduce({"nll": data.test.nll + 0.25})
    assert found["excess_nll"] == pytest.approx(0.25)


def test_corruption_hits_its_share():
    data = points("circles", T=4000)
    before = data.real()
    after = data.corrupt(before, 0.3, Streams(("corrupt",), range(3)))
    hit = (after.output != before.output).all(axis=2)
    assert (abs(hit.mean(axis=1) - 0.3) < 4 * np.sqrt(0.21 / 4000)).all()
    assert abs(after.output[hit]).max() <= 1.15
    assert np.array_equal(after.output[~hit], before.output[~hit])


# EM


@pytest.mark.parametrize(
    "options",
    [
        {"components": 0},
        {"components": 2.0},
        {"covariance_type": "round"},
        {"init": "first"},
        {"n_init": 0},
        {"tol": 0.0},
        {"max_iter": 0},
        {"reg_covar": -1e-6},
    ],
)
def test_settings_refuse(options):
    with pytest.raises(ConfigError):
        family.Config(**options)


@TYPES
def test_em_gives_the_numbers_of_scikit_learn(kind):
    """From the same start, far from the origin, more than a block of items: parameters, iterations and bound."""
    from sklearn.mixture import GaussianMixture

    m = random_mixture(chains=3, K=3, name="truth")
    x = points_of(m, 5000).output + 7.0
    start = family.Model(random_mixture(chains=3, K=3, name="start"), np.zeros(3, int))
    start = replace(start, mixture=replace(start.mixture, means=start.mixture.means + 7.0))
    if kind == "tied":
        same = np.repeat(start.mixture.covariances[:, :1], 3, axis=1)
        start = replace(start, mixture=replace(start.mixture, covariances=same))
    elif kind in ("diag", "spherical"):
        plain = np.broadcast_to(np.eye(2) * 1.5, start.mixture.covariances.shape)
        start = replace(start, mixture=replace(start.mixture, covariances=plain))
    found = fit(x, start=start, components=3, covariance_type=kind, tol=1e-6, max_iter=150)
    for s in range(3):
        precision, round_ = np.linalg.inv(start.mixture.covariances[s]), 1 / 1.5
        given = {"full": precision, "tied": precision[0], "diag": np.full((3, 2), round_), "spherical": [round_] * 3}
        theirs = GaussianMixture(
            3, covariance_type=kind, tol=1e-6, max_iter=150, weights_init=start.mixture.weights[s],
            means_init=start.mixture.means[s], precisions_init=given[kind], random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not all converge
            theirs.fit(x[s])
        c = theirs.covariances_
        covariances = {"full": c, "tied": c[None]}.get(kind)
        if covariances is None:
            covariances = np.reshape(c, (3, -1))[:, :, None] * np.eye(2)
        covariances = np.broadcast_to(covariances, (3, 2, 2))
        assert found.iterations[s] == theirs.n_iter_
        np.testing.assert_allclose(found.mixture.weights[s], theirs.weights_, rtol=1e-7)
        np.testing.assert_allclose(found.mixture.means[s], theirs.means_, rtol=1e-7)
        np.testing.assert_allclose(found.mixture.covariances[s], covariances, rtol=1e-6, atol=1e-9)


def test_k_means_finds_separate_clusters():
    x = points("blobs", seeds=range(6), T=300).real().output
    found = fit(x, components=3)
    from sklearn.mixture import GaussianMixture

    bound = theory.log_density(found.mixture, x).mean(axis=1)
    best = [max(GaussianMixture(3, tol=1e-5, n_init=3, random_state=0).fit(v).score(v) for _ in (0,)) for v in x]
    assert (bound > np.array(best) - 0.01).mean() > 0.6
    assert (bound < np.array(best) + 0.01).all()


def test_k_means_gives_the_partition_of_scikit_learn():
    from sklearn.cluster import KMeans

    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    x = np.repeat(centres, 40, axis=0) + Streams(("clusters",), (0,)).normal(120, 2)[0]
    ours = em._clusters(x, 3, Streams(("k-means",), (0,)).alone)
    theirs = KMeans(3, n_init=10, random_state=0).fit(x).labels_
    assert len(set(zip(ours, theirs, strict=True))) == 3


def test_more_starts_keep_the_most_likely_end():
    x = points("moons", seeds=range(4), T=120).real().output
    one, four = (
        theory.log_density(fit(x, components=4, init="random", n_init=n, tol=1e-4).mixture, x).mean(axis=1)
        for n in (1, 4)
    )
    assert (four >= one - 1e-4).all()
    assert (four > one + 1e-3).any()


@pytest.mark.parametrize("init", ["kmeans", "random"])
def test_a_weight_counts_an_item_as_often_as_it_says(init):
    x = points("moons", T=80).real().output
    times = Streams(("times",), range(3)).each(lambda g: g.integers(0, 4, 80))
    times[:, -1] += 200 - times.sum(axis=1)
    start = family.Model(random_mixture(chains=3, K=2), np.zeros(3, int))
    repeated = np.stack([np.repeat(v, t, axis=0) for v, t in zip(x, times, strict=True)])
    weighted = fit(x, weights=times.astype(float), start=start)
    again = fit(repeated, start=start)
    np.testing.assert_allclose(weighted.mixture.means, again.mixture.means, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(weighted.iterations, again.iterations)
    assert not np.allclose(weighted.mixture.means, fit(x, start=start).mixture.means, rtol=1e-3)
    unequal = fit(x, weights=times.astype(float), components=1)
    np.testing.assert_allclose(unequal.mixture.means, repeated.mean(axis=1, keepdims=True), rtol=1e-9, atol=1e-12)
    assert np.isfinite(fit(x, weights=times.astype(float), components=3, init=init, n_init=2).mixture.means).all()


def test_one_component_is_the_sample_moments():
    x = points("moons", T=50).real().output
    found = fit(x, components=1, reg_covar=0.0)
    np.testing.assert_allclose(found.mixture.means[:, 0], x.mean(axis=1), rtol=1e-10)
    for s in range(3):
        np.testing.assert_allclose(found.mixture.covariances[s, 0], np.cov(x[s].T, ddof=0), rtol=1e-10)


def test_a_fit_moves_and_grows_with_its_items():
    x = points("moons", T=90).real().output
    here = fit(x, reg_covar=0.0).mixture
    there = fit(1e-3 * x + 50.0, reg_covar=0.0).mixture
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-6)
    np.testing.assert_allclose(there.means, 1e-3 * here.means + 50.0, rtol=1e-9)
    np.testing.assert_allclose(there.covariances, 1e-6 * here.covariances, rtol=1e-5, atol=1e-14)


# bad input


def test_fewer_items_than_components_is_an_error():
    with pytest.raises(TrainingError, match="2 components needs at least as many items, got 1"):
        fit(np.zeros((1, 1, 2)))
    with pytest.raises(TrainingError, match="fitted to points"):
        fit(np.zeros((1, 9)))
    with pytest.raises(TrainingError, match="not finite"):
        fit(np.full((1, 9, 2), np.nan))
    for config in ({"components": 5}, {"components": 5, "init": "random"}):
        with pytest.raises(CollapseError, match="got 4"):
            chain(data=DataConfig(T=4), config=family.Config(**config))


@pytest.mark.parametrize("init", ["kmeans", "random"])
def test_equal_items_give_the_least_variance(init):
    """The stated rule: a singular covariance becomes reg_covar on its diagonal."""
    found = fit(np.full((2, 6, 2), 3.5), init=init, reg_covar=1e-4)
    np.testing.assert_allclose(found.mixture.covariances, np.broadcast_to(1e-4 * np.eye(2), (2, 2, 2, 2)), atol=1e-12)
    assert np.isfinite(found.mixture.means).all()
    assert found.mixture.weights.sum(axis=1) == pytest.approx(1)


def test_a_line_of_items_is_singular_without_the_rule():
    line = np.stack([np.linspace(0, 1, 20), 2 * np.linspace(0, 1, 20)], axis=1)[None]
    with pytest.raises(TrainingError, match="set reg_covar"):
        fit(line, reg_covar=0.0)
    with pytest.raises(TrainingError, match="set reg_covar"):
        fit(np.ones((1, 5, 2)), reg_covar=0.0)
    assert np.linalg.eigvalsh(fit(line).mixture.covariances)[..., 0] == pytest.approx(1e-6, rel=1e-3)


def test_a_chain_that_collapses_stays_finite():
    """Five items a generation: the mixture reaches the least variance, and every metric is finite."""
    found = chain(data=DataConfig(T=5, test=20), generations=150, seeds=range(4))
    for _, metrics, samples in found:
        assert all(np.isfinite(v).all() for v in metrics.values())
        assert np.isfinite(samples.output).all()
    assert (found[-1][1]["spread"] < 1e-3).all()
    assert (found[-1][1]["l2"] > 1e3).all()
    assert (found[-1][1]["l2"] < 1.01 / (4 * np.pi * 1e-6)).all()


# chains


def test_samples_follow_the_mixture():
    m = random_mixture(chains=2)
    items = points_of(m, 30_000)
    mean, cov = (m.weights[..., None] * m.means).sum(axis=1), theory.covariance(m)
    np.testing.assert_allclose(items.logprob, theory.log_density(m, items.output))
    for s in range(2):
        gap = items.output[s] - mean[s]
        assert (abs(gap.mean(axis=0)) < 4 * gap.std(axis=0) / np.sqrt(30_000)).all()
        products = gap[:, :, None] * gap[:, None]
        assert (abs(products.mean(axis=0) - cov[s]) < 4 * products.std(axis=0) / np.sqrt(30_000)).all()
        # items are exchangeable: a policy takes the first ones
        half = gap[:15_000].mean(axis=0) - gap[15_000:].mean(axis=0)
        assert (abs(half) < 4 * gap.std(axis=0) * np.sqrt(2 / 15_000)).all()


@pytest.mark.parametrize(("policy", "init"), [("replace", "scratch"), ("accumulate_subsample", "previous")])
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(policy, init):
    together = chain(policy, seeds=range(4), init=init)
    alone = chain(policy, seeds=(2,), init=init)
    for (_, a, x), (_, b, y) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(x.output[0], y.output[2])
        for name, values in a.items():
            assert values[0] == b[name][2], name


def test_a_policy_hands_over_the_model_to_start_from():
    again, warm = (chain(data=DataConfig(T=500, test=20), init=init, generations=6) for init in ("scratch", "previous"))
    np.testing.assert_array_equal(again[0][1]["l2"], warm[0][1]["l2"])
    assert not np.array_equal(again[1][1]["l2"], warm[1][1]["l2"])
    spent = [np.mean([m["iterations"] for _, m, _ in found[1:]]) for found in (again, warm)]
    assert spent[1] < spent[0]


def test_one_component_loses_spread_and_volume_as_theory_says():
    """ddof 0: E spread = 2 (1 - 1/T)^n, and log |C| falls by a digamma term for each degree of freedom."""
    T, chains = 20, 600
    found = chain(data=DataConfig(T=T, test=2), config=family.Config(components=1, reg_covar=0.0), seeds=range(chains))
    rate = sum(digamma((T - i) / 2) - np.log(T / 2) for i in (1, 2))
    for n, (_, metrics, _) in enumerate(found, 1):
        assert close(metrics["spread"], 2 * (1 - 1 / T) ** n)
        determinant = metrics["covariance_1_11"] * metrics["covariance_1_22"] - metrics["covariance_1_12"] ** 2
        assert close(np.log(determinant), n * rate)
        assert (metrics["weight_entropy"] == 0).all()


def test_more_items_stay_nearer_and_replacing_is_worse_than_fresh_data():
    ends = {T: chain(data=DataConfig(T=T, test=20), generations=40, seeds=range(8))[-1][1] for T in (30, 300)}
    assert np.log(ends[30]["l2"]).mean() > np.log(ends[300]["l2"]).mean() + 1
    kept = chain("accumulate", data=DataConfig(T=30, test=20), generations=40, seeds=range(8))[-1][1]
    assert np.log(kept["l2"]).mean() < np.log(ends[30]["l2"]).mean() - 1


def test_rows_hold_the_models(tmp_path):
    entry = {"kind": "mixture", "shape": ["blob"], "T": [20, 40], "test": 30}
    settings = {
        "dataset": entry, "recipe": {"family": "mixture", "components": 2}, "policy": {"kind": "replace"}, "seeds": 2,
        "generations": 3,
    }  # fmt: skip
    simulate(tmp_path, "blob", "gmm_2", "replace", settings)
    rows = pd.read_parquet(tmp_path / "chains/blob/gmm_2/replace.parquet")
    assert len(rows) == 2 * 2 * 3
    assert set(rows["shape"]) == {"blob"}
    mixtures = theory.of_columns(rows)
    truth = points("blob", seeds=range(len(rows))).truth
    np.testing.assert_allclose(rows["l2"], theory.squared_l2(mixtures, truth), rtol=1e-9)
    assert (rows["excess_nll"] > -1).all()


def test_a_saved_model_loads_equal(tmp_path):
    model = fit(points("moons", T=40).real().output)
    family.save(model, tmp_path / "model.safetensors")
    loaded = family.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.iterations, model.iterations)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(loaded.mixture, name), getattr(model.mixture, name))
