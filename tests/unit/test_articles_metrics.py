import math
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse.datasets import articles, bpe
from collapse.errors import DataError
from collapse.items import Items, Ragged
from collapse.metrics import articles as metrics

BLOCK = 32


@pytest.fixture(scope="module")
def data():
    config = articles.Config(train=150, shards=2, validation=10, test=20, block=BLOCK, empty_lines="dropped")
    return articles.load(config, *articles.prepare(config))


@pytest.fixture(scope="module")
def real(data):
    return metrics.reference(data)


def drawn(rows) -> Items:
    return Items.make(Ragged.of(rows), generation=1)


def measured(data, real, items):
    return metrics.measure(items, real, data, BLOCK)


blocks = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=6)


@given(blocks, st.integers(1, 4))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_distinct_and_repetition_are_those_of_a_count(rows, n):
    codes, lengths = np.array([t for row in rows for t in row], np.int64), np.array(list(map(len, rows)), np.int64)
    grams = [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in rows]
    every = [gram for row in grams for gram in row]
    assert metrics.distinct(codes, lengths, n) == pytest.approx(len(set(every)) / len(every) if every else 0)
    repeated = [1 - len(set(row)) / len(row) for row in grams if row]
    assert metrics.repetition(codes, lengths, n) == pytest.approx(np.mean(repeated) if repeated else 0)


def test_deciles_hold_all_types_from_the_rarest_on(data, real):
    counts = Counter(data.arrays["shard1"].ravel().tolist())
    assert counts.pop(data.end) > 100  # the mark counts nowhere
    assert sorted(np.concatenate(real.deciles).tolist()) == sorted(counts)
    sizes = [len(part) for part in real.deciles]
    assert max(sizes) - min(sizes) <= 1
    for rarer, commoner in pairwise(real.deciles):
        assert max(counts[t] for t in rarer) <= min(counts[t] for t in commoner)


def test_real_blocks_cover_everything(data, real):
    found = measured(data, real, data.real())
    assert found["vocabulary_coverage"] == found["tail_coverage"] == found["valid"] == 1
    assert [found[f"alive_{i}"] for i in range(10)] == [1.0] * 10
    assert found["entropy"] == pytest.approx(data.facts["unigram_entropy"])
    rows = data.arrays["shard1"].tolist()
    pairs = {pair for row in rows for pair in pairwise(row)}
    assert found["distinct_2"] == pytest.approx(len(pairs) / (150 * (BLOCK - 1)))
    assert found["distinct_1"] == pytest.approx(data.facts["types"]["shard1"] / (150 * BLOCK))
    other = measured(data, real, data.fresh(2))
    assert other["valid"] == 1
    assert 0.3 < other["alive_0"] < 1 == other["alive_9"]
    assert other["tail_coverage"] == other["alive_0"]
    for name in ("entropy", "distinct_2", "distinct_3"):
        assert other[name] == pytest.approx(found[name], rel=0.1), name


def test_coverage_by_hand(data, real):
    missing = real.deciles[0][:5]
    rows = data.arrays["shard1"].copy()
    rows[np.isin(rows, missing)] = real.deciles[9][-1]
    found = measured(data, real, drawn(rows))
    assert found["alive_0"] == found["tail_coverage"] == pytest.approx(1 - 5 / len(real.deciles[0]))
    assert found["alive_1"] == found["alive_9"] == 1
    assert found["vocabulary_coverage"] == pytest.approx(1 - 5 / (data.facts["types"]["shard1"] - 1))
    # types that D_1 lacks count nowhere
    unknown = np.setdiff1d(np.arange(768), np.concatenate(real.deciles))
    for token in (data.end, unknown[-1]):
        found = measured(data, real, drawn(np.full((150, BLOCK), token)))
        assert (found["vocabulary_coverage"], found["alive_9"], found["entropy"], found["valid"]) == (0, 0, 0, 0)


def test_collapsed_blocks_are_told_from_real_ones(data, real):
    row = data.arrays["shard1"][3]
    looped = np.tile(row[:8], 4)
    found, level = measured(data, real, drawn([looped] * 150)), measured(data, real, data.real())
    assert found["repetition"] == pytest.approx(1 - 8 / (BLOCK - 3))
    for name in ("distinct_1", "distinct_2", "distinct_3", "entropy", "vocabulary_coverage", "alive_5"):
        assert found[name] < level[name], name


