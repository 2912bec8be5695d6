"""What generation n trains on: identities between policies, counts, provenance, errors."""

from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse import policies
from collapse.errors import ConfigError
from collapse.items import Items
from collapse.loop import Cell, mix
from collapse.policies import (
    PRETRAINED,
    REAL,
    Policy,
    Share,
    Source,
    describe,
    drawn,
    fresh,
    kinds,
    needs,
    parse,
    plan,
    reads,
    starts_from,
    streamed,
    synthetic,
)

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "config/policies.yaml").read_text())["policies"]
CELL = Cell("numbers", "recipe", "policy", "sampler", "selector")
LAST = 6

share = st.floats(0, 1)
RULES = st.one_of(
    *[st.just({"kind": k}) for k in ("replace", "accumulate", "accumulate_subsample", "replace_multiple")],
    *[st.just({"kind": k}) for k in ("real_only", "real_repeat")],
    st.fixed_dictionaries(
        {
            "kind": st.just("real_fraction"),
            "share": share,
            "how": st.sampled_from(["replace", "add"]),
            "draw": st.sampled_from(["redrawn", "anchored"]),
        }
    ),
    st.fixed_dictionaries({"kind": st.just("fresh_real"), "share": share, "pool": st.sampled_from(["newest", "all"])}),
    st.fixed_dictionaries({"kind": st.just("augment"), "ratio": st.floats(0, 3)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("golden_ratio"),
            "ratio": st.floats(0.1, 1),
            "weight": st.none() | share,
            "real": st.sampled_from(["fresh", "anchored"]),
        }
    ),
    st.fixed_dictionaries({"kind": st.just("growing"), "exponent": st.floats(-1, 1)}),
    st.fixed_dictionaries({"kind": st.just("real_corrupted"), "rate": share}),
    st.fixed_dictionaries({"kind": st.just("oracle"), "share": share}),
)
POLICIES = st.builds(
    lambda rule, budget, init: parse("any", {**rule, "budget": budget, "init": init}),
    RULES,
    st.sampled_from(policies.BUDGETS),
    st.sampled_from(policies.INITS),
)
SIZES, GENERATIONS = st.integers(10, 40), st.integers(1, LAST)


def forall(*strategies):
    """`hypothesis.given`, the same examples in every run."""
    return lambda test: settings(derandomize=True, deadline=None, max_examples=60)(given(*strategies)(test))


def policy(rule: str, **options) -> Policy:
    return parse(rule, {"kind": rule, **options})


class Store:
    """Sources without randomness, whose items are numbered; it refuses to give what was not drawn."""

    def __init__(self, policy, size, last=LAST, chains=1):
        self.policy, self.size, self.last, self.chains, self.read_from = policy, size, last, chains, {}

    def read(self, source, count):
        has = drawn(self.policy, source.index, self.last, self.size) if source.kind == "synthetic" else self.size
        assert count <= has, f"{count} of {source} asked for, {has} there"
        self.read_from[source] = max(count, self.read_from.get(source, 0))
        generation = source.index if source.kind == "synthetic" else 0
        start = 0 if source.kind != "fresh" else (source.index - 1) * self.size
        values = np.broadcast_to(np.arange(start, start + count) + 1e6 * generation, (self.chains, count))
        return Items.make(values, generation=generation, start=start)

    def corrupt(self, items, rate, rng):
        return items

    def correct(self, items, share, rng):
        return items


def training(policy, n, size, shares=None, chains=1, last=LAST):
    """Return the training set of generation n and its weights, and the sources that were read."""
    store = Store(policy, size, last, chains)
    shares = plan(policy, n, size) if shares is None else shares
    items, weights = mix(shares, size, policy.budget, store.read, store, CELL, n, range(chains))
    return items, weights, store.read_from


def names(items, chain=0):
    """The items of a chain, in order: (generation, index)."""
    return list(zip(items.generation[chain].tolist(), items.index[chain].tolist(), strict=True))


# every policy


