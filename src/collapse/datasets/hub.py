"""Files of the Hugging Face hub at a pinned revision: fetched in pieces, resumed, checked before they are used.

From `huggingface_hub` come addresses, token, HTTP session, errors and the layout of the cache: the library finds what
was fetched here, and the other way round. The bytes come by plain HTTP, ``GET`` with ``Range``. The library's own
download is not used, it throws away what it has when it fails; nor is its Xet protocol (``hf_xet``).

A file is a ``.incomplete`` part in the cache until all of it is there, ``.unchecked`` until its SHA-256 is right, and
has its name only then. Whatever stops the work, running again goes on from the last byte that was written.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.parse import quote, urlsplit

from collapse import store
from collapse.datasets import transfer
from collapse.datasets.transfer import Failed
from collapse.errors import DataError
from collapse.progress import Status, duration

REPOSITORY = "roneneldan/TinyStories"
# The head of `main` since August 2024. Revision and checksums stand in several independent public manifests; they are
# to be confirmed by the first download, which fails where the bytes differ.
REVISION = "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
CHECKSUMS = {
    "TinyStories-train.txt": "c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f",
    "TinyStories-valid.txt": "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4",
}

LOCAL = "without the hub: fetch {names} of {repository} on a machine that can (or from a mirror), and set {keys}"
KEYS = {
    "dataset": "`source: local` and `path: <folder that holds them>`",
    "model": "`path: <folder that holds them>` in place of `repository` and `revision`",
}
"""What the config says of local files, by kind of repository."""

WORTH = 1 << 20
"""New bytes after which a connection counts as good: retries are counted from 0 again."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for the hub before giving up.

    Attributes:
        retries: requests made again in a row without `WORTH` new bytes.
        wait: seconds before the first of them; each further wait is twice as long, up to 30 s.
        longest: longest wait in seconds that the hub may ask for (``Retry-After``, or its rate limit).
        timeout: seconds without an answer or a byte after which a request is given up; None is the library's
            ``HF_HUB_DOWNLOAD_TIMEOUT`` (10).
    """

    retries: int = 5
    wait: float = 1.0
    longest: float = 300.0
    timeout: float | None = None


PATIENCE = Patience()


@dataclass(frozen=True)
class _File:
    """A file of the hub, and its places in the cache."""

    repository: str
    revision: str
    name: str
    cache: Path
    kind: str = "dataset"

    def __str__(self) -> str:
        return f"{self.name} of {self.repository} at {self.revision}"

    def _folder(self) -> Path:
        from huggingface_hub.file_download import repo_folder_name

        return self.cache / repo_folder_name(repo_id=self.repository, repo_type=self.kind)

    @property
    def place(self) -> Path:
        """Where the library looks for it."""
        return self._folder() / "snapshots" / self.revision / self.name

    def beside(self, suffix: str) -> Path:
        """Where it is while it is made: ``incomplete``, then ``unchecked``; ``lock`` is held by who makes it."""
        return self._folder() / "blobs" / f"{self.revision}.{quote(self.name, safe='')}.{suffix}"

    @property
    def part(self) -> Path:
        """Its first bytes."""
        return self.beside("incomplete")

    def cached(self) -> Path | None:
        """Return the file where this module or the library put it, if it is there."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.name, self.cache, self.revision, self.kind)
        return Path(found) if isinstance(found, str) else None

    def check(self, path: Path, expected: str | None) -> None:
        """Raise Failed where the bytes at ``path`` are others than expected."""
        if expected is not None and (found := store.sha256(path)) != expected:
            raise Failed(f"{path} is not {self}: its SHA-256 is {found}, not {expected}; delete it and run again")


