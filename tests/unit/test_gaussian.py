"""Gaussians in one dimension and many: both forms of items, fits against references, laws, metrics, errors."""

from functools import cache
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats

from collapse.blocks import LEAST, MOST, in_blocks
from collapse.commands.settings import build
from collapse.commands.simulate import grid, simulate
from collapse.datasets import gaussian as dataset
from collapse.datasets.gaussian import Config, Gaussian, Moments, for_chain
from collapse.datasets.sums import Sums, takes_items
from collapse.errors import ConfigError, TrainingError
from collapse.families import gaussian as family
from collapse.items import Items
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams, stream
from collapse.selection import Selector

DIMENSIONS = pytest.mark.parametrize("d", [1, 3])
NAMES = ("mean", "sd", "mean_error", "sd_error", "log_sigma", "trace_ratio", "risk", "wasserstein2", "kl_divergence")
WHOLE = [("replace", {}), ("accumulate", {}), ("replace_multiple", {}), ("augment", {"ratio": 1.0}), ("real_only", {})]
CUT = [
    ("accumulate_subsample", {}),
    ("real_fraction", {"share": 0.1}),
    ("real_fraction", {"share": 0.3, "draw": "anchored"}),
    ("fresh_real", {"share": 0.5}),
    ("golden_ratio", {"ratio": 1.0}),
    ("growing", {"exponent": 0.25}),
    ("real_corrupted", {"rate": 0.1}),
]


def chain(kind, config, generations, seeds, *, items=None, ddof=1, name="test", recipe="moments", **options):
    """Metrics of a chain, {name: (G, S)}, and its turns."""
    policy, seeds = Policy(kind, options), tuple(seeds)
    data = for_chain(config, seeds, name, policy, generations)
    if items is not None:
        data = Gaussian(config, seeds, name, items)
    turns = list(
        run_chain(
            Cell(name, recipe, kind, "exact", "all"), config.size, generations, policy=policy, family=family,
            config=family.Config(ddof), data=data, sampler=None, selector=Selector("all"), seeds=seeds,
        )
    )  # fmt: skip
    return {k: np.array([m[k] for _, m, _ in turns]) for k in turns[0][1]}, [turn for turn, _, _ in turns]


def fit(items, ddof=1, weights=None):
    options = dict.fromkeys(("budget", "init", "validation", "observer", "rng"))
    return family.fit(items, config=family.Config(ddof), weights=weights, **options)


def values(d, chains=4, count=9, name="values"):
    x = Streams((name,), range(chains)).normal(count, d)
    return x[..., 0] if d == 1 else x


def lower(d, name="lower", chains=4):
    """Random lower triangular matrices with a positive diagonal, (S, d, d)."""
    L = np.tril(Streams((name,), range(chains)).normal(d, d))
    L[:, range(d), range(d)] = abs(L[:, range(d), range(d)]) + 0.1
    return L


def within(found, expected, errors=4.0):
    """Whether the mean over the first axis is ``expected`` within some standard errors."""
    return (abs(found.mean(axis=0) - expected) <= errors * found.std(axis=0, ddof=1) / sqrt(len(found))).all()


# settings


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train": 1}, "needs d >= 1, train > d"),
        ({"train": 5, "d": 5}, "needs d >= 1, train > d"),
        ({"d": 0}, "needs d >= 1"),
        ({"shards": 0}, "shards >= 1"),
        ({"sd": 0.0}, "sd of a Gaussian data set must be positive"),
        ({"sd": float("nan")}, "must be positive"),
        ({"sd": (1.0, 2.0), "d": 3}, "one number or 3"),
        ({"sd": (1.0, -2.0), "d": 2}, "must be positive"),
        ({"train": 20, "T": 30}, "leave one out"),
        ({"T": 1}, "train > d"),
    ],
)
def test_config_refuses(options, text):
    with pytest.raises(ConfigError, match=text):
        Config(**options)


def test_lists_of_t_and_d_are_a_grid_and_one_of_sd_is_a_value():
    points = grid(dataset, {"kind": "gaussian", "T": [10, 30], "d": [1, 2]})
    assert [(c.size, c.d) for _, c in points] == [(10, 1), (10, 2), (30, 1), (30, 2)]
    ((_, one),) = grid(dataset, {"kind": "gaussian", "d": 2, "sd": [1.0, 2.0]})
    assert one.sd == (1.0, 2.0)
    with pytest.raises(ConfigError, match="ddof is 0 or 1"):
        build(family.Config, {"ddof": 2}, "recipe")


