"""Labelled images in files of the official formats.

    idx      MNIST's own (big-endian header, then bytes): train-images-idx3-ubyte, train-labels-idx1-ubyte and the same
             of t10k, with or without .gz
    parquet  the hub's: columns ``image`` (PNG or JPEG in ``bytes``) and ``label``; train-*.parquet and test-*.parquet
    npz      numpy's: x_train, y_train, x_test, y_test as Keras has them, or ``images`` with or without ``labels``

A file that is missing, truncated, of another format or with other values is a `DataError` that names it.
"""

import gzip
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from collapse.errors import DataError

FOLDER = "MNIST's four idx files (train-images-idx3-ubyte .., or .gz), train-*.parquet and test-*.parquet, or one .npz"
SPLITS = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES = 8  # code of the type in an idx header


@dataclass(frozen=True)
class Pictures:
    """Images of one split.

    Attributes:
        images: (N, P, H, W) uint8, P planes.
        labels: (N,) uint8; None where there are none.
        files: where they come from.
    """

    images: np.ndarray
    labels: np.ndarray | None
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.images)


def read(path: str | Path) -> tuple[Pictures, Pictures | None]:
    """Return train and test images that a user's path names; no test images where the file has no such split.

    Args:
        path: an .npz file, or a folder that holds files of one of the formats; of several, idx comes before parquet.

    Raises:
        DataError: see the module.
    """
    path = Path(path)
    if path.is_file():
        return _npz(path)
    if not path.is_dir():
        raise DataError(f"{path} does not exist: set `path` to an .npz file, or to a folder with {FOLDER}")
    found = {split: [_idx_file(path, name, kind) for kind in ("images", "labels")] for split, name in SPLITS.items()}
    if any(file for files in found.values() for file in files):
        for split, files in found.items():
            for file, kind in zip(files, ("images", "labels"), strict=True):
                if file is None:
                    raise DataError(f"{path} holds no {kind} of {split}: put {SPLITS[split]}-{kind}-idx*-ubyte there")
        return _alike(idx(*found["train"]), idx(*found["test"]))
    tables = [sorted({*path.glob(f"{split}-*.parquet"), *path.glob(f"*/{split}-*.parquet")}) for split in SPLITS]
    if any(tables):
        for split, files in zip(SPLITS, tables, strict=True):
            if not files:
                raise DataError(f"{path} holds no {split}-*.parquet: put the hub's file there")
        return _alike(*(parquet(files) for files in tables))
    if len(archives := sorted(path.glob("*.npz"))) == 1:
        return _npz(archives[0])
    raise DataError(f"{path} holds no images in a known layout ({FOLDER}): put them there, or name one file by `path`")


