"""Measures of a set of texts, beside real ones: diversity, tails, lengths, copies, grammar.

Words are runs of letters and digits in lower case (with inner apostrophes); punctuation is left out. All measures are
corpus measures and depend on the number of texts: `measure` takes the same number of every set, so that values compare
between generations, and the value of real texts (another real sample in the place of the generated one) is the level to
compare with. Diversity measures also depend on lengths: read them beside ``length_mean``.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from collapse.datasets.words import digest, entropy, words
from collapse.errors import DataError

DISTINCT = (1, 2, 3, 4)


@dataclass(frozen=True)
class Corpus:
    """Texts as words.

    Attributes:
        texts: N texts.
        types: the T different words, in order of first appearance.
        codes: (M,) int64, all words in order, as places in ``types``.
        lengths: (N,) int64, words of each text.
    """

    texts: tuple[str, ...]
    types: tuple[str, ...]
    codes: np.ndarray
    lengths: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of times that each type appears, shape (T,)."""
        return np.bincount(self.codes, minlength=len(self.types))


def corpus(texts: Iterable[str]) -> Corpus:
    """Split texts into words."""
    texts, place, codes, lengths = tuple(texts), {}, [], []
    for text in texts:
        found = words(text)
        lengths.append(len(found))
        codes += [place.setdefault(word, len(place)) for word in found]
    return Corpus(texts, tuple(place), np.array(codes, np.int64), np.array(lengths, np.int64))


def distinct(sample: Corpus, n: int) -> float:
    """distinct-n: different n-grams over n-grams, both counted inside texts and over the whole corpus.

    Li et al. (2016), arXiv 1510.03055, section 5. In [0, 1]; 0 where no text has ``n`` words.
    """
    ends = np.repeat(np.cumsum(sample.lengths), sample.lengths)
    grams = sample.codes
    for k in range(1, n):
        # an n-gram is the pair of the (n - 1)-gram that begins it and its last word, numbered anew
        pairs = grams[: len(grams) - 1] * len(sample.types) + sample.codes[k:]
        grams = np.unique(pairs, return_inverse=True)[1] if len(pairs) else pairs
    inside = np.arange(len(grams)) + n <= ends[: len(grams)]
    grams = grams[inside]
    return len(np.unique(grams)) / len(grams) if len(grams) else 0.0


def compression_ratio(texts: Iterable[str]) -> float:
    """Bytes over compressed bytes of the texts, one per line: higher is more repetitive.

    zlib (deflate, level 9), which finds repeats within 32 KiB. Shaib et al. (2024), arXiv 2403.00553, use gzip, which
    is deflate too. 1 where there is no text.
    """
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9)) if raw else 1.0


def rarest(words: Sequence[str], share: float = 0.1) -> frozenset[str]:
    """The first ``share`` (at least one) of the types as `by_rarity` orders them: the rarest decile."""
    return frozenset(words[: max(1, int(len(words) * share))])


def coverage(sample: Corpus, types: frozenset[str]) -> float:
    """Share of ``types`` that the sample produces. 0 where there are none."""
    return len(types.intersection(sample.types)) / len(types) if types else 0.0


def mass(sample: Corpus, types: frozenset[str]) -> float:
    """Share of the sample's words that belong to ``types``. 0 where it has no words."""
    hit = np.array([word in types for word in sample.types], bool)
    return float(sample.counts[hit].sum() / len(sample.codes)) if len(sample.codes) else 0.0


def duplicates(texts: Sequence[str]) -> float:
    """Share of texts that repeat an earlier one: 1 - different texts / texts."""
    return 1 - len(set(texts)) / len(texts)


def copied(texts: Sequence[str], train: frozenset[bytes]) -> float:
    """Share of texts that stand word for word in the training data, given by its digests (`digest`)."""
    return sum(digest(text) in train for text in texts) / len(texts)


def grammatical(texts: Sequence[str], well_formed: Callable[[str], bool]) -> float:
    """Share of texts that a checker accepts."""
    return sum(map(well_formed, texts)) / len(texts)


def attributes(facts: Iterable[Mapping[str, str]]) -> dict[str, Counter]:
    """Count the values of each attribute over the facts of texts."""
    found: dict[str, Counter] = {}
    for fact in facts:
        for name, value in fact.items():
            found.setdefault(name, Counter())[value] += 1
    return found


def attribute_coverage(sample: Mapping[str, Counter], real: Mapping[str, Mapping[str, float]]) -> float:
    """Share of the possible values of an attribute that the sample produces, mean over attributes."""
    return float(np.mean([len(real[a].keys() & sample.get(a, {}).keys()) / len(real[a]) for a in real]))