@forall(POLICIES, GENERATIONS, SIZES)
def test_training_set_holds_what_the_plan_says(policy, n, size):
    shares = plan(policy, n, size)
    items, weights, _ = training(replace(policy, budget="epochs"), n, size)
    assert len(items) == sum(s.count for s in shares) > 0
    assert all(s.count > 0 for s in shares)
    assert weights is None or weights.shape == (1, len(items))
    start = 0
    for s in shares:
        part = names(items)[start : start + s.count]
        allowed = Counter(0 if source.kind != "synthetic" else source.index for source in s.sources)
        assert {g for g, _ in part} <= set(allowed)
        assert all(times <= allowed[g] for (g, _), times in Counter(part).items())
        if all(source == REAL for source in s.sources):
            assert all(g == 0 and i < size for g, i in part)
        start += s.count


@forall(POLICIES, GENERATIONS, SIZES)
def test_items_name_their_source_exactly(policy, n, size):
    items, _, _ = training(policy, n, size)
    assert np.array_equal(items.output, items.index + 1e6 * items.generation)


@forall(POLICIES, GENERATIONS, SIZES)
def test_plan_and_training_set_are_deterministic(policy, n, size):
    again = parse("any", {"kind": policy.kind, **policy.options, "budget": policy.budget, "init": policy.init})
    assert plan(policy, n, size) == plan(again, n, size)
    assert describe(policy, n, size) == describe(again, n, size)
    assert names(training(policy, n, size)[0]) == names(training(again, n, size)[0])


@forall(POLICIES, SIZES)
def test_what_is_drawn_is_what_later_generations_read(policy, size):
    most = {}
    for n in range(1, LAST + 1):
        _, _, found = training(policy, n, size)
        assert tuple(sorted(found)) == policies.sources(policy, n, size)
        assert all(s.index < n for s in found if s.kind == "synthetic")
        for source, count in found.items():
            most[source] = max(count, most.get(source, 0))
    for k in range(1, LAST + 1):
        assert drawn(policy, k, LAST, size) == max(size, most.get(synthetic(k), 0))
    table = reads(policy, LAST, size)
    assert {synthetic(k): count for k, (count, _) in table.items()} == {
        s: c for s, c in most.items() if s.kind == "synthetic"
    }
    for k, (_, last) in table.items():
        readers = [n for n in range(2, LAST + 1) if synthetic(k) in policies.sources(policy, n, size)]
        assert max(readers) == last


@forall(POLICIES, GENERATIONS, SIZES)
def test_mean_loss_weight_is_one(policy, n, size):
    shares = plan(policy, n, size)
    assert sum(s.weight * s.count for s in shares) == pytest.approx(sum(s.count for s in shares))
    _, weights, _ = training(replace(policy, budget="epochs"), n, size)
    assert weights is None or weights.mean() == pytest.approx(1)


@forall(POLICIES, SIZES)
def test_generation_1_is_the_same_for_all_policies(policy, size):
    assert plan(policy, 1, size) == (Share((REAL,), size),)
    assert describe(policy, 1, size) == f"real {size} all | epochs, scratch"
    assert names(training(policy, 1, size)[0]) == [(0, i) for i in range(size)]


@forall(POLICIES, GENERATIONS, SIZES)
def test_items_budget_cuts_to_n_without_repeating(policy, n, size):
    whole, weights, _ = training(replace(policy, budget="epochs"), n, size)
    cut, cut_weights, _ = training(replace(policy, budget="items"), n, size)
    assert len(cut) == min(size, len(whole))
    assert not Counter(names(cut)) - Counter(names(whole))
    if weights is not None:
        weight_of = dict(zip(names(whole), weights[0], strict=True))
        assert [weight_of[name] for name in names(cut)] == cut_weights[0].tolist()


# identities


@forall(GENERATIONS, SIZES, st.sampled_from(["redrawn", "anchored"]))
def test_real_fraction_ends_in_replace_and_real_only(n, size, draw):
    assert plan(policy("real_fraction", share=0, draw=draw), n, size) == plan(policy("replace"), n, size)
    assert plan(policy("real_fraction", share=1, draw=draw), n, size) == plan(policy("real_only"), n, size)
    assert plan(policy("real_fraction", share=0, how="add", draw=draw), n, size) == plan(policy("replace"), n, size)


