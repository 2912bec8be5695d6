"""`collapse pretrained`: weights from elsewhere, converted once to the form that recipes start from."""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from collapse import store
from collapse.commands.settings import provenance
from collapse.errors import ConfigError, DataError


def pretrained(out: Path, entry: dict[str, Any]) -> None:
    """Write a model of transformers' layout as a model of a family.

    Args:
        out: the file; ``provenance.json`` lies beside it.
        entry: of the config: ``family``, and ``path`` or ``repository``, ``revision`` and ``weights``;
            ``sha256`` of its files.

    Raises:
        CollapseError: the files cannot be had, or are not a model of the family.
    """
    started = time.time()
    family = import_module(f"collapse.families.{entry['family']}")
    if (read := getattr(family, "load_pretrained", None)) is None:
        raise ConfigError(f"family {entry['family']!r} reads no weights of another layout: name a dataset and a recipe")
    folder = Path(entry["path"]) if "path" in entry else _fetch(entry)
    for name, expected in entry.get("sha256", {}).items():
        if not (folder / name).is_file():
            raise DataError(f"there is no {folder / name}, of which the config says the SHA-256")
        if (found := store.sha256(folder / name)) != expected:
            raise DataError(f"{folder / name} has SHA-256 {found}, the config says {expected}: fetch it anew")
    family.save(read(folder), out)
    store.write_json(out.with_name("provenance.json"), provenance(started))


def _fetch(entry: dict[str, Any]) -> Path:
    """Fetch configuration and weights from the hub; return their folder."""
    from collapse.datasets import hub

    names = ("config.json", entry.get("weights", "model.safetensors"))
    files = hub.fetch(entry["repository"], entry["revision"], names, entry.get("sha256", {}), kind="model")
    return files[0].parent
