import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from collapse.errors import DataError
from collapse.metrics import c2st
from collapse.seeding import stream


def coded(texts):
    """Return texts, given as lists of whole numbers, as codes and lengths."""
    return np.array([w for t in texts for w in t], np.int64), np.array([len(t) for t in texts], np.int64)


def drawn(count, *name, words=40, power=1.0, length=12):
    """Texts of words drawn with probability 1 / rank^power."""
    rng, p = stream("test", "c2st", *name), np.arange(1.0, words + 1) ** -power
    return [rng.choice(words, length, p=p / p.sum()).tolist() for _ in range(count)]


def accuracy(one, other):
    return c2st.accuracy(*coded(one + other))


def test_features_are_those_of_scikit_learn():
    texts = [*drawn(30, "features"), [], [5], [1, 1, 1, 1]]
    found = c2st.features(*coded(texts))
    peer = TfidfVectorizer(analyzer=_words_and_pairs).fit(texts).transform(texts)
    # the order of columns is free, and some are empty
    np.testing.assert_allclose((found @ found.T).toarray(), (peer @ peer.T).toarray(), atol=1e-12)
    columns = found.sum(axis=0)
    np.testing.assert_allclose(np.sort(columns[columns > 0]), np.sort(np.asarray(peer.sum(axis=0)).ravel()), atol=1e-12)


def _words_and_pairs(text):
    return [*map(str, text), *(f"{a} {b}" for a, b in pairwise(text))]


def test_accuracy_is_that_of_held_out_texts():
    size, folds = 20, c2st.FOLDS
    one, other = drawn(size, "one"), drawn(size, "other", power=0.5)
    x, y = c2st.features(*coded(one + other)), np.arange(2 * size) < size
    fold = np.tile(stream("c2st", "folds", size).permutation(size) % folds, 2)
    right = [
        LogisticRegression().fit(x[fold != k], y[fold != k]).score(x[fold == k], y[fold == k]) for k in range(folds)
    ]
    assert accuracy(one, other) == pytest.approx(np.mean(right))


def test_one_distribution_cannot_be_told_from_itself():
    size, draws = 100, 12
    found = [accuracy(drawn(size, i), drawn(size, i, "other")) for i in range(draws)]
    sd = 1.2 * math.sqrt(1 / (8 * size))
    assert np.mean(found) == pytest.approx(0.5, abs=3 * sd / math.sqrt(draws))
    assert np.std(found) < 2 * sd
    assert len(set(found)) > 1


def test_different_distributions_are_told_apart():
    real = drawn(100, "real")
    near, far = drawn(100, "near", power=1.4), drawn(100, "far", power=3.0)
    other = [[w + 40 for w in text] for text in drawn(100, "other")]
    found = [accuracy(texts, real) for texts in (near, far, other)]
    assert 0.55 < found[0] < found[1]
    assert found[1] > 0.9
    assert found[2] == 1


def test_pairs_of_words_count_too():
    """Texts of the same words in another order are told apart."""
    rng = stream("test", "c2st", "order")
    texts = [np.repeat(rng.permutation(8), 2) for _ in range(60)]
    mixed = [rng.permutation(text).tolist() for text in texts]
    assert accuracy([t.tolist() for t in texts], mixed) > 0.95


def test_it_does_not_matter_which_sample_comes_first():
    one, other = drawn(50, "first"), [*drawn(49, "second", power=1.3), []]
    assert accuracy(one, other) == accuracy(other, one)
    assert accuracy(one, one) == 0.5


def test_copies_of_one_text_are_told_apart_from_the_text_alone():
    """Copies in the training folds say what a held-out copy is: a generator that repeats itself is found out."""
    real = drawn(60, "copied", length=20)
    assert accuracy(real[:3] * 20, drawn(60, "copies", length=20)) > 0.9


@pytest.mark.parametrize("size", [2, 3, 7])
def test_small_samples_have_fewer_folds(size):
    assert accuracy([[0, 1]] * size, [[2, 3]] * size) == 1


def test_too_few_texts_are_errors():
    for texts in ([], [[0], [1]], [[0], [1], [2], [3], [4]]):
        with pytest.raises(DataError, match=f"got {len(texts)} texts"):
            c2st.accuracy(*coded(texts))
    with pytest.raises(DataError, match="all texts are empty"):
        c2st.accuracy(*coded([[]] * 4))


def test_importing_the_measures_loads_no_scikit_learn():
    code = "import sys, collapse.metrics.stories; print([m for m in ('sklearn', 'scipy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