@forall(st.integers(2, LAST), SIZES, share)
def test_real_fraction_sizes(n, size, r):
    real = round(r * size)
    replaced, _, _ = training(policy("real_fraction", share=r), n, size)
    added, _, _ = training(policy("real_fraction", share=r, how="add"), n, size)
    assert (len(replaced), len(added)) == (size, size + real)
    assert (replaced.generation == 0).sum() == (added.generation == 0).sum() == real
    # both take the same real items and begin S_{n-1} at its first one
    assert names(replaced)[:real] == names(added)[:real]
    assert names(added)[real:][: size - real] == names(replaced)[real:]


@forall(GENERATIONS, SIZES)
def test_subsample_of_the_whole_pool_is_accumulate(n, size):
    shares = plan(policy("accumulate_subsample"), n, size)
    whole = tuple(replace(s, count=len(s.sources) * size) for s in shares)
    subsample, _, _ = training(policy("accumulate_subsample"), n, size, whole)
    accumulate, _, _ = training(policy("accumulate"), n, size)
    assert sorted(names(subsample)) == sorted(names(accumulate))


def test_accumulate_cut_to_n_items_is_accumulate_subsample_in_law():
    size, n, chains = 15, 3, 2000
    for rule in (policy("accumulate", budget="items"), policy("accumulate_subsample")):
        items, _, _ = training(rule, n, size, chains=chains)
        assert items.generation.shape == (chains, size)
        key = items.generation * size + items.index
        assert all(len(set(row)) == size for row in key.tolist())
        # each of the nN items is in a set with probability 1/n; numbers of a generation are hypergeometric
        often = np.bincount(key.ravel(), minlength=n * size) / chains
        assert np.abs(often - 1 / n).max() < 4.5 * sqrt((1 / n) * (1 - 1 / n) / chains)
        real = (items.generation == 0).sum(axis=1)
        variance = size * (1 / n) * (1 - 1 / n) * (n * size - size) / (n * size - 1)
        assert abs(real.mean() - size / n) < 4 * sqrt(variance / chains)
        assert abs(real.var() / variance - 1) < 4 * sqrt(2 / chains)


@forall(SIZES)
def test_four_policies_coincide_in_generation_2(size):
    accumulate, _, _ = training(policy("accumulate"), 2, size)
    for other in (
        policy("augment"),
        policy("real_fraction", share=1, how="add"),
        policy("fresh_real", share=0, pool="all"),
    ):
        items, weights, _ = training(other, 2, size)
        assert names(items) == names(accumulate)
        assert weights is None


@forall(GENERATIONS, SIZES)
def test_augment_without_synthetic_items_is_real_only(n, size):
    assert plan(policy("augment", ratio=0), n, size) == plan(policy("real_only"), n, size)


@forall(st.integers(2, LAST), SIZES)
def test_augment_reads_the_newest_items_alone(n, size):
    assert plan(policy("augment", ratio=2), n, size) == (
        Share((REAL,), size),
        Share((synthetic(n - 1),), 2 * size, "first"),
    )


@forall(st.integers(2, LAST), SIZES)
def test_fresh_real_ends_in_fresh_items_and_replace(n, size):
    assert plan(policy("fresh_real", share=1), n, size) == (Share((fresh(n),), size),)
    assert plan(policy("fresh_real", share=0), n, size) == plan(policy("replace"), n, size)
    pool, _, _ = training(policy("fresh_real", share=0, pool="all"), n, size)
    assert names(pool) == names(training(policy("accumulate"), n, size)[0])


@forall(SIZES, share)
def test_fresh_items_are_never_seen_twice(size, r):
    seen = [set(names(training(policy("fresh_real", share=r), n, size)[0])) for n in range(1, LAST + 1)]
    assert not any(seen[a] & seen[b] for a in range(LAST) for b in range(a))


