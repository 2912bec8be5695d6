import re
import time
from collections import Counter
from itertools import islice
from math import exp, fsum, inf, log, sqrt

import numpy as np
import pytest

from collapse.datasets.grammar import Grammar, words, zipf
from collapse.datasets.storybook import stories, tiny
from collapse.errors import DataError
from collapse.seeding import stream


@pytest.fixture(scope="module")
def small():
    return tiny()


@pytest.fixture(scope="module")
def table(small):
    """Every derivation of the tiny instance."""
    return list(small.enumerate())


@pytest.fixture(scope="module")
def full():
    return stories()


@pytest.fixture(scope="module")
def sample(full):
    return full.sample(20_000, stream("test", "grammar"))


# The tiny instance, written down in full


def test_tiny_is_a_distribution_without_ambiguity(table):
    assert abs(fsum(exp(logprob) for _, logprob in table) - 1) < 1e-12
    assert len({text for text, _ in table}) == len(table)
    # 2 beginnings; names x objects x rain; a plot of 2 friends or one without; with and without end; 2 texts of nothing
    assert len(table) == 2 * (3 * 2 * 2) * (2 + 1) * 2 + 2


def test_tiny_log_probability_equals_the_enumerated(small, table):
    for text, logprob in table:
        assert small.log_probability(text) == pytest.approx(logprob, rel=1e-13)


def test_tiny_by_hand(small):
    name = np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3)  # Ann, Al, Alan
    text = "Alan had a ball. It rained. Ann took the ball, Alan the balloon."
    p = 3 / 4 * 1 / 3 * name[2] * 2 / 3 * 1 / 4 * 2 / 3 * (name[0] / (1 - name[2])) * 1 * 2 / 3
    assert small.log_probability(text) == pytest.approx(log(p), rel=1e-13)
    assert small.log_probability("Nothing happened. The end.") == pytest.approx(log(1 / 4 * 1 / 3), rel=1e-13)
    names = {"hero": "Alan", "object": "ball", "friend": "Ann", "other": "balloon"}
    assert small.facts(text) == {**names, "rain": "yes", "plot": "trade", "end": "no"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nothing happened",
        "Nothing happened. ",
        "Nothing happened. The end. The end.",
        "Al had a ball. Al took the ball, Al the balloon.",  # the friend is the hero
        "Al had a ball. Ann took the ball, Al the ball.",  # the other object is the object
        "Al had a ball. Ann took the balloon, Al the balloon.",
        "Al had a ball. Ann took the ball, Ann the balloon.",
        "Here is Ann. He had a ball. She lost the ball.",
        "Here is Al. He had a ball. She lost the ball.",
        "Here is Bo. He had a ball. He lost the ball.",
        "Al had a balloon. He lost the ball.",
    ],
)
def test_tiny_refuses(small, text):
    assert small.log_probability(text) == -inf
    assert not small.well_formed(text)
    with pytest.raises(DataError, match="not well-formed"):
        small.facts(text)


def test_tiny_sums_equal_the_enumerated(small, table):
    probabilities = [exp(logprob) for _, logprob in table]
    assert small.entropy() == pytest.approx(-fsum(p * log(p) for p in probabilities), rel=1e-13)
    assert small.collision() == pytest.approx(fsum(p * p for p in probabilities), rel=1e-13)
    expected = Counter()
    for (text, _), p in zip(table, probabilities, strict=True):
        expected.update(dict.fromkeys(small.facts(text).items(), p))
    found = {(v, label): p for v, labels in small.marginals().items() for label, p in labels.items()}
    assert found == pytest.approx(dict(expected), rel=1e-12)
    assert small.vocabulary() == {word for text, _ in table for word in words(text)}


def test_tiny_frequencies(small, table):
    count = 20_000
    found = Counter(small.sample(count, stream("test", "grammar", "tiny")))
    expected = {text: count * exp(logprob) for text, logprob in table}
    assert found.keys() <= expected.keys()
    chi2 = sum((found[text] - e) ** 2 / e for text, e in expected.items())
    assert abs(chi2 - (len(table) - 1)) < 4 * sqrt(2 * (len(table) - 1))


