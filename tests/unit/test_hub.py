import errno
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from collapse import store
from collapse.datasets import hub, stories, transfer
from collapse.errors import ConfigError, DataError
from tests.hub_server import REVISION, Answer, Fault, Lie, serve

REPOSITORY = "someone/stories"
CONTENT = bytes(range(256)) * 1000
QUICK = hub.Patience(retries=3, wait=0.25, longest=10, timeout=20)
LOCAL = "set `source: local` and `path: <folder that holds them>`"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    huggingface_hub.close_session()
    with serve() as serving:
        serving.put("a.txt", CONTENT)
        yield serving
        huggingface_hub.close_session()


@pytest.fixture
def waits(monkeypatch):
    """The waits between requests, in seconds; none is waited."""
    found = []
    monkeypatch.setattr(hub, "sleep", found.append)
    return found


def get(server, cache, name="a.txt", sums=None, revision=REVISION, repository=REPOSITORY, **more):
    more = {"patience": QUICK, "endpoint": server.url, **more}
    (path,) = hub.fetch(repository, revision, (name,), sums or {}, cache=cache, **more)
    return path


def whole_files(cache) -> list[Path]:
    """What a program that uses the cache would take for files of the hub."""
    return [path for path in cache.rglob("*") if path.is_file() and "snapshots" in path.parts]


def failure(server, cache, **more) -> str:
    """The message of a download that fails; it says how to go on without the hub, and leaves nothing to be used."""
    with pytest.raises(DataError) as caught:
        get(server, cache, **more)
    assert str(caught.value).endswith(LOCAL)
    assert whole_files(cache) == []
    return str(caught.value)


# what works