@forall(st.integers(2, LAST), SIZES, st.floats(0.1, 1), st.sampled_from(["fresh", "anchored"]))
def test_golden_ratio_of_naive_weight_is_pooling(n, size, ratio, real):
    shares = plan(policy("golden_ratio", ratio=ratio, weight=ratio / (1 + ratio), real=real), n, size)
    # the number of real items is rounded, and so are the weights
    off = abs(round(ratio * size) - ratio * size) / (ratio * size)
    assert all(s.weight == pytest.approx(1, abs=2 * off + 1e-9) for s in shares)
    assert [s.count for s in shares] == [round(ratio * size), size]


@pytest.mark.parametrize(("ratio", "weight"), [(0.25, 0.390388), (1.0, 0.618034)])
def test_golden_ratio_weight(ratio, weight):
    real, synthetic_ = plan(policy("golden_ratio", ratio=ratio), 2, 1000)
    total = real.count + synthetic_.count
    assert real.weight * real.count / total == pytest.approx(weight, abs=1e-6)
    assert synthetic_.weight * synthetic_.count / total == pytest.approx(1 - weight, abs=1e-6)


@forall(GENERATIONS, SIZES)
def test_growing_by_exponent_minus_one_is_replace(n, size):
    assert plan(policy("growing", exponent=-1), n, size) == plan(policy("replace"), n, size)


@forall(st.integers(2, LAST), SIZES)
def test_growing_counts(n, size):
    assert [s.count for s in plan(policy("growing", exponent=0), n, size)] == [size * (n - 1)]
    assert [s.count for s in plan(policy("growing", exponent=1), n, size)] == [size * (n - 1) ** 2]


@forall(GENERATIONS, SIZES)
def test_replace_multiple_and_real_repeat_have_the_size_of_accumulate(n, size):
    wanted = len(training(policy("accumulate"), n, size)[0])
    multiple, _, _ = training(policy("replace_multiple"), n, size)
    repeat, _, _ = training(policy("real_repeat"), n, size)
    assert len(multiple) == len(repeat) == wanted == n * size
    assert set(multiple.generation[0].tolist()) == {n - 1}
    assert Counter(names(repeat)) == {(0, i): n for i in range(size)}


@forall(GENERATIONS, SIZES)
def test_uncorrupted_data_are_real_only(n, size):
    assert plan(policy("real_corrupted", rate=0), n, size) == plan(policy("real_only"), n, size)


def test_corruption_adds_up():
    corrupted = policy("real_corrupted", rate=0.1)
    assert [plan(corrupted, n, 50)[0].corruption for n in (1, 2, 3)] == pytest.approx([0, 0.1, 0.19])
    assert plan(policy("real_corrupted", rate=1), 4, 50)[0].corruption == 1


@forall(GENERATIONS, SIZES)
def test_an_oracle_that_corrects_nothing_is_replace(n, size):
    assert plan(policy("oracle", share=0), n, size) == plan(policy("replace"), n, size)


def test_an_oracle_corrects_what_replace_trains_on():
    asked = policy("oracle", share=0.3)
    assert plan(asked, 3, 50) == (Share((synthetic(2),), 50, "first", correction=0.3),)
    assert plan(policy("oracle", share=1), 2, 50)[0].correction == 1
    assert plan(policy("oracle"), 2, 50)[0].correction == 0.1
    assert plan(asked, 1, 50) == (Share((REAL,), 50),)


def test_a_stream_reads_no_set():
    rule = policy("stream")
    assert plan(rule, 3, 50) == (Share((Source("stream", 2),), 50),)
    assert policies.sources(rule, 3, 50) == (Source("stream", 2),)
    assert reads(rule, LAST, 50) == {}
    assert [drawn(rule, k, LAST, 50) for k in (1, 2, LAST)] == [50] * 3  # what the measures read
    assert [streamed(rule, n, 50) for n in (1, 2, 3, 7)] == [None, 1, 2, 6]


@forall(POLICIES, GENERATIONS, SIZES)
def test_sets_are_no_streams(policy, n, size):
    assert streamed(policy, n, size) is None


