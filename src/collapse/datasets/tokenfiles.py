"""Tokenizers in files: the byte-level BPE of GPT-2 and OPT, read without `transformers`.

    tokenizer.json            what the `tokenizers` library writes
    vocab.json + merges.txt   the older pair, as of facebook/opt-125m

The token that begins each line (OPT's ``</s>``) is the ``bos_token`` of ``tokenizer_config.json`` or
``special_tokens_map.json``, and where these say nothing, one of `MARKS` that the tokenizer has.
"""

import json
import re
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from collapse.datasets import bpe
from collapse.errors import DataError

MARKS = ("</s>", "<|endoftext|>")
NAMES = ("tokenizer_config.json", "special_tokens_map.json")
KINDS = ("bos_token", "eos_token", "unk_token", "pad_token")


COMMIT = re.compile(r"(?P<repository>[^@]+)@(?P<revision>[0-9a-f]{40})")
FILES = ("vocab.json", "merges.txt", *NAMES)


def folder(place: str) -> Path:
    """Return the folder of a tokenizer: ``place`` itself, or of what ``repository@commit`` has on the hub.

    Raises:
        DataError: see `collapse.datasets.hub.fetch`.
    """
    from collapse.datasets import hub

    if (found := COMMIT.fullmatch(place)) is None:
        return Path(place)
    return hub.fetch(found["repository"], found["revision"], FILES, {}, kind="model")[0].parent


def read(folder: str | Path) -> tuple[Tokenizer, int]:
    """Return the tokenizer of a folder, and the number of the token that begins each line.

    Raises:
        DataError: a file is missing or broken, or names no such token; the tokenizer is not byte-level, so that it
            loses a part of some texts, or has numbers above 65535.
    """
    folder = Path(folder)
    named = _named(folder)
    try:
        if (whole := folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(whole))
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            tokenizer = _pair(folder, named)
        else:
            raise DataError(f"{folder} holds no tokenizer: it needs tokenizer.json, or vocab.json and merges.txt")
    except DataError:
        raise
    except Exception as error:  # the library raises nothing more specific
        raise DataError(f"the tokenizer in {folder} cannot be read ({error}): fetch it again") from error
    mark = named.get("bos_token") or next((m for m in MARKS if tokenizer.token_to_id(m) is not None), None)
    if mark is None or (end := tokenizer.token_to_id(mark)) is None:
        raise DataError(f"the tokenizer in {folder} has no token {mark or ' or '.join(MARKS)}: it begins each line")
    plain(tokenizer)
    if max(tokenizer.get_vocab().values()) >= 1 << 16:
        raise DataError(f"the tokenizer in {folder} has tokens above 65535: take a smaller one")
    try:
        faithful = bpe.decode(tokenizer, bpe.encode(tokenizer, [bpe.PROBE])) == [bpe.PROBE]
    except DataError:
        faithful = False
    if not faithful:
        raise DataError(
            f"the tokenizer in {folder} does not give back all texts: take a byte-level one (GPT-2's, OPT's)"
        )
    return tokenizer, end


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Make a tokenizer read all text as text: no cutting, no padding; a mark that stands in a text is no token."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def unpack(array: np.ndarray) -> Tokenizer:
    """Rebuild a tokenizer from `bpe.pack`. Raises DataError where the bytes are none."""
    try:
        return plain(Tokenizer.from_str(array.tobytes().decode()))
    except Exception as error:  # the library raises nothing more specific
        raise DataError(f"the stored tokenizer cannot be read ({error}): {bpe.REMEDY}") from error


def _named(folder: Path) -> dict[str, str]:
    """Return the special tokens that the files beside a tokenizer name."""
    found = {}
    for path in (folder / name for name in NAMES):
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_bytes())
            values = {kind: content[kind] for kind in KINDS if content.get(kind)}
            found = {kind: v if isinstance(v, str) else v["content"] for kind, v in values.items()} | found
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} is not what a tokenizer needs ({error}): fetch it again") from error
    return found


def _pair(folder: Path, named: dict[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    there = [token for token in dict.fromkeys([*named.values(), *MARKS]) if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in there])
    return tokenizer
