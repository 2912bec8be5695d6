"""Stories in files of the official formats, read as streams: memory is bounded by the longest story.

    .txt      stories separated by ``<|endoftext|>`` (TinyStories-train.txt)
    .parquet  a string column ``text`` (data/train-00000-of-00004-*.parquet)
    .jsonl    one object per line with a string field ``text``

A file that is missing, truncated, not UTF-8, or without the field is a `DataError` that names the file and the place.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

from collapse.errors import DataError

SEPARATOR = "<|endoftext|>"
# a text file whose first story is longer than this is not in the format
LONGEST = 1 << 24
# what ends a complete story that no separator closes: the official validation file ends so
SENTENCE_END = ".!?…\"'”’)*"

# names of train and test files inside a folder; the first pair of which the folder holds a file is taken
LAYOUTS = (
    ("TinyStories-train.txt", "TinyStories-valid.txt"),
    ("data/train-*.parquet", "data/validation-*.parquet"),
    ("train-*.parquet", "validation-*.parquet"),
    ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
    ("train.parquet", "validation.parquet"),
    ("train.jsonl", "validation.jsonl"),
    ("train.txt", "validation.txt"),
)


def find(path: str | Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the train and the test files that a user's path names: one file, or a folder that holds a layout.

    There are no test files where the path is one file. Of several of `LAYOUTS` the first is taken.

    Raises:
        DataError: the path does not exist, the folder holds none of the layouts, one half of one, or not all parts.
    """
    path = Path(path)
    if path.is_file():
        return (path,), ()
    if not path.is_dir():
        raise DataError(f"{path} does not exist: set `path` to a file of stories, or to a folder that holds them")
    for names in LAYOUTS:
        found = [tuple(sorted(path.glob(name))) for name in names]
        if not any(found):
            continue
        for name, files in zip(names, found, strict=True):
            if not files:
                raise DataError(f"{path / name} is missing: put it there, or set `path` to the one file to be cut")
            check_parts(files)
        return found[0], found[1]
    known = "; ".join(" with ".join(names) for names in LAYOUTS)
    raise DataError(f"{path} holds no stories in a known layout ({known}): rename the files, or name one by `path`")


def check_parts(files: tuple[Path, ...]) -> None:
    """Raise DataError where files are numbered parts of a whole, and some of them are missing."""
    numbers = [re.search(r"-(\d{5})-of-(\d{5})", file.name) for file in files]
    if not all(numbers):
        return
    expected, there = int(numbers[0][2]), {int(n[1]) for n in numbers}
    if missing := sorted(set(range(expected)) - there):
        names = ", ".join(f"{number:05d}" for number in missing)
        raise DataError(f"{files[0].parent} holds {len(there)} of {expected} parts: fetch part {names}")


def read(path: Path, *, closed: bool = False) -> Iterator[str]:
    """Yield the stories of one file in order, without white space around them; empty ones are yielded as ``""``.

    Args:
        path: a ``.txt``, ``.parquet`` or ``.jsonl`` file.
        closed: the bytes are known to be complete, so that the end of a text file is not looked at.

    Raises:
        DataError: see the module.
    """
    readers = {".txt": _text, ".parquet": parquet, ".jsonl": _jsonl}
    if path.suffix not in readers:
        raise DataError(f"{path} ends in {path.suffix!r}; stories are read from {', '.join(readers)} files")
    try:
        for story in readers[path.suffix](path, closed):
            yield story.strip()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _text(path: Path, closed: bool) -> Iterator[str]:
    decoder, rest, position, separated = codecs.getincrementaldecoder("utf-8")(), "", 0, False
    with path.open("rb") as file:
        while True:
            chunk = file.read(1 << 20)
            try:
                rest += decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # the decoder counts from the bytes that it kept of the chunk before
                place = position - (len(error.object) - len(chunk)) + error.start
                raise DataError(not_utf8(path, f"byte {place:,}")) from error
            position += len(chunk)
            *stories, rest = rest.split(SEPARATOR)
            separated |= bool(stories)
            yield from stories
            if not separated and (not chunk or len(rest) > LONGEST):
                raise DataError(f"{path} has no {SEPARATOR!r}: put one after each story, or use .jsonl or .parquet")
            if not chunk:
                break
    if rest := rest.strip():
        if not closed and rest[-1] not in SENTENCE_END:
            raise DataError(
                f"{path} ends inside a sentence ({rest[-40:]!r}): it is truncated, fetch it again; "
                f"if it is complete, close its last story with {SEPARATOR!r}"
            )
        yield rest


def _jsonl(path: Path, closed: bool) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise DataError(not_utf8(path, f"line {number:,}")) from error
            except ValueError as error:
                why = "truncated: fetch it again" if not line.endswith(b"\n") else "mend or delete the line"
                raise DataError(f"{path}, line {number:,} is not valid JSON ({error}): {why}") from error
            if not isinstance(row, dict) or "text" not in row:
                there = f"it has {', '.join(sorted(row)) or 'none'}" if isinstance(row, dict) else "it is no object"
                raise DataError(f"{path}, line {number:,} has no field 'text' ({there}): rename the field")
            yield _checked(row["text"], path, f"line {number:,}")


def parquet(path: Path, closed: bool = True) -> Iterator[str]:
    """Yield the column ``text`` of a file as it is; ``closed`` is not used. Raises DataError: see the module."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            if "text" not in names:
                raise DataError(f"{path} has no column 'text' (it has {', '.join(names)}): rename the column")
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=["text"]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    yield _checked(text, path, f"row {number:,}")
    # broken pages are reported as operating-system errors, broken text as a decoding error
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is truncated or not parquet ({error}): fetch it again") from error


def _checked(text, path: Path, place: str) -> str:
    if not isinstance(text, str):
        raise DataError(f"{path}, {place}: 'text' is {type(text).__name__}, not a string: mend or delete it")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(f"{path}, {place}: the text holds half of a character (a lone surrogate): mend or delete it")
    if SEPARATOR in text:
        raise DataError(f"{path}, {place}: the text contains {SEPARATOR!r}, which ends a story: split it there")
    return text


def not_utf8(path: Path, place: str) -> str:
    """Return what to say of a file that is not UTF-8."""
    return f"{path} is not UTF-8 at {place}: convert it (iconv -f latin1 -t utf-8), or fetch it again"
