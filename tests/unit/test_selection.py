"""Selectors: scores in, indices out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse import selection
from collapse.errors import ConfigError, TrainingError
from collapse.items import Items
from collapse.seeding import Streams
from collapse.selection import Selector, needs, parse, pool, select


def numbered(count, chains=2):
    return Items.make(np.broadcast_to(np.arange(count) * 10.0, (chains, count)), generation=3)


def rng(*seeds):
    return Streams(("test",), seeds or (0, 1))


def forall(*strategies):
    return lambda test: settings(derandomize=True, deadline=None, max_examples=60)(given(*strategies)(test))


def test_all_keeps_the_first_in_order():
    kept = select(parse("x", {"kind": "all"}), numbered(12), 7, rng())
    assert kept.index.tolist() == [list(range(7))] * 2


def test_random_keeps_different_items_of_the_pool_in_order():
    rule, items = parse("x", {"kind": "random", "keep": 0.25}), numbered(100)
    kept = select(rule, items, 20, rng())
    for row in kept.index.tolist():
        assert row == sorted(set(row))
        assert 50 < max(row) < 80  # of the first 20 / 0.25 = 80
    assert kept.index[0].tolist() != kept.index[1].tolist()
    assert np.array_equal(kept.output, kept.index * 10)
    assert (kept.generation == 3).all()


def test_random_keeps_each_item_equally_often():
    chains = 2000
    kept = select(parse("x", {"kind": "random", "keep": 0.4}), numbered(20, chains), 8, rng(*range(chains)))
    often = np.bincount(kept.index.ravel(), minlength=20) / chains
    assert np.abs(often - 0.4).max() < 4.5 * np.sqrt(0.4 * 0.6 / chains)


@forall(st.integers(1, 30))
def test_keeping_all_of_the_pool_is_no_selection(count):
    every = select(parse("x", {"kind": "random", "keep": 1}), numbered(30), count, rng())
    assert every.index.tolist() == select(parse("y", {"kind": "all"}), numbered(30), count, rng()).index.tolist()


@forall(st.integers(1, 10_000), st.floats(0.01, 1))
def test_pool_is_the_least_that_suffices(count, keep):
    drawn = pool(Selector("random", {"keep": keep}), count)
    assert drawn * keep >= count * (1 - 1e-9)
    assert (drawn - 1) * keep < count


def test_pool_is_not_led_astray_by_rounding():
    assert [pool(parse("x", {"kind": "random", "keep": k}), 300) for k in (0.1, 0.3, 0.6, 1)] == [3000, 1000, 500, 300]
    assert pool(parse("x", {"kind": "random", "keep": 0.7}), 21) == 30
    assert pool(parse("x", {"kind": "all"}), 300) == 300


def test_too_few_items_are_an_error():
    with pytest.raises(ValueError, match="40 items asked for, 39 there"):
        select(parse("x", {"kind": "random"}), numbered(39), 20, rng())
    with pytest.raises(ValueError, match="20 items asked for, 19 there"):
        select(parse("x", {"kind": "all"}), numbered(19), 20, rng())


def test_missing_scores_are_an_error(monkeypatch):
    def best(scores, pool, count, rng):
        return np.sort(np.argsort(-scores[:, :pool], axis=1)[:, :count])

    monkeypatch.setitem(selection.KINDS, "best", selection._Kind(best, {"keep": 0.5}, needs="truth"))
    rule = parse("x", {"kind": "best"})
    with pytest.raises(ValueError, match="selector 'best' needs truth"):
        select(rule, numbered(4), 2, rng())
    scores = np.array([[1.0, 5, 2, 9], [3, 2, 1, 0]])
    assert select(rule, numbered(4), 2, rng(), scores).index.tolist() == [[1, 3], [0, 1]]


def checked(*valid, count, keep, total=40):
    """The numbers of the items that are kept, of those with a finite score."""
    rule = parse("x", {"kind": "valid", "keep": keep})
    scores = np.stack([np.where(np.isin(np.arange(total), row), -2.0, -np.inf) for row in valid])
    kept = select(rule, numbered(total, len(valid)), count, rng(*range(len(valid))), scores)
    assert np.array_equal(kept.output, kept.index * 10.0)
    return kept.index.tolist()


def test_valid_keeps_the_first_of_finite_score_in_order():
    assert checked([9, 3, 5, 0], [1, 2, 3, 4], count=3, keep=0.25) == [[0, 3, 5], [1, 2, 3]]
    # whatever the score: the order is that in which they were drawn
    scores = np.array([[-9.0, -np.inf, -1.0, np.nan, -np.inf, 0.0]])
    rule = parse("x", {"kind": "valid", "keep": 0.5})
    assert select(rule, numbered(6, 1), 3, rng(0), scores).index.tolist() == [[0, 2, 5]]


def test_valid_takes_items_again_from_the_start_where_they_are_too_few():
    assert checked([1, 6], [0, 1, 2, 3], [2], count=4, keep=0.5) == [[1, 6, 1, 6], [0, 1, 2, 3], [2, 2, 2, 2]]
    assert checked([4, 5, 7], count=5, keep=0.5) == [[4, 5, 7, 4, 5]]


def test_valid_sees_the_pool_alone():
    assert checked([1, 8, 9], count=4, keep=0.5) == [[1, 1, 1, 1]]  # of 8 items
    with pytest.raises(ValueError, match="41 items asked for, 40 there"):
        checked([1], count=41, keep=1)


def test_nothing_valid_in_one_chain_is_an_error():
    with pytest.raises(TrainingError, match="not one of 8 items is valid"):
        checked([1], [8, 9], count=4, keep=0.5)


def test_selectors_say_what_they_need():
    assert needs(parse("x", {"kind": "valid"})) == "truth"
    assert needs(parse("x", {"kind": "all"})) is needs(parse("x", {"kind": "random"})) is None
    with pytest.raises(ValueError, match="selector 'valid' needs truth"):
        select(parse("x", {"kind": "valid"}), numbered(8), 4, rng())


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"kind": "valid", "keep": 0}, "selector 'x': keep must lie in (0, 1], got 0"),
        ({"kind": "vaild"}, "unknown kind of selector 'x' 'vaild': did you mean 'valid'?"),
        ({"kind": "al"}, "unknown kind of selector 'x' 'al': did you mean 'all'?"),
        ({}, "unknown kind of selector 'x' 'None': valid: all, random"),
        ({"kind": "random", "kep": 1}, "unknown option of selector 'x' 'kep': did you mean 'keep'?"),
        ({"kind": "all", "keep": 0.5}, "unknown option of selector 'x' 'keep'"),
        ({"kind": "random", "keep": 0}, "selector 'x': keep must lie in (0, 1], got 0"),
        ({"kind": "random", "keep": 1.1}, "keep must lie in (0, 1], got 1.1"),
        ({"kind": "random", "keep": "half"}, "keep must lie in (0, 1], got 'half'"),
        ({"kind": "random", "keep": float("nan")}, "keep must lie in (0, 1], got nan"),
    ],
)
def test_wrong_entries_are_refused(entry, text):
    with pytest.raises(ConfigError) as error:
        parse("x", entry)
    assert text in str(error.value)


def test_parse_fills_in_defaults_and_leaves_the_entry():
    entry = {"kind": "random"}
    assert parse("x", entry) == Selector("random", {"keep": 0.5})
    assert entry == {"kind": "random"}