def test_a_file_is_fetched_once_by_one_request_and_found_by_the_library(server, tmp_path):
    path = get(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert [(r.method, r.status, r.range) for r in server.seen] == [("GET", 200, None)]
    sums = {"a.txt": store.sha256(path)}
    assert get(server, tmp_path, sums=sums) == path
    library = huggingface_hub.hf_hub_download(
        REPOSITORY, "a.txt", repo_type="dataset", revision=REVISION, cache_dir=tmp_path, endpoint=server.url
    )
    assert Path(library) == path
    assert len(server.seen) == 1
    (repository,) = huggingface_hub.scan_cache_dir(tmp_path).repos
    assert (repository.repo_id, repository.size_on_disk) == (REPOSITORY, len(CONTENT))


def test_what_the_library_fetched_is_not_fetched_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    library = huggingface_hub.hf_hub_download(
        REPOSITORY, "a.txt", repo_type="dataset", revision=REVISION, cache_dir=tmp_path, endpoint=server.url
    )
    assert {r.method for r in server.seen} == {"HEAD", "GET"}
    del server.seen[:]
    assert get(server, tmp_path) == Path(library)
    assert server.seen == []


def test_files_in_folders_and_empty_ones(server, tmp_path):
    server.put("data/train of 1.txt", b"One.")
    server.put("empty.txt", b"")
    assert get(server, tmp_path, "data/train of 1.txt").read_bytes() == b"One."
    assert get(server, tmp_path, "empty.txt").read_bytes() == b""


def test_models_are_other_repositories_than_data_sets(server, tmp_path):
    for name, content in (("a.txt", b"weights"), ("config.json", b"{}")):
        server.models[REPOSITORY, REVISION, name] = content
    data, model = get(server, tmp_path), get(server, tmp_path, kind="model")
    assert (data.read_bytes(), model.read_bytes()) == (CONTENT, b"weights")
    place = f"{REPOSITORY}/resolve/{REVISION}/a.txt"
    assert [request.path for request in server.seen] == [f"/datasets/{place}", f"/{place}"]
    assert get(server, tmp_path, kind="model") == model
    found = {"repo_type": "model", "revision": REVISION, "cache_dir": tmp_path, "endpoint": server.url}
    assert Path(huggingface_hub.hf_hub_download(REPOSITORY, "a.txt", **found)) == model
    assert len(server.seen) == 2
    # who loads a model is told the folder of its files
    assert get(server, tmp_path, "config.json", kind="model").parent == model.parent != data.parent
    kinds = {repository.repo_type for repository in huggingface_hub.scan_cache_dir(tmp_path).repos}
    assert kinds == {"dataset", "model"}


def test_a_model_that_is_a_data_set_is_not_found_and_told_how_to_go_on(server, tmp_path):
    with pytest.raises(DataError) as caught:
        get(server, tmp_path, kind="model")
    assert REPOSITORY in str(caught.value)
    assert whole_files(tmp_path) == []
    assert "`path: <folder that holds them>`" in str(caught.value)
    assert "`source: local`" not in str(caught.value)  # data sets have it, pretrained weights do not


def test_the_token_goes_to_the_hub_and_not_to_where_it_leads(server, tmp_path):
    server.store = True
    server.faults += [Fault(after=1000)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert [(r.path.split("/")[1], r.range, r.headers.get("authorization")) for r in server.seen] == [
        ("datasets", None, "Bearer hf_secret"),
        ("store", None, None),
        ("datasets", "bytes=1000-", "Bearer hf_secret"),
        ("store", "bytes=1000-", None),
    ]
    assert server.sent() == len(CONTENT)


def test_progress_and_retries_are_shown(server, tmp_path, waits, capsys):
    server.faults += [Fault(after=100_000)]
    get(server, tmp_path)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert re.match(r"fetch a\.txt: 100,000/256,000 bytes, .* stopped$", shown[0])
    assert re.match(r"fetch a\.txt: RemoteProtocolError: .*: again in 0\.2 s \(1 of 3\)$", shown[1])
    assert shown[2].startswith("fetch a.txt: 156,000/156,000 bytes, ")


# cut connections


def test_a_cut_connection_goes_on_where_it_was(server, tmp_path, waits):
    server.faults += [Fault(after=70_001), Fault(after=9), None]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=70001-", "bytes=70010-"]
    assert server.sent() == len(CONTENT)
    assert waits == [0.25, 0.5]


def test_an_answer_of_unknown_length_that_is_cut_goes_on(server, tmp_path, waits):
    # the end of the connection is the end of the file: only the announced length tells
    server.faults += [Lie({"Content-Length": None, "X-Linked-Size": str(len(CONTENT))}, body=CONTENT[:500])]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=500-"]


def test_after_so_many_cuts_it_is_an_error_and_the_next_run_goes_on(server, tmp_path, waits):
    server.faults += [Fault(after=1000)] * 4
    message = failure(server, tmp_path)
    assert f"cannot fetch a.txt of someone/stories at {REVISION} from 127.0.0.1:{server.port}: Remote" in message
    assert "(4 tries in a row); 4,000 bytes are kept: run again to resume" in message
    assert waits == [0.25, 0.5, 1.0]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, *(f"bytes={n}-" for n in (1000, 2000, 3000, 4000))]
    assert server.sent() == len(CONTENT)


def test_retries_are_counted_again_after_a_good_piece(server, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(hub, "WORTH", 5000)
    server.faults += [Fault(after=4000)] * 24
    assert get(server, tmp_path, patience=hub.Patience(retries=2, wait=0.25)).read_bytes() == CONTENT
    assert waits == [0.25] + [0.25, 0.5] * 11 + [0.25]
    assert server.sent() == len(CONTENT)


def test_waits_grow_up_to_a_limit(server, tmp_path, waits):
    server.faults += [Fault(after=0)] * 9
    assert "(9 tries in a row); run again later" in failure(server, tmp_path, patience=hub.Patience(retries=8))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_killed_process_left_a_part_that_is_resumed(server, tmp_path):
    server.faults += [Fault(after=100_000, then="stall")]
    code = (
        "import sys; from pathlib import Path; from collapse.datasets import hub; "
        f"hub.fetch({REPOSITORY!r}, {REVISION!r}, ('a.txt',), {{}}, endpoint={server.url!r}, cache=Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stderr=subprocess.DEVNULL)
    assert server.stalled.wait(30)
    (part,) = wait_for(lambda: [p for p in tmp_path.rglob("*.incomplete") if p.stat().st_size == 100_000])
    process.kill()
    process.wait()
    assert whole_files(tmp_path) == []
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]
    assert not part.exists()


def wait_for(found, seconds=30):
    end = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


def test_a_part_that_is_whole_needs_no_bytes(server, tmp_path):
    # killed after the last byte, before the file had its name
    part = get(server, tmp_path)
    part.rename(place_of_part(tmp_path))
    del server.seen[:]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert [(r.range, r.status, r.sent) for r in server.seen] == [("bytes=256000-", 416, 0)]


def place_of_part(cache, name="a.txt"):
    return cache / "datasets--someone--stories" / "blobs" / f"{REVISION}.{name}.incomplete"


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server, tmp_path, waits):
    place_of_part(tmp_path).parent.mkdir(parents=True)
    place_of_part(tmp_path).write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=256004-", None]


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path, waits):
    server.faults += [Fault(after=1000), Lie(deaf=True)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-"]
    assert server.sent() == len(CONTENT) + 1000


# wrong bytes


def test_wrong_bytes_are_not_used_and_not_fetched_again(server, tmp_path):
    right, sums = CONTENT, {"a.txt": "12" * 32}
    message = failure(server, tmp_path, sums=sums)
    (bad,) = tmp_path.rglob("*.unchecked")
    assert f"{bad} is not a.txt of someone/stories at {REVISION}: its SHA-256 is " in message
    assert "delete it and run again" in message
    assert failure(server, tmp_path, sums=sums) == message
    assert len(server.seen) == 1
    # deleted, and fetched anew where the bytes are right
    right = b"Once." * 9
    server.put("a.txt", right)
    bad.unlink()
    (tmp_path / "right").write_bytes(right)
    assert get(server, tmp_path, sums={"a.txt": store.sha256(tmp_path / "right")}).read_bytes() == right


def test_bytes_that_were_right_are_used_when_the_checksum_is_mended(server, tmp_path):
    failure(server, tmp_path, sums={"a.txt": "12" * 32})
    (kept,) = tmp_path.rglob("*.unchecked")
    path = get(server, tmp_path, sums={"a.txt": store.sha256(kept)})
    assert path.read_bytes() == CONTENT
    assert len(server.seen) == 1


def test_a_file_that_changed_in_the_cache_is_an_error_that_names_it(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    path = Path(
        huggingface_hub.hf_hub_download(
            REPOSITORY, "a.txt", repo_type="dataset", revision=REVISION, cache_dir=tmp_path, endpoint=server.url
        )
    )
    sums = {"a.txt": store.sha256(path)}
    assert get(server, tmp_path, sums=sums) == path
    blob = path.resolve()
    blob.write_bytes(CONTENT[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(DataError, match=re.escape(f"{blob} is not a.txt")) as caught:
            get(server, tmp_path, sums=sums)
        assert str(caught.value).endswith(LOCAL)
    blob.unlink()
    assert get(server, tmp_path, sums=sums).read_bytes() == CONTENT


# wrong lengths, and answers that are no hub's


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (Lie({"X-Linked-Size": "256001"}), "wrong length: the hub announces 256,001 bytes and sends 256,000"),
        (Lie({"X-Linked-Size": "255999"}), "wrong length: the hub announces 255,999 bytes and sends 256,000"),
        (
            Lie({"X-Linked-Size": "255999", "Content-Length": None}),
            "wrong length: the hub announces 255,999 bytes and sends more",
        ),
        (Lie({"X-Repo-Commit": "b" * 40}), f"gives commit {'b' * 40}: check HF_ENDPOINT"),
        (Lie({"X-Repo-Commit": None}), "gives no commit, so it is no hub: check HF_ENDPOINT and the proxy"),
        (Lie({"Content-Encoding": "gzip"}), r"comes compressed (gzip), which was not asked for"),
    ],
)
def test_answers_that_contradict_themselves(server, tmp_path, waits, lie, message):
    server.faults += [lie]
    assert message in failure(server, tmp_path)
    assert len(server.seen) == 1
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges()[1] is None


def test_a_file_that_ends_before_its_length_is_never_taken_for_whole(server, tmp_path, waits):
    headers = {"Content-Length": None, "X-Linked-Size": str(len(CONTENT))}
    server.faults += [Lie(headers, deaf=True, body=b"half")] * 4
    assert "the answer ended at byte 4 of 256,000 (4 tries in a row)" in failure(server, tmp_path)


def test_bytes_from_another_place_are_refused(server, tmp_path, waits):
    server.faults += [Fault(after=1000), Lie({"Content-Range": "bytes 0-255999/256000"})]
    assert "the bytes from 1,000 on were asked for, others came" in failure(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT


# refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "b.txt"}, "the hub does not give b.txt of someone/stories .* no such file: check `repository`"),
        ({"revision": "c" * 40}, f"at {'c' * 40} .HTTP 404.: its data set has no such revision: check `revision`"),
        ({"repository": "nobody/nothing"}, "HTTP 401.: it shows no such data set: check `repository`, or log in with"),
        ({"repository": "some/gated"}, "is gated: ask for access on its page, then log in with `hf auth login`"),
        ({"repository": "some/private"}, "HTTP 401.: log in with `hf auth login`, or set HF_TOKEN"),
        ({"repository": "some/forbidden"}, "HTTP 403.: log in with"),
        ({"repository": "some/odd"}, "HTTP 418.: check HF_ENDPOINT"),
        ({"repository": "no/such/name"}, "cannot ask the hub for no/such/name at a+: "),
        ({"endpoint": "ftp://hub"}, "ftp://hub/datasets/.* is no address: check HF_ENDPOINT"),
        ({"endpoint": "http://127.0.0.1:99999"}, "Port out of range"),
    ],
)
def test_refusals_are_errors_at_once(server, tmp_path, waits, change, message):
    server.refusals = {
        "some/gated": Answer(403, {"X-Error-Code": "GatedRepo"}),
        "some/private": Answer(401),
        "some/forbidden": Answer(403),
        "some/odd": Answer(418),
    }
    assert re.search(message, failure(server, tmp_path, **change))
    assert waits == []
    assert len(server.seen) <= 1


# waiting


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again(server, tmp_path, waits, status):
    server.faults += [Answer(status), Fault(after=1000), Answer(status)]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert waits == [0.25, 0.5, 1.0]
    assert server.sent() == len(CONTENT)


def test_a_hub_that_stays_busy_is_an_error(server, tmp_path, waits):
    server.faults += [Answer(503)] * 4
    assert "the hub answers HTTP 503 (4 tries in a row); run again later" in failure(server, tmp_path)


def later(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0.25),
        ({"Retry-After": "soon"}, 0.25),
        ({"RateLimit": '"resolvers";r=0;t=9'}, 9),
        ({"RateLimit": '"resolvers";r=5;t=9'}, 0.25),
    ],
)
def test_the_wait_is_as_long_as_the_hub_asks(server, tmp_path, waits, headers, wait):
    server.faults += [Answer(429, headers)]
    get(server, tmp_path)
    assert waits == [wait]


