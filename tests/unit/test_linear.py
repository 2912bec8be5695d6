"""Linear regression: items in both forms, fits against references, chains against published values."""

from dataclasses import replace

import numpy as np
import pytest

from collapse.datasets import linear as dataset
from collapse.datasets.linear import Config, Moments, Rows, load, row_wise
from collapse.errors import ConfigError, TrainingError
from collapse.families import linear as family
from collapse.loop import Budget, Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams
from collapse.selection import Selector

BOTH = pytest.mark.parametrize("design", ["shared", "fresh"])
KINDS = ("replace", "accumulate", "replace_multiple", "accumulate_subsample")


def data_of(config, seeds=range(4), rows=False, name="test"):
    return load(config, {}, {}, seeds, name, rows)


def fit(items, ridge=0.0, weights=None):
    return family.fit(
        items,
        config=family.Config(ridge),
        weights=weights,
        budget=Budget(passes=1),
        init=None,
        validation=None,
        observer=None,
        rng=None,
    ).w


def errors(kind, config, generations, seeds, ridge=0.0, rows=None, name="test", **options):
    """Test errors of a chain, (G, S, K), and the last training set's facts."""
    policy = Policy(kind, options)
    rows = row_wise(policy, config.T, generations) if rows is None else rows
    data = data_of(config, seeds, rows, name)
    turns = run_chain(
        Cell(name, "ols", kind, "noise", "all"),
        config.T,
        generations,
        policy=policy,
        family=family,
        config=family.Config(ridge),
        data=data,
        sampler=None,
        selector=Selector("all"),
        seeds=seeds,
    )
    found = [(metrics["test_error"], turn.facts) for turn, metrics, _ in turns]
    return np.stack([e for e, _ in found]), found[-1][1]


def pool(design, chains=3, sets=4):
    """A joined pool of rows as a chain makes it: real items, then labels of other models."""
    data = data_of(Config(d=5, T=20, design=design, sigma2=(0.5, 2.0)), range(chains), rows=True)
    parts = [data.real()]
    for k in range(1, sets):
        rng = Streams(("pool", k), range(chains))
        parts.append(family.sample(family.Model(rng.normal(5, 2)), data.contexts(20, rng), None, rng, k))
    return Rows.concat(parts)


def index_of(chains, size, count, name="index"):
    return Streams((name,), range(chains)).each(lambda g: g.integers(0, size, count))


@pytest.mark.parametrize(
    "options", [{"T": 33}, {"d": 0}, {"design": "share"}, {"sigma2": ()}, {"sigma2": (0.0,)}, {"sigma2": (1.0, 1.0)}]
)
def test_config_refuses(options):
    with pytest.raises(ConfigError):
        Config(**options)


def test_ridge_must_not_be_negative():
    with pytest.raises(ConfigError, match="ridge"):
        family.Config(-0.1)


@BOTH
def test_take_picks_the_items_it_is_asked_for(design):
    items = pool(design)
    index = index_of(3, 80, 30)
    taken = items.take(index)
    s = np.arange(3)[:, None]
    for name in ("x", "y", "generation"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(items, name)[s, index])
    again = index_of(3, 30, 12, "again")
    np.testing.assert_array_equal(taken.take(again).x, taken.x[s, again])
    np.testing.assert_array_equal(taken.take(again).y, taken.y[s, again])
    mixed = Rows.concat([taken, items]).take(np.broadcast_to(np.arange(20, 60), (3, 40)))
    np.testing.assert_array_equal(mixed.x, np.concatenate([taken.x, items.x], axis=1)[:, 20:60])
    np.testing.assert_allclose(taken.real_fraction(), (index < 20).mean(axis=1))


@BOTH
def test_a_pool_and_what_is_taken_from_it_share_the_inputs(design):
    items = pool(design)
    taken = items.take(index_of(3, 80, 30))
    assert all(any(x is p.x[0] for p in items.parts) for x in taken.parts[0].x)
    assert len(taken.parts[0].x) == (1 if design == "shared" else 4)
    assert len(items) == 80
    assert len(items.first(25)) == 25
    np.testing.assert_array_equal(items.first(25).y, items.y[:, :25])
    with pytest.raises(ValueError, match="81 items asked for, 80 there"):
        items.first(81)


