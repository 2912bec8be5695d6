"""Measures of drawn blocks of running text: diversity, tails, repetition, grammar, perplexity under the first model.

All count tokens, not words, and on as many tokens of the sample as D_1 has, so that values compare between generations.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from collapse.datasets.articles import Articles
from collapse.datasets.sentences import Acceptor, complete
from collapse.datasets.words import entropy
from collapse.errors import DataError, TrainingError
from collapse.items import Items
from collapse.metrics import bleu

DISTINCT = (1, 2, 3)
REPEATED = 4
DECILES = 10
TAIL = 0.999


@dataclass(frozen=True)
class Reference:
    """What samples are measured against; made by `reference`.

    Attributes:
        size: N, blocks of D_1.
        block: tokens of each.
        deciles: token types of D_1 in ten parts of equally many types (up to one), the rarest part first. Of two types
            that are equally rare, the one of the smaller number is the rarer. Without the mark that begins each line,
            which a sampler that goes on from a prompt never draws.
        acceptor: which sentences the source can make; None where it is not known.
        mark: what begins each line.
    """

    size: int
    block: int
    deciles: tuple[np.ndarray, ...]
    acceptor: Acceptor | None
    mark: str


def reference(data: Articles) -> Reference:
    """Take from D_1 what measures need. Raises DataError: it has fewer than ten token types."""
    types = np.flatnonzero(data.counts)
    types = types[types != data.end]
    if len(types) < DECILES:
        raise DataError(f"{data.name} has {len(types)} token types: deciles need {DECILES}")
    rarest = types[np.argsort(data.counts[types], kind="stable")]
    return Reference(data.size, data.config.block, tuple(np.array_split(rarest, DECILES)), data.acceptor, data.mark)


def distinct(codes: np.ndarray, lengths: np.ndarray, n: int) -> float:
    """distinct-n: different n-grams over n-grams, counted inside blocks and over the whole set, in [0, 1].

    Li et al. (2016), arXiv 1510.03055, section 5. 0 where no block has ``n`` tokens.
    """
    *_, (gram, _) = bleu.grams(codes, lengths, n)
    return len(np.unique(gram)) / len(gram) if len(gram) else 0.0


def repetition(codes: np.ndarray, lengths: np.ndarray, n: int = REPEATED) -> float:
    """rep-n: 1 - different n-grams / n-grams inside a block, mean over the blocks that have any, in [0, 1).

    Welleck et al. (2020), arXiv 1908.04319, section 6 (seq-rep-n). 0 where no block has ``n`` tokens.
    """
    *_, (gram, text) = bleu.grams(codes, lengths, n)
    if not len(gram):
        return 0.0
    total = np.bincount(text, minlength=len(lengths))
    different = np.bincount(np.unique(gram * len(lengths) + text) % len(lengths), minlength=len(lengths))
    held = total > 0
    return float(np.mean(1 - different[held] / total[held]))


def measure(items: Items, real: Reference, data: Articles, limit: int) -> dict[str, float]:
    """Measure drawn blocks.

    Args:
        items: one chain, at least N blocks; the first N are measured.
        real: from `reference`.
        data: the data set that decodes them.
        limit: tokens that the sampler draws; not used, all blocks have them.

    Returns:
        ``distinct_1`` .. ``distinct_3`` (`distinct`), ``repetition`` (`repetition`, 4-grams), ``entropy`` (of the
        distribution of token types, nats), ``vocabulary_coverage`` (share of the types of D_1 that are produced),
        ``alive_0`` .. ``alive_9`` (the same of each decile of types by frequency in D_1, 0 the rarest),
        ``tail_coverage`` (``alive_0``); and where the source is known, ``valid``: the share of the complete sentences,
        headings and list lines inside blocks that it can make, 0 where there are none.

    Raises:
        DataError: fewer than N blocks, or not of as many tokens as those of D_1.
    """
    if len(items) < real.size:
        raise DataError(f"{real.size} blocks are measured, {len(items)} are there: draw more")
    items = items.first(real.size)
    codes, lengths = items.output.values.astype(np.int64), items.output.lengths
    if (lengths != real.block).any():
        found = ", ".join(map(str, np.unique(lengths)[:3]))
        raise DataError(
            f"drawn blocks have {found} tokens, those of {data.name} {real.block}: set `max_tokens` to that"
        )
    counts = np.bincount(codes)
    alive = [float(np.isin(types, codes).mean()) for types in real.deciles]
    every = np.concatenate(real.deciles)
    out = {f"distinct_{n}": distinct(codes, lengths, n) for n in DISTINCT} | {
        "repetition": repetition(codes, lengths),
        "entropy": entropy(counts),
        "vocabulary_coverage": float(np.isin(every, codes).mean()),
        **{f"alive_{i}": share for i, share in enumerate(alive)},
        "tail_coverage": alive[0],
    }
    if real.acceptor is not None:
        sentences = (s for text in data.decode(items) for s in complete(text, real.mark))
        out["valid"] = real.acceptor.share(sentences)
    return out


def details(items: Items, first, data: Articles, n: int) -> tuple[Mapping[str, np.ndarray], dict[str, float]]:
    """Score each block by the first model of its series, the one that was fitted on real data.

    Args:
        items: one chain; of generation ``n``, or the real blocks of D_1 where it is 0.
        first: ``family`` and ``model`` of generation 1, and ``real``, a dict that keeps what D_1 gave.
        data: the data set.
        n: generation.

    Returns:
        The column ``perplexity``, (N,): exp of the mean loss in nats over the predicted tokens of a block; and
        ``first_perplexity_median``, ``first_perplexity_mean``, ``first_perplexity_p99`` (the 99th percentile) and
        ``first_perplexity_tail``: the share of blocks above the 99.9th percentile of the blocks of D_1, which is the
        next one of its values, so that of up to 1001 blocks it is the largest.

    Raises:
        TrainingError: a perplexity is not finite.
    """
    if "perplexity" not in first.real:
        first.real["perplexity"] = _perplexity(data.real(), first)
    level = np.quantile(first.real["perplexity"], TAIL, method="higher")
    found = first.real["perplexity"] if n == 0 else _perplexity(items, first)
    return {"perplexity": found}, {
        "first_perplexity_median": float(np.median(found)),
        "first_perplexity_mean": float(found.mean()),
        "first_perplexity_p99": float(np.quantile(found, 0.99)),
        "first_perplexity_tail": float((found > level).mean()),
    }


def _perplexity(items: Items, first) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is infinite is an error below
        found = np.exp(first.family.block_losses(first.model, items))
    if not np.isfinite(found).all():
        raise TrainingError(
            "model 1 gives blocks perplexities that are not finite: lower the learning rate of its recipe"
        )
    return found