def test_the_wait_may_end_at_a_date(server, tmp_path, waits):
    server.faults += [Answer(503, {"Retry-After": later(6)}), Answer(503, {"Retry-After": later(-60)})]
    get(server, tmp_path)
    assert waits == [pytest.approx(6, abs=1.5), 0.5]


@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}])
def test_a_wait_that_is_too_long_is_an_error(server, tmp_path, waits, headers):
    server.faults += [Fault(after=1000), Answer(429, headers)]
    message = failure(server, tmp_path)
    assert "HTTP 429 and asks to wait 3,600 s; 1,000 bytes are kept: run again to resume" in message
    assert waits == [0.25]


def test_a_silent_hub_is_left_and_asked_again(server, tmp_path, waits):
    server.faults += [Fault(after=100_000, then="stall")]  # for a minute
    started = time.monotonic()
    assert get(server, tmp_path, patience=hub.Patience(timeout=1)).read_bytes() == CONTENT
    assert time.monotonic() - started < 30
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_hub_that_stays_silent_is_an_error(server, tmp_path, waits):
    server.faults += [Fault(after=1000, then="stall"), Fault(after=0, then="stall")]
    message = failure(server, tmp_path, patience=hub.Patience(timeout=0.5, retries=1))
    assert re.search(r"ReadTimeout: .*\(2 tries in a row\); 1,000 bytes are kept", message)


