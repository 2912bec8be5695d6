"""Arithmetic as a data set: the law is exact, statements are true, the oracle does what it says, and the loop runs."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import log

import numpy as np
import pytest

from collapse import policies, selection
from collapse.datasets import arithmetic
from collapse.datasets.expressions import verdict
from collapse.datasets.statements import ALPHABET, LEFT, RARE, Law, encode
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import gpt2
from collapse.items import Items, Ragged
from collapse.loop import Cell, draw, mix, run_chain
from collapse.samplers import Sampler
from collapse.seeding import Streams, stream

SMALL = {"train": 300, "shards": 3, "validation": 20, "test": 100, "digits": "1230", "exponent": 1.5}


def made(**changes):
    config = arithmetic.Config(**{**SMALL, **changes})
    return arithmetic.load(config, *arithmetic.prepare(config))


@pytest.fixture(scope="module")
def data():
    return made()


def rng(*name):
    return Streams(("test", *name), (0,))


def items(*texts, generation=2):
    return Items.make(encode(list(texts)), generation=generation)


# the law


@pytest.mark.parametrize("law", [Law("1234567890", "+-*", 1.0, 1.0), Law("52", "*-", 0.3, 2.0), Law("70", "+", 0, 0)])
def test_the_law_is_a_distribution_and_its_entropy_is_exact(law):
    assert len(law.left) == len(set(law.left)) == len(law.digits) ** 3 * len(law.operators) ** 2
    assert law.p.sum() == pytest.approx(1, abs=1e-12)
    d, o = law.digit_law, law.operator_law
    independent = -3 * (d * np.log(d)).sum() - 2 * (o * np.log(o)).sum()
    assert law.entropy == pytest.approx(independent, rel=1e-12)
    assert np.exp(law.log_probability(law.text(3))) == pytest.approx(law.p[3])
    results = Counter()
    for result, p in zip(law.results, law.p, strict=True):
        results[result] += p
    assert law.result_entropy == pytest.approx(-sum(p * log(p) for p in results.values()), rel=1e-12)
    assert law.result_entropy < law.entropy


def test_each_probability_is_the_product_of_zipfs_and_each_result_is_pythons():
    law = Law("310", "*+", 1.5, 0.5)
    digit = {c: (i + 1) ** -1.5 for i, c in enumerate("310")}
    sign = {c: (i + 1) ** -0.5 for i, c in enumerate("*+")}
    scale = sum(digit.values()) ** 3 * sum(sign.values()) ** 2
    for a, p, b, q, c in product("310", "*+", "310", "*+", "310"):
        left = f"{a}{p}{b}{q}{c}="
        at = law.place[left]
        assert law.p[at] == pytest.approx(digit[a] * digit[b] * digit[c] * sign[p] * sign[q] / scale)
        assert law.results[at] == str(eval(left[:-1]))


def test_rare_left_hand_sides_are_the_rarest_and_hold_a_tenth_at_most():
    law = Law("12340", "+-*", 1.5)
    assert law.p[law.rare].max() <= law.p[~law.rare].min() + 1e-12
    assert law.p[law.rare].sum() <= RARE < law.p[law.rare].sum() + law.p[~law.rare].min()
    assert Law("12", "+", 0.0).rare.sum() == 1  # each of the eight holds more than a tenth


def test_what_a_sample_holds_in_expectation_is_what_samples_hold():
    law, count, repeats = Law("12340", "+-*", 1.5), 200, 400
    found = []
    for i in range(repeats):
        left = [text[:LEFT] for text in law.draw(count, stream("test", "law", i))]
        rare = {text for text in left if law.rare[law.place[text]]}
        found.append([len(set(left)), len(rare), law.variation(left)])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / repeats**0.5
    chances = law.expected_distinct(count)
    expected = [chances.sum(), chances[law.rare].sum(), law.expected_variation(count)]
    assert np.abs((mean - expected) / error).max() < 4
    assert law.expected_distinct(0).sum() == 0
    assert law.expected_distinct(1) == pytest.approx(law.p)
    assert Law("1", "+").expected_distinct(1).tolist() == [1.0]
    assert Law("1", "+").expected_variation(1) == 0


def test_variation_is_the_distance_of_characters():
    law = Law("12", "+-", 0.0, 0.0)
    assert law.variation(["1+1-2=", "2-2+1="]) == pytest.approx(0)
    assert law.variation(["1+1+1="]) == pytest.approx(0.5)
    assert law.variation(["1+1-1="]) == pytest.approx(0.3)


def test_probability_of_texts(data):
    law = data.law
    assert data.truth(items("1+2*3=7"))[0, 0] == pytest.approx(log(law.p[law.place["1+2*3="]]))
    invalid = ("1+2*3=8", "1+2*3=07", "1+2*3=", "1+2*3=7=", "1+2*3", "4+1+1=6", "12+3=15", "1+2=3", "", "=", "1-1-0=-0")
    assert np.isneginf(data.truth(items(*invalid))).all()


def test_a_statement_is_valid_exactly_where_it_is_true_and_of_the_laws_form(data):
    draw = stream("test", "texts")
    texts = ["".join(draw.choice(list(ALPHABET), draw.integers(0, 9))) for _ in range(300)]
    texts += [data.law.left[i] + str(draw.integers(-3, 9)) for i in draw.integers(len(data.law.left), size=300)]
    finite = np.isfinite(data.truth(items(*texts)))[0]
    expected = [verdict(text) is True and text[:LEFT] in data.law.place for text in texts]
    assert finite.tolist() == expected
    assert 10 < sum(expected) < 300


# the data set


def test_splits_hold_true_statements_of_the_sizes_asked_for(data):
    parts = [data.real(), data.fresh(2), data.fresh(3), data.validation, data.test]
    assert [len(p) for p in parts] == [300, 300, 300, 20, 100]
    assert data.size == 300
    assert all(np.isfinite(data.truth(part)).all() and (part.generation == 0).all() for part in parts)
    np.testing.assert_array_equal(data.fresh(2).index, [np.arange(300, 600)])
    assert len({part.sha256() for part in parts}) == 5
    for n in (0, 4):
        with pytest.raises(ConfigError, match="raise `shards`"):
            data.fresh(n)


def test_fresh_statements_are_drawn_from_the_law():
    data = made(train=20_000, shards=2, exponent=1.0)
    count = Counter(data.decode(data.fresh(2)))
    expected = data.law.p * 20_000
    found = np.array([count[data.law.text(i)] for i in range(len(data.law.left))])
    assert found.sum() == 20_000
    enough = expected > 5
    assert ((found - expected)[enough] ** 2 / expected[enough]).sum() / enough.sum() == pytest.approx(1, abs=0.35)


def test_preparing_twice_gives_the_same_and_more_shards_the_same_first_ones(data):
    again, more = made(), made(shards=4)
    assert again.facts == data.facts
    for split in ("shard1", "shard3", "test"):
        np.testing.assert_array_equal(more.arrays[f"{split}.values"], data.arrays[f"{split}.values"])
    other = arithmetic.prepare(data.config, "another")[0]
    assert not np.array_equal(other["shard1.values"], data.arrays["shard1.values"])


def test_the_floor_is_the_cross_entropy_of_the_law(data):
    texts = data.decode(data.test)
    total = -sum(data.law.log_probability(text) for text in texts)
    assert data.floor == pytest.approx(total / sum(len(text) + 1 for text in texts))
    facts = made(test=20_000).facts
    assert facts["source_entropy"] == pytest.approx(facts["law_entropy_per_token"], rel=0.01)
    assert facts["statement_entropy"] == pytest.approx(data.law.entropy)


def test_texts_are_decoded_and_encoded_without_loss(data):
    texts = ["1+2*3=7", "", "2-3-3=-4", "0123456789+-*="]
    assert data.decode(items(*texts)) == texts
    assert data.provides == {"vocabulary": 15, "end": 0}
    with pytest.raises(DataError, match="not with 'x'"):
        encode(["1+x"])
    for token in (0, 15):
        with pytest.raises(DataError, match="another data set"):
            data.decode(Items.make(Ragged.of([[1, token]]), generation=1))


def test_contexts_are_the_left_hand_sides_of_d1_in_order(data):
    texts = data.decode(data.real())
    contexts = data.contexts(700, rng("contexts"))
    assert contexts.shape == (700, LEFT)
    assert contexts.dtype == np.int64
    found = data.decode(Items.make(Ragged.of(contexts), generation=0))
    assert found == [texts[i % 300][:LEFT] for i in range(700)]
    assert data.contexts(0, rng("contexts")).shape == (0, LEFT)


def test_prompts_are_drawn_with_replacement_from_the_left_hand_sides_of_items(data):
    good = ["1+2*3=9", "2*2*2=8", "1+1+1=", "3-3-3=+="]
    bad = ["", "1+2=3", "9+9+9=27", "1+2*3", "=1+2*3="]
    given = items(*bad[:3], *good * 20, *bad[3:])
    prompts = data.prompts(given)
    assert prompts.shape == (85, LEFT)
    assert prompts.dtype == np.int64
    found = Counter(data.decode(Items.make(Ragged.of(prompts), generation=0)))
    assert set(found) == {text[:LEFT] for text in good}
    assert len(set(found.values())) > 1  # drawn: not 85 / 4 each
    np.testing.assert_array_equal(prompts, data.prompts(given))
    assert not np.array_equal(prompts, data.prompts(replace(given, generation=given.generation + 1)))
    with pytest.raises(TrainingError, match="not one of 5 items"):
        data.prompts(items(*bad))


def test_prompts_keep_the_law_in_expectation_and_lose_what_is_not_drawn(data):
    real = data.real()
    own = Counter(text[:LEFT] for text in data.decode(real))
    repeats = [data.prompts(replace(real, index=real.index + i)) for i in range(200)]
    left, count = own.most_common(1)[0]
    share = np.mean([(prompts == encode([left]).values).all(axis=1).mean() for prompts in repeats])
    assert share == pytest.approx(count / 300, abs=4 * (count / 300 / 300 / 200) ** 0.5)
    assert len(np.unique(repeats[0], axis=0)) < len(own)


# the oracle


def broken(data, count=200):
    """Synthetic items of three sorts: true, false, and without a left-hand side."""
    sorts = (lambda t: t, lambda t: t[:LEFT] + "77", lambda t: t[2:])
    texts = [sorts[i % 3](text) for i, text in enumerate(data.law.draw(count, stream("test", "broken")))]
    return items(*texts), texts


@pytest.mark.parametrize("correction", ["repair", "replace"])
def test_an_oracle_that_looks_at_all_makes_all_valid(correction):
    data = made(correction=correction)
    given, _ = broken(data)
    assert 0.2 < np.isfinite(data.truth(given)).mean() < 0.5
    assert np.isfinite(data.truth(data.correct(given, 1.0, rng("oracle")))).all()
    assert data.decode(data.correct(given, 0.0, rng("oracle"))) == data.decode(given)


def test_repair_keeps_left_hand_sides_and_writes_anew_what_has_none(data):
    given, texts = broken(data)
    out = data.correct(given, 1.0, rng("oracle"))
    for i, (before, after) in enumerate(zip(texts, data.decode(out), strict=True)):
        anew = i % 3 == 2
        assert (after[:LEFT] == before[:LEFT]) is not anew
        assert out.generation[0, i] == (0 if anew else 2)
        assert out.index[0, i] == (-1 if anew else i)
    assert out.real_fraction()[0] == pytest.approx(sum(i % 3 == 2 for i in range(200)) / 200)
    assert out.logprob is None


@pytest.mark.parametrize("share", [0.1, 0.3, 0.333])
def test_it_looks_at_a_share_drawn_uniformly(share):
    data = made(correction="replace")
    given, texts = broken(data)
    out = data.correct(given, share, rng("oracle", share))
    seen = out.index[0] == -1
    assert seen.sum() == round(share * 200)
    kept = [text for text, looked in zip(data.decode(out), seen, strict=True) if not looked]
    assert kept == [text for text, looked in zip(texts, seen, strict=True) if not looked]
    places = [(data.correct(given, share, rng("oracle", share, i)).index[0] == -1) for i in range(300)]
    chance = np.mean(places, axis=0)
    assert np.abs(chance - round(share * 200) / 200).max() < 5 * (share * (1 - share) / 300) ** 0.5
    again = data.correct(given, share, rng("oracle", share))
    assert again.sha256() == out.sha256()


def test_full_replacement_is_fresh_real_data_at_the_same_share():
    """An expert who rewrites a share q is fresh real data at share q: as many real, from the law, beside synthetic."""
    data, share, size = made(correction="replace", train=3000, digits="12", operators="+-"), 0.3, 3000
    synthetic = items(*["1+1+1=9"] * size)
    sets = {}
    for kind in ("oracle", "fresh_real"):
        plan = policies.plan(policies.parse(kind, {"kind": kind, "share": share}), 2, size)
        cell = Cell("arithmetic", "tiny", kind, "s", "all")

        def read(source, count):
            return (synthetic if source.kind == "synthetic" else data.fresh(source.index)).first(count)

        sets[kind], weights = mix(plan, size, "epochs", read, data, cell, 2, (0,))
        assert weights is None
        assert len(sets[kind]) == size
    assert sets["oracle"].real_fraction() == sets["fresh_real"].real_fraction() == pytest.approx(share)
    counts = {k: Counter(data.decode(found)) for k, found in sets.items()}
    assert counts["oracle"]["1+1+1=9"] == counts["fresh_real"]["1+1+1=9"] == 2100
    for i, p in enumerate(data.law.p):  # the same law: both within 4 standard errors of it
        for found in counts.values():
            assert abs(found[data.law.text(i)] - 900 * p) < 4 * (900 * p * (1 - p)) ** 0.5 + 1


def test_corruption_is_of_characters(data):
    out = data.corrupt(data.real(), 0.2, rng("corrupt"))
    assert out.output.offsets.tolist() == data.real().output.offsets.tolist()
    changed = (out.output.values != data.real().output.values).mean()
    assert 0.1 < changed < 0.2
    assert data.corrupt(data.real(), 0, rng("corrupt")).sha256() == data.real().sha256()
    assert set(np.unique(out.output.values)) <= set(np.unique(data.real().output.values))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"train": 0}, "train is a whole number"), ({"test": 2.0}, "test"), ({"shards": True}, "shards"),
        ({"digits": 1234}, "quoted text"), ({"digits": "1"}, "2 or more"), ({"digits": "112"}, "different"),
        ({"digits": "12a"}, "0123456789"), ({"operators": "+/"}, "operators"), ({"operators": ""}, "1 or more"),
        ({"exponent": -1}, "exponent"), ({"operator_exponent": "1"}, "operator_exponent"),
        ({"exponent": float("nan")}, "exponent"), ({"correction": "repare"}, "did you mean 'repair'"),
    ],
)  # fmt: skip
def test_settings_are_checked(wrong, says):
    with pytest.raises(ConfigError, match=says):
        arithmetic.Config(**{**SMALL, **wrong})


def test_chains_do_not_run_side_by_side(data):
    with pytest.raises(ConfigError, match="one chain at a time"):
        arithmetic.load(data.config, data.arrays, data.facts, (0, 1))


# in the loop


TINY = {"hidden": 16, "layers": 1, "heads": 2, "positions": 12, "epochs": 1, "batch": 20, "learning_rate": 5e-3}


def chain(data, policy, sampler, selector="all", generations=2):
    entry = {"kind": selector} | ({"keep": 0.25} if selector == "valid" else {})
    cell = Cell("arithmetic", "tiny", policy["kind"], "s", selector)
    return list(
        run_chain(
            cell, data.size, generations, policy=policies.parse(policy["kind"], policy), family=gpt2,
            config=gpt2.Config(**TINY, **data.provides), data=data, sampler=Sampler(max_tokens=11, **sampler),
            selector=selection.parse(selector, entry), seeds=(0,),
        )
    )  # fmt: skip


def test_a_model_completes_real_left_hand_sides(data):
    for _, metrics, samples in chain(data, {"kind": "replace"}, {"start": "first_token_inclusive"}):
        assert set(metrics) == {"cross_entropy", "tokens"}
        assert [t[:LEFT] for t in data.decode(samples)] == [t[:LEFT] for t in data.decode(data.real())]


def test_a_model_completes_what_the_samples_before_asked(data):
    (made_, _, samples), *_ = chain(data, {"kind": "replace"}, {"start": "first_token_inclusive"}, generations=1)
    sampler = Sampler(max_tokens=11, start="first_token_inclusive", prompts="synthetic")
    cell = Cell("arithmetic", "tiny", "replace", "s", "all")
    names = {"family": gpt2, "data": data, "sampler": sampler, "seeds": (0,), "size": data.size}
    drawn = draw(cell, 2, data.size, model=made_.model, prompts=samples, **names)
    np.testing.assert_array_equal(data.prompts(samples), [drawn.output[i][:LEFT] for i in range(data.size)])


def test_an_oracle_and_fresh_data_enter_a_chain(data):
    for policy in ({"kind": "oracle", "share": 1.0}, {"kind": "fresh_real", "share": 1.0}):
        turns = chain(data, policy, {})
        assert turns[1][0].facts["items"] == 300
        assert turns[1][0].facts["real_fraction"][0] > 0


def test_a_checker_that_finds_nothing_true_says_so(data):
    with pytest.raises(TrainingError, match="valid"):
        chain(made(digits="98", operators="*"), {"kind": "replace"}, {"temperature": 5.0}, "valid")
