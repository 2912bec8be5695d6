"""Files: whole or not at all; what is broken is named."""

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collapse import store
from collapse.errors import DataError
from collapse.seeding import stream
from collapse.store import load_arrays, read_json, save_arrays, sha256, write, write_bytes, write_json

ARRAYS = {
    "a": np.arange(6, dtype=np.int64).reshape(2, 3),
    "b": stream("store").standard_normal(4),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "scalar": np.array(2.5),
    "tokens": np.array([1, 65535], dtype=np.uint16),
}


def there(folder):
    return sorted(p.name for p in folder.iterdir())


# atomic


def test_write_replaces_whole_files(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert there(path.parent) == ["file.txt"]


def test_a_writer_sees_the_ending_of_the_file(tmp_path):
    seen = []
    write(tmp_path / "figure.pdf", lambda part: (seen.append(part), part.write_bytes(b"x")))
    assert seen[0].suffix == ".pdf"
    assert seen[0].parent == tmp_path
    assert seen[0].name != "figure.pdf"


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), MemoryError()])
def test_a_writer_that_dies_half_way_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    write_bytes(path, b"old")

    def half(part):
        part.write_bytes(b"hal")
        raise error

    with pytest.raises(type(error)):
        write(path, half)
    assert path.read_bytes() == b"old"
    assert there(tmp_path) == ["file.txt"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*file\.txt"):
        write(tmp_path / "file.txt", lambda part: None)
    assert there(tmp_path) == []


@pytest.mark.parametrize("step", ["write", "flush", "rename"])
def test_a_full_disk_is_a_clear_error_that_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(part, content):
        with part.open("wb") as file:
            file.write(content[: len(content) // 2])
        full()

    if step == "write":
        monkeypatch.setattr(Path, "write_bytes", half)
    elif step == "flush":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    for save in (save_arrays, write_json):
        with pytest.raises(DataError, match=r"cannot write .*file: No space left on device; nothing was left behind"):
            save(tmp_path / "file", {"a": np.zeros(1000)} if save is save_arrays else [1, 2, 3])
        assert there(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; the test needs the right to mount one."""
    folder, libc = tmp_path / "disk", ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip(f"cannot mount a small disk here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(str(folder).encode(), 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_a_disk_that_fills_up(small_disk):
    save_arrays(small_disk / "old", {"a": np.zeros(10)})
    before = (small_disk / "old").read_bytes()
    for name in ("new", "old"):
        with pytest.raises(DataError, match="No space left on device"):
            save_arrays(small_disk / name, {"a": np.zeros(100_000)})
        assert there(small_disk) == ["old"]
    assert (small_disk / "old").read_bytes() == before
    save_arrays(small_disk / "old", {"a": np.ones(10)})  # there is room again
    assert load_arrays(small_disk / "old")["a"].sum() == 10


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(DataError, match=r"cannot write .*taken/file: .*; nothing was left behind"):
        write_bytes(tmp_path / "taken" / "file", b"x")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from collapse.store import write\n"
        "write(Path(sys.argv[1]), lambda part: (part.write_bytes(b'hal'), os.kill(os.getpid(), 9)))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p)}
    path = tmp_path / "file.txt"
    killed = subprocess.run([sys.executable, "-c", program, path], env=environment, check=False)
    assert killed.returncode == -9
    assert len(there(tmp_path)) == 1
    assert not path.exists()
    (tmp_path / f".file.{os.getppid()}.part.txt").write_text("of a process that is alive")
    (tmp_path / ".file.txt.note").write_text("of somebody else")
    write_bytes(path, b"whole")
    assert there(tmp_path) == sorted([f".file.{os.getppid()}.part.txt", ".file.txt.note", "file.txt"])
    assert path.read_bytes() == b"whole"


# json


def test_json_is_the_same_whatever_the_order_of_keys(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [None, 0.1]})
    write_json(tmp_path / "b", {"y": [None, 0.1], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == {"x": 1, "y": [None, 0.1]}


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_json_refuses_numbers_that_are_not_finite(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", value)
    assert there(tmp_path) == []


def test_broken_json_is_named(tmp_path):
    (tmp_path / "facts.json").write_text('{"a": 1')
    with pytest.raises(DataError, match=r"facts\.json is not valid JSON .*delete it and run again"):
        read_json(tmp_path / "facts.json")
    (tmp_path / "facts.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match=r"facts\.json is not valid JSON"):
        read_json(tmp_path / "facts.json")
    with pytest.raises(DataError, match=r"cannot read .*none\.json: No such file"):
        read_json(tmp_path / "none.json")


# arrays


def test_arrays_come_back_as_they_were(tmp_path):
    save_arrays(tmp_path / "arrays", ARRAYS, note="a note")
    found = load_arrays(tmp_path / "arrays")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)


def test_no_arrays_at_all(tmp_path):
    save_arrays(tmp_path / "nothing", {})
    assert load_arrays(tmp_path / "nothing") == {}


def test_memory_layout_and_order_do_not_matter(tmp_path):
    save_arrays(tmp_path / "a", ARRAYS)
    odd = {name: np.asfortranarray(a) if a.ndim > 1 else a for name, a in reversed(ARRAYS.items())}
    odd["b"] = np.repeat(ARRAYS["b"], 2)[::2]
    save_arrays(tmp_path / "b", odd)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_other_programs_can_read_them(tmp_path):
    from safetensors.numpy import load_file

    save_arrays(tmp_path / "a", ARRAYS)
    assert np.array_equal(load_file(tmp_path / "a")["a"], ARRAYS["a"])


def test_every_flipped_byte_and_every_truncation_is_an_error_that_names_the_file(tmp_path):
    save_arrays(tmp_path / "whole", {"a": np.arange(3), "b": np.array([0.5])})
    whole, broken = (tmp_path / "whole").read_bytes(), tmp_path / "broken.safetensors"
    for place in range(len(whole)):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]):
            broken.write_bytes(content)
            with pytest.raises(DataError, match=r"broken\.safetensors is .*delete it and run again"):
                load_arrays(broken)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>not found</html>",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 21) + b'{"__metadata__": null}'[:21],
    ],
)
def test_other_content_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "page").write_bytes(content)
    with pytest.raises(DataError, match=r"page is .*if it came from elsewhere, fetch it anew"):
        load_arrays(tmp_path / "page")


def test_a_file_without_our_checksum_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(DataError, match="foreign is corrupted"):
        load_arrays(tmp_path / "foreign")


def test_missing_arrays(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        load_arrays(tmp_path / "none")


def test_the_header_tells_the_checksum(tmp_path):
    save_arrays(tmp_path / "a", ARRAYS, note="a note")
    raw = (tmp_path / "a").read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    assert header["__metadata__"] == {"note": "a note", "sha256": store._content(ARRAYS)}
