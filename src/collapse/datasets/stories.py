"""Short stories as tokens: TinyStories (Eldan and Li, arXiv 2305.07759) from the hub or from files, or embedded ones.

Every story occurs once in train, validation and test together. A byte-level BPE is trained on the text of D_1 and
frozen for all generations. Stories are stored without the end token, which a language model adds.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from collapse import seeding
from collapse.datasets import bpe, hub, splits, storybook, textfiles
from collapse.datasets.grammar import Grammar
from collapse.datasets.shards import Shards
from collapse.datasets.words import by_rarity, digest, entropy, words
from collapse.errors import ConfigError, unknown
from collapse.items import Items, Ragged
from collapse.seeding import Streams

END = textfiles.SEPARATOR
SOURCES = ("embedded", "local", "hub")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which stories, how many, and as which tokens.

    Attributes:
        source: ``embedded`` (a grammar of known probabilities), ``local`` (files) or ``hub``.
        train: N, stories of generation 1; None takes all that validation (and test) leave.
        shards: disjoint sets of N stories; the first is D_1, the others are fresh real data.
        validation: stories for validation, cut from train.
        test: stories for the test; None takes the whole official validation split, which is our test set.
        vocabulary: tokens of the BPE at most, with the 256 bytes and the end token.
        tokenizer_stories: stories that the BPE is trained on, from the first on; None takes those of D_1. A data set
            that is a part of another one gives the other's ``train`` here, and has the same tokens.
        drawn_as: name under which stories are drawn and ordered; None is the data set's own. Data sets with the same
            one hold the same test stories, and the smaller D_1 is the beginning of the larger one.
        max_tokens: longer stories are dropped, and counted; the end token does not count.
        path: a file, or a folder with files for train and test (``local``).
        repository, revision: data set and commit (``hub``).
        sha256: file name -> expected SHA-256 (``local`` and ``hub``); for the known revision it is built in.
    """

    source: str = "embedded"
    train: int | None
    shards: int = 1
    validation: int
    test: int | None
    vocabulary: int = 512
    tokenizer_stories: int | None = None
    drawn_as: str | None = None
    max_tokens: int
    path: str | None = None
    repository: str = hub.REPOSITORY
    revision: str | None = None
    sha256: Mapping[str, str] | None = None

    def __post_init__(self):
        if self.source not in SOURCES:
            raise unknown("source of stories", str(self.source), SOURCES)
        for name in ("train", "shards", "validation", "test", "vocabulary", "max_tokens", "tokenizer_stories"):
            value, optional = getattr(self, name), name in ("train", "test", "tokenizer_stories")
            if not (optional and value is None) and (type(value) is not int or value < 1):
                raise ConfigError(f"stories: {name} is a whole number above 0{' or null' * optional}, got {value!r}")
        if not 258 <= self.vocabulary <= 65536:
            raise ConfigError(f"stories: vocabulary is from 258 (bytes, end, a merge) to 65536, got {self.vocabulary}")
        if self.train is None and self.shards > 1:
            raise ConfigError("stories: `train: null` takes all stories and leaves no further shards: set `train`")
        if self.source == "embedded" and None in (self.train, self.test):
            raise ConfigError("stories: the embedded source has no end: set `train` and `test`")
        if (self.path is not None) != (self.source == "local"):
            raise ConfigError("stories: `path` goes with `source: local`, and with no other")
        if self.source != "hub" and self.revision is not None:
            raise ConfigError("stories: `revision` goes with `source: hub`, and with no other")
        if self.source == "hub" and not _hexadecimal(self.revision, 40):
            known = f"the known one of {hub.REPOSITORY} is {hub.REVISION}"
            raise ConfigError(f"stories: `source: hub` needs a `revision` of 40 hexadecimal digits; {known}")
        for name, value in (self.sha256 or {}).items():
            if not _hexadecimal(value, 64):
                raise ConfigError(f"stories: sha256 of {name} is 64 hexadecimal digits, got {value!r}")