@BOTH
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_fit_equals_least_squares_item_by_item(design, ridge):
    items = pool(design)
    for chosen in (items, items.take(index_of(3, 80, 30))):
        w, x, y = fit(chosen, ridge), chosen.x, chosen.y
        for s in range(3):
            a = np.concatenate([x[s] / np.sqrt(len(chosen)), np.sqrt(ridge) * np.eye(5)])
            b = np.concatenate([y[s] / np.sqrt(len(chosen)), np.zeros((5, 2))])
            np.testing.assert_allclose(w[s], np.linalg.lstsq(a, b)[0], rtol=1e-10, atol=1e-12)


@BOTH
def test_rows_and_moments_give_the_same_fit(design):
    items = pool(design)
    sets = [Rows((part,)) for part in items.parts]
    moments = Moments.concat([sets[0].moments(), *sets[1:]])
    np.testing.assert_allclose(fit(moments), fit(items), rtol=1e-10)
    np.testing.assert_allclose(fit(Rows.concat([sets[0], moments])), fit(Rows.concat([sets[0], items])), rtol=1e-10)
    assert len(moments) == 80
    np.testing.assert_allclose(moments.real_fraction(), items.real_fraction())


@BOTH
def test_a_weight_counts_an_item_as_often_as_it_says(design):
    items = pool(design).take(index_of(3, 80, 30))
    times = index_of(3, 4, 30, "times")
    times[:, -1] += 90 - times.sum(axis=1)  # the same number in every chain
    repeated = items.take(np.stack([np.repeat(np.arange(30), t) for t in times]))
    np.testing.assert_allclose(fit(items, weights=times.astype(float)), fit(repeated), rtol=1e-9)
    assert not np.allclose(fit(items, weights=times.astype(float)), fit(items))


@BOTH
def test_fewer_rows_than_inputs_give_the_solution_of_smallest_norm(design):
    items = pool(design)
    index = index_of(3, 80, 30)
    index[1] = np.repeat([3, 17, 41], 10)  # three different items in chain 1
    taken = items.take(index)
    for s in range(3):
        np.testing.assert_allclose(fit(taken)[s], np.linalg.pinv(taken.x[s]) @ taken.y[s], rtol=1e-8, atol=1e-10)


def test_a_fit_that_is_not_finite_is_refused():
    items = pool("fresh").moments()
    with pytest.raises(TrainingError, match="not finite"):
        fit(replace(items, cross=items.cross * np.nan))
    with pytest.raises(TrainingError, match="singular"):
        fit(replace(items, gram=np.zeros_like(items.gram)))


def test_moments_refuse_what_needs_rows():
    items = pool("fresh").moments()
    assert items.first(80) is items
    with pytest.raises(ValueError, match="rows=True"):
        items.first(79)
    with pytest.raises(ValueError, match="rows=True"):
        items.take(np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="rows=True"):
        fit(items, weights=np.ones((3, 80)))


@BOTH
def test_sha256_follows_inputs_and_labels(design):
    items = pool(design)
    changed = replace(items.parts[-1], y=items.parts[-1].y + 1e-9)
    other = Rows((*items.parts[:-1], changed))
    assert items.sha256() == pool(design).sha256() != other.sha256()
    assert items.moments().sha256() == pool(design).moments().sha256() != other.moments().sha256()


def test_wishart_has_the_moments_of_drawn_rows():
    d, m, chains = 4, 9, 4000
    rng = Streams(("wishart",), range(chains))
    for count in (m, 3):  # Bartlett's triangle, and fewer rows than inputs
        factor = dataset.wishart_factor(d, count, rng)
        gram = factor @ factor.swapaxes(1, 2)
        for power, expected in (
            (gram, count),
            (gram @ gram, count * (count + d + 1)),
        ):  # E G = mI, E GG = m(m + d + 1)I
            error = power.std(axis=0) / np.sqrt(chains)
            assert (abs(power.mean(axis=0) - expected * np.eye(d)) < 4 * error).all()
    trace = (np.linalg.inv(dataset.wishart_factor(d, 12, rng)) ** 2).sum(axis=(1, 2))  # of (AA')^-1
    assert abs(trace.mean() - d / (12 - d - 1)) < 3 * trace.std() / np.sqrt(chains)


