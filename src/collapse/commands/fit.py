"""`collapse fit` and `collapse sample`: one generation, from files to files."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np

from collapse import digest, selection, store
from collapse.checkpoint import Checkpoint
from collapse.commands.job import Job
from collapse.commands.settings import provenance
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.items import Items, Ragged
from collapse.loop import draw, evaluate, prompted, selected, turn
from collapse.policies import PRETRAINED, synthetic
from collapse.seeding import Streams

STARTS = ("cross_entropy", "perplexity", "perplexity_batches", "perplexity_sequences")
"""Metrics of the pretrained model, where it has them, that stand beside those of generation 1: it is "zero-shot"."""


def use_threads(threads: int) -> None:
    """Give torch the threads that the rule was given; families without torch ignore it.

    With glibc, also keep freed memory: a fit takes and gives back the same blocks at each step, and page faults cost
    several per cent of it.
    """
    import ctypes

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


@contextmanager
def _gpu_memory() -> Iterator[None]:
    """Turn a GPU's lack of memory into an error that names what to do. Raises TrainingError."""
    try:
        yield
    except RuntimeError as error:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(error, torch.OutOfMemoryError):
            raise
        first = str(error).partition("\n")[0]
        raise TrainingError(
            f"the GPU's memory is too small ({first}): take one with more, or one that is free; or change "
            "what changes the result: `batch` or `precision: bfloat16` of the recipe, `max_tokens` of the sampler"
        ) from error