def _hexadecimal(value, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and set(value) <= set("0123456789abcdef")


def _embedded(config: Config, name: str, report: splits.Progress):
    """Return train and test stories and facts. The test set is drawn first: it is the same whatever is trained on."""
    source, avoid, pools = storybook.stories(), set(), []
    train = max(config.train * config.shards + config.validation, config.tokenizer_stories or 0)
    for split, count in (("test", config.test), ("train", train)):
        report("drawing stories", 0, count)
        texts = source.sample_distinct(count, seeding.stream("stories", name, split), avoid)
        avoid.update(texts)
        pools.append(splits.Drawn(texts))
    where = "drawn from the grammar"
    return pools[1], pools[0], {"source": "embedded story grammar", "test_from": where, "validation_from": where}


def _local(config: Config, name: str, report: splits.Progress):
    train, test = textfiles.find(config.path)
    return splits.from_files(name, train, test, config.sha256 or {}, "local files", report)


def _hub(config: Config, name: str, report: splits.Progress):
    known = (config.repository, config.revision) == (hub.REPOSITORY, hub.REVISION)
    sums = {**(hub.CHECKSUMS if known else {}), **(config.sha256 or {})}
    train, test = hub.fetch(config.repository, config.revision, tuple(hub.CHECKSUMS), sums)
    return splits.from_files(name, (train,), (test,), sums, f"hub {config.repository}@{config.revision}", report)


def prepare(config: Config, name: str = "stories", progress: splits.Progress | None = None) -> tuple[dict, dict]:
    """Draw the splits, train the tokenizer, encode. Pure: nothing is written.

    Args:
        config: what to prepare.
        name: of the data set; seeds the order in which stories are taken, unless ``drawn_as`` does.
        progress: called with (what is done, stories done, stories in all or None).

    Returns:
        Arrays (``shard1`` .., ``validation``, ``test`` as ``.values`` and ``.offsets``; the ``tokenizer``; the
        ``words`` of D_1, rarest first; ``digests`` of its stories), and facts: source, counts, duplicates, lengths,
        entropies.

    Raises:
        DataError: a file is missing or wrong, or holds fewer stories than are asked for.
        ConfigError: an embedded story is longer than ``max_tokens``, or a file that has no test split needs one.
    """
    report, name = progress or (lambda what, done, total: None), config.drawn_as or name
    train, test, facts = {"embedded": _embedded, "local": _local, "hub": _hub}[config.source](config, name, report)
    if test is None and config.test is None:
        raise ConfigError(f"stories: {config.path} is one file, without a test split: set `test` to a number")
    held = config.validation + (config.test if test is None else 0)
    least = (config.train or 1) * config.shards + held
    if len(train) < least:
        raise splits.shortage("train", len(train), least)
    report("training the tokenizer", 0, None)
    seen = config.tokenizer_stories or config.train or len(train) - held
    if len(train) < seen:
        raise splits.shortage("train", len(train), seen)
    tokenizer = bpe.train(train.fetch(0, seen), config.vocabulary, END)
    # embedded stories are never dropped: their probabilities are those of the whole grammar
    limit = math.inf if config.source == "embedded" else config.max_tokens
    common = {"tokenizer": tokenizer, "limit": limit, "report": report}
    drawn, dropped = splits.take(train, least, everything=config.train is None, what="train", **common)
    count = config.train or len(drawn.texts) - held
    cuts = [count * (i + 1) for i in range(config.shards)] + [count * config.shards + config.validation]
    parts = [drawn.cut(a, b) for a, b in pairwise([0, *cuts, len(drawn.texts)])]
    if test is not None:
        parts[-1], facts["dropped_test"] = splits.take(
            test, config.test or 1, everything=config.test is None, what="test", **common
        )
    facts["dropped_train"] = dropped
    longest = max(int(part.tokens.lengths.max()) for part in parts)
    if longest > config.max_tokens:
        raise ConfigError(f"stories: an embedded story has {longest} tokens: raise `max_tokens` or `vocabulary`")
    named = dict(zip([*(f"shard{i + 1}" for i in range(config.shards)), "validation", "test"], parts, strict=True))
    counted = Counter(word for story in parts[0].texts for word in words(story))
    arrays = {f"{k}.{a}": getattr(p.tokens, a) for k, p in named.items() for a in ("values", "offsets")} | {
        "tokenizer": bpe.pack(tokenizer),
        "words": np.frombuffer("\n".join(by_rarity(counted)).encode(), np.uint8),
        "digests": np.frombuffer(b"".join(map(digest, parts[0].texts)), np.uint8).reshape(-1, 16),
    }
    return arrays, facts | _describe(named, tokenizer.get_vocab_size(), config)


def _describe(named: dict[str, splits.Part], vocabulary: int, config: Config) -> dict:
    """Return counts, lengths in tokens and entropies in nats. The end token is predicted, so it counts per story."""
    first, test = named["shard1"].tokens, named["test"]
    predicted = len(test.tokens.values) + len(test.texts)
    facts = {
        "stories": {k: len(p.texts) for k, p in named.items()},
        "tokens": {k: len(p.tokens.values) for k, p in named.items()},
        "mean_length": {k: float(p.tokens.lengths.mean()) for k, p in named.items()},
        "longest": max(int(p.tokens.lengths.max()) for p in named.values()),
        "vocabulary": vocabulary,
        "tokenizer_from": (
            "the stories that D_1 is taken from, before those of too many tokens are dropped"
            if config.tokenizer_stories is None
            else f"the first {config.tokenizer_stories} stories, before those of too many tokens are dropped"
        ),
        "unigram_entropy": entropy(np.bincount(first.values, minlength=vocabulary)),
        "test_characters_per_token": sum(map(len, test.texts)) / predicted,
        "source_entropy": None,
    }
    if config.source == "embedded":
        source = storybook.stories()
        facts["source_entropy"] = -sum(map(source.log_probability, test.texts)) / predicted
        facts["grammar_entropy_per_story"] = source.entropy()
        facts["grammar_entropy_per_token"] = source.entropy() * len(test.texts) / predicted
    return facts


@dataclass(frozen=True, eq=False)
class Stories(Shards):
    """A prepared data set of stories, as `load` gives it; one chain."""

    config: Config
    arrays: dict[str, np.ndarray]
    facts: dict
    name: str = "stories"

    end = 0

    @property
    def size(self) -> int:
        """N, the stories of generation 1."""
        return len(self.arrays["shard1.offsets"]) - 1

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data."""
        return {"vocabulary": self.facts["vocabulary"], "end": self.end}

    @property
    def floor(self) -> float | None:
        """Cross-entropy of the true source on the test set, in nats per token; None where the source is not known.

        -sum log p(story) / predicted tokens, end tokens included: no model's is lower, in expectation.
        """
        return self.facts["source_entropy"]

    @cached_property
    def tokenizer(self):
        """The frozen BPE (``tokenizers.Tokenizer``)."""
        return bpe.unpack(self.arrays["tokenizer"])

    @cached_property
    def grammar(self) -> Grammar | None:
        """The source of embedded stories; None for others."""
        return storybook.stories() if self.config.source == "embedded" else None

    def _split(self, name: str, start: int = 0) -> Items:
        tokens = Ragged(self.arrays[f"{name}.values"], self.arrays[f"{name}.offsets"])
        return Items.make(tokens, generation=0, start=start)

    def contexts(self, count: int, rng: Streams) -> np.ndarray:
        """Return first tokens of stories of D_1, drawn with replacement: (count, 1) int64.

        A sampler that starts from the end token alone needs their number only; the stream of the draw is not that of
        the samples, so that these do not depend on it.
        """
        offsets = self.arrays["shard1.offsets"]
        firsts = self.arrays["shard1.values"][offsets[:-1][np.diff(offsets) > 0]]
        return Streams((*rng.name, "contexts"), rng.seeds).alone.choice(firsts, (count, 1)).astype(np.int64)

    @cached_property
    def rare_tokens(self) -> np.ndarray:
        """Which token types are rare, (V,) bool: the rarest ones that make up at most a tenth of the tokens of D_1.

        Stories end with the end token, which counts. Types that D_1 lacks are rare; of two that are equally rare, the
        one of the smaller number counts as the rarer.
        """
        counts = np.bincount(self.arrays["shard1.values"], minlength=self.facts["vocabulary"])
        counts[self.end] += self.size
        order = np.argsort(counts, kind="stable")
        rare = np.zeros(len(counts), bool)
        rare[order[np.cumsum(counts[order]) <= counts.sum() / 10]] = True
        return rare

    def reduce(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Replace ``token_loss`` and ``token_count``, (1, V), by ``rare_cross_entropy``, (1,), where they are.

        It is the mean loss in nats of the tokens whose type is rare (`rare_tokens`); left out where there are none.
        """
        metrics = dict(metrics)
        if "token_loss" in metrics:
            loss, count = (metrics.pop(name)[:, self.rare_tokens].sum(1) for name in ("token_loss", "token_count"))
            if count.all():
                metrics["rare_cross_entropy"] = loss / count
        return metrics

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace each token with probability ``rate`` by a draw from the unigram distribution of D_1."""
        if rate == 0:
            return items
        counts = np.bincount(self.arrays["shard1.values"], minlength=self.facts["vocabulary"])
        values = items.output.values.copy()
        hit = rng.alone.random(len(values)) < rate
        values[hit] = rng.alone.choice(len(counts), int(hit.sum()), p=counts / counts.sum())
        return replace(items, output=Ragged(values, items.output.offsets), logprob=None)

    def decode(self, items: Items) -> list[str]:
        """Return the text of each item."""
        return bpe.decode(self.tokenizer, items.output)

    def truth(self, items: Items) -> np.ndarray | None:
        """Log-probability of each text under the source in nats, shape (1, N), -inf where it is not grammatical.

        None where the source is not known.
        """
        if self.grammar is None:
            return None
        return np.array([[self.grammar.log_probability(text) for text in self.decode(items)]])


def load(config: Config, arrays: dict, facts: dict, seeds=(0,), name: str = "stories") -> Stories:
    """Return the data set from what `prepare` gave. Raises ConfigError where several chains are to run side by side."""
    if len(seeds) != 1:
        raise ConfigError(f"stories run one chain at a time, not {len(seeds)}: make it a block of `cells`")
    return Stories(config, arrays, facts, name)