def _idx_file(folder: Path, split: str, kind: str) -> Path | None:
    """Return MNIST's file of a split, under either of its usual names."""
    rank = {"images": 3, "labels": 1}[kind]
    names = [f"{split}-{kind}{dot}idx{rank}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _alike(train: Pictures, test: Pictures) -> tuple[Pictures, Pictures]:
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join("x".join(map(str, p.images.shape[1:])) for p in (train, test))
        raise DataError(f"{train.files[0]} and {test.files[0]} hold images of different sizes, {sizes}")
    return train, test


def pictures(images: np.ndarray, labels: np.ndarray | None, files: Iterable[Path]) -> Pictures:
    """Check arrays of a file, (N, H, W) or (N, H, W, P) with labels (N,), and lay them out as `Pictures`.

    Raises:
        DataError: another shape, values that are not 0 to 255, no images, or not as many labels as images.
    """
    files = tuple(files)
    name, last = files[0], files[-1]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)) or 0 in images.shape:
        raise DataError(
            f"{name}: images must be (N, H, W), or (N, H, W, 3) in colour, and N above 0; got {images.shape}"
        )
    if images.dtype != np.uint8:
        raise DataError(f"{name}: images must be bytes from 0 to 255 (uint8), got {images.dtype}: convert them")
    images = images[..., None] if images.ndim == 3 else images
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if labels is None:
        return Pictures(images, None, files)
    if labels.shape != (len(images),):
        raise DataError(f"{last} has labels of shape {labels.shape} for the {len(images)} images of {name}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > 255:
        raise DataError(f"{last}: labels must be whole numbers from 0 to 255")
    return Pictures(images, labels.astype(np.uint8), files)


def idx(images: Path, labels: Path) -> Pictures:
    """Read a pair of idx files. Raises DataError."""
    return pictures(_array(images, 3), _array(labels, 1), (images, labels))


def _array(path: Path, rank: int) -> np.ndarray:
    """Read an idx file of unsigned bytes: two zeros, type, rank, the sizes as 32-bit big-endian numbers, the values."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or cannot be read ({error}): fetch it again") from error
    magic, head = bytes([0, 0, UNSIGNED_BYTES, rank]), 4 + 4 * rank
    if raw[:4] != magic:
        packed = ", it is compressed: name it .gz" if raw[:2] == b"\x1f\x8b" else ""
        raise DataError(f"{path} begins with {raw[:4].hex()}, idx files of {rank} axes with {magic.hex()}{packed}")
    sizes = struct.unpack(f">{rank}I", raw[4:head]) if len(raw) >= head else ()
    if not sizes or len(raw) - head != math.prod(sizes):
        there = f"{'x'.join(map(str, sizes))} values announced, {len(raw) - head} there" if sizes else "no sizes"
        raise DataError(f"{path} has the wrong length ({there}): it is truncated or damaged, fetch it again")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(sizes)


def _npz(path: Path) -> tuple[Pictures, Pictures | None]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise DataError(f"{path} is truncated or no .npz file of plain arrays ({error}): fetch it again") from error
    if {"x_train", "x_test"} <= set(arrays):
        parts = [pictures(arrays[f"x_{s}"], arrays.get(f"y_{s}"), (path,)) for s in SPLITS]
        if (parts[0].labels is None) != (parts[1].labels is None):
            raise DataError(f"{path} has labels for one split alone: it needs both of y_train and y_test, or none")
        return _alike(*parts)
    if "images" not in arrays:
        known = "x_train and x_test (y_train, y_test), or images (labels)"
        raise DataError(f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}: rename its arrays to {known}")
    return pictures(arrays["images"], arrays.get("labels"), (path,)), None


def parquet(files: Iterable[Path]) -> Pictures:
    """Read the hub's tables of images, one after the other. Raises DataError."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    images, labels, files = [], [], tuple(files)
    for path in files:
        try:
            with ParquetFile(path) as file:
                if missing := {"image", "label"} - set(there := file.schema_arrow.names):
                    raise DataError(f"{path} has no column {', '.join(sorted(missing))} (it has {', '.join(there)})")
                table = file.read(columns=["image", "label"]).to_pydict()
        except (ArrowException, OSError) as error:
            raise DataError(f"{path} is truncated or not parquet ({error}): fetch it again") from error
        for row, (image, label) in enumerate(zip(table["image"], table["label"], strict=True), 1):
            images.append(_decoded(image, f"{path}, row {row:,}"))
            if images[-1].shape != images[0].shape:
                raise DataError(f"{path}, row {row:,}: an image of {images[-1].shape}, the first has {images[0].shape}")
            if type(label) is not int:
                raise DataError(f"{path}, row {row:,}: the label is {label!r}, not a whole number")
            labels.append(label)
    if not images:
        raise DataError(f"{files[0]} holds no images")
    return pictures(np.stack(images), np.array(labels), files)


def _decoded(image, where: str) -> np.ndarray:
    """Return an image of the hub, ``{"bytes": .., "path": ..}``, as (H, W) or (H, W, 3) bytes. Raises DataError."""
    from PIL import Image

    raw = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(raw, bytes):
        raise DataError(f"{where}: 'image' holds no `bytes`: the table must contain its images")
    try:
        with Image.open(io.BytesIO(raw)) as opened:
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L", "I;16") else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where}: the image cannot be decoded ({error}): fetch the file again") from error
