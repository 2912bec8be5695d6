"""The embedded corpora, articles, library and stories, in the layout of WikiText, and the tokenizer that they share.

A model that was pre-trained on one of them reads the others: the tokenizer is trained on a fixed mix of all, so that
data sets of equal vocabulary have the same tokens.
"""

from collections.abc import Iterator

from tokenizers import Tokenizer

from collapse import seeding
from collapse.datasets import articlebook, bpe
from collapse.datasets.grammar import Grammar

GRAMMARS = {"articles": articlebook.articles, "library": articlebook.library, "stories": articlebook.stories}

MARK = "</s>"
"""The token that begins each line, of number 0; OPT's has this text."""

MIX = 1500
"""Texts of each corpus that the tokenizer is trained on."""

CHUNK = 64
"""Texts that are drawn together: of few and of many, the first are the same ones."""


def grammar(corpus: str) -> Grammar:
    """Return the source of a corpus."""
    return GRAMMARS[corpus]()


def lines(texts: list[str]) -> list[str]:
    """Return the lines of texts with their line breaks, as WikiText's hub has them: those of white space are ``""``."""
    return [f"{line}\n" if line.strip() else "" for text in texts for line in text.split("\n")[:-1]]


def draw(source: Grammar, corpus: str, split: str, avoid: set[str]) -> Iterator[list[str]]:
    """Yield different texts, `CHUNK` at a time and for ever; none is in ``avoid``, where those that are drawn go."""
    rng = seeding.stream("articles", corpus, split)
    while True:
        texts = source.sample_distinct(CHUNK, rng, avoid)
        avoid.update(texts)
        yield texts


def tokenizer(vocabulary: int) -> Tokenizer:
    """Train the shared tokenizer, byte-level: it encodes any text."""
    drawn = {name: make().sample(MIX, seeding.stream("articles", "tokenizer", name)) for name, make in GRAMMARS.items()}
    return bpe.train((line for texts in drawn.values() for line in lines(texts) if line), vocabulary, MARK)
