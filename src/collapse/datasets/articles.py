"""Running text in blocks of equally many tokens: WikiText from the hub or from files, or an embedded corpus.

The blocks of a split follow one another in the text: block i + 1 goes on where block i ends, which is what a model that
continues block i is to write. It does so but where the remainder of a batch of lines was dropped (`lines`), and after
the last block of D_1, which is followed by its first one. Train, validation and test are official splits, or drawn
apart. Blocks hold the mark that begins each line; a model predicts all tokens of a block but its first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from collapse.datasets import articlesplits, bpe, corpora, tokenfiles, wikitext
from collapse.datasets.sentences import Acceptor
from collapse.datasets.shards import Shards
from collapse.datasets.splits import Progress
from collapse.datasets.words import entropy
from collapse.errors import ConfigError, DataError, unknown
from collapse.items import Items, Ragged
from collapse.seeding import Streams

SOURCES = ("embedded", "local", "hub")
EMPTY = ("kept", "dropped")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which text, in how many blocks, and as which tokens.

    Attributes:
        source: ``embedded`` (grammars of known probabilities), ``local`` (files) or ``hub``.
        corpus: ``articles``, or to pre-train on ``library`` or ``stories`` (``embedded``).
        train: N, blocks of generation 1; None takes all of the train split.
        shards: sets of N blocks that follow one another; the first is D_1, the others are fresh real data.
        validation, test: blocks; None takes all of the official split.
        block: tokens of a block.
        vocabulary: tokens at most of a BPE that is trained here, with the 256 bytes and the mark. With a tokenizer from
            files the tokens of the models, which may be more than it has (50272 of facebook/opt-125m, which knows
            50265); None is as many.
        tokenizer: a folder (`tokenfiles`), or ``repository@commit`` of a model on the hub; ``embedded``, the one that
            the embedded corpora share (`corpora`), by which models of one text read another; None is a BPE of all lines
            of the train split, or, of an embedded corpus, the shared one.
        bos_per_line: each line begins with the mark, as OPT's tokenizer has it.
        empty_lines: ``kept`` (a mark alone, or nothing) or ``dropped``.
        remainder_every: lines of a batch whose last, partial block is dropped; 1000 in the official code, whose four
            processes each had a quarter of the lines. None drops the last one of a split alone.
        path: the folder of the files (``local``).
        files: ``{train:, validation:, test:}``, names in that folder; None finds an official layout (`wikitext`).
        repository, revision: data set and commit (``hub``).
        sha256: file name -> expected SHA-256 (``local`` and ``hub``); for the known revision it is built in.
    """

    source: str = "embedded"
    corpus: str = "articles"
    train: int | None
    shards: int = 1
    validation: int | None
    test: int | None
    block: int = 64
    vocabulary: int | None = 768
    tokenizer: str | None = None
    bos_per_line: bool = True
    empty_lines: str = "kept"
    remainder_every: int | None = 1000
    path: str | None = None
    files: Mapping[str, str] | None = None
    repository: str = wikitext.REPOSITORY
    revision: str | None = None
    sha256: Mapping[str, str] | None = None

    def __post_init__(self):
        for name, valid in (("source", SOURCES), ("corpus", tuple(corpora.GRAMMARS)), ("empty_lines", EMPTY)):
            if getattr(self, name) not in valid:
                raise unknown(f"{name} of articles", str(getattr(self, name)), valid)
        optional = ("train", "validation", "test", "vocabulary", "remainder_every")
        for name in ("train", "shards", "validation", "test", "block", "vocabulary", "remainder_every"):
            value = getattr(self, name)
            if not (name in optional and value is None) and (type(value) is not int or value < 1):
                more = " or null" if name in optional else ""
                raise ConfigError(f"articles: {name} is a whole number above 0{more}, got {value!r}")
        if self.block < 2:
            raise ConfigError(
                f"articles: a block has at least 2 tokens, one to see and one to predict, got {self.block}"
            )
        if type(self.bos_per_line) is not bool:
            raise ConfigError(f"articles: bos_per_line is true or false, got {self.bos_per_line!r}")
        foreign = self.tokenizer not in (None, "embedded")
        if not (foreign and self.vocabulary is None) and not 258 <= (self.vocabulary or 0) <= 65536:
            more = "" if foreign else "; null goes with a tokenizer from files"
            raise ConfigError(
                f"articles: vocabulary is from 258 (bytes, mark, a merge) to 65536, got {self.vocabulary}{more}"
            )
        if self.train is None and self.shards > 1:
            raise ConfigError("articles: `train: null` takes all blocks and leaves no further shards: set `train`")
        if self.source == "embedded" and None in (self.train, self.validation, self.test):
            raise ConfigError("articles: an embedded corpus has no end: set `train`, `validation` and `test`")
        if self.source != "embedded" and self.corpus != "articles":
            raise ConfigError("articles: `corpus` goes with `source: embedded`, and with no other")
        for name, source in (("path", "local"), ("files", "local"), ("revision", "hub")):
            if getattr(self, name) is not None and self.source != source:
                raise ConfigError(f"articles: `{name}` goes with `source: {source}`, and with no other")
        if self.source == "local" and self.path is None:
            raise ConfigError("articles: `source: local` needs a `path`, the folder of the files")
        if self.files is not None and len(set(self.files.values())) < len(self.files):
            raise ConfigError("articles: `files` names one file twice: splits must be different texts")
        if self.source == "hub" and not _hexadecimal(self.revision, 40):
            known = f"the known one of {wikitext.REPOSITORY} is {wikitext.REVISION}"
            raise ConfigError(f"articles: `source: hub` needs a `revision` of 40 hexadecimal digits; {known}")
        if self.sha256 and self.source == "embedded":
            raise ConfigError("articles: `sha256` goes with files, and an embedded corpus has none")
        for name, value in (self.sha256 or {}).items():
            if not _hexadecimal(value, 64):
                raise ConfigError(f"articles: sha256 of {name} is 64 hexadecimal digits, got {value!r}")


