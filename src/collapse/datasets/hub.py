"""Files of the Hugging Face hub at a pinned revision, checked after each download."""

from collections.abc import Mapping
from pathlib import Path

from collapse import store
from collapse.errors import DataError

REPOSITORY = "roneneldan/TinyStories"
# The head of `main` since August 2024. Revision and checksums stand in several independent public manifests; they are
# to be confirmed by the first download, which fails where the bytes differ.
REVISION = "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
CHECKSUMS = {
    "TinyStories-train.txt": "c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f",
    "TinyStories-valid.txt": "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4",
}

LOCAL = (
    "without the hub: fetch {names} of {repository} on a machine that can (or from a mirror), and set "
    "`source: local` and `path: <folder that holds them>`"
)


def fetch(
    repository: str,
    revision: str,
    names: tuple[str, ...],
    checksums: Mapping[str, str],
    *,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> tuple[Path, ...]:
    """Return local copies of files of a data set on the hub; what is in the hub's cache is not fetched again.

    Args:
        repository: e.g. ``"roneneldan/TinyStories"``.
        revision: a commit, 40 hexadecimal digits.
        names: paths inside the repository.
        checksums: name -> SHA-256, hexadecimal; files without one are not checked beyond their length.
        endpoint: address of the hub; None is the usual one.
        cache: folder of the hub's cache; None is the usual one.

    Raises:
        DataError: no network, no such repository, revision or file, a cut connection, a full disk, or other bytes
            than the checksum says. The message tells how to use local files instead.
    """
    return tuple(_one(repository, revision, name, names, checksums.get(name), endpoint, cache) for name in names)


def _one(repository, revision, name, names, expected, endpoint, cache) -> Path:
    from huggingface_hub import errors, hf_hub_download

    instead = LOCAL.format(names=" and ".join(names), repository=repository)
    what = f"{name} of {repository} at {revision}"
    try:
        path = Path(
            hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, endpoint=endpoint, cache_dir=cache
            )
        )
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise DataError(f"cannot reach the hub for {what}; {instead}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise DataError(f"the hub has no {what}: check `repository` and `revision`; {instead}") from error
    # OSError covers HTTP errors (httpx), cut connections, time-outs and full disks
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot fetch {what} ({reason}); run again to resume, or {instead}") from error
    if expected is not None and (found := store.sha256(path)) != expected:
        raise DataError(
            f"{path.resolve()} is not {what}: its SHA-256 is {found}, not {expected}; "
            f"delete the file and run again, or {instead}"
        )
    return path
