"""`collapse fit` and `collapse sample`: one generation, from files to files."""

import time
from typing import Any

import numpy as np

from collapse import selection, store
from collapse.commands.job import Job
from collapse.commands.settings import provenance
from collapse.errors import ConfigError, TrainingError
from collapse.loop import draw, turn
from collapse.seeding import Streams


def use_threads(threads: int) -> None:
    """Give torch the threads that the rule was given; families without torch ignore it.

    With glibc, also keep freed memory: a fit takes and gives back the same blocks at each step, and page faults cost
    several per cent of it.
    """
    import ctypes
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        for parameter, size in ((-1, 1 << 28), (-2, 1 << 26), (-3, 1 << 27)):  # trim threshold, top pad, mmap threshold
            mallopt(parameter, size)


def _scalars(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """One chain's metrics as numbers. Raises TrainingError naming a metric that is not finite."""
    out = {name: float(np.asarray(value).item()) for name, value in metrics.items()}
    for name, value in out.items():
        if not np.isfinite(value):
            raise TrainingError(f"{name} is {value}: the fit diverged; lower the learning rate of the recipe")
    return out


def fit(job: Job, n: int, threads: int = 1) -> None:
    """Make generation ``n``: fit, evaluate, and (n >= 2) sample. Generation 1 is sampled by `sample`, once per sampler.

    Writes ``model.safetensors``, ``metrics.json`` (deterministic), ``provenance.json`` and, for n >= 2,
    ``samples.safetensors`` in the folder of the generation; metrics are written last.

    Raises:
        CollapseError: an input is missing or corrupted, or the fit failed.
    """
    started = time.time()
    family, data, seeds = job.family, job.data, (job.seed,)
    use_threads(threads)
    curve: list[dict[str, float]] = []

    def observe(model, progress: dict[str, float]) -> None:
        few = job.settings.get("curve_items")
        try:
            part = data.test if few is None else data.test.first(few)
        except ValueError as error:
            raise ConfigError(f"curve_items is larger than the test set: {error}") from None
        point = family.evaluate(model, part, Streams(("curve", *job.cell.fitted(n)), seeds))
        curve.append({**progress, **_scalars(point)})

    made = turn(
        job.cell, n, data.size, policy=job.policy, family=family, config=job.config, data=data, read=job.read,
        initial=lambda k: family.load(job.folder(k) / "model.safetensors"), observer=observe, seeds=seeds,
    )  # fmt: skip
    metrics = _scalars(family.evaluate(made.model, data.test, Streams(("evaluate", *job.cell.fitted(n)), seeds)))
    fitted, row = time.time(), {**made.facts, "real_fraction": made.facts["real_fraction"][0]}
    folder = job.folder(n)
    family.save(made.model, folder / "model.safetensors")
    if n > 1:
        items = _draw(job, n, selection.pool(job.selector, job.settings["count"]), made.model)
        store.save_arrays(folder / "samples.safetensors", items.arrays())
        row["samples_sha256"] = items.sha256()
    facts = {f"fit_{k}": v for k, v in getattr(made.model, "facts", {}).items()}
    store.write_json(
        folder / "metrics.json",
        {"cell": job.cell.fitted(n), "seed": job.seed, **row, **facts, "metrics": metrics, "curve": curve},
    )
    timing = {"fit_seconds": round(fitted - started, 3), "sample_seconds": round(time.time() - fitted, 3)}
    store.write_json(folder / "provenance.json", provenance(started, threads=threads, **timing))


def sample(job: Job, part: int, threads: int = 1) -> None:
    """Draw one part (N items) from the shared generation 1 with one sampler.

    Raises:
        CollapseError: the model is missing or corrupted, or it gave nothing.
    """
    started = time.time()
    model = job.family.load(job.folder(1) / "model.safetensors")
    use_threads(threads)
    items = _draw(job, 1, job.data.size, model, parts=[part])
    path = job.folder(1) / job.cell.sampler / f"part{part}.safetensors"
    store.save_arrays(path, items.arrays())
    store.write_json(path.with_suffix(".provenance.json"), provenance(started, threads=threads))


def _draw(job: Job, k: int, count: int, model: Any, parts=None):
    return draw(
        job.cell, k, count, model=model, family=job.family, data=job.data, sampler=job.sampler, seeds=(job.seed,),
        size=job.data.size, parts=parts,
    )  # fmt: skip


def select(job: Job, k: int, count: int) -> dict[str, Any]:
    """Apply the selector to what was drawn from model ``k``; return how many were there, how many kept, and which."""
    drawn = job.samples(k, selection.pool(job.selector, count))
    from collapse.loop import selected

    kept = selected(drawn, job.selector, job.cell, k, count, (job.seed,))
    return {"drawn": len(drawn), "kept": len(kept), "index": kept.index[0].tolist()}
