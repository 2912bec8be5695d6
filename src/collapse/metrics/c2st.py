"""Classifier two-sample test: can a classifier tell generated from real texts?

Lopez-Paz and Oquab (2017), arXiv 1610.06545, section 3: the accuracy of a binary classifier on held-out items of two
balanced samples. 0.5 where both come from one distribution, 1 where they are told apart without fail. Texts come as in
`collapse.metrics.bleu`.
"""

import numpy as np

from collapse import seeding
from collapse.errors import DataError
from collapse.metrics.bleu import grams

FOLDS = 5
MOST = 2000
"""The most texts of each sample that are worth comparing: they give the accuracy to 0.01, and more cost time."""


def features(codes: np.ndarray, lengths: np.ndarray):
    """Return TF-IDF of words and of pairs of neighbouring words: a ``scipy.sparse.csr_array``, a row per text.

    count (1 + ln((1 + N) / (1 + N_g))), with N_g the texts that hold g, and rows scaled to Euclidean length 1 (a text
    without words is 0): what scikit-learn's ``TfidfVectorizer(ngram_range=(1, 2))`` gives by default. N_g counts texts
    whatever their sample, held out or not, so that it says nothing of the labels. Some columns are empty.
    """
    from scipy.sparse import csr_array

    (word, of_word), (pair, of_pair) = grams(codes, lengths, 2)
    types, texts = int(word.max(initial=-1)) + 1, len(lengths)
    width = types + int(pair.max(initial=-1)) + 1
    key = np.concatenate([of_word * width + word, of_pair * width + types + pair])
    key, count = np.unique(key, return_counts=True)
    row, column = np.divmod(key, max(width, 1))
    held = np.bincount(column, minlength=width)
    value = count * (np.log((1 + texts) / (1 + held)) + 1)[column]
    value /= np.sqrt(np.bincount(row, value**2, minlength=texts))[row]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=texts))])
    # scikit-learn's solver takes 32-bit places
    return csr_array((value, column.astype(np.int32), starts.astype(np.int32)), shape=(texts, width))


def accuracy(codes: np.ndarray, lengths: np.ndarray) -> float:
    """Return the held-out accuracy, in [0, 1], of telling the first half of the texts from the second.

    L2-regularised logistic regression (scikit-learn, C = 1) on `features`; `FOLDS` folds (fewer where a sample has
    fewer texts), each with equally many texts of both samples, the same for all samples of a size. Every text is held
    out once; a score of exactly 0 counts one half. Which sample comes first does not matter. For n texts of each sample
    from one distribution the sd is about 1.2 sqrt(1 / (8 n)), 0.02 for n = 400: somewhat more than that of 2 n coins,
    since folds share training texts. Where samples differ, the accuracy grows with n: compare those of the same n.

    One thread, whatever the machine has: jobs run side by side.

    Args:
        codes: (M,) words of 2 n texts.
        lengths: (2 n,) words of each; the samples have n texts each.

    Raises:
        DataError: the number of texts is odd or below 4, or there are no words.
    """
    size, rest = divmod(len(lengths), 2)
    if rest or size < 2:
        raise DataError(f"C2ST compares two samples of equally many texts, at least 2 each; got {len(lengths)} texts")
    if not len(codes):
        raise DataError("C2ST needs words: all texts are empty")
    # imported here: 0.6 s that only this measure needs
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    x, y = features(codes, lengths), np.repeat([1, -1], size)
    folds = min(FOLDS, size)
    fold = np.tile(seeding.stream("c2st", "folds", size).permutation(size) % folds, 2)
    right = np.zeros(2 * size)
    with threadpool_limits(1):
        for k in range(folds):
            held = fold == k
            model = LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000).fit(x[~held], y[~held])
            right[held] = (1 + np.sign(model.decision_function(x[held])) * y[held]) / 2
    return float(right.mean())
