"""Files: written whole or not at all, checked when read. Arrays are safetensors, rows are parquet, never pickles."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from glob import escape
from pathlib import Path

import numpy as np

from collapse.errors import DataError


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _sweep(path: Path) -> None:
    """Remove what killed processes left of a file."""
    for part in path.parent.glob(f".{escape(path.stem)}.*.part{path.suffix}"):
        process = part.name.removeprefix(f".{path.stem}.").split(".")[0]
        if process.isdigit() and not _alive(int(process)):
            part.unlink(missing_ok=True)


def write(path: str | Path, save: Callable[[Path], None]) -> None:
    """Call ``save`` on a temporary neighbour of ``path``, flush it to the disk and rename it to ``path``.

    Raises:
        DataError: the disk is full, read-only or not writable; nothing is left behind.
    """
    path = Path(path)
    # the name ends as the file's: writers (figures) read the format from it
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        save(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; nothing was left behind") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes atomically. Raises DataError."""
    write(path, lambda part: part.write_bytes(content))


def write_json(path: str | Path, value) -> None:
    """Write JSON atomically, keys sorted, non-finite numbers refused (ValueError). Raises DataError."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: str | Path):
    """Read JSON. Raises DataError naming the file."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}): delete it and run again") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_arrays(path: str | Path, arrays: dict[str, np.ndarray], **metadata: str) -> None:
    """Write named arrays as safetensors, with a checksum of their content in the header.

    Args:
        path: the file.
        arrays: name -> array of any shape.
        metadata: further strings for the header.

    Raises:
        DataError: the file cannot be written.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_bytes(path, save(arrays, metadata={**metadata, "sha256": _content(arrays)}))


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote.

    Raises:
        DataError: the file is missing, truncated, or its content does not match its checksum.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    remedy = "delete it and run again; if it came from elsewhere, fetch it anew"
    try:
        raw = Path(path).read_bytes()
        arrays = load(raw)
        header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (SafetensorError, ValueError, struct.error, KeyError) as error:
        raise DataError(f"{path} is truncated or not safetensors ({error}): {remedy}") from error
    expected = header.get("__metadata__", {}).get("sha256")
    if expected is None or _content(arrays) != expected:
        raise DataError(f"{path} is corrupted: its content does not match its checksum: {remedy}")
    return arrays
