"""Discrete distributions: both forms of items, fits, laws, metrics, chains under all policies, errors."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from collapse.commands.settings import build
from collapse.commands.simulate import grid, simulate
from collapse.datasets import discrete as dataset
from collapse.datasets.discrete import Config, Counts, Discrete, Truth, draw, for_chain, load, prepare
from collapse.errors import ConfigError, TrainingError
from collapse.families import discrete as family
from collapse.items import Items
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.seeding import Streams
from collapse.selection import Selector

ZIPF = Config(states=12, T=30, law="zipf")
WHOLE = [("replace", {}), ("accumulate", {}), ("replace_multiple", {}), ("augment", {"ratio": 1.0}), ("real_only", {})]
CUT = [
    ("accumulate_subsample", {}),
    ("real_fraction", {"share": 0.1}),
    ("real_fraction", {"share": 0.3, "draw": "anchored"}),
    ("real_fraction", {"share": 0.5, "how": "add"}),
    ("fresh_real", {"share": 0.5}),
    ("golden_ratio", {"ratio": 1.0}),
    ("growing", {"exponent": 0.25}),
    ("real_corrupted", {"rate": 0.1}),
]


def chain(kind, config, generations, seeds, *, items=None, name="test", **options):
    """Models (G, S, K), metrics {name: (G, S)}, and turns of a chain."""
    policy, seeds = Policy(kind, options), tuple(seeds)
    data = for_chain(config, seeds, name, policy, generations)
    if items is not None:
        data = Discrete(config, seeds, name, items)
    turns = list(
        run_chain(
            Cell(name, "empirical", kind, "exact", "all"), config.T, generations, policy=policy, family=family,
            config=family.Config(), data=data, sampler=None, selector=Selector("all"), seeds=seeds,
        )
    )  # fmt: skip
    p = np.zeros((generations, len(seeds), config.states))
    for n, (made, _, _) in enumerate(turns):
        p[n, :, : made.model.p.shape[1]] = made.model.p
    return p, {k: np.array([m[k] for _, m, _ in turns]) for k in turns[0][1]}, [turn for turn, _, _ in turns]


def fit(items, weights=None):
    options = dict.fromkeys(("budget", "init", "validation", "observer", "rng"))
    return family.fit(items, config=family.Config(), weights=weights, **options).p


# settings


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"states": 1}, "needs states >= 2"),
        ({"T": 0}, "T >= 1"),
        ({"law": "zip"}, "unknown law 'zip': did you mean 'zipf'"),
        ({"law": "zipf", "exponent": -1.0}, "exponent of a discrete data set"),
        ({"law": "zipf", "exponent": float("nan")}, "exponent of a discrete data set"),
        ({"law": "given"}, "p belongs to law 'given'"),
        ({"p": (0.5, 0.5)}, "p belongs to law 'given'"),
        ({"law": "given", "p": (0.5, 0.5), "states": 3}, "3 positive numbers with sum 1"),
        ({"law": "given", "p": (1.0, 0.0), "states": 2}, "2 positive numbers with sum 1"),
        ({"law": "given", "p": (0.5, 0.6), "states": 2}, "2 positive numbers with sum 1"),
    ],
)
def test_config_refuses(options, text):
    with pytest.raises(ConfigError, match=text):
        Config(**options)


def test_laws():
    np.testing.assert_allclose(Config(states=4).probabilities, 0.25)
    np.testing.assert_allclose(Config(states=3, law="zipf").probabilities, np.array([6, 3, 2]) / 11)
    np.testing.assert_allclose(Config(states=3, law="zipf", exponent=2.0).probabilities, np.array([36, 9, 4]) / 49)
    np.testing.assert_allclose(Config(states=2, law="given", p=(0.2, 0.8)).probabilities, [0.2, 0.8])


def test_lists_of_t_are_a_grid_and_one_of_p_is_a_value():
    points = grid(dataset, {"kind": "discrete", "T": [10, 30], "states": 2, "law": "given", "p": [0.2, 0.8]})
    assert [(point, c.p) for point, c in points] == [({"T": 10}, (0.2, 0.8)), ({"T": 30}, (0.2, 0.8))]
    assert build(family.Config, {}, "recipe") == family.Config()
    with pytest.raises(ConfigError, match="smoothing"):
        build(family.Config, {"smoothing": 1}, "recipe")
    assert "12 states, zipf" in prepare(ZIPF, "x")[1]["source"]
    assert load(ZIPF, {}, {}, [3], "x").seeds == (3,)


# draws


def test_items_are_the_counts_in_random_order():
    p = np.broadcast_to(ZIPF.probabilities, (400, 12))
    counts, items = (draw(p, 30, Streams(("draw",), range(400)), form) for form in (False, True))
    assert isinstance(counts, Counts)
    assert isinstance(items, Items)
    np.testing.assert_array_equal([np.bincount(row, minlength=12) for row in items.output], counts.counts)
    np.testing.assert_allclose(items.logprob, np.log(ZIPF.probabilities)[items.output])
    first = np.bincount(items.output[:, 0], minlength=12)  # each place has the law of p
    assert stats.chisquare(first, 400 * ZIPF.probabilities).pvalue > 1e-3
    assert len(np.unique(items.output, axis=0)) == 400


def test_counts_are_multinomial():
    p = np.broadcast_to(ZIPF.probabilities, (8000, 12))
    x = draw(p, 30, Streams(("multinomial",), range(8000)), False).counts / 30
    error = np.sqrt(p[0] * (1 - p[0]) / 30 / 8000)
    assert (abs(x.mean(axis=0) - p[0]) < 4 * error).all()
    covariance = (np.diag(p[0]) - np.outer(p[0], p[0])) / 30
    centred = (x - p[0])[:, :, None] * (x - p[0])[:, None]
    assert (abs(centred.mean(axis=0) - covariance) < 4 * centred.std(axis=0) / np.sqrt(8000)).all()


def test_a_chain_with_one_state_left_draws_nothing():
    p = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])

    class Two(Streams):
        generators = property(lambda self: pytest.fail("made a generator for each chain"))

    drawn = draw(p, 7, Two(("x",), (0, 1)), False)
    np.testing.assert_array_equal(drawn.counts[0], [0, 7, 0])
    assert drawn.counts[1, 1] == 0
    np.testing.assert_array_equal(draw(p, 7, Streams(("x",), (0, 1)), True).output[0], 1)


def test_counts_are_whole_sets():
    data = Discrete(ZIPF, (0, 1), "x")
    counts = data.real()
    assert len(counts) == 30
    assert counts.first(30) is counts
    with pytest.raises(ValueError, match="29 of 30 items cannot be cut"):
        counts.first(29)
    with pytest.raises(ValueError, match="items=True"):
        counts.take(np.zeros((2, 1), int))
    assert counts.sha256() == Discrete(ZIPF, (0, 1), "x").real().sha256() != Discrete(ZIPF, (0, 2), "x").real().sha256()
    joined = Counts.concat(
        [
            counts,
            data.fresh(2),
            family.sample(family.Model(fit(counts)), data.contexts(20, None), None, Streams(("s",), (0, 1)), 1),
        ]
    )
    assert len(joined) == 80
    np.testing.assert_allclose(joined.real_fraction(), 60 / 80)
    assert Counts.concat([counts]) is counts


@pytest.mark.parametrize("form", [True, False])
def test_fresh_items_are_new_and_real(form):
    data = Discrete(ZIPF, (0, 1), "x", form)
    assert data.fresh(1).sha256() == data.real().sha256()
    assert len({data.fresh(n).sha256() for n in (1, 2, 50)}) == 3
    assert (data.fresh(50).real_fraction() == 1).all()


# fit and metrics


def test_fit_is_the_share_of_each_state():
    states = np.array([[0, 0, 1, 4], [2, 2, 2, 2]])
    np.testing.assert_allclose(fit(Items.make(states, generation=0)), [[0.5, 0.25, 0, 0, 0.25], [0, 0, 1, 0, 0]])
    weights = np.array([[1.0, 1.0, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(fit(Items.make(states, generation=0), weights)[0], [0.25, 0.25, 0, 0, 0.5])
    np.testing.assert_allclose(fit(Counts(np.array([[1, 3]]))), [[0.25, 0.75]])
    with pytest.raises(ValueError, match="items=True"):
        fit(Counts(np.array([[1, 3]])), np.ones((1, 4)))
    for empty in (Items.make(np.zeros((1, 0), int), generation=0), Counts(np.zeros((1, 2), int))):
        with pytest.raises(TrainingError, match="at least one item"):
            fit(empty)
    with pytest.raises(TrainingError, match="positive weight"):
        fit(Items.make(states, generation=0), np.zeros((2, 4)))


def test_metrics_of_laws_that_are_known():
    truth = Truth(Config(states=4).probabilities)
    found = family.evaluate(family.Model(np.array([[0.5, 0.5, 0], [0, 1, 0], [0.25, 0.5, 0.25]])), truth, None)
    expected = {
        "states_alive": [2, 1, 3],
        "heterozygosity": [0.5, 0, 0.625],
        "heterozygosity_ratio": [2 / 3, 0, 5 / 6],
        "absorbed": [0, 1, 0],
        "top_state": [0, 1, 1],
        "total_variation": [0.5, 0.75, 0.25],
    }
    assert found.keys() == expected.keys()  # four states have no tenths
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name)


def test_deciles_are_of_the_true_law_rarest_first():
    p = np.arange(1.0, 26)[::-1] / np.arange(1, 26).sum()
    deciles = Truth(p).deciles
    assert deciles[0] == 10  # the most frequent
    assert deciles[-1] == 1
    assert set(np.bincount(deciles)[1:]) == {2, 3}
    model = np.where(p > np.median(p), p, 0)
    found = family.evaluate(family.Model((model / model.sum())[None]), Truth(p), None)
    alive = [found[f"alive_decile_{d}"][0] for d in range(1, 11)]
    np.testing.assert_allclose(alive, [np.mean(model[deciles == d] > 0) for d in range(1, 11)])
    assert alive[:4] == [0, 0, 0, 0]
    assert alive[-4:] == [1, 1, 1, 1]


# chains


@pytest.mark.parametrize(("kind", "options"), WHOLE)
def test_chains_of_items_and_of_counts_are_the_same(kind, options):
    counts, metrics, turns = chain(kind, ZIPF, 5, range(4), **options)
    items, same, others = chain(kind, ZIPF, 5, range(4), items=True, **options)
    np.testing.assert_array_equal(counts, items)
    for name, value in metrics.items():
        np.testing.assert_array_equal(value, same[name])
    for one, other in zip(turns, others, strict=True):
        assert one.facts["plan"] == other.facts["plan"]
        assert one.facts["items"] == other.facts["items"]
        np.testing.assert_allclose(one.facts["real_fraction"], other.facts["real_fraction"])


@pytest.mark.parametrize(("kind", "options", "items"), [*((*p, False) for p in WHOLE), *((*p, True) for p in CUT)])
def test_items_are_drawn_where_a_policy_tells_them_apart(kind, options, items):
    assert for_chain(ZIPF, (0,), "x", Policy(kind, options), 4).items == items


@pytest.mark.parametrize(("kind", "options"), [*WHOLE, *CUT])
def test_a_chain_gives_the_same_numbers_alone_and_beside_others(kind, options):
    together, metrics, _ = chain(kind, ZIPF, 5, range(5), **options)
    alone, own, _ = chain(kind, ZIPF, 5, [3], **options)
    np.testing.assert_array_equal(alone[:, 0], together[:, 3])
    for name, value in metrics.items():
        np.testing.assert_array_equal(own[name][:, 0], value[:, 3])
    np.testing.assert_allclose(together.sum(axis=2), 1)


@pytest.mark.parametrize("kind", ["replace", "accumulate_subsample"])
def test_a_state_that_is_lost_stays_lost_under_replace_alone(kind):
    p, _, _ = chain(kind, ZIPF, 12, range(30))
    back = (p[1:] > 0) & (p[:-1] == 0)
    assert back.any() == (kind != "replace")


def test_generation_1_is_shared_by_all_policies():
    first = [chain(kind, ZIPF, 2, range(3), **options)[0][0] for kind, options in (*WHOLE, *CUT)]
    assert all((p == first[0]).all() for p in first)


def test_every_chain_is_absorbed_and_ends_in_proportion_to_the_true_law():
    config, chains = Config(states=5, T=10, law="zipf"), 1500
    _, metrics, _ = chain("replace", config, 150, range(chains), name="absorption")
    assert metrics["absorbed"][-1].all()
    assert (np.diff(metrics["absorbed"], axis=0) >= 0).all()
    ends = np.bincount(metrics["top_state"][-1], minlength=5)
    assert stats.chisquare(ends, chains * config.probabilities).pvalue > 1e-3


def test_simulate_writes_rows_without_gaps(tmp_path):
    entry = {"kind": "discrete", "T": [10, 20], "states": 12, "law": "zipf"}
    settings = {"dataset": entry, "recipe": {"family": "discrete"}, "policy": {"kind": "real_fraction", "share": 0.1}}
    simulate(tmp_path, "zipf", "empirical", "real_fraction_10", {**settings, "seeds": 3, "generations": 4})
    rows = pd.read_parquet(tmp_path / "chains" / "zipf" / "empirical" / "real_fraction_10.parquet")
    assert len(rows) == 2 * 3 * 4
    assert not rows.isna().any().any()
    assert {"states_alive", "alive_decile_1", "alive_decile_10", "heterozygosity_ratio"} <= set(rows)
    assert set(rows.loc[rows["generation"] > 1, "real_fraction"]) == {0.1}


def test_corrupted_items_are_of_any_state():
    data = Discrete(Config(states=4, T=4000, law="given", p=(0.97, 0.01, 0.01, 0.01)), (0,), "x", True)
    counts = np.bincount(data.corrupt(data.real(), 1.0, Streams(("c",), (0,))).output[0], minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-3
    half = data.corrupt(data.real(), 0.5, Streams(("c",), (0,))).output != data.real().output
    assert 0.3 < half.mean() < 0.45


def test_the_truth_of_items():
    data = Discrete(ZIPF, (0, 1), "x", True)
    np.testing.assert_allclose(data.truth(data.real()), np.log(ZIPF.probabilities)[data.real().output])


def test_a_saved_model_loads_equal(tmp_path):
    model = family.Model(np.array([[0.25, 0.75]]))
    family.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(family.load(tmp_path / "model.safetensors").p, model.p)
