import math
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from collapse.datasets import stories, storybook
from collapse.datasets.words import by_rarity, digest, entropy, words
from collapse.errors import DataError
from collapse.metrics import stories as of_stories
from collapse.metrics import text as metrics
from collapse.seeding import stream

A, B = "The cat sat. The cat ran!", "A cat's hat"


def test_words_are_lower_case_without_punctuation():
    found = words("“Don't!” said Zoë_2, Tim-Tom’s 10 cats.")
    assert found == ["don't", "said", "zoë", "2", "tim", "tom’s", "10", "cats"]


def test_a_corpus_counts_words():
    sample = metrics.corpus([A, "", B])
    assert sample.types == ("the", "cat", "sat", "ran", "a", "cat's", "hat")
    assert sample.counts.tolist() == [2, 2, 1, 1, 1, 1, 1]
    assert sample.lengths.tolist() == [6, 0, 3]


@pytest.mark.parametrize(
    ("n", "expected"),
    # words 7 of 9; pairs: the-cat twice, 6 of 7; triples and fours inside texts are all different
    [(1, 7 / 9), (2, 6 / 7), (3, 1.0), (4, 1.0), (6, 1.0), (7, 0.0)],
)
def test_distinct_n_by_hand(n, expected):
    assert metrics.distinct(metrics.corpus([A, B]), n) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_distinct_n_counts_as_sets_of_tuples_do(n):
    rng = stream("test", "distinct", n)
    texts = [" ".join(rng.choice(list("abc"), rng.integers(0, 9))) for _ in range(60)]
    grams = [tuple(w[i : i + n]) for w in map(str.split, texts) for i in range(len(w) - n + 1)]
    assert metrics.distinct(metrics.corpus(texts), n) == pytest.approx(len(set(grams)) / len(grams))


def test_distinct_n_of_copies_falls_as_one_over_their_number():
    once, often = metrics.corpus([A]), metrics.corpus([A] * 8)
    for n in (1, 2, 3, 4):
        assert metrics.distinct(often, n) == pytest.approx(metrics.distinct(once, n) / 8)


def test_nothing_has_no_diversity():
    empty = metrics.corpus(["", ""])
    assert metrics.distinct(empty, 1) == metrics.distinct(empty, 2) == 0
    assert metrics.mass(empty, frozenset({"a"})) == metrics.coverage(empty, frozenset({"a"})) == 0
    assert entropy(empty.counts) == 0
    assert metrics.compression_ratio([]) == 1


def test_compression_ratio_by_hand():
    raw = b"one two\none two"
    assert metrics.compression_ratio(["one two", "one two"]) == len(raw) / len(zlib.compress(raw, 9))
    rng = stream("test", "compression")
    noise = ["".join(rng.choice(list("abcdefghijklmnop"), 500)) for _ in range(8)]
    assert metrics.compression_ratio(noise[:1] * 8) > 5 * metrics.compression_ratio(noise)


def test_entropy_by_hand():
    assert entropy(np.array([1, 1, 0, 2])) == pytest.approx(1.5 * math.log(2))
    assert entropy(np.full(8, 3)) == pytest.approx(math.log(8))
    assert math.copysign(1, entropy(np.array([5]))) == 1


def test_rarest_words_and_what_becomes_of_them():
    words = by_rarity(dict(zip("abcdefghijklmnopqrst", range(20, 0, -1), strict=True)))
    assert words[:3] == ["t", "s", "r"]
    assert by_rarity({"b": 1, "a": 1, "c": 0}) == ["c", "a", "b"]
    rare = metrics.rarest(words)
    assert rare == {"t", "s"}
    assert metrics.rarest(["x", "y"]) == {"x"}
    sample = metrics.corpus(["a a t", "t b"])
    assert metrics.coverage(sample, rare) == 0.5
    assert metrics.mass(sample, rare) == pytest.approx(2 / 5)


def test_copies_and_duplicates_by_hand():
    assert metrics.duplicates(["a", "b", "a", "a"]) == 0.5
    assert metrics.copied(["a", "b", "A"], frozenset({digest("a")})) == pytest.approx(1 / 3)
    assert metrics.grammatical(["a", "bb", "c"], lambda text: len(text) == 1) == pytest.approx(2 / 3)


