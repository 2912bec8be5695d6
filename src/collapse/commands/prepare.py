"""`collapse prepare`: a data set's splits on disk."""

import time
from pathlib import Path

from collapse import paths, store
from collapse.commands.settings import dataset_config, provenance
from collapse.progress import Status


def prepare(root: Path, dataset: str, entry: dict) -> None:
    """Write ``data.safetensors``, ``facts.json`` and ``provenance.json`` of a data set.

    Args:
        root: ``results/<scale>``.
        dataset: its name.
        entry: its entry of the config.

    Raises:
        CollapseError: the data cannot be read, or are not what the entry says.
    """
    started = time.time()
    module, config = dataset_config(entry)
    status = Status()

    def report(what: str, done: int, total: int | None) -> None:
        far = f", {done:,}{f' of {total:,}' if total else ''} stories" if done else ""
        status.show(f"prepare {dataset}: {what}{far}")

    arrays, facts = module.prepare(config, dataset, report)
    status.clear()
    store.save_arrays(root / paths.DATA.format(dataset=dataset), arrays)
    store.write_json(root / paths.DATA_FACTS.format(dataset=dataset), {"dataset": dataset, "entry": entry, **facts})
    store.write_json((root / paths.DATA.format(dataset=dataset)).with_name("provenance.json"), provenance(started))
