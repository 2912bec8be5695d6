"""Which settings of a recipe are not the published ones, where the defaults of a family are what was published.

The defaults are read from the source: nothing is imported, so that figures need not load torch.
"""

import ast
from typing import Any

import pandas as pd

from collapse.digest import SOURCE
from collapse.errors import DataError
from collapse.inputs import settings

OWN = frozenset({"family", "device", "evaluations"})
"""Entries that change no result."""


def defaults(family: str) -> dict[str, Any]:
    """Return the defaults of ``Config`` of ``collapse.families.<family>``, for the settings that have one.

    Raises:
        DataError: there is no such family, or it has no ``Config``.
    """
    path = SOURCE / "families" / f"{family}.py"
    tree = ast.parse(path.read_bytes()) if path.is_file() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            fields = [line for line in node.body if isinstance(line, ast.AnnAssign) and line.value is not None]
            return {line.target.id: ast.literal_eval(line.value) for line in fields}
    raise DataError(f"family {family!r} has no settings whose defaults could be compared")


def departures_statement(rows: pd.DataFrame, recipes) -> str:
    """Say for each recipe which of its settings differ from the defaults of its family, the published ones.

    Args:
        rows: with ``settings``, the entries of the config that they were made with.
        recipes: names.

    Raises:
        DataError: rows without settings.
    """
    said = []
    for name in recipes:
        entry = settings(rows, "recipe", name)
        published = defaults(entry["family"])
        other = [
            f"{key} {_text(value)} (published: {_text(published[key])})"
            for key, value in entry.items()
            if key in published and key not in OWN and _text(value) != _text(published[key])
        ]
        said.append(f"{name} differs from the published settings in {', '.join(other)}." if other else "")
    return " ".join(part for part in said if part) or "All settings of the model are the published ones."


def _text(value) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