def test_sentences_that_the_grammar_cannot_make_are_counted(data, real):
    def row(text):
        tokens = [data.end, *bpe.encode(data.tokenizer, [text]).values]
        assert len(tokens) <= BLOCK
        return tokens + [data.end] * (BLOCK - len(tokens))  # marks alone: no sentence

    right = row(" Arden is a small town in Kent . It stands on a low hill . \n")
    wrong = row(" Arden is a small town in Kent . It stands on a hill . \n")
    cut = row(" = Arden = \n")[: BLOCK - 3] + row(" Arden is of")[:3]
    found = measured(data, real, drawn([right] * 50 + [wrong] * 50 + [cut] * 50))
    assert found["valid"] == pytest.approx((2 + 1 + 1) / (2 + 2 + 1))


def test_too_few_blocks_or_others_are_errors(data, real):
    with pytest.raises(DataError, match="150 blocks are measured, 149 are there"):
        measured(data, real, data.real().first(149))
    with pytest.raises(DataError, match="have 31 tokens, those of articles 32: set `max_tokens`"):
        measured(data, real, drawn(data.arrays["shard1"][:, 1:]))


def test_more_blocks_than_those_of_generation_1_are_left_out(data, real):
    both = Items.concat([data.real(), data.fresh(2)])
    assert measured(data, real, both) == measured(data, real, data.real())


def test_a_source_that_is_not_known_has_no_valid_sentences(data):
    unknown = articles.Articles(data.config, data.arrays, data.facts)
    unknown.__dict__["acceptor"] = None
    assert "valid" not in measured(unknown, metrics.reference(unknown), data.real())
    few = articles.Articles(data.config, {**data.arrays, "shard1": np.zeros((4, BLOCK), np.uint16)}, data.facts)
    with pytest.raises(DataError, match="articles has 0 token types: deciles need 10"):
        metrics.reference(few)


class Scores:
    """A family whose loss of a block is a hundredth of its first token; it counts its calls."""

    def __init__(self):
        self.calls = []

    def block_losses(self, model, items):
        self.calls.append((model, len(items)))
        return np.array([items.output[i][0] / 100 for i in range(len(items))])


def test_details_are_perplexities_under_the_first_model(data):
    first = SimpleNamespace(family=Scores(), model="model 1", real={})
    columns, scalars = metrics.details(data.real(), first, data, 0)
    losses = data.arrays["shard1"][:, 0] / 100
    np.testing.assert_allclose(columns["perplexity"], np.exp(losses))
    assert scalars["first_perplexity_tail"] == 0  # of 150 values, the 99.9th percentile is the largest
    assert scalars["first_perplexity_median"] == pytest.approx(np.median(np.exp(losses)))

    top = int(losses.max() * 100)
    rows = np.ones((200, BLOCK), np.uint16)
    rows[:30, 0] = top + 1
    rows[30:40, 0] = top
    columns, scalars = metrics.details(drawn(rows), first, data, 3)
    assert columns["perplexity"].shape == (200,)
    assert scalars["first_perplexity_tail"] == pytest.approx(30 / 200)
    assert scalars["first_perplexity_median"] == pytest.approx(math.exp(0.01))
    assert scalars["first_perplexity_p99"] == pytest.approx(math.exp((top + 1) / 100))
    mean = (30 * math.exp((top + 1) / 100) + 10 * math.exp(top / 100) + 160 * math.exp(0.01)) / 200
    assert scalars["first_perplexity_mean"] == pytest.approx(mean)
    assert first.family.calls == [("model 1", 150), ("model 1", 200)]  # D_1 is scored once

    alone = SimpleNamespace(family=Scores(), model="model 1", real={})
    assert metrics.details(drawn(rows), alone, data, 3)[1] == scalars


def test_of_more_than_a_thousand_real_blocks_the_tail_is_a_thousandth(data):
    first = SimpleNamespace(family=Scores(), model=None, real={"perplexity": np.arange(2001.0)})
    _, scalars = metrics.details(data.real(), first, data, 0)
    assert scalars["first_perplexity_tail"] == pytest.approx(2 / 2001)
