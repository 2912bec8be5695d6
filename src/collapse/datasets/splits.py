"""Disjoint splits: different stories in a drawn order, taken one after the other, of at most so many tokens."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from collapse import seeding, store
from collapse.datasets import bpe, hub, textfiles
from collapse.datasets.words import digest
from collapse.errors import DataError, unknown
from collapse.items import Ragged

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Drawn:
    """Stories in memory, with the interface of `Pool`."""

    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def fetch(self, start: int, stop: int) -> list[str]:
        """Return the stories ``start`` to ``stop``."""
        return self.texts[start:stop]


@dataclass(frozen=True)
class Pool:
    """Different stories of some files in a drawn order; they are read when they are asked for.

    Attributes:
        files: (path, whether its end is known to be complete), in order.
        order: (n,) places among all stories of the files.
    """

    files: tuple[tuple[Path, bool], ...]
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def fetch(self, start: int, stop: int) -> list[str]:
        """Return the stories ``start`` to ``stop`` of the order: one pass through the files. Raises DataError."""
        wanted = {place: i for i, place in enumerate(self.order[start:stop].tolist())}
        out = [""] * len(wanted)
        for place, story in enumerate(_all(self.files)):
            if (i := wanted.get(place)) is not None:
                out[i] = story
        return out


def survey(files: tuple[tuple[Path, bool], ...], seen: set[bytes], report: Progress) -> tuple[np.ndarray, dict]:
    """Find the stories of files that occur for the first time.

    Args:
        files: (path, whether its end is known to be complete), in order.
        seen: digests of the stories that do not count again; those that are found are added.
        report: called every 10,000 stories.

    Returns:
        Their places among all stories, (n,) int64, and the counts ``stories``, ``empty``, ``duplicates`` (of one before
        in the same files) and ``elsewhere`` (of one in ``seen`` at the start).

    Raises:
        DataError: a file is wrong (`textfiles.read`), or the files hold no story.
    """
    before, places = frozenset(seen), []
    counts = {"stories": 0, "empty": 0, "duplicates": 0, "elsewhere": 0}
    for place, story in enumerate(_all(files)):
        counts["stories"] += 1
        if place % 10_000 == 0:
            report("reading stories", place, None)
        if not story:
            counts["empty"] += 1
        elif (key := digest(story)) not in seen:
            seen.add(key)
            places.append(place)
        else:
            counts["elsewhere" if key in before else "duplicates"] += 1
    if not places:
        names = ", ".join(str(path) for path, _ in files)
        raise DataError(f"{names}: no story in it that counts ({counts}); check that it is the right file")
    return np.array(places, np.int64), counts


def _all(files: tuple[tuple[Path, bool], ...]) -> Iterator[str]:
    for path, closed in files:
        yield from textfiles.read(path, closed=closed)


def from_files(name: str, train, test, sums: Mapping[str, str], origin: str, report: Progress):
    """Return the different stories of train and of test files in drawn orders; a story of both counts as test.

    Args:
        name: of the data set; seeds the orders.
        train, test: paths; no test files where the test set is to be cut from train.
        sums: file name -> expected SHA-256.
        origin: where the files come from, in words.
        report: progress.

    Returns:
        `Pool` of train, `Pool` of test or None, facts.

    Raises:
        DataError: a file is wrong, or has another checksum. ConfigError: a checksum names no file.
    """
    about, complete = [], {}
    for file in sums:
        if file not in (names := [path.name for path in (*train, *test)]):
            raise unknown("file of `sha256`", file, names)
    for path in (*train, *test):
        found = store.sha256(path)
        if sums.get(path.name, found) != found:
            raise DataError(f"{path} has the SHA-256 {found}, not {sums[path.name]}: it is truncated or another file")
        complete[path] = path.name in sums or found in hub.CHECKSUMS.values()
        about.append({"name": path.name, "bytes": path.stat().st_size, "sha256": found, "checked": complete[path]})
    pools, counts, seen = {}, {}, set()
    for split, paths in (("test", test), ("train", train)):
        if paths:
            files = tuple((path, complete[path]) for path in paths)
            places, counts[split] = survey(files, seen, report)
            pools[split] = Pool(files, seeding.stream("stories", name, split).permutation(places))
    of = {"train": ", ".join(p.name for p in train), "test": ", ".join(p.name for p in test)}
    facts = {
        "source": f"{origin}: " + ", ".join(f"{a['name']} (sha256 {a['sha256']})" for a in about),
        "files": about,
        "found": counts,
        "test_from": f"the official validation split, {of['test']}" if test else f"cut from {of['train']}",
        "validation_from": f"cut from {of['train']}",
    }
    return pools["train"], pools.get("test"), facts


@dataclass(frozen=True)
class Part:
    """Stories of a split, as text and as tokens."""

    texts: list[str]
    tokens: Ragged

    def cut(self, start: int, stop: int) -> "Part":
        """Return the stories ``start`` to ``stop``."""
        offsets = self.tokens.offsets[start : stop + 1]
        return Part(self.texts[start:stop], Ragged(self.tokens.values[offsets[0] : offsets[-1]], offsets - offsets[0]))


def take(pool, least: int, *, everything: bool, tokenizer, limit: int, report: Progress, what: str):
    """Return the first ``least`` stories (or all) that are at most ``limit`` tokens long, and how many were longer.

    Raises DataError where there are fewer than ``least``.
    """
    texts, parts, dropped, place = [], [], 0, 0
    while place < len(pool) and (everything or len(texts) < least):
        block = len(pool) if everything else math.ceil(1.02 * (least - len(texts))) + 8
        found = pool.fetch(place, place + block)
        place += len(found)
        for start in range(0, len(found), bpe.BATCH):
            batch = found[start : start + bpe.BATCH]
            tokens = bpe.encode(tokenizer, batch)
            fits = np.flatnonzero(tokens.lengths <= limit)
            last = len(batch)
            if not everything and len(texts) + len(fits) >= least:
                fits = fits[: least - len(texts)]
                last = fits[-1] + 1 if len(fits) else 0
            texts += [batch[i] for i in fits]
            parts.append(tokens.take(fits))
            dropped += int(last) - len(fits)
            report(f"encoding {what} stories", start + len(batch), len(found))
    if len(texts) < least:
        raise shortage(what, len(texts), least, limit)
    return Part(texts, Ragged.concat(parts)), dropped


def shortage(what: str, there: int, least: int, limit: int | None = None) -> DataError:
    """Return the error for too few stories (of at most ``limit`` tokens)."""
    keys = {"train": "`train`, `shards`, `validation` (or `test`, where it is cut from train)", "test": "`test`"}[what]
    kind, more = ("", "") if limit is None else (f" of at most {limit} tokens", ", or raise `max_tokens`")
    there = f"{there:,} different stories{kind}"
    return DataError(f"the {what} set has {there}, {least:,} are asked for: lower {keys}{more}")