def _gpu() -> dict[str, Any]:
    """Name and peak memory of the GPU that this process used, if any."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    peak = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return {"device": torch.cuda.get_device_name(), "peak_gpu_mib": peak}


def _drawing_pace(items: Items, seconds: float) -> dict[str, float]:
    """Seconds that sampling took and, of texts, tokens per second; the end of each counts as one."""
    pace = {"sample_seconds": round(seconds, 3)}
    if isinstance(items.output, Ragged):
        tokens = len(items.output.values) + len(items)
        pace["sample_tokens_per_second"] = round(tokens / seconds, 1)
    return pace


def _checkpoint(job: Job, n: int, notes: dict[str, Any]) -> Checkpoint | None:
    """Return where the fit of generation ``n`` saves its state; None for a family that cannot resume."""
    if not getattr(job.family, "RESUMES", False):
        return None
    modules = ("collapse.commands.fit", job.family.__name__, f"collapse.datasets.{job.settings['dataset']['kind']}")
    identity = {
        "cell": job.cell.fitted(n),
        "seed": job.seed,
        "settings": job.settings,
        "code": lambda: digest.code(*modules, rules=(job.policy.kind,)),  # parses files: only when it is needed
    }
    path = job.folder(n) / "checkpoint.safetensors"
    return Checkpoint(path, identity, job.config.checkpoint_minutes, notes)


def fit(job: Job, n: int, threads: int = 1) -> None:
    """Make generation ``n``: fit, evaluate, and (n >= 2) sample. Generation 1 is sampled by `sample`, once per sampler.

    Writes ``model.safetensors``, ``metrics.json`` (deterministic), ``provenance.json`` and, for n >= 2,
    ``samples.safetensors`` in the folder of the generation. A long fit saves its state beside
    them in ``checkpoint.safetensors``, from which the same command goes on after an interruption; it is removed at the
    end.

    Raises:
        CollapseError: an input is missing or corrupted, or the fit failed or was interrupted.
    """
    started = time.time()
    family, data, seeds = job.family, job.data, (job.seed,)
    use_threads(threads)
    notes: dict[str, Any] = {"curve": []}
    checkpoint = _checkpoint(job, n, notes)

    def observe(model, progress: dict[str, float]) -> None:
        few = job.settings.get("curve_items")
        try:
            part = data.test if few is None else data.test.first(few)
        except ValueError as error:
            raise ConfigError(f"curve_items is larger than the test set: {error}") from None
        point = evaluate(family, model, data, part, Streams(("curve", *job.cell.fitted(n)), seeds))
        notes["curve"].append({**progress, **_scalars(point)})

    with _gpu_memory():
        with nullcontext() if checkpoint is None else checkpoint.stoppable():
            made = turn(
                job.cell, n, data.size, policy=job.policy, family=family, config=job.config, data=data, read=job.read,
                initial=lambda k: _load(job, k), observer=observe, seeds=seeds,
                checkpoint=checkpoint, sampler=job.sampler if n > 1 else None, pretrained=job.pretrained,
            )  # fmt: skip
        rng = Streams(("evaluate", *job.cell.fitted(n)), seeds)
        metrics = _scalars(evaluate(family, made.model, data, data.test, rng))
        if n == 1 and job.pretrained:
            before = _scalars(evaluate(family, _load(job, PRETRAINED), data, data.test, rng))
            metrics |= {f"start_{name}": value for name, value in before.items() if name in STARTS}
        fitted, row = time.time(), {**made.facts, "real_fraction": made.facts["real_fraction"][0]}
        timing = {"fit_seconds": round(fitted - started, 3), **getattr(made.model, "pace", {})}
        folder = job.folder(n)
        if n > 1:
            began = time.time()
            prompts = job.read(synthetic(n - 1), data.size) if prompted(job.sampler, n) else None
            count = selection.pool(job.selector, job.settings["count"])
            items = _draw(job, n, count, made.model, prompts=prompts)
            timing |= _drawing_pace(items, time.time() - began)
            store.save_arrays(folder / "samples.safetensors", items.arrays())
            row["samples_sha256"] = items.sha256()
    family.save(made.model, folder / "model.safetensors")
    facts = {f"fit_{k}": v for k, v in getattr(made.model, "facts", {}).items()}
    store.write_json(
        folder / "metrics.json",
        {"cell": job.cell.fitted(n), "seed": job.seed, **row, **facts, "metrics": metrics, "curve": notes["curve"]},
    )
    store.write_json(folder / "provenance.json", provenance(started, threads=threads, **timing, **_gpu()))
    if checkpoint is not None:
        checkpoint.clear()


def sample(job: Job, part: int, threads: int = 1) -> None:
    """Draw one part (N items) from the shared generation 1 with one sampler.

    Raises:
        CollapseError: the model is missing or corrupted, or it gave nothing.
    """
    started = time.time()
    model = _load(job, 1)
    use_threads(threads)
    loaded = time.time()
    with _gpu_memory():
        items = _draw(job, 1, job.data.size, model, parts=[part])
    timing = _drawing_pace(items, time.time() - loaded)
    path = job.folder(1) / job.cell.sampler / f"part{part}.safetensors"
    store.save_arrays(path, items.arrays())
    store.write_json(path.with_suffix(".provenance.json"), provenance(started, threads=threads, **timing, **_gpu()))


def _load(job: Job, k: int):
    """Read model ``k``. Raises DataError where it is not one of the recipe's settings: it would draw other samples."""
    if k == PRETRAINED:
        if "start" not in job.settings:
            raise ConfigError(f"recipe {job.cell.recipe!r} starts from weights: name their file, `start` of --settings")
        model = job.family.load(job.root / job.settings["start"])
        config, device = getattr(model, "config", None), job.settings.get("device", "cpu")
        if getattr(config, "device", device) != device:  # it was converted on a CPU
            model.config = replace(config, device=device)
            model = model.to(device)
        return model
    path = job.folder(k) / "model.safetensors"
    model = job.family.load(path)
    if (found := getattr(model, "config", job.config)) != job.config:
        other = [f.name for f in fields(found) if getattr(found, f.name) != getattr(job.config, f.name)]
        raise DataError(f"{path} has other settings than the recipe ({', '.join(other)}): delete it and run again")
    return model


def _draw(job: Job, k: int, count: int, model: Any, parts=None, prompts=None):
    return draw(
        job.cell, k, count, model=model, family=job.family, data=job.data, sampler=job.sampler, seeds=(job.seed,),
        size=job.data.size, parts=parts, prompts=prompts,
    )  # fmt: skip


def select(job: Job, k: int, count: int) -> dict[str, Any]:
    """Apply the selector to what was drawn from model ``k``; return how many were there, how many kept, and which."""
    drawn = job.samples(k, selection.pool(job.selector, count))
    kept = selected(drawn, job.selector, job.cell, k, count, (job.seed,), job.data)
    return {"drawn": len(drawn), "kept": len(kept), "index": kept.index[0].tolist()}