@pytest.mark.parametrize(
    "shares",
    [
        (Share((Source("stream", 1),), 5), Share((REAL,), 5)),
        (Share((synthetic(1),), 5, "first"), Share((Source("stream", 1),), 5)),
        (Share((Source("stream", 1), Source("stream", 1)), 10),),
    ],
)
def test_a_stream_beside_something_else_is_refused(monkeypatch, shares):
    monkeypatch.setitem(policies._KINDS, "both", lambda n, size: shares)
    with pytest.raises(ConfigError, match="policy of kind 'both' puts a stream beside other sources"):
        streamed(Policy("both"), 2, 5)
    assert streamed(Policy("both"), 1, 5) is None


@pytest.mark.parametrize(
    ("init", "fresh_weights", "pretrained"),
    [
        ("scratch", [None, None, None, None], [PRETRAINED] * 4),
        ("first", [None, 1, 1, 1], [PRETRAINED, 1, 1, 1]),
        ("previous", [None, 1, 2, 3], [PRETRAINED, 1, 2, 3]),
    ],
)
def test_whose_weights_a_generation_starts_from(init, fresh_weights, pretrained):
    rule = policy("accumulate", init=init)
    assert [starts_from(rule, n) for n in (1, 2, 3, 4)] == fresh_weights
    assert [starts_from(rule, n, pretrained=True) for n in (1, 2, 3, 4)] == pretrained
    assert PRETRAINED < 1  # no generation of a chain


def test_accumulate_reads_all_history_and_replace_the_newest():
    assert plan(policy("accumulate"), 4, 7) == (Share((REAL, synthetic(1), synthetic(2), synthetic(3)), 28),)
    assert plan(policy("replace"), 4, 7) == (Share((synthetic(3),), 7, "first"),)
    assert plan(policy("accumulate_subsample"), 3, 7) == (Share((REAL, synthetic(1), synthetic(2)), 7, "redrawn"),)


def test_the_first_shard_is_the_real_data():
    assert fresh(1) == REAL
    assert fresh(2) != REAL
    assert plan(policy("golden_ratio"), 3, 8)[0].sources == (fresh(3),)
    assert plan(policy("golden_ratio", real="anchored"), 3, 8)[0].sources == (REAL,)


def test_needs():
    assert needs(Share((REAL, synthetic(1)), 5, "redrawn"), 20) == 20
    assert needs(Share((REAL,), 5, "anchored"), 20) == 20
    assert needs(Share((synthetic(1),), 5, "first"), 20) == 5
    assert needs(Share((synthetic(1),), 60, "first"), 20) == 60


# text


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"kind": "replace"}, "synthetic(2) 50 first | epochs, scratch"),
        ({"kind": "accumulate", "budget": "steps"}, "real&synthetic(1)&synthetic(2) 150 all | steps, scratch"),
        ({"kind": "real_fraction", "init": "first"}, "real 5 redrawn + synthetic(2) 45 first | epochs, first"),
        ({"kind": "fresh_real"}, "fresh(3) 25 first + synthetic(2) 25 first | epochs, scratch"),
        ({"kind": "golden_ratio"}, "fresh(3) 50 all x1.23607 + synthetic(2) 50 first x0.763932 | epochs, scratch"),
        ({"kind": "real_corrupted"}, "real 50 all corrupted 0.19 | epochs, scratch"),
        ({"kind": "stream"}, "stream(2) 50 all | epochs, scratch"),
        ({"kind": "oracle", "share": 0.3, "init": "first"}, "synthetic(2) 50 first corrected 0.3 | epochs, first"),
    ],
)
def test_describe(entry, text):
    assert describe(parse("name", entry), 3, 50) == text


@forall(POLICIES, POLICIES, st.integers(2, LAST), SIZES)
def test_different_plans_read_differently(a, b, n, size):
    if describe(a, n, size) == describe(b, n, size):
        assert (a.budget, a.init) == (b.budget, b.init)
        assert [(s.sources, s.count, s.draw) for s in plan(a, n, size)] == [
            (s.sources, s.count, s.draw) for s in plan(b, n, size)
        ]


# errors


@pytest.mark.parametrize("n", [0, -1])
def test_generations_count_from_1(n):
    with pytest.raises(ConfigError, match="generations count from 1"):
        plan(policy("replace"), n, 10)


