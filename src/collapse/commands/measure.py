"""`collapse measure`: the rows, learning curves and examples of one series, all generations in one process."""

import json
from importlib import import_module
from itertools import pairwise

import numpy as np
import pandas as pd

from collapse import paths, store
from collapse.commands.job import Job
from collapse.errors import DataError
from collapse.table import write_table


def measure(job: Job, examples: int = 12) -> None:
    """Write ``rows.parquet`` (a row per generation), ``curves.parquet`` and ``examples.json`` of a series.

    Raises:
        DataError: a generation is missing, or belongs to another chain.
    """
    last, rows, curves, shown = job.settings["generations"], [], [], {}
    metrics = import_module(f"collapse.metrics.{job.settings['dataset']['kind']}")
    real = metrics.reference(job.data)
    limit = job.settings["sampler"].get("max_tokens")
    settings = json.dumps(job.settings, sort_keys=True, separators=(",", ":"))
    names = {**vars(job.cell), "family": job.settings["recipe"]["family"], "seed": job.seed}
    for n in range(1, last + 1):
        record = store.read_json(job.folder(n) / "metrics.json")
        if tuple(record["cell"]) != job.cell.fitted(n) or record["seed"] != job.seed:
            raise DataError(
                f"{job.folder(n)} holds {record['cell']}, not {job.cell.fitted(n)}: delete it and run again"
            )
        plain = {k: v for k, v in record.items() if not isinstance(v, list | dict) and k != "seed"}
        sampled = {}
        if job.settings["sampler"].get("kind") != "none":
            items = job.samples(n, job.data.size)
            plain.setdefault("samples_sha256", items.sha256())
            sampled = {f"sample_{k}": v for k, v in metrics.measure(items, real, job.data, limit).items()}
            shown[str(n)] = _examples(job.data, items.first(min(examples, len(items))))
        floor = job.data.floor
        excess = {} if floor is None else {"excess": record["metrics"]["cross_entropy"] - floor}
        rows.append({**names, **plain, "settings": settings, **record["metrics"], **excess, **sampled})
        curves += [{**names, "generation": n, **point} for point in record["curve"]]
    if any(b["generation"] != a["generation"] + 1 for a, b in pairwise(rows)):
        raise DataError(f"generations of {job.cell} are not consecutive")
    out = {
        name: job.root / paths.series(name, **job.names, last=last)
        for name in ("rows.parquet", "curves.parquet", "examples.json")
    }
    write_table(out["rows.parquet"], pd.DataFrame(rows))
    write_table(out["curves.parquet"], pd.DataFrame(curves))
    store.write_json(out["examples.json"], shown)


def _examples(data, items) -> list[dict]:
    """The items as text, with what the source says of them where it is known."""
    truth = data.truth(items)
    logprob = [None] * len(items) if truth is None else [float(v) if np.isfinite(v) else None for v in truth[0]]
    grammatical = [None] * len(items) if truth is None else [bool(np.isfinite(v)) for v in truth[0]]
    rows = zip(data.decode(items), grammatical, logprob, strict=True)
    return [{"text": t, "grammatical": g, "true_logprob": p} for t, g, p in rows]
