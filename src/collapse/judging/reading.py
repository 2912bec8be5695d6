"""What reads entries of claims checks them with: mappings, names and numbers of YAML, and the errors that say what is
wrong. Standard library only.
"""

from collections.abc import Iterable
from numbers import Real
from typing import Any

from collapse.errors import ConfigError, unknown


def mapping(entry: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Return ``entry`` if it is a mapping with the required keys and no unknown one. Raises ConfigError."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a mapping, got {entry!r}")
    for key in entry:
        if key not in (known := [*required, *optional]):
            raise unknown(f"key of {where}", key, known)
    for key in required:
        if key not in entry:
            raise ConfigError(f"{where} has no {key!r}")
    return entry


def choice(what: str, name: Any, valid: Iterable[str]) -> str:
    """Return ``name`` if it is one of the valid ones. Raises ConfigError."""
    if name not in list(valid):
        raise unknown(what, name, valid)
    return name


def number(value: Any, what: str) -> float:
    """Return ``value`` if it is a number. Raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{what} must be a number, got {value!r}")
    return value