def test_duplicates(small):
    rng = stream("test", "grammar", "duplicates")
    doubled = np.mean([len(set(small.sample(4, rng))) < 4 for _ in range(4000)])
    # first order: the error is of the order of the probability squared
    assert small.duplicates(4) == pytest.approx(doubled, abs=4 * sqrt(0.25 / 4000) + small.duplicates(4) ** 2)
    assert small.duplicates(2) == pytest.approx(small.collision(), rel=0.1)
    assert small.duplicates(1) == 0


# What is refused


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"story": ((1, "{:a}"),)}, "no rule 'a'"),
        ({"story": ((1, "a{:story}"), (1, "b"))}, "recursive"),
        ({"story": ((1, "{x} {x:a}"),), "a": ((1, "a"),)}, "before they are bound: x"),
        ({"story": ((1, "{:a} {x}"),), "a": ((1, "p{x:b}"), (1, "q")), "b": ((1, "b"),)}, "before they are bound: x"),
        ({"story": ((1, "{x:a} {x:a}"),), "a": ((1, "a"), (1, "b"))}, "bound twice: x"),
        ({"story": ((1, "{x:a} {y:a!x}"),), "a": ((1, "a"),)}, "nothing left"),
        ({"story": ((1, "{x:a} {x.form}"),), "a": ((1, "a"),)}, "form 'form' is missing"),
        ({"story": ((1, "a"), (2, "a"))}, "label twice"),
        ({"story": ((0, "a"), (2, "b"))}, "not positive"),
        ({"story": ((1, "{x:a"),), "a": ((1, "a"),)}, "not a field"),
        ({"story": ((1, "a", "one"), (1, "a", "two"))}, "tell these apart: one; two"),
        ({"story": ((1, "{:a}{:b}"),), "a": ((1, "p"), (1, "pq")), "b": ((1, ""), (1, "q"))}, "apart: p; pq"),
        ({"story": ((1, "a" * 40 + "b"), (1, "a" * 40 + "c"))}, "32 characters do not tell"),
    ],
)
def test_bad_grammars(rules, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules, {})


def test_what_is_accepted_is_unambiguous():
    rng = stream("test", "grammar", "random")
    pieces = ["a", "b", "ab", "ba", " ", "{x:r}", "{:s}", "{x}", "{y:s!x}", "{y.f}"]
    accepted, ambiguous = 0, 0

    def literals():
        return tuple((1 + i, t) for i, t in enumerate(dict.fromkeys(rng.choice(["a", "b", "ab", "", "ba"], 3))))

    for _ in range(4000):
        templates = dict.fromkeys("".join(rng.choice(pieces, rng.integers(1, 5))) for _ in range(rng.integers(1, 4)))
        rules = {"story": tuple((1, t) for t in templates), "r": literals(), "s": literals()}
        try:
            grammar = Grammar(rules, {"f": {"a": "b", "b": "", "ab": "a", "ba": "ab", "": "b"}})
        except ValueError as error:
            ambiguous += "apart" in str(error)
            continue
        accepted += len(templates) > 1
        texts = dict(grammar.enumerate())
        assert len(texts) == len(list(grammar.enumerate()))
        assert fsum(map(exp, texts.values())) == pytest.approx(1, abs=1e-12)
        assert {text: grammar.log_probability(text) for text in texts} == pytest.approx(texts)
    assert accepted > 100
    assert ambiguous > 100


# The stories


def test_log_probability_equals_that_of_the_draw(full):
    for text, facts, logprob in islice(full._draw(stream("test", "grammar", "draws")), 3000):
        assert full.log_probability(text) == pytest.approx(logprob, rel=1e-14)
        assert full.facts(text) == facts


def test_entropy_of_the_stories(full, sample):
    logprob = np.array([full.log_probability(text) for text in sample])
    assert abs(-logprob.mean() - full.entropy()) < 4 * logprob.std() / sqrt(len(sample))
    assert 20 < full.entropy() < 35
    assert 10_000**2 / 2 * full.collision() < 5  # equal pairs among ten thousand: drawing again shifts no probability


