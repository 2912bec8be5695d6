"""Measures of a set of texts, beside real ones: diversity, tails, lengths, copies, grammar.

Words are runs of letters and digits in lower case (with inner apostrophes); punctuation is left out. All measures are
corpus measures and depend on the number of texts: `measure` takes the same number of every set, so that values compare
between generations, and the value of real texts (another real sample in the place of the generated one) is the level to
compare with; a `Reference` holds it where there are such texts. Diversity measures also depend on lengths: read them
beside ``length_mean``.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from collapse.datasets.words import digest, entropy, words
from collapse.errors import DataError
from collapse.metrics import bleu, c2st

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
    *_, (gram, _) = bleu.grams(sample.codes, sample.lengths, n)
    return len(np.unique(gram)) / len(gram) if len(gram) else 0.0


def told_apart(sample: Corpus, real: Corpus) -> float:
    """C2ST accuracy (`collapse.metrics.c2st.accuracy`) on as many texts of each as both have, at most `c2st.MOST`."""
    size = min(len(sample.texts), len(real.texts), c2st.MOST)
    one, other = (c.codes[: c.lengths[:size].sum()] for c in (sample, real))
    place = {word: code for code, word in enumerate(sample.types)}
    joint = np.array([place.setdefault(word, len(place)) for word in real.types], np.int64)
    lengths = np.concatenate([sample.lengths[:size], real.lengths[:size]])
    return c2st.accuracy(np.concatenate([one, joint[other]]), lengths)


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
    test: Corpus
    types: frozenset[str]
    rare: frozenset[str]
    rare_mass: float
    train: frozenset[bytes]
    grammar: Grammar | None
    marginals: Mapping[str, Mapping[str, float]]
    truth: float
    level: Mapping[str, float] = field(default_factory=dict)


def reference(
    sample: Sequence[str],
    test: Sequence[str],
    *,
    words: Sequence[str],
    digests: frozenset[bytes],
    grammar: Grammar | None = None,
    others: Sequence[str] | None = None,
) -> Reference:
    """Take from real texts what measures need.

    Args:
        sample: real train texts, as many as are to be measured.
        test: other real texts; the mass of the rare types is taken from them, since the types were chosen for being
            rare in train, and samples are to be told from them, since train texts may have been learnt by heart.
        words: all types of the real train texts, `by_rarity`.
        digests: of all real train texts.
        grammar: where the source is known.
        others: real texts that are neither among ``sample`` nor among the first texts of ``test``, at least as many as
            ``sample``: their `diversity` is the level of real texts. None where there are none.

    Raises:
        DataError: no texts, or too few others.
    """
    if not sample or not test:
        raise DataError(f"measures need real texts, got {len(sample)} of train and {len(test)} of test")
    if others is not None and len(others) < len(sample):
        raise DataError(f"the level of {len(sample)} real texts needs as many others, {len(others)} are there")
    rare, held = rarest(words), corpus(test)
    real = Reference(
        size=len(sample),
        test=held,
        types=frozenset(corpus(sample).types),
        rare=rare,
        rare_mass=mass(held, rare),
        train=digests,
        grammar=grammar,
        marginals={} if grammar is None else grammar.marginals(),
        truth=float("nan") if grammar is None else float(np.mean([grammar.log_probability(t) for t in test])),
    )
    return real if others is None else replace(real, level=diversity(corpus(others[: len(sample)]), real))


def diversity(sample: Corpus, real: Reference) -> dict[str, float]:
    """Return the measures that have a level: those that other real texts can be put to without favour.

    ``distinct_1`` .. ``distinct_4``, ``self_bleu``, ``compression_ratio``, ``unigram_entropy`` (nats),
    ``vocabulary_coverage`` (of the types of as many real train texts), ``c2st_accuracy`` (of telling the sample from
    real test texts), ``length_mean`` and ``length_sd`` (words).

    Raises:
        DataError: fewer than 2 texts, of the sample or of the test; or none with a word.
    """
    return {f"distinct_{n}": distinct(sample, n) for n in DISTINCT} | {
        "self_bleu": bleu.self_bleu(sample.codes, sample.lengths),
        "compression_ratio": compression_ratio(sample.texts),
        "unigram_entropy": entropy(sample.counts),
        "vocabulary_coverage": coverage(sample, real.types),
        "c2st_accuracy": told_apart(sample, real.test),
        "length_mean": float(sample.lengths.mean()),
        "length_sd": float(sample.lengths.std()),
    }


def measure(texts: Sequence[str], real: Reference, *, truncated: np.ndarray | None = None) -> dict[str, float]:
    """Measure the first ``real.size`` of the texts.

    Args:
        texts: at least ``real.size`` texts, in the order in which they were drawn.
        real: from `reference`.
        truncated: (N,) bool, texts that were cut at the greatest length; the share is left out where None.

    Returns:
        Those of `diversity`; ``rare_coverage`` (share of the rarest decile of real types that is produced),
        ``rare_mass`` (their share of the words) and ``rare_mass_ratio`` (over that in real texts, nan where it is 0),
        ``duplicates``, ``copied``; and where the reference knows how: ``truncated``, ``grammatical``, ``truth_logprob``
        (mean log p of the grammatical texts, nats per text, nan where none is) and ``truth_excess`` (above that of real
        test texts; positive: too typical), ``attribute_coverage`` and ``attribute_distance``, and the level of real
        texts, ``real_<name>`` for each of `diversity`.

    Raises:
        DataError: fewer texts than ``real.size``, or too few of them to be measured (`diversity`).
    """
    if len(texts) < real.size:
        raise DataError(f"{real.size} texts are measured, {len(texts)} are there: draw more")
    texts = texts[: real.size]
    sample = corpus(texts)
    rare_mass = mass(sample, real.rare)
    out = diversity(sample, real) | {
        "rare_coverage": coverage(sample, real.rare),
        "rare_mass": rare_mass,
        "rare_mass_ratio": rare_mass / real.rare_mass if real.rare_mass else float("nan"),
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
    return out | {f"real_{name}": value for name, value in real.level.items()}
