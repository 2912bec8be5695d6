"""`collapse measure`: the rows, learning curves and examples of one series, all generations in one process."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from collapse import paths, store
from collapse.commands.job import Job
from collapse.errors import DataError, TrainingError
from collapse.loop import prompted
from collapse.policies import synthetic
from collapse.table import write_table


@dataclass(frozen=True)
class First:
    """Generation 1 of a series, as measures of single items need it.

    Attributes:
        job: of the series.
        real: what the measures keep of the real items from one generation to the next.
    """

    job: Job
    real: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self):
        """The family's module."""
        return self.job.family

    @cached_property
    def model(self):
        """The model that was fitted on real data."""
        return self.family.load(self.job.folder(1) / "model.safetensors")


def measure(job: Job, examples: int = 12) -> None:
    """Write ``rows.parquet`` (a row per generation), ``curves.parquet``, ``examples.json`` and ``details.parquet``.

    Details are of single items: what ``details(items, first, data, n)`` of the data set's metrics returns, columns with
    an entry for each item and numbers for the generation's row; generation 0 are the real items of D_1. Without such a
    function the table has no rows.

    Raises:
        DataError: a generation is missing, or belongs to another chain.
        TrainingError: a number of the details is not finite.
    """
    last, rows, curves, shown, details = job.settings["generations"], [], [], {}, []
    metrics = import_module(f"collapse.metrics.{job.settings['dataset']['kind']}")
    real = metrics.reference(job.data)
    limit = job.settings["sampler"].get("max_tokens")
    settings = json.dumps(job.settings, sort_keys=True, separators=(",", ":"))
    names = {**vars(job.cell), "family": job.settings["recipe"]["family"], "seed": job.seed}
    detailed = getattr(metrics, "details", None) if job.settings["sampler"].get("kind") != "none" else None
    first = First(job)

    def in_detail(items, n: int) -> dict[str, float]:
        if detailed is None:
            return {}
        columns, numbers = detailed(items, first, job.data, n)
        for name, value in numbers.items():
            if not np.isfinite(value):
                raise TrainingError(
                    f"{name} of generation {n} is {value}: model 1 measures it, {job.folder(1)}: delete that and run "
                    "again; if it comes back, lower the learning rate of the recipe"
                )
        details.append(pd.DataFrame({**names, "generation": n, **{k: list(v) for k, v in columns.items()}}))
        return numbers

    in_detail(job.data.real(), 0)
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
            found = {**metrics.measure(items, real, job.data, limit), **in_detail(items, n)}
            sampled = {f"sample_{k}": v for k, v in found.items()}
            shown[str(n)] = _examples(job, n, items.first(min(examples, len(items))))
        floor = job.data.floor
        excess = {} if floor is None else {"excess": record["metrics"]["cross_entropy"] - floor}
        rows.append({**names, **plain, "settings": settings, **record["metrics"], **excess, **sampled})
        curves += [{**names, "generation": n, **point} for point in record["curve"]]
    if any(b["generation"] != a["generation"] + 1 for a, b in pairwise(rows)):
        raise DataError(f"generations of {job.cell} are not consecutive")
    out = {
        name: job.root / paths.series(name, **job.names, last=last)
        for name in ("rows.parquet", "curves.parquet", "details.parquet", "examples.json")
    }
    write_table(out["rows.parquet"], pd.DataFrame(rows))
    write_table(out["curves.parquet"], pd.DataFrame(curves))
    empty = pd.DataFrame(columns=[*names, "generation"])
    write_table(out["details.parquet"], pd.concat(details, ignore_index=True) if details else empty)
    store.write_json(out["examples.json"], shown)


def _examples(job: Job, n: int, items) -> list[dict]:
    """The items as text, with what they continue, and what the source says of them where it is known."""
    data = job.data
    if not hasattr(data, "decode"):
        return []
    truth = data.truth(items)
    logprob = [None] * len(items) if truth is None else [float(v) if np.isfinite(v) else None for v in truth[0]]
    grammatical = [None] * len(items) if truth is None else [bool(np.isfinite(v)) for v in truth[0]]
    rows = zip(data.decode(items), grammatical, logprob, strict=True)
    out = [{"text": t, "grammatical": g, "true_logprob": p} for t, g, p in rows]
    if getattr(job.sampler, "start", None) == "continuation":
        continued = job.read(synthetic(n - 1), data.size) if prompted(job.sampler, n) else data.real()
        out = [{"prompt": p, **row} for p, row in zip(data.decode(continued.first(len(items))), out, strict=True)]
    return out
