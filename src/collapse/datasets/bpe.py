"""Byte-level BPE: any text to tokens and back without loss. The end token has number 0; the 256 bytes follow."""

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from collapse.items import Ragged

BATCH = 4096
"""Texts that are encoded or decoded together: bounds the memory of the library's records."""


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
    """Return the tokens of each text, uint16, without an end token."""
    rows = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False)
        rows += [np.array(encoding.ids, np.uint16) for encoding in batch]
    return Ragged.of(rows)


def decode(tokenizer: Tokenizer, tokens: Ragged) -> list[str]:
    """Return the text of each sequence. Bytes that are not UTF-8 become U+FFFD; an end token shows as its text."""
    out = []
    for start in range(0, len(tokens), BATCH):
        rows = [tokens[i].tolist() for i in range(start, min(start + BATCH, len(tokens)))]
        out += tokenizer.decode_batch(rows, skip_special_tokens=False)
    return out


def pack(tokenizer: Tokenizer) -> np.ndarray:
    """Return the tokenizer as bytes, for storage; `unpack` is the inverse. Shape (bytes,), uint8."""
    return np.frombuffer(tokenizer.to_str().encode(), np.uint8)


def unpack(array: np.ndarray) -> Tokenizer:
    """Rebuild a tokenizer from `pack`."""
    return Tokenizer.from_str(array.tobytes().decode())
