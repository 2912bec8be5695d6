import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from collapse.errors import DataError
from collapse.metrics import bleu
from collapse.seeding import stream


def coded(texts):
    """Return texts, given as lists of small whole numbers, as codes and lengths."""
    return np.array([w for t in texts for w in t], np.int64), np.array([len(t) for t in texts], np.int64)


def peer(texts):
    """BLEU-4 of each text against all others, by nltk."""
    smooth = SmoothingFunction().method1
    return [
        sentence_bleu([list(t) for t in texts[:i] + texts[i + 1 :]], list(text), smoothing_function=smooth)
        for i, text in enumerate(texts)
    ]


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=2, max_size=8))
def test_bleu_is_nltks(texts):
    assert bleu.bleu(*coded(texts)) == pytest.approx(peer(texts), abs=1e-9)


def test_bleu_is_nltks_on_many_words():
    rng = stream("test", "bleu")
    texts = [rng.integers(0, 30, rng.integers(0, 25)).tolist() for _ in range(60)]
    assert bleu.bleu(*coded(texts)) == pytest.approx(peer(texts), abs=1e-9)
    assert bleu.self_bleu(*coded(texts)) == pytest.approx(np.mean(peer(texts)), abs=1e-9)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        # all match but for 4-grams, of which there are none: 0.1 / max(1, 0)
        ([[0, 1, 2], [0, 1, 2]], [0.1**0.25] * 2),
        # the closest lengths to 4 are 3 and 5, the shorter counts: no penalty. That to 3 is 4, and that to 5 is 4
        (
            [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3, 4]],
            [1.0, math.exp(1 - 4 / 3) * 0.1**0.25, (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25],
        ),
        # a text shorter than the closest reference: exp(1 - 6 / 4)
        ([[0, 1, 2, 3], [0, 1, 2, 3, 4, 5]], [math.exp(-0.5), (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25]),
        # a word counts as often as it stands in one reference: 0 twice in the second, once in the third
        ([[0, 0, 0, 0], [0, 0, 1, 1], [0]], [(2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25, None, None]),
        ([[0, 1], [2, 3], []], [0.0, 0.0, 0.0]),
        ([[], []], [0.0, 0.0]),
    ],
)
def test_bleu_by_hand(texts, expected):
    for found, value in zip(bleu.bleu(*coded(texts)), expected, strict=True):
        assert value is None or found == pytest.approx(value, abs=1e-12)


def test_copies_have_1_and_strangers_0():
    copies = [list(range(10))] * 5
    strangers = [list(range(10 * i, 10 * i + 10)) for i in range(5)]
    assert bleu.self_bleu(*coded(copies)) == 1
    assert bleu.self_bleu(*coded(strangers)) == 0
    assert 0 < bleu.self_bleu(*coded(copies[:2] + strangers[1:])) < 1


def test_one_text_has_nothing_to_be_compared_with():
    for texts in ([], [[0, 1, 2, 3]]):
        with pytest.raises(DataError, match=f"got {len(texts)}"):
            bleu.self_bleu(*coded(texts))


@given(st.lists(st.lists(st.integers(0, 2), max_size=7), max_size=6))
def test_n_grams_are_numbered_as_tuples_are(texts):
    for n, (gram, text) in enumerate(bleu.grams(*coded(texts), 5), start=1):
        tuples = [(tuple(t[i : i + n]), place) for place, t in enumerate(texts) for i in range(len(t) - n + 1)]
        assert text.tolist() == [place for _, place in tuples]
        pairs = set(zip(gram.tolist(), [g for g, _ in tuples], strict=True))
        assert len(pairs) == len({g for g, _ in tuples}) == len(set(gram.tolist()))
