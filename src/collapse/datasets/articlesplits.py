"""The splits of running text: lines of files or of an embedded corpus, as tokens, cut into blocks."""

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from collapse.datasets import bpe, corpora, hub, tokenfiles, wikitext
from collapse.datasets.lines import Cut, cut, encode
from collapse.datasets.splits import Progress
from collapse.errors import DataError
from collapse.items import Ragged

Splits = tuple[dict[str, Cut], Tokenizer, int, dict]
"""The blocks of each split, the tokenizer, the number of its mark, facts."""


def tokenizer(config, train: list[str] | None) -> tuple[Tokenizer, int, str]:
    """Return the tokenizer of a config, the number of its mark, and where it is from, in words.

    Args:
        config: `articles.Config`.
        train: lines of the train split, where a BPE may be trained on them.

    Raises:
        DataError: the files of the tokenizer are wrong, or it has more tokens than ``vocabulary``.
    """
    if config.tokenizer is None and train is not None:
        return tokenfiles.plain(bpe.train(train, config.vocabulary, corpora.MARK)), 0, "all lines of the train split"
    if config.tokenizer in (None, "embedded"):
        shared = f"a fixed mix of {corpora.MIX} texts of each embedded corpus"
        return tokenfiles.plain(corpora.tokenizer(config.vocabulary)), 0, shared
    found, mark = tokenfiles.read(tokenfiles.folder(config.tokenizer))
    if config.vocabulary is not None and config.vocabulary < (size := found.get_vocab_size()):
        raise DataError(
            f"the tokenizer in {config.tokenizer} has {size} tokens: set `vocabulary` to as many, or to null"
        )
    return found, mark, f"files in {config.tokenizer}"


def asked(config) -> dict[str, int | None]:
    """Return the blocks of each split that a config asks for; None for all."""
    train = None if config.train is None else config.train * config.shards
    return {"train": train, "validation": config.validation, "test": config.test}


def embedded(config, report: Progress) -> Splits:
    """Draw an embedded corpus. The test set is drawn first: it is the same whatever is trained on.

    Returns:
        See `Splits`. The facts have the exact entropy of the source in nats per text, and ``source_entropy``, that of
        the test texts in nats per token.
    """
    report("training the tokenizer", 0, None)
    tokens, mark, origin = tokenizer(config, None)
    source, avoid, cuts, entropy, counts = corpora.grammar(config.corpus), set(), {}, 0.0, {}
    for split in ("test", "validation", "train"):
        count = asked(config)[split]
        texts, rows, parts = [], [], []  # rows: of each text; parts: tokens of the rows
        for chunk in corpora.draw(source, config.corpus, split, avoid):
            texts += chunk
            of_text = [_kept(corpora.lines([text]), config) for text in chunk]
            rows += map(len, of_text)
            parts.append(encode(tokens, list(chain(*of_text)), mark if config.bos_per_line else None))
            if sum(len(part.values) for part in parts) < count * config.block:
                continue
            joined = Ragged.concat(parts)
            made = cut(joined, config.block, config.remainder_every, f"the {config.corpus} corpus")
            report(f"drawing blocks for {split}", min(count, len(made.blocks)), count)
            if len(made.blocks) >= count:
                break
        cuts[split] = made.first(count)
        ends = joined.offsets[np.cumsum(rows)]  # of each text, in tokens
        used = int(np.searchsorted(ends, cuts[split].tokens)) + 1
        counts[split] = used
        if split == "test":
            entropy = -sum(map(source.log_probability, texts[:used])) / int(ends[used - 1])
    facts = {
        "source": f"embedded {config.corpus} grammar",
        "texts": counts,
        "tokenizer_from": origin,
        "source_entropy": entropy,
        "grammar_entropy_per_text": source.entropy(),
        "test_from": "drawn from the grammar",
        "validation_from": "drawn from the grammar",
    }
    return cuts, tokens, mark, facts


def local(config, report: Progress) -> Splits:
    """Read files of a folder."""
    return _files(config, wikitext.find(config.path, config.files), config.sha256 or {}, "local files", report)


def from_hub(config, report: Progress) -> Splits:
    """Fetch the files of a revision."""
    known = (config.repository, config.revision) == (wikitext.REPOSITORY, wikitext.REVISION)
    sums = {**(wikitext.CHECKSUMS if known else {}), **(config.sha256 or {})}
    paths = hub.fetch(config.repository, config.revision, tuple(wikitext.CHECKSUMS), sums)
    files = {split: (path,) for split, path in zip(wikitext.SPLITS, paths, strict=True)}
    named = {Path(name).name: value for name, value in sums.items()}
    return _files(config, files, named, f"hub {config.repository}@{config.revision}", report)


def _kept(lines: list[str], config) -> list[str]:
    return lines if config.empty_lines == "kept" else [line for line in lines if line]


def _files(config, files: Mapping[str, tuple[Path, ...]], sums: Mapping[str, str], origin: str, report) -> Splits:
    about = wikitext.checked(files, sums)
    names = {split: ", ".join(map(str, paths)) for split, paths in files.items()}
    texts = {}
    for split, paths in files.items():
        report(f"reading lines of {split}", 0, None)
        texts[split] = _kept(list(wikitext.lines(paths)), config)
    if len({file["sha256"] for file in about}) < len(about):
        raise DataError(f"two of the files are the same ({'; '.join(names.values())}): splits must be different texts")
    report("training the tokenizer", 0, None)
    tokens, mark, tokenizer_from = tokenizer(config, texts["train"])
    cuts = {}
    for split, count in asked(config).items():
        report(f"encoding lines of {split}", len(texts[split]), len(texts[split]))
        rows = encode(tokens, texts[split], mark if config.bos_per_line else None)
        made = cut(rows, config.block, config.remainder_every, f"the {split} split ({names[split]})")
        if len(made.blocks) < (count or 0):
            raise DataError(_shortage(split, names[split], made, count, config))
        cuts[split] = made if count is None else made.first(count)
    facts = {
        "source": f"{origin}: " + ", ".join(f"{a['name']} (sha256 {a['sha256']})" for a in about),
        "files": about,
        "lines": {split: len(text) for split, text in texts.items()},
        "tokenizer_from": tokenizer_from,
        "source_entropy": None,
        "test_from": f"the official test split, {names['test']}",
        "validation_from": f"the official validation split, {names['validation']}",
    }
    return cuts, tokens, mark, facts


def _shortage(split: str, names: str, made: Cut, count: int, config) -> str:
    keys = "`train` or `shards`" if split == "train" else f"`{split}`"
    there = f"{len(made.blocks):,} blocks of {config.block} tokens"
    return f"the {split} split ({names}) has {there}, {count:,} are asked for: lower {keys}"


READ: dict[str, Callable[..., Splits]] = {"embedded": embedded, "local": local, "hub": from_hub}