def attribute_distance(sample: Mapping[str, Counter], real: Mapping[str, Mapping[str, float]]) -> float:
    """Total variation between the sample's and the real distribution of an attribute's values, mean over attributes.

    TV = 1/2 sum_v |p(v) - q(v)|, in [0, 1], given that a text has the attribute; 1 where the sample never has it.
    """

    def distance(p: Mapping[str, float], q: Mapping[str, float]) -> float:
        total, norm = sum(p.values()), sum(q.values())
        return 0.5 * sum(abs(p.get(v, 0) / total - q.get(v, 0) / norm) for v in p.keys() | q.keys()) if total else 1.0

    return float(np.mean([distance(sample.get(a, {}), real[a]) for a in real]))


class Grammar(Protocol):
    """A source whose probabilities are known, as `collapse.datasets.grammar` has it."""

    def log_probability(self, text: str) -> float:
        """log p(text) in nats, -inf where the text is not well-formed."""

    def facts(self, text: str) -> Mapping[str, str]:
        """Attributes of a well-formed text."""

    def marginals(self) -> Mapping[str, Mapping[str, float]]:
        """Attribute -> value -> probability."""


@dataclass(frozen=True)
class Reference:
    """What samples are measured against; made by `reference`."""

    size: int
    types: frozenset[str]
    rare: frozenset[str]
    rare_mass: float
    train: frozenset[bytes]
    grammar: Grammar | None
    marginals: Mapping[str, Mapping[str, float]]
    truth: float


def reference(
    sample: Sequence[str],
    test: Sequence[str],
    *,
    words: Sequence[str],
    digests: frozenset[bytes],
    grammar: Grammar | None = None,
) -> Reference:
    """Take from real texts what measures need.

    Args:
        sample: real train texts, as many as are to be measured.
        test: other real texts; the mass of the rare types is taken from them, since the types were chosen for being
            rare in train.
        words: all types of the real train texts, `by_rarity`.
        digests: of all real train texts.
        grammar: where the source is known.

    Raises:
        DataError: no texts.
    """
    if not sample or not test:
        raise DataError(f"measures need real texts, got {len(sample)} of train and {len(test)} of test")
    rare = rarest(words)
    return Reference(
        size=len(sample),
        types=frozenset(corpus(sample).types),
        rare=rare,
        rare_mass=mass(corpus(test), rare),
        train=digests,
        grammar=grammar,
        marginals={} if grammar is None else grammar.marginals(),
        truth=float("nan") if grammar is None else float(np.mean([grammar.log_probability(t) for t in test])),
    )


def measure(texts: Sequence[str], real: Reference, *, truncated: np.ndarray | None = None) -> dict[str, float]:
    """Measure the first ``real.size`` of the texts.

    Args:
        texts: at least ``real.size`` texts, in the order in which they were drawn.
        real: from `reference`.
        truncated: (N,) bool, texts that were cut at the greatest length; the share is left out where None.

    Returns:
        ``distinct_1`` .. ``distinct_4``, ``compression_ratio``, ``unigram_entropy`` (nats), ``vocabulary_coverage`` (of
        the types of as many real texts), ``rare_coverage`` (share of the rarest decile of real types that is produced),
        ``rare_mass`` (their share of the words) and ``rare_mass_ratio`` (over that in real texts, nan where it is 0),
        ``length_mean`` and ``length_sd`` (words), ``duplicates``, ``copied``, and where the reference knows how:
        ``truncated``, ``grammatical``, ``truth_logprob`` (mean log p of the grammatical texts, nats per text, nan where
        none is) and ``truth_excess`` (above that of real test texts; positive: too typical), ``attribute_coverage`` and
        ``attribute_distance``.

    Raises:
        DataError: fewer texts than ``real.size``.
    """
    if len(texts) < real.size:
        raise DataError(f"{real.size} texts are measured, {len(texts)} are there: draw more")
    texts = texts[: real.size]
    sample = corpus(texts)
    rare_mass = mass(sample, real.rare)
    out = {f"distinct_{n}": distinct(sample, n) for n in DISTINCT} | {
        "compression_ratio": compression_ratio(texts),
        "unigram_entropy": entropy(sample.counts),
        "vocabulary_coverage": coverage(sample, real.types),
        "rare_coverage": coverage(sample, real.rare),
        "rare_mass": rare_mass,
        "rare_mass_ratio": rare_mass / real.rare_mass if real.rare_mass else float("nan"),
        "length_mean": float(sample.lengths.mean()),
        "length_sd": float(sample.lengths.std()),
        "duplicates": duplicates(texts),
        "copied": copied(texts, real.train),
    }
    if truncated is not None:
        out["truncated"] = float(np.mean(truncated[: real.size]))
    if real.grammar is not None:
        scores = np.array([real.grammar.log_probability(text) for text in texts])
        known = np.isfinite(scores)
        found = attributes(real.grammar.facts(text) for text, ok in zip(texts, known, strict=True) if ok)
        out["grammatical"] = float(known.mean())
        out["truth_logprob"] = float(scores[known].mean()) if known.any() else float("nan")
        out["truth_excess"] = out["truth_logprob"] - real.truth
        out["attribute_coverage"] = attribute_coverage(found, real.marginals)
        out["attribute_distance"] = attribute_distance(found, real.marginals)
    return out