@BOTH
@pytest.mark.parametrize("count", [20, 60, 50, 8])
def test_drawn_moments_have_the_law_of_drawn_rows(design, count):
    """Mean and spread of X'y - X'X w = sigma X'e, whitened: sigma^2 I, in both forms; 4 standard errors."""
    chains, w = range(1500), np.ones((1500, 3, 2))
    for rows in (False, True):
        data = data_of(Config(3, 20, design, (0.5, 2.0)), chains, rows)
        rng = Streams(("labels", rows), chains)
        items = data.contexts(count, rng).label(w, rng).moments()
        noise = items.cross - items.copies * items.gram @ w
        white = np.linalg.solve(np.linalg.cholesky(items.copies * items.gram), noise) / data.sigma
        assert len(items) == count
        np.testing.assert_allclose(white[..., 0], white[..., 1], rtol=1e-6, atol=1e-8)  # one noise for all sigma
        z = white[..., 0]
        assert (abs(z.mean(axis=0)) < 4 / np.sqrt(1500)).all()
        assert (abs(np.cov(z.T) - np.eye(3)) < 4 * np.sqrt((1 + np.eye(3)) / 1500)).all()
        trace = np.trace(items.copies * items.gram, axis1=1, axis2=2)
        variance = 2 * 3 * count if design == "fresh" or count <= 20 else trace.var()
        assert abs(trace.mean() - 3 * count) < 4 * np.sqrt(variance / 1500)


def test_a_shared_design_repeats():
    config = Config(3, 20, "shared", (1.0,))
    rows, moments = data_of(config, rows=True), data_of(config)
    w, x = np.zeros((4, 3, 1)), rows.real().x
    for count in (20, 60, 50, 8):
        rng = Streams(("labels",), range(4))
        items = rows.contexts(count, rng).label(w, rng)
        np.testing.assert_array_equal(items.x, x[:, np.arange(count) % 20])
        assert len(np.unique(items.y[0])) == count  # with new noise
        drawn = moments.contexts(count, rng).label(w, rng)
        np.testing.assert_allclose(drawn.copies * drawn.gram, items.moments().gram, rtol=1e-10)


@BOTH
def test_generation_1_is_the_same_in_both_forms(design):
    config = Config(5, 20, design, (0.5, 2.0))
    rows, moments = data_of(config, rows=True).real(), data_of(config).real()
    assert isinstance(rows, Rows)
    assert isinstance(moments, Moments)
    np.testing.assert_allclose(fit(rows), fit(moments), rtol=1e-10)
    assert (rows.real_fraction() == 1).all()
    assert (moments.real_fraction() == 1).all()


@BOTH
@pytest.mark.parametrize("rows", [False, True])
def test_fresh_real_items_are_new_and_real(design, rows):
    data = data_of(Config(5, 20, design), rows=rows)
    assert data.fresh(1) is data.real()
    assert data.fresh(2).sha256() == data_of(Config(5, 20, design), rows=rows).fresh(2).sha256()
    assert len({data.fresh(n).sha256() for n in (1, 2, 3)}) == 3
    assert (data.fresh(2).real_fraction() == 1).all()
    same = np.array_equal(data.fresh(2).moments().gram, data.real().moments().gram)
    assert same == (design == "shared")
    with pytest.raises(ConfigError, match="real_corrupted"):
        data.corrupt(data.real(), 0.1, Streams(("corrupt",), range(4)))


@pytest.mark.parametrize(
    ("kind", "options", "rows"),
    [
        ("replace", {}, False),
        ("accumulate", {}, False),
        ("replace_multiple", {}, False),
        ("growing", {"exponent": 1.0}, False),
        ("augment", {"ratio": 1.0}, False),
        ("real_only", {}, False),
        ("accumulate_subsample", {}, True),
        ("real_fraction", {"share": 0.1}, True),
        ("golden_ratio", {"ratio": 1.0}, True),
        ("fresh_real", {"share": 0.5}, True),
        ("augment", {"ratio": 0.5}, True),
    ],
)
def test_rows_are_kept_where_a_policy_tells_items_apart(kind, options, rows):
    config = Config(3, 20, "fresh")
    assert row_wise(Policy(kind, options), 20, 5) == rows
    found, facts = errors(kind, config, 5, range(2), **options)
    assert np.isfinite(found).all()
    with_rows, same = errors(kind, config, 5, range(2), rows=True, **options)
    assert with_rows.shape == found.shape == (5, 2, 1)
    np.testing.assert_allclose(with_rows[0], found[0], rtol=1e-9)
    assert facts["items"] == same["items"]
    np.testing.assert_allclose(facts["real_fraction"], same["real_fraction"])


