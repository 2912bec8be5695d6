"""Byte-level BPE: any text to tokens and back without loss. The end token has number 0; the 256 bytes follow."""

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from collapse.errors import DataError
from collapse.items import Ragged

BATCH = 4096
"""Texts that are encoded or decoded together: bounds the memory of the library's records."""

REMEDY = "delete the prepared data set and prepare it again"


PROBE = "".join(map(chr, (*range(0x800), *range(0x800, 0xD800, 0x800), *range(0x10000, 0x110000, 0x10000))))
"""A text with every byte that UTF-8 has."""


def train(texts: Iterable[str], vocabulary: int, end: str) -> Tokenizer:
    """Train a tokenizer of at most ``vocabulary`` tokens; the same texts give the same one.

    Words are split as by GPT-2; a pair is merged where it occurs at least twice. Ties between pairs go to the tokens
    that came first, so that neither threads nor hashing matter.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Return the tokens of each text, uint16, without an end token.

    Raises:
        DataError: the tokens of a text do not stand for all of its bytes; the library drops what it has no symbol for.
    """
    rows, held = [], np.zeros(1 + max(tokenizer.get_vocab().values()), np.int64)  # bytes that a token stands for
    for symbols, token in tokenizer.get_vocab().items():
        held[token] = len(symbols)
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        for text, encoding in zip(batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            rows.append(np.array(encoding.ids, np.uint16))
            if held[rows[-1]].sum() != len(text.encode()):
                raise DataError(f"the tokenizer loses a part of {text[:60]!r}: {REMEDY}")
    return Ragged.of(rows)


def decode(tokenizer: Tokenizer, tokens: Ragged) -> list[str]:
    """Return the text of each sequence. Bytes that are not UTF-8 become U+FFFD; an end token shows as its text.

    Raises:
        DataError: a token is not in the tokenizer; the library would leave it out.
    """
    size = tokenizer.get_vocab_size()
    if len(tokens.values) and (highest := tokens.values.max()) >= size:
        raise DataError(f"token {highest} is not one of the {size} of the tokenizer: the texts are of another data set")
    out = []
    for start in range(0, len(tokens), BATCH):
        rows = [tokens[i].tolist() for i in range(start, min(start + BATCH, len(tokens)))]
        out += tokenizer.decode_batch(rows, skip_special_tokens=False)
    return out


def pack(tokenizer: Tokenizer) -> np.ndarray:
    """Return the tokenizer as bytes, for storage; `unpack` is the inverse. Shape (bytes,), uint8."""
    return np.frombuffer(tokenizer.to_str().encode(), np.uint8)


def unpack(array: np.ndarray) -> Tokenizer:
    """Rebuild a tokenizer from `pack`.

    Raises:
        DataError: the bytes are no tokenizer, or it is not one of this module: it lacks the end token as number 0 or
            one of the 256 byte symbols, leaves out numbers, or does not give back what it is given.
    """
    try:
        tokenizer = Tokenizer.from_str(array.tobytes().decode())
    except Exception as error:  # the library raises nothing more specific
        raise DataError(f"the stored tokenizer cannot be read ({error}): {REMEDY}") from error
    vocabulary, special = tokenizer.get_vocab(), tokenizer.get_added_tokens_decoder()
    if 0 not in special or not special[0].special:
        raise DataError(f"the stored tokenizer has no end token of number 0: {REMEDY}")
    if missing := sorted(set(pre_tokenizers.ByteLevel.alphabet()) - vocabulary.keys()):
        shown = " ".join(missing[:8]) + " ..." * (len(missing) > 8)
        raise DataError(f"the stored tokenizer lacks {len(missing)} of the 256 byte symbols ({shown}): {REMEDY}")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))) or len(vocabulary) > 1 << 16:
        raise DataError(f"the tokens of the stored tokenizer are not numbered from 0 to at most 65535: {REMEDY}")
    try:
        faithful = decode(tokenizer, encode(tokenizer, [PROBE])) == [PROBE]
    except DataError:
        faithful = False
    if not faithful:
        raise DataError(f"the stored tokenizer does not give back the text that it is given: {REMEDY}")
    return tokenizer
