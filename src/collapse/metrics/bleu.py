"""n-grams of texts, and Self-BLEU: how much the texts of a set repeat one another.

Texts come as words in one row: ``codes``, shape (M,) int64, word types of all texts in order, and ``lengths``, shape
(N,) int64, words of each text (`collapse.metrics.text.Corpus`).
"""

from collections.abc import Iterator

import numpy as np

from collapse.errors import DataError

ORDER = 4
EPSILON = 0.1
"""What stands for 0 matching n-grams: method 1 of Chen and Cherry (2014), section 3, as nltk and Texygen set it."""


def grams(codes: np.ndarray, lengths: np.ndarray, longest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give, for n = 1 .. ``longest``, all n-grams inside of texts as (their number, their text), shapes (G,) int64.

    Equal n-grams have equal numbers, which are below M or, for n = 1, below the number of types.
    """
    types = int(codes.max(initial=0)) + 1
    text, left = np.repeat(np.arange(len(lengths)), lengths), np.repeat(np.cumsum(lengths), lengths)
    left -= np.arange(len(codes))  # words from here to the end of the text
    gram = codes
    yield gram, text
    for n in range(2, longest + 1):
        # an n-gram is the pair of the (n - 1)-gram that begins it and its last word, numbered anew
        pairs = gram[: len(gram) - 1] * types + codes[n - 1 :]
        gram = np.unique(pairs, return_inverse=True)[1] if len(pairs) else pairs
        inside = left[: len(gram)] >= n
        yield gram[inside], text[: len(gram)][inside]


def _matched(gram: np.ndarray, text: np.ndarray, texts: int) -> np.ndarray:
    """Count, for each text, its n-grams that stand in another: sum over them of min(count, largest count elsewhere)."""
    if not len(gram):
        return np.zeros(texts, np.int64)
    pair, count = np.unique(gram * texts + text, return_counts=True)
    gram, text = np.divmod(pair, texts)
    starts = np.flatnonzero(np.diff(gram, prepend=-1))
    of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(gram)))
    most = np.maximum.reduceat(count, starts)[of]
    second = np.maximum.reduceat(np.where(count == most, 0, count), starts)[of]
    shared = np.add.reduceat((count == most).astype(np.int64), starts)[of] > 1
    elsewhere = np.where((count == most) & ~shared, second, most)
    return np.bincount(text, np.minimum(count, elsewhere), minlength=texts).astype(np.int64)


def _closest(lengths: np.ndarray) -> np.ndarray:
    """Return the length, among the other texts, that is closest to each text's; of two, the shorter."""
    found, of, count = np.unique(lengths, return_inverse=True, return_counts=True)
    far = 2 * int(found[-1]) + 1
    below = np.concatenate([[-far], found[:-1]])
    above = np.concatenate([found[1:], [2 * far]])
    return np.where(count > 1, found, np.where(found - below <= above - found, below, above))[of]


def bleu(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return BLEU-4 of each text against all others as references, shape (N,), in [0, 1].

    BLEU = exp(min(0, 1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4), Papineni et al. (2002), section 2.3: c words in the text, r
    in the reference of the closest length (of two, the shorter), p_n the share of the text's n-grams that match, each
    as often as it stands in one reference. A p_n without matches is `EPSILON` / max(1, n-grams), and a text without a
    matching word has 0: ``nltk.translate.bleu_score.sentence_bleu`` with ``SmoothingFunction().method1``.

    In time linear in the number of n-grams, up to sorting: the references of a text are all others, so that an n-gram's
    largest and second largest count over texts say what each text is clipped to.

    Raises:
        DataError: fewer than 2 texts.
    """
    if len(lengths) < 2:
        raise DataError(f"BLEU compares texts with each other, got {len(lengths)}: draw at least 2")
    total = np.zeros(len(lengths))
    for n, (gram, text) in enumerate(grams(codes, lengths, ORDER), start=1):
        matched = _matched(gram, text, len(lengths))
        if n == 1:
            known = matched > 0
        total += np.log(np.where(matched > 0, matched, EPSILON) / np.maximum(lengths - n + 1, 1)) / ORDER
    brevity = np.minimum(0, 1 - _closest(lengths) / np.maximum(lengths, 1))
    return np.where(known, np.exp(brevity + total), 0.0)


def self_bleu(codes: np.ndarray, lengths: np.ndarray) -> float:
    """Self-BLEU: the mean over texts of `bleu`; higher is less diverse.

    Zhu et al. (2018), Texygen, arXiv 1802.01886; with BLEU-4, and exact: every other text is a reference.
    It grows with the number of texts and with their lengths.

    Raises:
        DataError: fewer than 2 texts.
    """
    return float(bleu(codes, lengths).mean())