def test_attributes_by_hand():
    found = metrics.attributes([{"hero": "Tim", "toy": "ball"}, {"hero": "Tim"}, {}])
    assert found == {"hero": {"Tim": 2}, "toy": {"ball": 1}}
    real = {"hero": {"Tim": 0.5, "Lily": 0.5}, "toy": {"ball": 0.1, "doll": 0.3}, "pet": {"cat": 1.0}}
    assert metrics.attribute_coverage(found, real) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    # |1 - 1/2|, |1 - 1/4|, and 1 for what never occurs
    assert metrics.attribute_distance(found, real) == pytest.approx((0.5 + 0.75 + 1) / 3)


class Coin:
    """Texts "a" (3/4) and "b" (1/4)."""

    def log_probability(self, text):
        return {"a": math.log(0.75), "b": math.log(0.25)}.get(text, -math.inf)

    def facts(self, text):
        return {"side": text}

    def marginals(self):
        return {"side": {"a": 0.75, "b": 0.25}}


def reference(sample, test, coin=None, others=None):
    counts = Counter(w for t in sample for w in words(t))
    digests = frozenset(map(metrics.digest, sample))
    return metrics.reference(sample, test, words=by_rarity(counts), digests=digests, grammar=coin, others=others)


def test_measure_by_hand():
    real = reference(["a", "a", "a", "b"], ["a", "b"], Coin())
    out = metrics.measure(["a", "a", "c c", "a", "never looked at"], real, truncated=np.array([0, 0, 1, 0, 1], bool))
    logs = [math.log(0.75), math.log(0.25)]
    expected = {
        "distinct_1": 2 / 5, "distinct_2": 1.0, "distinct_3": 0.0, "distinct_4": 0.0,
        "self_bleu": 3 / 4 * 0.1**0.75,  # copies of a word, no pairs; a text that no other shares a word with
        "c2st_accuracy": 0.5,  # two texts of each: generated "a" and "a" are real "a"
        "compression_ratio": metrics.compression_ratio(["a", "a", "c c", "a"]),
        "unigram_entropy": -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)),
        "vocabulary_coverage": 0.5, "rare_coverage": 0.0, "rare_mass": 0.0, "rare_mass_ratio": 0.0,
        "length_mean": 1.25, "length_sd": math.sqrt(3) / 4, "duplicates": 0.5, "copied": 0.75, "truncated": 0.25,
        "grammatical": 0.75, "truth_logprob": logs[0], "truth_excess": logs[0] - sum(logs) / 2,
        "attribute_coverage": 0.5, "attribute_distance": 0.25,
    }  # fmt: skip
    assert out == pytest.approx(expected)


def test_measures_that_are_not_defined_are_nan():
    out = metrics.measure(["c", "c"], reference(["b", "b"], ["a", "a"], Coin()))
    assert math.isnan(out["truth_logprob"])
    assert math.isnan(out["rare_mass_ratio"])  # "b" is not in the test texts
    assert (out["grammatical"], out["attribute_coverage"], out["attribute_distance"]) == (0, 0, 1)


def test_without_a_grammar_its_measures_are_left_out():
    out = metrics.measure(["a b", "b"], reference(["a", "b"], ["a", "b"]))
    assert not {"grammatical", "truth_excess", "attribute_coverage", "truncated", "real_self_bleu"} & out.keys()


def test_the_level_of_real_texts_stands_beside_the_measures():
    one, two, three = ([f"{a} {b} sat" for a in x for b in "uvw"] for x in ("abc", "abd", "abe"))
    real = reference(one, two, others=[*three, "not looked at"])
    out = metrics.measure(["a u sat"] * 9, real)
    level = {name.removeprefix("real_"): value for name, value in out.items() if name.startswith("real_")}
    assert level == metrics.diversity(metrics.corpus(three), real) == dict(real.level)
    assert level.keys() < out.keys()
    assert level == {name: metrics.measure(three, real)[name] for name in level}
    assert (out["self_bleu"], level["vocabulary_coverage"]) == (pytest.approx(0.1**0.25), 6 / 7)
    with pytest.raises(DataError, match="the level of 9 real texts needs as many others, 8 are there"):
        reference(one, two, others=three[:8])


