"""Errors that a user can act on. The command line prints their text alone, without a traceback."""

from difflib import get_close_matches


class CollapseError(Exception):
    """Base of every error with a message written for the user."""


class ConfigError(CollapseError):
    """A setting is unknown, contradictory or out of range."""


class DataError(CollapseError):
    """A data set or a stored file is missing, truncated, corrupted or of the wrong shape."""


class TrainingError(CollapseError):
    """A fit or a sampling run gave something that must not be used: a non-finite loss, weights that did not move."""


def unknown(what: str, name: str, valid) -> ConfigError:
    """Return the error for an unknown name; it gives the nearest valid one, or all of them where none is near.

    Args:
        what: what the name stands for, e.g. ``"policy"``.
        name: the name that was asked for.
        valid: iterable of the valid names.
    """
    names = sorted(str(v) for v in valid)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(names)}"
    return ConfigError(f"unknown {what} {name!r}: {hint}")