# blocks


def test_a_chain_takes_its_row_of_a_block_whatever_runs_beside_it():
    def drawn(seeds, width=64):
        return in_blocks(Streams(("x",), seeds), width, lambda g, size: g.standard_normal((size, 2)))

    seeds = [0, 63, 64, 700, 5000]
    together = drawn(seeds)
    assert together.shape == (5, 2)
    assert len(np.unique(together)) == 10
    for row, seed in zip(together, seeds, strict=True):
        np.testing.assert_array_equal(drawn([seed])[0], row)
        np.testing.assert_array_equal(drawn([seed, 1, 9000])[0], row)
    np.testing.assert_array_equal(together[2], stream("x", "block", 1).standard_normal((64, 2))[0])


@pytest.mark.parametrize(("width", "size"), [(1, MOST), (2, MOST), (64, 64), (10**6, LEAST)])
def test_blocks_are_smaller_where_a_chain_draws_more(width, size):
    asked = []
    in_blocks(Streams(("x",), [0]), width, lambda g, chains: asked.append(chains) or np.zeros((chains, 1)))
    assert asked == [size]


# fit


@DIMENSIONS
@pytest.mark.parametrize("ddof", [0, 1])
def test_fit_is_mean_and_covariance(d, ddof):
    x = values(d)
    mean, scale = fit(Items.make(x, generation=0), ddof).wide()
    for chain_, m, L in zip(x.reshape(4, 9, d), mean, scale, strict=True):
        np.testing.assert_allclose(m, chain_.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(L @ L.T, np.atleast_2d(np.cov(chain_.T, ddof=ddof)), rtol=1e-10, atol=1e-14)
        assert (np.diag(L) > 0).all()
        np.testing.assert_array_equal(np.triu(L, 1), 0)


@DIMENSIONS
def test_weights_count_an_item_as_often_as_they_say(d):
    x, w = values(d), np.tile([1.0, 2.0, 3.0], 3)
    weighted = fit(Items.make(x, generation=0), weights=np.broadcast_to(w, (4, 9)))
    repeated = fit(Items.make(np.repeat(x, w.astype(int), axis=1), generation=0))
    for a, b in zip(weighted.wide(), repeated.wide(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@DIMENSIONS
def test_moments_are_fitted_as_their_items(d):
    config = Config(9, mean=2.0, sd=0.5, d=d)
    items, moments = (Gaussian(config, tuple(range(5)), "forms", form).real() for form in (True, False))
    assert isinstance(items, Items)
    assert isinstance(moments, Moments)
    for a, b in zip(fit(items).wide(), fit(moments).wide(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="items=True"):
        fit(moments, weights=np.ones((5, 9)))


@DIMENSIONS
def test_joined_moments_are_those_of_the_joined_items(d):
    parts = [values(d, name=f"part{i}", count=9 + i) + i for i in range(3)]
    each = []
    for x in parts:
        mean, scale = fit(Items.make(x, generation=0)).wide()
        each.append(Moments(mean, scale * sqrt(x.shape[1] - 1), x.shape[1], real=x.shape[1] * (len(each) == 0)))
    joined = Moments.concat(each)
    expected = fit(Items.make(np.concatenate(parts, axis=1), generation=0))
    for a, b in zip(fit(joined).wide(), expected.wide(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert len(joined) == 30
    np.testing.assert_allclose(joined.real_fraction(), 0.3)
    assert Moments.concat(each[:1]) is each[0]


@DIMENSIONS
@pytest.mark.parametrize(
    "broken",
    [lambda x: x[:, : 1 + (x.ndim == 3)], lambda x: np.where(x == x.max(), np.nan, x), lambda x: np.full_like(x, 0.1)],
)
def test_items_that_give_no_gaussian_are_an_error(d, broken):
    with pytest.raises(TrainingError, match=r"at least (two|4) finite items|singular"):
        fit(Items.make(broken(values(d)), generation=0))


def test_a_singular_covariance_is_an_error_in_both_forms():
    x = values(3)
    x[1, :, 2] = x[1, :, 0] - x[1, :, 1]
    with pytest.raises(TrainingError, match="covariance of 1 of 4 Gaussians is singular"):
        fit(Items.make(x, generation=0))
    flat = Moments(np.zeros((2, 2)), np.array([np.eye(2), np.diag([1.0, 0.0])]), 5)
    with pytest.raises(TrainingError, match="covariance of 1 of 2 Gaussians is singular"):
        fit(flat)
    with pytest.raises(TrainingError, match="singular"):
        Moments.concat([Moments(np.zeros((2, 2)), np.zeros((2, 2, 2)), 5)] * 2)
    with pytest.raises(TrainingError, match="not finite"):
        fit(Moments(np.zeros((1, 1)), np.full((1, 1, 1), np.inf), 5))


# laws


@DIMENSIONS
def test_drawn_moments_have_the_law_of_drawn_items(d):
    """Means, and means of products, of mean and scatter: 4 standard errors; E W = kI, E WW = k(k + d + 1)I."""
    chains, count = 4000, 7
    rng = Streams(("law", d), range(chains))
    drawn = Moments.draw(np.zeros(d), np.eye(d), count, rng)
    x = Streams(("items", d), range(chains)).normal(count, d)
    centred = x - x.mean(axis=1, keepdims=True)
    for mean, scatter in (
        (drawn.mean, drawn.factor @ drawn.factor.swapaxes(1, 2)),
        (x.mean(axis=1), centred.swapaxes(1, 2) @ centred),
    ):
        assert within(mean, 0)
        assert within(mean[:, :, None] * mean[:, None], np.eye(d) / count)
        assert within(scatter, (count - 1) * np.eye(d))
        assert within(scatter @ scatter, (count - 1) * (count + d) * np.eye(d))
        assert within(np.linalg.slogdet(scatter)[1], _log_determinant(count - 1, d))
        assert within(mean[:, 0] * scatter[:, 0, 0], 0)


def _log_determinant(k, d):
    from scipy.special import digamma

    return sum(digamma((k - j) / 2) + np.log(2) for j in range(d))


def test_moments_are_shifted_and_scaled():
    mean, scale = np.array([[1.0, -2.0]] * 4), lower(2)
    plain = Moments.draw(np.zeros(2), np.eye(2), 6, Streams(("same",), range(4)))
    moved = Moments.draw(mean, scale, 6, Streams(("same",), range(4)))
    np.testing.assert_allclose(moved.mean, mean + (scale @ plain.mean[:, :, None])[..., 0], rtol=1e-12)
    np.testing.assert_allclose(moved.factor, scale @ plain.factor, rtol=1e-12)


@DIMENSIONS
def test_real_items_have_their_moments_and_the_normal_law(d):
    config = Config(5, mean=3.0, sd=2.0, d=d)
    data = Gaussian(config, tuple(range(3000)), "spread")
    x = (data.real().output.reshape(3000, 5, d) - 3) / 2
    for power, expected in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert within((x**power).mean(axis=(1, 2)), expected)
    assert within(x[:, 0, 0] * x[:, 1, 0], 0)  # items are independent
    assert within(x[:, 0, 0] ** 2 * x[:, 1, 0] ** 2, 1)
    assert stats.kstest(x[:, 0, 0], "norm").pvalue > 1e-3
    if d > 1:
        assert within(x[:, 0, 0] * x[:, 0, 1], 0)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(("kind", "options"), WHOLE[:3])
def test_chains_of_items_and_of_moments_agree_in_law(d, kind, options):
    config, seeds = Config(8, d=d), range(1500)
    a, b = (chain(kind, config, 6, seeds, items=form, name=f"form{form}", **options)[0] for form in (True, False))
    for metric in ("mean", "log_sigma", "risk", "wasserstein2", "trace_ratio"):
        for function in (lambda x: x, np.square):
            x, y = function(a[metric]), function(b[metric])
            error = np.sqrt((x.var(axis=1) + y.var(axis=1)) / 1500)
            assert (abs(x.mean(axis=1) - y.mean(axis=1)) < 4 * error).all(), metric


# forms and policies


@pytest.mark.parametrize(("kind", "options", "items"), [*((*p, False) for p in WHOLE), *((*p, True) for p in CUT)])
def test_items_are_drawn_where_a_policy_tells_them_apart(kind, options, items):
    assert takes_items(Policy(kind, options), 20, 5) == items
    config = Config(20, d=2, shards=5)
    found, turns = chain(kind, config, 5, range(3), **options)
    assert all(np.isfinite(found[name]).all() and found[name].shape == (5, 3) for name in NAMES)
    again, same = chain(kind, config, 5, range(3), items=True, **options)
    np.testing.assert_allclose(found["risk"][0], again["risk"][0], rtol=1e-9)
    for one, other in zip(turns, same, strict=True):
        assert one.facts["items"] == other.facts["items"]
        assert one.facts["plan"] == other.facts["plan"]
        np.testing.assert_allclose(one.facts["real_fraction"], other.facts["real_fraction"])


def test_items_are_drawn_where_the_budget_cuts():
    assert takes_items(Policy("accumulate", budget="items"), 20, 5)
    assert not takes_items(Policy("accumulate", budget="items"), 20, 1)


@DIMENSIONS
@pytest.mark.parametrize(("kind", "options"), [*WHOLE, *CUT])
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(d, kind, options):
    config = Config(20, d=d, shards=4)
    together, _ = chain(kind, config, 4, range(5), **options)
    alone, _ = chain(kind, config, 4, [3], **options)
    for metric in NAMES:
        np.testing.assert_array_equal(alone[metric][:, 0], together[metric][:, 3])


def test_moments_cannot_be_cut():
    moments = Gaussian(Config(9), (0, 1), "x", items=False).real()
    assert moments.first(9) is moments
    with pytest.raises(ValueError, match="8 of 9 items cannot be cut"):
        moments.first(8)
    with pytest.raises(ValueError, match="items=True"):
        moments.take(np.zeros((2, 1), int))
    other = Gaussian(Config(9), (0, 2), "x", items=False).real()
    assert moments.sha256() == Gaussian(Config(9), (0, 1), "x", items=False).real().sha256() != other.sha256()


@DIMENSIONS
def test_fresh_items_are_new_and_real(d):
    for form in (True, False):
        data = Gaussian(Config(9, d=d, shards=3), (0, 1), "x", items=form)
        assert data.fresh(1).sha256() == data.real().sha256()
        assert len({data.fresh(n).sha256() for n in (1, 2, 3)}) == 3
        assert (data.fresh(2).real_fraction() == 1).all()
        with pytest.raises(ConfigError, match="raise `shards`"):
            data.fresh(4)


def test_simulate_writes_a_grid_without_gaps(tmp_path):
    entry = {"kind": "gaussian", "T": [5, 9], "d": [1, 3]}
    settings = {
        "dataset": entry,
        "recipe": {"family": "gaussian", "ddof": 0},
        "policy": {"kind": "accumulate_subsample"},
    }
    simulate(tmp_path, "normal", "mle", "accumulate_subsample", {**settings, "seeds": 3, "generations": 4})
    rows = pd.read_parquet(tmp_path / "chains" / "normal" / "mle" / "accumulate_subsample.parquet")
    assert len(rows) == 4 * 3 * 4
    assert not rows.isna().any().any()
    assert set(NAMES) <= set(rows)
    alone, _ = chain("accumulate_subsample", Config(T=9, d=3), 4, [2], ddof=0, name="normal_T9_d3", recipe="mle")
    at = rows[(rows["T"] == 9) & (rows["d"] == 3) & (rows["seed"] == 2)].sort_values("generation")
    np.testing.assert_array_equal(at["log_sigma"], alone["log_sigma"][:, 0])


# samples and metrics


def test_log_densities_of_samples_in_several_dimensions():
    mean, scale = Streams(("m",), range(4)).normal(3), lower(3)
    items = family.sample(family.Model(mean, scale), 6, None, Streams(("s",), range(4)), 2)
    assert items.output.shape == (4, 6, 3)
    for x, m, L, found in zip(items.output, mean, scale, items.logprob, strict=True):
        np.testing.assert_allclose(found, stats.multivariate_normal(m, L @ L.T).logpdf(x), rtol=1e-9)
    moments = family.sample(family.Model(mean, scale), Sums(6), None, Streams(("s",), range(4)), 2)
    assert len(moments) == 6


def test_the_truth_of_items_in_several_dimensions():
    data = Gaussian(Config(6, mean=1.0, sd=(1.0, 2.0), d=2), (0, 1), "x")
    expected = stats.multivariate_normal([1.0, 1.0], np.diag([1.0, 4.0])).logpdf(data.real().output)
    np.testing.assert_allclose(data.truth(data.real()), expected, rtol=1e-10)
    assert len(data.decode(data.real())) == 6
    corrupted = data.corrupt(data.real(), 1.0, Streams(("c",), (0, 1)))
    assert (abs(corrupted.output - 1) <= [3, 6]).all()
    assert (corrupted.output != data.real().output).all()


@pytest.mark.parametrize(("d", "sd"), [(1, 2.0), (3, 2.0), (3, (0.5, 1.0, 3.0))])
def test_metrics_against_their_definitions(d, sd):
    truth = Config(20, mean=0.5, sd=sd, d=d)
    mean, scale = Streams(("m",), range(4)).normal(d), lower(d)
    found = family.evaluate(family.Model.of(mean, scale), truth, None)
    assert tuple(found) == NAMES
    S = np.diag(np.broadcast_to(np.asarray(sd) ** 2.0, d))
    root = np.sqrt(S)
    for s, (m, L) in enumerate(zip(mean, scale, strict=True)):
        C, shift = L @ L.T, m - 0.5
        middle = linalg.sqrtm(root @ C @ root).real
        expected = {
            "mean": m[0],
            "sd": sqrt(C[0, 0]),
            "mean_error": np.linalg.norm(shift),
            "sd_error": np.linalg.norm(linalg.sqrtm(C).real - root),
            "log_sigma": np.log(np.linalg.det(C) / np.linalg.det(S)) / (2 * d),
            "trace_ratio": np.trace(C) / np.trace(S),
            "risk": shift @ shift + np.linalg.norm(linalg.sqrtm(C).real - root) ** 2,
            "wasserstein2": shift @ shift + np.trace(C + S - 2 * middle),
            "kl_divergence": 0.5
            * (
                np.trace(np.linalg.solve(C, S))
                + shift @ np.linalg.solve(C, shift)
                - d
                + np.log(np.linalg.det(C) / np.linalg.det(S))
            ),
        }
        for name, value in expected.items():
            assert found[name][s] == pytest.approx(value, rel=1e-8), name
    assert (found["wasserstein2"] <= found["risk"] * (1 + 1e-9)).all()
    if np.ndim(sd) == 0:
        np.testing.assert_allclose(found["wasserstein2"], found["risk"], rtol=1e-8)


@DIMENSIONS
def test_a_model_of_the_truth_has_no_error(d):
    truth = Config(20, mean=0.5, sd=2.0, d=d)
    model = family.Model.of(np.full((2, d), 0.5), np.broadcast_to(2 * np.eye(d), (2, d, d)))
    found = family.evaluate(model, truth, None)
    for name in set(NAMES) - {"mean", "sd", "trace_ratio"}:
        np.testing.assert_allclose(found[name], 0, atol=1e-7)
    np.testing.assert_allclose(found["trace_ratio"], 1)


def test_a_chain_that_collapses_for_long_keeps_its_precision():
    """Log determinants are sums over generations, also where the condition number is beyond double precision."""
    found, _ = chain("replace", Config(12, d=4), 300, range(50))
    assert found["log_sigma"][-1].max() < -20
    assert np.isfinite([found[name] for name in NAMES if name != "kl_divergence"]).all()
    steps = np.diff(found["log_sigma"], axis=0)
    rate = sum((np.log(2) + _digamma((11 - j) / 2) - np.log(11)) for j in range(4)) / 8
    assert within(steps.ravel(), rate)


def _digamma(x):
    from scipy.special import digamma

    return digamma(x)


@DIMENSIONS
def test_a_saved_model_loads_equal(tmp_path, d):
    model = fit(Items.make(values(d), generation=0))
    family.save(model, tmp_path / "model.safetensors")
    loaded = family.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.mean, model.mean)
    np.testing.assert_array_equal(loaded.sd, model.sd)


@cache
def _measured(d):
    from collapse.metrics import gaussian as metrics

    data = Gaussian(Config(50, d=d), (0,), "x")
    return metrics.measure(data.real(), metrics.reference(data), data, None), data.real().output[0].reshape(50, d)[:, 0]


@DIMENSIONS
def test_measures_are_of_the_first_coordinate(d):
    found, x = _measured(d)
    assert found == {"mean": pytest.approx(x.mean()), "sd": pytest.approx(x.std(ddof=1))}