@pytest.mark.parametrize("size", [0, -5])
def test_size_must_be_positive(size):
    with pytest.raises(ConfigError, match="cannot be trained on"):
        plan(policy("replace"), 2, size)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "acumulate"}, "unknown kind of policy 'x' 'acumulate': did you mean 'accumulate'?"),
        ({}, "unknown kind of policy 'x' 'None': valid: accumulate"),
        ({"kind": "real_fraction", "shar": 0.1}, "option of policy 'x' 'shar': did you mean 'share'?"),
        ({"kind": "replace", "share": 0.1}, "option of policy 'x' 'share': valid: budget, init, kind"),
        ({"kind": "replace", "budget": "step"}, "budget of policy 'x' 'step': did you mean 'steps'?"),
        ({"kind": "replace", "init": "scrach"}, "init of policy 'x' 'scrach': did you mean 'scratch'?"),
        ({"kind": "real_fraction", "how": "adds"}, "policy 'x': unknown how 'adds': did you mean 'add'?"),
        ({"kind": "real_fraction", "draw": "anchor"}, "did you mean 'anchored'?"),
        ({"kind": "fresh_real", "pool": "al"}, "did you mean 'all'?"),
        ({"kind": "golden_ratio", "real": "anchor"}, "did you mean 'anchored'?"),
        ({"kind": "real_fraction", "share": 1.5}, "policy 'x': share must lie between 0 and 1, got 1.5"),
        ({"kind": "real_fraction", "share": "0.1"}, "policy 'x': share must be a number, got '0.1'"),
        ({"kind": "real_fraction", "share": True}, "share must be a number"),
        ({"kind": "real_fraction", "share": float("nan")}, "share must be a number"),
        ({"kind": "fresh_real", "share": -0.1}, "share must lie between 0 and 1"),
        ({"kind": "augment", "ratio": -1}, "ratio must not be negative"),
        ({"kind": "augment", "ratio": float("inf")}, "ratio must be a number"),
        ({"kind": "golden_ratio", "ratio": 0}, "ratio must be positive"),
        ({"kind": "golden_ratio", "ratio": 2}, "ratio must not exceed 1"),
        ({"kind": "golden_ratio", "ratio": 1e-6}, "leaves no real item"),
        ({"kind": "golden_ratio", "weight": 2}, "weight must lie between 0 and 1"),
        ({"kind": "growing", "exponent": -2}, "exponent must be at least -1"),
        ({"kind": "growing", "exponent": None}, "exponent must be a number"),
        ({"kind": "real_corrupted", "rate": 1.1}, "rate must lie between 0 and 1"),
        ({"kind": "oracle", "share": 1.1}, "policy 'x': share must lie between 0 and 1, got 1.1"),
        ({"kind": "oracle", "shar": 0.1}, "option of policy 'x' 'shar': did you mean 'share'?"),
        ({"kind": "stream", "share": 0.1}, "option of policy 'x' 'share': valid: budget, init, kind"),
    ],
)
def test_wrong_entries_are_refused_and_told_why(entry, message):
    with pytest.raises(ConfigError) as error:
        parse("x", entry)
    assert message in str(error.value)
    assert "'x'" in str(error.value)


def test_parse_leaves_the_entry_as_it_is():
    entry = {"kind": "real_fraction", "share": 0.2, "budget": "items"}
    assert parse("x", entry) == Policy(
        "real_fraction", {"share": 0.2, "how": "replace", "draw": "redrawn"}, "items", "scratch"
    )
    assert entry == {"kind": "real_fraction", "share": 0.2, "budget": "items"}


# the shipped entries


def test_every_kind_is_shipped():
    assert {entry["kind"] for entry in SHIPPED.values()} == set(kinds())


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_run(name, size):
    rule = parse(name, SHIPPED[name])
    for n in range(1, LAST + 1):
        if streamed(rule, n, size) is not None:
            continue
        items, weights, _ = training(rule, n, size)
        assert len(items) > 0
        if rule.budget != "items":
            assert weights is None or weights.mean() == pytest.approx(1)
