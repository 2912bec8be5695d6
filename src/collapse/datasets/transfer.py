"""One request to the Hugging Face hub: what is missing of a file is asked for, and written as it comes.

Plain HTTP, ``GET`` with ``Range``, through the session of `huggingface_hub` (its proxies, its token, its errors).
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import FileIO
from pathlib import Path

from collapse.progress import bar

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP errors that may go away by themselves."""

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
OTHER = "check HF_ENDPOINT and the proxy"


class Failed(Exception):  # noqa: N818
    """Why a request failed, whether another one is worth it, and the seconds that the hub asks to wait before it."""

    def __init__(self, reason: str, *, again: bool = False, after: float = 0.0):
        super().__init__(reason)
        self.again, self.after = again, after


def size(part: Path) -> int:
    """Return the bytes that are there of a file; 0 where it does not exist."""
    return part.stat().st_size if part.is_file() else 0


def request(url: str, part: Path, *, name: str, what: str, revision: str, timeout: float) -> None:
    """Ask once for what ``part`` lacks and write it there as it comes; it is the whole file when this returns.

    Args:
        url: of the file on the hub, which may lead to another host; the token is not sent there.
        part: the first bytes of the file, or nothing.
        name: of the file, for its progress.
        what: the file, in words, for errors.
        revision: the commit that the answer must belong to.
        timeout: seconds without an answer or a byte.

    Raises:
        Failed: no connection, an answer that is an error or does not fit the request, or a full disk. What was
            received stays in ``part``, unless it is of the wrong length.
        OSError: ``part`` cannot be written.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import get_session, get_token_to_send, hf_raise_for_status

    token = get_token_to_send(None)
    headers = {"User-Agent": "collapse", "Accept-Encoding": "identity"}  # compressed bytes could not be resumed
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # unbuffered: what was received is there, whatever happens next
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            have = file.seek(0, os.SEEK_END)
            headers |= {"Range": f"bytes={have}-"} if have else {}
            with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=timeout) as response:
                if response.status_code == 416 and have:
                    if response.headers.get("Content-Range") == f"bytes */{have}":
                        return
                    file.truncate(0)
                    raise Failed(f"the hub has no byte {have:,} of it", again=True)
                hf_raise_for_status(response)
                start, length = _announced(response, have, what, revision)
                with bar(None if length is None else length - start, f"fetch {name}", "bytes") as progress:
                    _write(response.iter_raw(), file, start, length, what, progress.update)
    except errors.HfHubHTTPError as error:
        raise _refusal(error, what) from error
    except errors.HTTPError as error:  # of the connection; the message may be empty
        raise Failed(f"{type(error).__name__}: {error}".removesuffix(": "), again=True) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failed(
            f"cannot write {part} ({error.strerror}): make room, or set HF_HOME to a folder on a larger disk; "
            f"{size(part):,} bytes are kept: run again to resume"
        ) from error


def _announced(response, have: int, what: str, revision: str) -> tuple[int, int | None]:
    """Return the first byte of an answer and the length of the whole file, where it is known."""

    def header(name: str) -> str | None:
        # large files are on another host: the hub describes them in the answer that leads there
        return next((a.headers[name] for a in (*response.history, response) if name in a.headers), None)

    if (commit := header("X-Repo-Commit")) != revision:
        given = "no commit, so it is no hub" if commit is None else f"commit {commit}"
        raise Failed(f"the answer for {what} gives {given}: {OTHER}")
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise Failed(f"{what} comes compressed ({encoding}), which was not asked for: {OTHER}")
    start, total = 0, response.headers.get("Content-Length")
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        start, total = (int(found[1]), found[2]) if found else (-1, None)
        if start != have:
            raise Failed(f"of {what}, the bytes from {have:,} on were asked for, others came: {OTHER}")
    length = header("X-Linked-Size") or total
    if total is not None and int(total) != int(length):
        raise Failed(f"{what} has the wrong length: the hub announces {int(length):,} bytes and sends {int(total):,}")
    return start, None if length is None else int(length)


def _write(chunks: Iterable[bytes], file: FileIO, at: int, length: int | None, what: str, progress: Callable) -> None:
    """Write chunks from byte ``at`` on. Raises Failed where they end too early or too late."""
    file.seek(at)
    for chunk in chunks:
        if length is not None and at + len(chunk) > length:
            file.truncate(0)
            raise Failed(f"{what} has the wrong length: the hub announces {length:,} bytes and sends more")
        _append(file, chunk)
        at += len(chunk)
        progress(len(chunk))
    if length is not None and at < length:
        raise Failed(f"the answer ended at byte {at:,} of {length:,}", again=True)
    file.truncate(at)
    os.fsync(file.fileno())


def _append(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _refusal(error, what: str) -> Failed:
    """Return what an HTTP error means."""
    from huggingface_hub import errors

    status = error.response.status_code
    if status in PASSING:
        return Failed(f"the hub answers HTTP {status}", again=True, after=_asked(error.response.headers))
    known = {
        errors.GatedRepoError: f"its data set is gated: ask for access on its page, then {LOGIN}",
        errors.RepositoryNotFoundError: f"it shows no such data set: check `repository`, or {LOGIN}",
        errors.RevisionNotFoundError: "its data set has no such revision: check `revision`",
        errors.EntryNotFoundError: "there is no such file: check `repository` and `revision`",
    }  # a gated one is a kind of one that is not found: the order counts
    why = next((text for kind, text in known.items() if isinstance(error, kind)), None)
    return Failed(f"the hub does not give {what} (HTTP {status}): {why or (LOGIN if status in (401, 403) else OTHER)}")


def _asked(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait: ``Retry-After`` (seconds or a date), or the hub's rate limit."""
    from huggingface_hub.utils import parse_ratelimit_headers

    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return 0.0
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else 0.0