def fetch(
    repository: str,
    revision: str,
    names: tuple[str, ...],
    checksums: Mapping[str, str],
    *,
    kind: str = "dataset",
    endpoint: str | None = None,
    cache: Path | None = None,
    patience: Patience = PATIENCE,
) -> tuple[Path, ...]:
    """Return local copies of files of a repository of the hub; what is in the hub's cache is not fetched again.

    Several processes may ask for the same file at once: one fetches it, the others wait for it. Progress and retries
    are shown on standard error.

    Args:
        repository: e.g. ``"roneneldan/TinyStories"``.
        revision: a commit, 40 hexadecimal digits.
        names: paths inside the repository.
        checksums: name -> SHA-256, hexadecimal; files without one are not checked beyond their length.
        kind: of the repository, ``dataset`` or ``model``.
        endpoint: address of the hub; None is ``HF_ENDPOINT``, or the usual one.
        cache: folder of the hub's cache; None is the usual one, below ``HF_HOME``.
        patience: retries and time-outs. With the default a hub that stays silent is given up after 90 s.

    Raises:
        DataError: no network, no such repository, revision or file, no access, a connection that is cut again and
            again, a full disk, another length or other bytes than announced. The message tells how to use local files
            instead. What was fetched so far is kept, and is not taken for the file.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE if cache is None else cache)
    files = [_File(repository, revision, name, folder, kind) for name in names]
    try:
        return tuple(_one(file, checksums.get(file.name), endpoint, patience) for file in files)
    except Failed as error:
        cause, problem = error, str(error)
    except ValueError as error:  # the library's, of a name that cannot be one
        cause, problem = error, f"cannot ask the hub for {repository} at {revision}: {error}"
    except OSError as error:
        where = f"{error.filename or folder} ({error.strerror or error})"
        cause, problem = error, f"cannot use {where}: set HF_HOME to a folder that can be written"
    instead = LOCAL.format(names=" and ".join(names), repository=repository, keys=KEYS[kind])
    raise DataError(f"{problem}; {instead}") from cause


def _one(file: _File, expected: str | None, endpoint: str | None, patience: Patience) -> Path:
    from huggingface_hub.utils import WeakFileLock

    if (found := file.cached()) is None:
        for path in (file.part, file.place):
            path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(file.beside("lock")):
            if (found := file.cached()) is None:
                if not file.beside("unchecked").is_file():
                    _download(file, endpoint, patience)
                return _place(file, expected)
    file.check(found.resolve(), expected)
    return found


def _place(file: _File, expected: str | None) -> Path:
    """Give the file that was fetched its place, if it is right."""
    whole = file.beside("unchecked")
    # some network file systems ignore locks: another process may have written the same bytes, and be quicker
    with suppress(FileNotFoundError):
        if not whole.is_file() and file.cached() is None:
            file.part.replace(whole)
    try:
        file.check(whole, expected)
        whole.replace(file.place)
    except FileNotFoundError:
        if file.cached() is None:
            raise
    return file.place


def _download(file: _File, endpoint: str | None, patience: Patience) -> None:
    """Request until the part is the whole file."""
    from huggingface_hub import constants, hf_hub_url

    if constants.is_offline_mode():
        raise Failed(f"cannot reach the hub for {file}: HF_HUB_OFFLINE is set, and it is not in {file.cache}")
    url = hf_hub_url(file.repository, file.name, repo_type=file.kind, revision=file.revision, endpoint=endpoint)
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
        raise Failed(f"{url} is no address: check HF_ENDPOINT")
    problem = f"cannot fetch {file} from {address.netloc}"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT if patience.timeout is None else patience.timeout
    good, tries, wait = transfer.size(file.part), 0, patience.wait
    while True:
        try:
            return transfer.request(
                url, file.part, name=file.name, what=str(file), revision=file.revision, timeout=timeout
            )
        except Failed as error:
            if not error.again:
                raise
            have = transfer.size(file.part)
            if have - good >= WORTH:
                good, tries, wait = have, 0, patience.wait
            kept = f"{have:,} bytes are kept: run again to resume" if have else "run again later"
            if error.after > patience.longest:
                raise Failed(f"{problem}: {error} and asks to wait {error.after:,.0f} s; {kept}") from error
            if tries == patience.retries:
                raise Failed(f"{problem}: {error} ({tries + 1} tries in a row); {kept}") from error
            tries, pause, wait = tries + 1, max(wait, error.after), min(2 * wait, 30.0)
            Status().say(f"fetch {file.name}: {error}: again in {duration(pause)} ({tries} of {patience.retries})")
            sleep(pause)
