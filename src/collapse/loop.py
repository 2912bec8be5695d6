"""The loop: fit, sample, select, mix. It exists once.

`turn` makes generation n from the items that `read` hands it; `draw` samples from its model. A persisted chain calls
both from one job per generation and reads from files; `run_chain` calls both in memory, many seeds side by side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from collapse import policies, selection
from collapse.checkpoint import Checkpoint
from collapse.errors import ConfigError, TrainingError
from collapse.items import Endless, Items, Ragged
from collapse.policies import Policy, Share, Source, synthetic
from collapse.seeding import Streams
from collapse.selection import Selector


@dataclass(frozen=True)
class Budget:
    """How long a fit may take: passes over its items or optimiser steps; exactly one is set."""

    passes: float | None = None
    steps: int | None = None

    def __post_init__(self):
        if (self.passes is None) == (self.steps is None):
            raise ValueError("a budget is either passes or steps")


@dataclass(frozen=True)
class Cell:
    """Where a chain stands in the grid: names from the config. Generation 1 depends on data and recipe alone."""

    dataset: str
    recipe: str
    policy: str
    sampler: str
    selector: str

    def fitted(self, n: int) -> tuple:
        """The descriptive tuple of the fit of generation ``n``, without the seed."""
        if n == 1:
            return (self.dataset, self.recipe, "real", 1)
        return (self.dataset, self.recipe, self.policy, self.sampler, self.selector, n)

    def sampled(self, k: int) -> tuple:
        """The descriptive tuple of what is drawn from the model of generation ``k``."""
        return (*self.fitted(k), self.sampler) if k == 1 else self.fitted(k)


@dataclass(frozen=True)
class Turn:
    """One generation: its model, and what it was fitted on."""

    model: Any
    facts: dict[str, Any]


Read = Callable[[Source, int], Items]


def mix(shares, size: int, budget: str, read: Read, data, cell: Cell, n: int, seeds) -> tuple[Items, np.ndarray | None]:
    """Assemble a training set.

    Args:
        shares: the plan of generation ``n``.
        size: N.
        budget: ``items`` cuts the set to N, drawn uniformly without replacement.
        read: (source, count) -> the first ``count`` (selected) items of a source.
        data: the data set; it corrupts and corrects where a share says so.
        cell: the chain; its names seed the draws.
        n: generation.
        seeds: one per chain.

    Returns:
        Items and their loss weights, (S, N) or None where all are 1.

    Raises:
        ConfigError: a share is to be corrected, and the data set cannot.
    """

    def pooled(share: Share, index: np.ndarray | None) -> Items:
        """Join the sources of a share and take ``index`` (S, n) of them; all where it is None."""
        each = policies.needs(share, size)
        if index is None or len(index) > 1:
            parts = [read(source, each) for source in share.sources]
            joined = type(parts[0]).concat(parts)
            return joined if index is None else joined.take(index)
        parts, places = [], []  # one chain: what is not drawn need not stay in memory beside the other sources
        for start, source in zip(range(0, each * len(share.sources), each), share.sources, strict=True):
            places.append(np.flatnonzero((start <= index[0]) & (index[0] < start + each)))
            parts.append(read(source, each).take(index[:, places[-1]] - start))
        return type(parts[0]).concat(parts).take(np.argsort(np.concatenate(places))[None])

    def take(place: int, share: Share) -> Items:
        total, index = policies.needs(share, size) * len(share.sources), None
        if share.draw == "redrawn":
            rng = Streams(("mix", *cell.fitted(n), place, *map(str, share.sources)), seeds)
            index = rng.each(lambda g: g.choice(total, share.count, replace=False))
        elif share.draw == "anchored":  # one order for all policies and generations: larger anchors hold smaller ones
            rng = Streams(("anchor", cell.dataset, *map(str, share.sources)), seeds)
            index = rng.each(lambda g: g.permutation(total)[: share.count])
        elif share.draw == "dealt":
            before = sum(earlier.count for earlier in shares[:place] if earlier.draw == "dealt")
            rng = Streams(("deal", *cell.fitted(n)), seeds)
            index = rng.each(lambda g: g.permutation(total)[before : before + share.count])
        joined = pooled(share, index)
        if len(joined) != share.count:
            raise ValueError(f"{share} gave {len(joined)} items")
        if share.corruption:
            joined = data.corrupt(joined, share.corruption, Streams(("corrupt", cell.dataset), seeds))
        if share.correction:
            if not hasattr(data, "correct"):
                raise ConfigError(f"policy {cell.policy!r} corrects items, which data set {cell.dataset!r} cannot")
            joined = data.correct(joined, share.correction, Streams(("correct", *cell.fitted(n)), seeds))
        return joined

    parts = [take(place, share) for place, share in enumerate(shares)]
    items = type(parts[0]).concat(parts)
    weights = None
    if any(share.weight != 1 for share in shares):
        row = np.concatenate([np.full(share.count, share.weight) for share in shares])
        weights = np.broadcast_to(row, (len(seeds), len(row)))
    if budget == "items" and len(items) > size:
        index = Streams(("cut", *cell.fitted(n)), seeds).each(lambda g: g.choice(len(items), size, replace=False))
        items, weights = items.take(index), None if weights is None else np.take_along_axis(weights, index, axis=1)
    return items, weights


def turn(
    cell, n, size, *, policy: Policy, family, config, data, read: Read, initial=None, observer=None, seeds,
    checkpoint: Checkpoint | None = None, sampler=None, pretrained: bool = False,
) -> Turn:  # fmt: skip
    """Fit generation ``n`` on what the policy plans.

    Args:
        cell: the chain.
        n: generation, from 1.
        size: N, the items of generation 1.
        policy: what it trains on.
        family: module with ``fit``, and ``budget``.
        config: the family's settings.
        data: data set with ``validation``, ``corrupt`` and ``correct``.
        read: (source, count) -> items.
        initial: generation -> model, called where the fit starts from the weights of one (`policies.starts_from`), or
            trains on its stream.
        observer: called by the fit at the points of the learning curve.
        seeds: one per chain.
        checkpoint: where a family that can resume saves its state; None for nowhere.
        sampler: how a stream is drawn.
        pretrained: see `policies.starts_from`.

    Raises:
        ConfigError: a stream beside other sources, or for a family that needs a set.
        TrainingError: an empty training set, or a failed fit.
        DataError: the checkpoint is corrupted, or of another fit.
    """
    shares = policies.plan(policy, n, size)
    if not shares:
        raise TrainingError(f"generation {n} of {cell} has no items to train on")
    if (k := policies.streamed(policy, n, size)) is None:
        items, weights = mix(shares, size, policy.budget, read, data, cell, n, seeds)
    else:
        if not getattr(family, "STREAMS", False):
            raise ConfigError(f"recipe {cell.recipe!r} trains on sets alone, and policy {cell.policy!r} is a stream")
        items, weights = _stream(cell, n, k, initial(k), family, data, sampler, seeds, size), None
    facts = {
        "generation": n,
        "plan": policies.describe(policy, n, size),
        "items": len(items),
        "real_fraction": [0.0] * len(seeds) if k is not None else items.real_fraction().tolist(),
        "training_sha256": items.sha256(),
    }
    resuming = {}
    if checkpoint is not None:
        checkpoint.identify(training_sha256=facts["training_sha256"])
        resuming = {"checkpoint": checkpoint}
    start = policies.starts_from(policy, n, pretrained)
    model = family.fit(
        items,
        config=config,
        weights=weights,
        budget=family.budget(config, size, equal_steps=policy.budget == "steps" and n > 1, first=n == 1),
        init=None if start is None else initial(start),
        validation=data.validation,
        observer=observer,
        rng=Streams(("fit", *cell.fitted(n)), seeds),
        **resuming,
    )
    return Turn(model, facts)


def _stream(cell: Cell, n: int, k: int, model, family, data, sampler, seeds, size: int) -> Endless:
    """What generation ``n`` sees of model ``k``: parts of N items, other ones than `draw` draws."""

    def part(number: int) -> Items:
        rng = Streams(("stream", *cell.fitted(n), number), seeds)
        drawn = family.sample(model, data.contexts(size, rng), sampler, rng).labelled(k, number * size)
        return _some(drawn, k, cell)

    return Endless(part, size, model)


def evaluate(family, model, data, items, rng: Streams | None) -> dict[str, np.ndarray]:
    """Return the metrics of a model on items, {metric: (S, ...)}: the family's, as the data set reduces them.

    Args:
        family: module with ``evaluate``.
        model: what it fitted.
        data: data set; where it has ``reduce(metrics) -> metrics``, that turns what only it can read (sums for each
            token type, say) into metrics.
        items: what the data set holds for a test, or a part of it.
        rng: one stream per chain.
    """
    metrics = family.evaluate(model, items, rng)
    return data.reduce(metrics) if hasattr(data, "reduce") else metrics


def draw(
    cell: Cell, k: int, count: int, *, model, family, data, sampler, seeds, size: int, parts=None,
    prompts: Items | None = None,
) -> Items:  # fmt: skip
    """Sample at least ``count`` items from model ``k``, in parts of ``size`` that are seeded one by one.

    Whoever needs more of them begins with the same ones. A family that samples sufficient statistics (``BY_PART`` is
    False) draws them at once.

    Args:
        parts: draw these parts only; all that ``count`` needs by default.
        prompts: synthetic items that a conditional model continues; None for the data set's own contexts.

    Raises:
        ConfigError: the data set cannot make prompts of items.
        TrainingError: there is nothing in what was drawn.
    """
    if prompts is not None and not hasattr(data, "prompts"):
        raise ConfigError(f"data set {cell.dataset!r} makes no prompts of synthetic items: set `prompts: real`")
    by_part = getattr(family, "BY_PART", True)
    step = size if by_part else count
    out = []
    for part in parts if parts is not None else range(-(-count // step)):
        rng = Streams(("sample", *cell.sampled(k), part), seeds)
        contexts = data.contexts(step, rng) if prompts is None else data.prompts(prompts.first(step))
        drawn = family.sample(model, contexts, sampler, rng)
        out.append(drawn.labelled(k, part * step))
    return _some(type(out[0]).concat(out), k, cell)


def _some(items: Items, k: int, cell: Cell) -> Items:
    """Return the items drawn from model ``k``. Raises TrainingError where there is nothing in them."""
    texts = getattr(items, "output", None)
    if len(items) == 0 or (isinstance(texts, Ragged) and len(texts.values) == 0):
        raise TrainingError(f"model {k} of {cell} gave no samples, or empty ones alone")
    return items


def prompted(sampler, k: int) -> bool:
    """Whether what model ``k`` draws continues synthetic items: those that model ``k`` - 1 drew."""
    return k > 1 and getattr(sampler, "prompts", "real") == "synthetic"


def selected(items: Items, selector: Selector, cell: Cell, k: int, count: int, seeds, data) -> Items:
    """Keep ``count`` of the items drawn from model ``k``; what the selector needs to know of them, the data set tells.

    Raises:
        ConfigError: the data set does not know its truth, and the selector needs it.
        TrainingError: no item is valid.
    """
    scores = data.truth(items) if selection.needs(selector) == "truth" else None
    if scores is None and selection.needs(selector):
        raise ConfigError(f"selector {cell.selector!r} needs the true source, which {cell.dataset!r} does not know")
    rng = Streams(("select", *cell.sampled(k), cell.selector), seeds)
    return selection.select(selector, items, count, rng, scores)


def run_chain(
    cell: Cell, size: int, generations: int, *, policy, family, config, data, sampler, selector, seeds
) -> Iterator[tuple[Turn, dict[str, np.ndarray], Items]]:
    """Run a whole chain in memory, seeds side by side; yield each generation's turn, test metrics and samples.

    Args:
        cell: names of data set, recipe, policy, sampler, selector.
        size: N.
        generations: how many.
        policy, family, config, data, sampler, selector: what the names stand for.
        seeds: one per chain; chain s gives the same numbers alone and beside others.

    Yields:
        (turn, {metric: (S, ...)}, samples).
    """
    samples: dict[int, Items] = {}
    models: dict[int, Any] = {}
    reads = policies.reads(policy, generations, size)
    awaited: dict[int | None, int] = {}  # model -> the last generation that starts from it, or trains on its stream
    for m in range(2, generations + 1):
        awaited |= {policies.starts_from(policy, m): m, policies.streamed(policy, m, size): m}

    real = cache(data.real)  # the same in all generations

    def read(source: Source, count: int) -> Items:
        if source.kind == "synthetic":
            return selected(samples[source.index], selector, cell, source.index, count, seeds, data)
        return (real() if source.kind == "real" else data.fresh(source.index)).first(count)

    for n in range(1, generations + 1):
        made = turn(
            cell, n, size, policy=policy, family=family, config=config, data=data, read=read,
            initial=models.__getitem__, seeds=seeds, sampler=sampler,
        )  # fmt: skip
        models[n] = made.model
        models = {k: model for k, model in models.items() if awaited.get(k, 0) > n}
        metrics = evaluate(family, made.model, data, data.test, Streams(("evaluate", *cell.fitted(n)), seeds))
        count = selection.pool(selector, max(size, reads.get(n, (0, 0))[0]))
        drawn = draw(
            cell, n, count, model=made.model, family=family, data=data, sampler=sampler, seeds=seeds, size=size,
            prompts=read(synthetic(n - 1), size) if prompted(sampler, n) else None,
        )  # fmt: skip
        samples[n] = drawn
        prompting = {n} if prompted(sampler, n + 1) else set()
        samples = {k: items for k, items in samples.items() if k in prompting or (k in reads and reads[k][1] > n)}
        yield made, metrics, drawn
