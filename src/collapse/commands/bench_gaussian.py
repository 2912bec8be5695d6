"""Speed of recursive Gaussians: chains of the loop side by side against a Python loop over seeds.

The other side is what one writes down first: for each seed and generation draw n normal items, take their mean and
standard deviation. It does the same generations, sizes and seeds, without the metrics and the provenance of
`collapse.loop.run_chain`, which is ours. Where a policy takes sets whole, ours draws mean and scatter of the items, of
exactly their law, in place of the items (`collapse.datasets.gaussian`): its time does not depend on n. The same chains
with items one by one, which policies that draw among them need, are measured beside it: they win nothing, since each
chain has a stream of its own and all items are hashed.
"""

from functools import partial

import numpy as np

from collapse.commands.bench_turns import take_turns
from collapse.datasets import gaussian as dataset
from collapse.families import gaussian as family
from collapse.loop import Cell, run_chain
from collapse.policies import Policy
from collapse.selection import Selector


def plain(seeds: int, size: int, generations: int) -> np.ndarray:
    """Fit and sample in a loop; return the standard deviations of the last generation, (seeds,)."""
    out = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = rng.normal(0.0, 1.0, size)
        for _ in range(generations):
            mean, sd = x.mean(), x.std()
            x = rng.normal(mean, sd, size)
        out.append(sd)
    return np.array(out)


def ours(seeds: int, size: int, generations: int, items: bool = False) -> np.ndarray:
    """Run the chains of the loop, replace; return the standard deviations of the last generation, (seeds,)."""
    config, policy, all_ = dataset.Config(T=size), Policy("replace"), tuple(range(seeds))
    if items:
        data = dataset.load(config, {}, {}, all_, "bench", items=True)
    else:
        data = dataset.for_chain(config, all_, "bench", policy, generations)
    chain = run_chain(
        Cell("bench", "mle", "replace", "exact", "all"), size, generations, policy=policy, family=family,
        config=family.Config(ddof=0), data=data, sampler=None, selector=Selector("all"), seeds=all_,
    )  # fmt: skip
    for _, metrics, _ in chain:
        sd = metrics["sd"]
    return sd


def gaussian(settings: tuple[tuple[int, int], ...], generations: int = 20, turns: int = 3) -> list[str]:
    """Return lines: fits a second of whole sets, and ratios to the loop over seeds, in turn in the same run.

    Args:
        settings: pairs of seeds and items.
        generations: of each chain.
        turns: runs of each contender; ratios are medians over them, with the smallest and the largest.
    """
    lines = [f"recursive Gaussians, replace, {generations} generations: chains side by side against a loop over seeds"]
    for seeds, size in settings:
        work = (seeds, size, generations)
        runs = {"sets": partial(ours, *work), "items": partial(ours, *work, items=True), "loop": partial(plain, *work)}
        found = take_turns({name: partial(lambda run: run, run) for name, run in runs.items()}, turns)
        sets, items, loop = (np.array([seconds for seconds, _ in found[name]]) for name in runs)
        text = []
        for name, ratio in (("whole sets", loop / sets), ("items one by one", loop / items)):
            text.append(f"{name} {np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f}) x the loop")
        rate = seeds * generations / np.median(sets)
        lines.append(f"{seeds:>6,} seeds, n = {size:>6,}{rate:>12,.0f} fits/s   {', '.join(text)}")
    return lines