def test_the_time_out_is_that_of_the_library(server, tmp_path, waits, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert "ReadTimeout" in failure(server, tmp_path, endpoint=url, patience=hub.Patience(retries=1))


# no network


def test_no_connection(server, tmp_path, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        message = failure(server, tmp_path, endpoint=url)
    assert re.search(r"ConnectError: .*refused \(4 tries in a row\); run again later; without the hub", message)
    assert waits == [0.25, 0.5, 1.0]


def test_no_name_server(server, tmp_path, waits, monkeypatch):
    def lookup(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    message = failure(server, tmp_path, endpoint="http://hub.invalid")
    assert "from hub.invalid: ConnectError: [Errno -2] Name or service not known" in message


def test_offline_files_come_from_the_cache_alone(server, tmp_path, monkeypatch):
    path = get(server, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert get(server, tmp_path) == path
    message = failure(server, tmp_path / "other")
    assert f"HF_HUB_OFFLINE is set, and it is not in {tmp_path / 'other'}" in message
    assert len(server.seen) == 1


# disks


def test_a_full_disk_keeps_what_is_there(server, tmp_path, waits, monkeypatch):
    append = transfer._append

    def until_full(file, chunk):
        room = 100_000 - file.tell()
        append(file, chunk[:room])
        if len(chunk) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(transfer, "_append", until_full)
        message = failure(server, tmp_path)
    part = place_of_part(tmp_path)
    assert f"cannot write {part} (No space left on device): make room, or set HF_HOME to a folder on a" in message
    assert "100,000 bytes are kept: run again to resume" in message
    assert waits == []
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=100000-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_real_full_disk(server, tmp_path):
    place_of_part(tmp_path).parent.mkdir(parents=True)
    place_of_part(tmp_path).symlink_to("/dev/full")
    assert "(No space left on device): make room" in failure(server, tmp_path)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("a file where a folder should be")
    assert f"cannot use {cache}/datasets--someone--stories" in (message := failure(server, cache))
    assert "set HF_HOME to a folder that can be written" in message


# several processes


def test_two_processes_fetch_a_file_once(server, tmp_path):
    server.put("a.txt", CONTENT * 20)
    server.faults += [Fault(after=100_000, then="stall")]  # the second comes while the first is at it
    code = (
        "import sys; from pathlib import Path; from collapse.datasets import hub; "
        f"print(*hub.fetch({REPOSITORY!r}, {REVISION!r}, ('a.txt',), {{}}, endpoint={server.url!r}, "
        "cache=Path(sys.argv[1]), patience=hub.Patience(timeout=2, wait=0.01)))"
    )
    command = [sys.executable, "-c", code, tmp_path]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert Path(*paths).read_bytes() == CONTENT * 20
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.sent() == 20 * len(CONTENT)


def test_where_locks_do_nothing_both_end_with_the_whole_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils.WeakFileLock", nullcontext)
    content = CONTENT * 40
    server.put("a.txt", content)
    (tmp_path / "right").write_bytes(content)
    sums, found = {"a.txt": store.sha256(tmp_path / "right")}, []
    server.faults += [Fault(after=n) for n in (300_000, 200_000, 100_000)]
    patience = hub.Patience(wait=0.01)

    def fetch():
        found.append(get(server, tmp_path / "cache", sums=sums, patience=patience).read_bytes() == content)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 4
    assert not list(tmp_path.rglob("*.unchecked"))


# the data set


TEXTS = [f"Lily saw {n} birds. They sang, and Tim said: «{'la ' * n}»." for n in range(1, 13)]
SMALL = {"train": 6, "validation": 2, "test": None, "vocabulary": 300, "max_tokens": 100}
OFFICIAL = {
    "TinyStories-train.txt": "".join(f"{t}\n<|endoftext|>\n" for t in TEXTS).encode(),
    "TinyStories-valid.txt": b"Only here.\n<|endoftext|>\nAnd there.",
}


def prepare(root, name, entry, **environment):
    settings = store.json.dumps({"dataset": {"kind": "stories", **SMALL, **entry}})
    command = [sys.executable, "-m", "collapse", "prepare", "--dataset", name, "--root", root, "--settings", settings]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.run(command, env=plain | environment, capture_output=True, text=True, timeout=60)


def test_the_hub_gives_the_same_data_as_local_files(server, tmp_path):
    local = tmp_path / "local"
    local.mkdir()
    for name, content in OFFICIAL.items():
        (local / name).write_bytes(content)
        server.put(name, content)
    config = stories.Config(**SMALL, source="local", path=str(local))
    expected, _ = stories.prepare(config, "tales")

    sums = {name: store.sha256(local / name) for name in OFFICIAL}
    entry = {"source": "hub", "repository": REPOSITORY, "revision": REVISION, "sha256": sums}
    where = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    root = tmp_path / "results"
    # the first run cannot have the second file
    server.files.pop((REPOSITORY, REVISION, "TinyStories-valid.txt"))
    failed = prepare(root, "tales", entry, **where)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: the hub does not give TinyStories-valid.txt of someone")
    assert failed.stderr.rstrip().endswith(LOCAL)
    assert not root.exists()
    server.put("TinyStories-valid.txt", OFFICIAL["TinyStories-valid.txt"])
    del server.seen[:]
    done = prepare(root, "tales", entry, **where)
    assert done.returncode == 0, done.stderr
    assert [r.path.rsplit("/", 1)[-1] for r in server.seen] == ["TinyStories-valid.txt"]
    # the next one needs no network
    assert prepare(tmp_path / "again", "tales", entry, **where, HF_HUB_OFFLINE="1").returncode == 0
    for folder in (root, tmp_path / "again"):
        found = store.load_arrays(folder / "data/tales/data.safetensors")
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    facts = store.read_json(root / "data/tales/facts.json")
    assert facts["source"].startswith(f"hub {REPOSITORY}@{REVISION}: TinyStories-train.txt (sha256 ")
    assert all(file["checked"] for file in facts["files"])
    assert facts["test_from"] == "the official validation split, TinyStories-valid.txt"


def test_the_known_data_set_is_asked_for_with_its_checksums(monkeypatch):
    asked = []

    def fetch(*arguments):
        asked.append(arguments)
        raise DataError("enough")

    monkeypatch.setattr(hub, "fetch", fetch)
    config = stories.Config(**SMALL, source="hub", revision=hub.REVISION, sha256={"TinyStories-valid.txt": "0" * 64})
    with pytest.raises(DataError, match="enough"):
        stories.prepare(config)
    names = ("TinyStories-train.txt", "TinyStories-valid.txt")
    sums = {names[0]: hub.CHECKSUMS[names[0]], names[1]: "0" * 64}
    assert asked == [("roneneldan/TinyStories", hub.REVISION, names, sums)]


def test_a_revision_must_be_a_commit():
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        stories.Config(**SMALL, source="hub", revision="main")