def test_rows_are_kept_where_the_budget_cuts():
    assert row_wise(Policy("accumulate", budget="items"), 20, 5)
    assert not row_wise(Policy("accumulate", budget="items"), 20, 1)


@BOTH
@pytest.mark.parametrize("kind", ["accumulate", "replace_multiple"])
def test_chains_of_rows_and_of_moments_agree_in_law(design, kind):
    config, seeds = Config(5, 20, design), range(600)
    rows, moments = (errors(kind, config, 8, seeds, rows=r, name=f"rows{r}")[0][..., 0] for r in (True, False))
    gap = rows.mean(axis=1) - moments.mean(axis=1)
    assert (abs(gap) < 3 * np.sqrt((rows.var(axis=1) + moments.var(axis=1)) / 600)).all()


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_ordinary_least_squares_is_proportional_to_sigma2(design, kind):
    found, _ = errors(kind, Config(5, 20, design, (0.1, 1.0, 10.0)), 6, range(3))
    np.testing.assert_allclose(found[..., 0] * 100, found[..., 2], rtol=1e-9)
    np.testing.assert_allclose(found[..., 1] * 10, found[..., 2], rtol=1e-9)
    ridged, _ = errors(kind, Config(5, 20, design, (0.1, 1.0, 10.0)), 6, range(3), ridge=0.5)
    assert not np.allclose(ridged[..., 1] * 10, ridged[..., 2], rtol=1e-2)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(design, kind):
    config = Config(5, 20, design, (0.1, 1.0))
    together, _ = errors(kind, config, 6, range(5))
    alone, _ = errors(kind, config, 6, [3])
    np.testing.assert_array_equal(alone[:, 0], together[:, 3])


def test_evaluation_is_the_expected_error_on_new_inputs():
    rng = Streams(("evaluate",), range(3))
    truth, w = rng.normal(4), rng.normal(4, 2)
    found = family.evaluate(family.Model(w), truth, rng)["test_error"]
    x = rng.normal(20000, 4)
    drawn = (x @ w - (x @ truth[:, :, None])) ** 2
    assert found.shape == (3, 2)
    assert (abs(drawn.mean(axis=1) - found) < 4 * drawn.std(axis=1) / np.sqrt(20000)).all()


def test_a_saved_model_loads_equal(tmp_path):
    model = family.Model(Streams(("save",), range(3)).normal(4, 2))
    family.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(family.load(tmp_path / "model.safetensors").w, model.w)


@pytest.mark.parametrize(
    ("size", "first", "published"),
    [
        (100, 0.485, {"replace": 47.8, "accumulate": 0.772, "accumulate_subsample": 2.49}),
        (316, 0.116, {"replace": 11.6, "accumulate": 0.187, "accumulate_subsample": 0.376}),
        (1000, 0.0346, {"replace": 3.29, "accumulate": 0.0577, "accumulate_subsample": 0.098}),
    ],
)
def test_published_errors_of_generation_100(size, first, published):
    """Kazdan et al., arXiv 2410.16713: d = 32, sigma^2 = 1, shared design, means over 100 seeds, read off the plots.

    Both means have the error of 100 seeds; theirs also that of 1,000 test inputs, sqrt(2 / 1000) of each error.
    """
    ends = {}
    for kind, value in published.items():
        found, _ = errors(kind, Config(32, size), 100, range(100), name="published")
        error = np.sqrt(2) * found[..., 0].std(axis=1) / 10
        assert abs(found[-1].mean() - value) < 3 * error[-1] + 0.005 * value
        assert abs(found[0].mean() - first) < 3 * error[0] + 0.005 * first
        ends[kind] = found[-1, :, 0]
    assert ends["accumulate"].mean() < ends["accumulate_subsample"].mean()
    assert (ends["accumulate_subsample"] < ends["replace"]).mean() > 0.95