def test_c2st_compares_equally_many_texts_in_their_own_words():
    one, two = ["the cat sat"] * 6, ["a dog ran", "the dog ran off"] * 5
    assert metrics.told_apart(metrics.corpus(one), metrics.corpus(two)) == 1
    assert metrics.told_apart(metrics.corpus(two), metrics.corpus(one)) == 1
    assert metrics.told_apart(metrics.corpus(two), metrics.corpus(two[:6])) == 0.5
    # more texts of one sample are not looked at
    assert metrics.told_apart(metrics.corpus([*one, *two]), metrics.corpus(one)) == 0.5


def test_other_real_stories_are_none_of_the_references():
    config = stories.Config(train=30, shards=2, validation=8, test=24, vocabulary=300, max_tokens=300)
    data = stories.load(config, *stories.prepare(config))
    for size, shape in ((20, (10, 10, 0, 0)), (24, (6, 18, 0, 0))):
        found = data.decode(of_stories.others(data, size))
        parts = [data.decode(p) for p in (data.real(), data.fresh(2), data.validation, data.test)]
        assert [len(set(found) & set(part)) for part in parts] == list(shape)
        assert len(set(found)) == size
        assert not set(found) & {*parts[0][:size], *parts[3][:size]}
    few = replace(data, config=replace(config, shards=1))  # 6 of train, 8 of validation, none of the test
    assert of_stories.others(few, 24) is None
    assert len(of_stories.others(few, 16)) == 16
    assert len(of_stories.others(few, 20)) == 20
    assert of_stories.reference(few).level == {}
    full = of_stories.reference(data)
    assert full.level == metrics.diversity(metrics.corpus(data.decode(of_stories.others(data, 24))), full)
    out = of_stories.measure(data.real(), full, data, 100_000)
    assert 0 <= out["c2st_accuracy"] <= 1
    assert out["real_self_bleu"] == full.level["self_bleu"]


def test_too_few_texts_are_errors():
    with pytest.raises(DataError, match="2 texts are measured, 1 are there"):
        metrics.measure(["a"], reference(["a", "b"], ["a"]))
    with pytest.raises(DataError, match="measures need real texts"):
        reference([], ["a"])


def test_samples_of_the_source_measure_as_real_ones():
    source, size = storybook.stories(), 400
    draws = [source.sample_distinct(size, stream("test", "metrics", i)) for i in range(3)]
    real = reference(draws[0], draws[1], source)
    one, two = metrics.measure(draws[1], real), metrics.measure(draws[2], real)
    assert one["grammatical"] == two["grammatical"] == 1
    scores = [source.log_probability(t) for t in draws[2]]
    assert abs(two["truth_excess"]) < 4 * np.std(scores) * math.sqrt(2 / size)
    assert two["rare_mass_ratio"] == pytest.approx(1, abs=0.5)
    for name in ("distinct_1", "distinct_2", "distinct_4", "compression_ratio", "unigram_entropy", "length_mean"):
        assert two[name] == pytest.approx(one[name], rel=0.1), name
    assert two["self_bleu"] == pytest.approx(one["self_bleu"], rel=0.02)
    assert two["c2st_accuracy"] == pytest.approx(0.5, abs=3 * 1.2 * math.sqrt(1 / (8 * size)))
    assert two["attribute_distance"] == pytest.approx(one["attribute_distance"], abs=0.03)
    assert two["attribute_coverage"] == pytest.approx(one["attribute_coverage"], abs=0.1)
    # a temperature below 1, roughly: the likelier half
    likely = sorted(draws[1], key=source.log_probability)[size // 2 :] * 2
    narrow = metrics.measure(likely, real)
    assert narrow["truth_excess"] > 1
    assert narrow["attribute_coverage"] < one["attribute_coverage"]
    assert narrow["distinct_4"] < 0.8 * one["distinct_4"]
    assert narrow["self_bleu"] > one["self_bleu"] + 0.1
    other = metrics.measure([text.replace(" the ", " a ") for text in draws[2]], real)
    assert other["c2st_accuracy"] > 0.75