def _hexadecimal(value, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and set(value) <= set("0123456789abcdef")


def prepare(config: Config, name: str = "articles", progress: Progress | None = None) -> tuple[dict, dict]:
    """Read or draw the splits, train the tokenizer, encode, cut. Pure: nothing is written.

    Args:
        config: what to prepare.
        name: of the data set; not used, embedded corpora are the same under each name.
        progress: called with (what is done, how many, of how many or None).

    Returns:
        Arrays (``shard1`` .., ``validation``, ``test``: blocks, (n, block) uint16; the ``tokenizer``), and facts:
        source, counts, entropies.

    Raises:
        DataError: a file is missing or wrong, a block is longer than a split, or a split has fewer blocks than are
            asked for.
    """
    report = progress or (lambda what, done, total: None)
    cuts, tokenizer, end, facts = articlesplits.READ[config.source](config, report)
    train = cuts["train"]
    size = config.train or len(train.blocks)
    parts = {f"shard{i + 1}": train.blocks[i * size : (i + 1) * size] for i in range(config.shards)}
    parts |= {split: cuts[split].blocks for split in ("validation", "test")}
    first, test = parts["shard1"], parts["test"]
    seen = np.unique(first)
    count = config.vocabulary if _foreign(config) and config.vocabulary else tokenizer.get_vocab_size()
    facts |= {
        "blocks": {k: len(v) for k, v in parts.items()},
        "tokens": {k: v.tokens for k, v in cuts.items()},
        "mean_length": {k: float(config.block) for k in parts},
        # blocks of D_1 whose next one does not go on where they end, the last of all not counted
        "gaps": int((np.diff(train.starts[:size]) != config.block).sum()),
        "vocabulary": count,
        "end": end,
        "types": {k: len(np.unique(v)) for k, v in parts.items()},
        "test_tokens_seen": float(np.isin(test, seen).mean()),
        "unigram_entropy": entropy(np.bincount(first.ravel(), minlength=count)),
        "test_characters_per_token": len(_text(tokenizer, test, end)) / test.size,
    }
    return {**parts, "tokenizer": bpe.pack(tokenizer)}, facts


def _foreign(config: Config) -> bool:
    return config.tokenizer not in (None, "embedded")


def _text(tokenizer, blocks: np.ndarray, end: int) -> str:
    return "".join(bpe.decode(tokenizer, Ragged.of([row[row != end] for row in blocks])))


@dataclass(frozen=True, eq=False)
class Articles(Shards):
    """A prepared text, as `load` gives it; one chain."""

    config: Config
    arrays: dict[str, np.ndarray]
    facts: dict
    name: str = "articles"

    @property
    def size(self) -> int:
        """N, the blocks of generation 1."""
        return len(self.arrays["shard1"])

    @property
    def end(self) -> int:
        """The number of the mark that begins each line."""
        return self.facts["end"]

    @property
    def mark(self) -> str:
        """The mark as `decode` writes it."""
        return self.tokenizer.id_to_token(self.end)

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data."""
        return {"vocabulary": self.facts["vocabulary"], "end": self.end, "block": self.config.block}

    @property
    def floor(self) -> float | None:
        """Cross-entropy of the true source on the test texts, in nats per token; None where the source is not known.

        -sum log p(text) / tokens, over the texts that the test blocks are cut from and all of their tokens. The source
        knows each text from its beginning. A model knows the block alone, so that this is a lower bound, in
        expectation, which no model of blocks attains.
        """
        return self.facts["source_entropy"]

    @cached_property
    def tokenizer(self):
        """The frozen tokenizer (``tokenizers.Tokenizer``)."""
        return (tokenfiles.unpack if _foreign(self.config) else bpe.unpack)(self.arrays["tokenizer"])

    @cached_property
    def acceptor(self) -> Acceptor | None:
        """Which sentences the source can make; None where it is not known."""
        return Acceptor(corpora.grammar(self.config.corpus)) if self.config.source == "embedded" else None

    def _split(self, name: str, start: int = 0) -> Items:
        return Items.make(_ragged(self.arrays[name]), generation=0, start=start)

    def contexts(self, count: int, rng: Streams) -> np.ndarray:
        """Return the first ``count`` blocks of D_1 in order, from the first one again after the last: (count, block).

        They are the same at each call: ``rng`` is not used. Item i of a sample goes on where block i of D_1 ends.
        """
        return np.resize(self.arrays["shard1"], (count, self.config.block)).astype(np.int64)

    def prompts(self, items: Items) -> np.ndarray:
        """Return the outputs of items as contexts, (n, P) int64. Raises DataError: not all are of one length."""
        lengths = set(items.output.lengths.tolist())
        if len(lengths) != 1:
            raise DataError(f"prompts are blocks of one length, got {sorted(lengths)}: set `start: continuation`")
        return items.output.values.reshape(len(items), -1).astype(np.int64)

    def correct(self, items: Items, share: float, rng: Streams) -> Items:
        """Replace a share of synthetic items by the true continuations of their prompts: the next blocks of the text.

        Item i of a sample continues block i of D_1, counted modulo N (`contexts`), and is replaced by block i + 1, the
        last one's by block 0; the items that replace are real. Where prompts are synthetic, the text of the same place
        is what replaces. Real items are right as they are.

        Args:
            items: one chain.
            share: q in [0, 1]; round(q n) of the n items are drawn without replacement.
            rng: one chain.
        """
        index = rng.alone.choice(len(items), round(share * len(items)), replace=False)
        index = index[items.generation[0, index] > 0]
        if len(index) == 0:
            return items
        place = (items.index[0, index] + 1) % self.size
        chosen = np.arange(len(items))
        chosen[index] = len(items) + place
        output = Ragged.concat([items.output, _ragged(self.arrays["shard1"].astype(items.output.values.dtype))])
        generation, number = items.generation.copy(), np.array(items.index)
        generation[0, index], number[0, index] = 0, place
        return replace(items, output=output.take(chosen), generation=generation, index=number, logprob=None)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each token type stands in D_1, (V,) int64."""
        return np.bincount(self.arrays["shard1"].ravel(), minlength=self.facts["vocabulary"])

    @cached_property
    def rare_tokens(self) -> np.ndarray:
        """Which token types are rare, (V,) bool: the rarest ones that make up at most a tenth of the tokens of D_1.

        Types that D_1 lacks are rare; of two that are equally rare, the one of the smaller number is the rarer.
        """
        order = np.argsort(self.counts, kind="stable")
        rare = np.zeros(len(self.counts), bool)
        rare[order[np.cumsum(self.counts[order]) <= self.counts.sum() / 10]] = True
        return rare

    def reduce(self, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Replace ``token_loss`` and ``token_count``, (1, V), by mean losses in nats, (1,), of tokens of some types.

        ``rare_cross_entropy``: of the rare ones (`rare_tokens`). ``unmarked_cross_entropy``: of all but the mark, which
        stands in real blocks, but not in those of a sampler that never draws the end token: a model of such blocks
        loses on each mark of the test set. A mean of no tokens is left out, and the second where there is no mark.
        """
        metrics = dict(metrics)
        if "token_loss" in metrics:
            loss, count = metrics.pop("token_loss"), metrics.pop("token_count")
            chosen = {"rare_cross_entropy": self.rare_tokens}
            if count[:, self.end].any():
                chosen["unmarked_cross_entropy"] = np.arange(count.shape[1]) != self.end
            for name, types in chosen.items():
                if count[:, types].sum():
                    metrics[name] = loss[:, types].sum(1) / count[:, types].sum(1)
        return metrics

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace each token with probability ``rate`` by a draw from the unigram distribution of D_1."""
        if rate == 0:
            return items
        values = items.output.values.copy()
        hit = rng.alone.random(len(values)) < rate
        values[hit] = rng.alone.choice(len(self.counts), int(hit.sum()), p=self.counts / self.counts.sum())
        return replace(items, output=Ragged(values, items.output.offsets), logprob=None)

    def decode(self, items: Items) -> list[str]:
        """Return the text of each item, with the mark in front of each line."""
        return bpe.decode(self.tokenizer, items.output)

    def truth(self, items: Items) -> None:
        """None: the probability of a block, which begins and ends anywhere in a text, is not known."""
        return None


def _ragged(blocks: np.ndarray) -> Ragged:
    return Ragged(blocks.ravel(), blocks.shape[1] * np.arange(len(blocks) + 1))


def load(config: Config, arrays: dict, facts: dict, seeds=(0,), name: str = "articles") -> Articles:
    """Return the data set from what `prepare` gave. Raises ConfigError where several chains are to run side by side."""
    if len(seeds) != 1:
        raise ConfigError(f"articles run one chain at a time, not {len(seeds)}: make it a block of `cells`")
    return Articles(config, arrays, facts, name)
