"""WikiText (Merity et al., arXiv 1609.07843) in files of its official formats, line by line as the hub has it.

    wiki.train.raw, wiki.train.tokens   the archives' text files: one line of an article after the other
    train-00000-of-00001.parquet        the hub's files: a string column ``text``, one line per row

A line keeps the space before it and the line break after it, and a line of white space is ``""``: so does the hub's
own conversion of the archives. A file that is missing, not UTF-8, or without the column is a `DataError` that names it.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from collapse import store
from collapse.datasets import textfiles
from collapse.errors import ConfigError, DataError, unknown

SPLITS = ("train", "validation", "test")

REPOSITORY = "Salesforce/wikitext"
FOLDER = "wikitext-2-raw-v1"
# The head of `main` since January 2024. Revision and checksums stand in several independent public manifests; they are
# to be confirmed by the first download, which fails where the bytes differ.
REVISION = "b08601e04326c79dfdd32d625aee71d232d685c3"
CHECKSUMS = {
    f"{FOLDER}/train-00000-of-00001.parquet": "e83889baabc497075506f91975be5fac0d45c5290b6b20582c8cd1e853d0c9f7",
    f"{FOLDER}/validation-00000-of-00001.parquet": "204929b7ff9d6184953f867dedb860e40aa69c078fc1e54b3baaa8fb28511c4c",
    f"{FOLDER}/test-00000-of-00001.parquet": "5f1bea067869d04849c0f975a2b29c4ff47d867f484f5010ea5e861eab246d91",
}

# names of the files of a folder, in the order of `SPLITS`; the first layout of which it holds a file is taken
LAYOUTS = (
    ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"),
    ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    (f"{FOLDER}/train-*.parquet", f"{FOLDER}/validation-*.parquet", f"{FOLDER}/test-*.parquet"),
    ("train-*.parquet", "validation-*.parquet", "test-*.parquet"),
)


def find(path: str | Path, named: Mapping[str, str] | None = None) -> dict[str, tuple[Path, ...]]:
    """Return the files of each split.

    Args:
        path: a folder.
        named: split -> name of its file in the folder; None for one of `LAYOUTS`.

    Raises:
        DataError: the folder or a file does not exist, or the folder holds no layout, or a part of one.
        ConfigError: ``named`` lacks a split, or names one that is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: set `path` to the one that holds the files of WikiText")
    if named is not None:
        for split in named:
            if split not in SPLITS:
                raise unknown("split of `files`", str(split), SPLITS)
        if missing := [split for split in SPLITS if split not in named]:
            raise ConfigError(f"articles: `files` names no file for {' and '.join(missing)}")
        for name in named.values():
            if not (folder / name).is_file():
                raise DataError(f"{folder / name} does not exist: put it there, or name another file in `files`")
        return {split: (folder / named[split],) for split in SPLITS}
    for names in LAYOUTS:
        found = {split: tuple(sorted(folder.glob(name))) for split, name in zip(SPLITS, names, strict=True)}
        if not any(found.values()):
            continue
        for files, name in zip(found.values(), names, strict=True):
            if not files:
                raise DataError(f"{folder / name} is missing: put it there, or name the three files in `files`")
            textfiles.check_parts(files)
        return found
    known = "; ".join(", ".join(names) for names in LAYOUTS)
    raise DataError(f"{folder} holds no known layout ({known}): name the three files in `files`")


def lines(files: Iterable[Path]) -> Iterator[str]:
    """Yield the lines of files in order; see the module.

    Raises:
        DataError: a file cannot be read, is empty, is not UTF-8, or lacks the column ``text``.
    """
    for path in files:
        filled = False
        try:
            for line in textfiles.parquet(path) if path.suffix == ".parquet" else _text(path):
                filled = filled or bool(line.strip())
                yield line if line.strip() else ""
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        if not filled:
            raise DataError(f"{path} holds no text: check that it is the right file, or fetch it again")


def _text(path: Path) -> Iterator[str]:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(textfiles.not_utf8(path, f"byte {error.start:,}")) from error
    # other line breaks of Unicode are part of a line, as they are for `open`
    return iter(io.StringIO(text, newline=None))


def checked(files: Mapping[str, tuple[Path, ...]], sums: Mapping[str, str]) -> list[dict]:
    """Return name, bytes and SHA-256 of each file, and whether that was checked.

    Args:
        files: split -> files.
        sums: file name -> expected SHA-256.

    Raises:
        DataError: a file has another checksum. ConfigError: a checksum names no file.
    """
    every = [path for paths in files.values() for path in paths]
    for name in sums:
        if name not in (names := [path.name for path in every]):
            raise unknown("file of `sha256`", name, names)
    about = []
    for path in every:
        found = store.sha256(path)
        if sums.get(path.name, found) != found:
            raise DataError(f"{path} has the SHA-256 {found}, not {sums[path.name]}: it is truncated or another file")
        about.append({"name": path.name, "bytes": path.stat().st_size, "sha256": found, "checked": path.name in sums})
    return about