def test_marginals_of_the_stories(full, sample):
    found = Counter(pair for text in sample for pair in full.facts(text).items())
    for variable, labels in full.marginals().items():
        for label, p in labels.items():
            assert abs(found[variable, label] / len(sample) - p) < 5 * sqrt(p * (1 - p) / len(sample))
    always = {"hero", "friend", "object", "plot", "outcome", "begin"}
    assert all(sum(full.marginals()[v].values()) == pytest.approx(1, abs=1e-12) for v in always)


def test_there_is_a_tail_to_lose(full):
    probabilities = [p for labels in full.marginals().values() for p in labels.values()]
    assert sum(2e-3 <= p <= 1e-2 for p in probabilities) > 50
    assert min(probabilities) > 1e-4
    assert sum(p <= 0.05 for p in full.marginals()["plot"].values()) >= 4


def test_size_of_the_stories(full, sample):
    vocabulary = full.vocabulary()
    assert 250 <= len(vocabulary) <= 400
    seen = {word for text in sample for word in words(text)}
    assert seen <= vocabulary
    assert len(seen) > 0.99 * len(vocabulary)
    lengths = [len(text.split()) for text in sample]
    assert 24 < np.mean(lengths) < 30
    assert np.quantile(lengths, 0.01) >= 22
    assert max(lengths) <= 50


def test_stories_are_tidy_english(sample):
    for text in sample:
        assert re.fullmatch(r"[A-Z][A-Za-z ,.'\"!]+[.!\"]", text)
        assert not re.search(r" {2}| [.,!]|\.\.|\ba [aeiou]", text)
        assert all(s[0].isupper() for s in re.split(r"(?<=[.!\"]) (?=[^\"])", text) if not s.startswith('"'))


def test_names_objects_and_pronouns_recur(full, sample):
    names = set(full.marginals()["hero"])
    broken = 0
    for text in sample[:2000]:
        facts = full.facts(text)
        for old, new in [
            (facts["hero"], min(names - {facts["hero"]})),
            (facts["friend"], "Sam" if facts["friend"] != "Sam" else "Kim"),
            (facts["object"], "kite" if facts["object"] != "kite" else "ball"),
        ]:
            if text.count(old) > 1:
                head, tail = text.rsplit(old, 1)
                assert not full.well_formed(head + new + tail)
                broken += 1
        for old, new in [(" her ", " his "), (" his ", " her "), (" Her ", " His "), (" His ", " Her ")]:
            if old in text:
                assert not full.well_formed(text.replace(old, new, 1))
                broken += 1
    assert broken > 4000


def test_damaged_stories_are_not_well_formed(full, sample):
    rng = stream("test", "grammar", "damage")
    for text in sample[:2000]:
        i = int(rng.integers(len(text)))
        for damaged in (text[:i], text[:i] + text[i + 1 :], text[:i] + "x" + text[i:], text + " ", text + "\n"):
            # cut between sentences, or without an optional adjective, it may still be a story: then it is drawn as such
            if full.well_formed(damaged):
                assert text.startswith(damaged)
                assert damaged.endswith((".", "!", '"'))


# Sampling


def test_sample_is_reproducible(full):
    first = full.sample(50, stream("test", "grammar", 1))
    assert first == full.sample(80, stream("test", "grammar", 1))[:50]
    assert first != full.sample(50, stream("test", "grammar", 2))
    assert full.sample(0, stream("test", "grammar", 1)) == []


def test_sample_distinct(small, table, full):
    rng = stream("test", "grammar", "distinct")
    train = full.sample_distinct(500, rng)
    test = full.sample_distinct(500, rng, avoid=frozenset(train))
    assert len({*train, *test}) == 1000
    common = {text for text, logprob in table if logprob > log(0.01)}
    found = small.sample_distinct(50, rng, avoid=common)
    assert len(set(found)) == 50
    assert not common & set(found)
    with pytest.raises(DataError, match="different texts"):
        small.sample_distinct(len(table) + 1, rng)


def test_zipf():
    assert zipf("a, b b, c", 2) == ((1, "a"), (1 / 4, "b b"), (1 / 9, "c"))


def test_speed(full):
    start = time.process_time()
    texts = full.sample(10_000, stream("test", "grammar", "speed"))
    drawn = time.process_time()
    assert all(full.log_probability(text) > -inf for text in texts)
    assert drawn - start < 1.5
    assert time.process_time() - drawn < 2
