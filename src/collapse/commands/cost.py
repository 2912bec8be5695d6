"""`collapse cost`: the ledger. What a scale costs before it runs, from measured rates; and what its run recorded."""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from collapse import config as configs
from collapse import grid, paths, policies, store
from collapse.config import Config
from collapse.errors import DataError

# Measured on one core of an AMD EPYC server, torch 2.13.0, with the other core busy too.
START = {"prepare": 0.45, "fit_first": 2.0, "fit": 2.0, "sample": 1.5, "measure": 1.75, "simulate": 0.5, "figure": 3.6}
START |= {"runs": 5.6, "judge": 5.1}
"""CPU seconds of a job before and around its work."""
TRAIN, SAMPLE, EVALUATE = 44e9, 24e9, 53e9
"""Floating-point operations a second: 6 P a token in training, 2 P in sampling and in evaluation."""
PER_STORY = 8e-5
"""Seconds to measure one sampled story."""
IMAGES, STEP = 150e9, 1.5e-3
"""Of an autoencoder: floating-point operations a second in training, and seconds of a step beside them."""
SIMULATE = 2.4e-9
"""Seconds for each chain, generation and d * d * T of a linear regression grid, and the rows it draws."""
CHAIN = {"gaussian": 3e-6, "discrete": 2e-5, "mixture": 1e-3, "kde": 3.5e-6, "sgd": 1e-4}
"""Seconds for each chain, generation and 1,000 items, at least as many, of the other families in memory."""
OFFICIAL_TEST = 22_000
"""Stories of TinyStories' validation split, where a data set takes all of them."""
OFFICIAL_TRAIN = 37_900
"""Blocks of WikiText-2's train split, where a data set takes all of them."""
TOKENS = {"embedded": 60, "local": 220, "hub": 220, "arithmetic": 10}
"""Tokens of a story where the data are not prepared yet."""
VOCABULARY = 16
"""Of statements of arithmetic."""


def multiplied(recipe: dict, vocabulary: int) -> int:
    """Return the parameters that each token is multiplied with: those of the blocks and of the head."""
    h, layers = recipe["hidden"], recipe["layers"]
    wide = 3 * recipe["intermediate"] * h if recipe["family"] == "llama2" else 8 * h * h
    return vocabulary * h + layers * (4 * h * h + wide)


def tokens(config: Config, dataset: str) -> float:
    """Return the mean number of predicted tokens of an item: measured where the data are prepared, else a default."""
    if config.datasets[dataset]["kind"] == "articles":
        return config.datasets[dataset].get("block", 64) - 1
    try:
        facts = store.read_json(Path("results", config.scale, paths.DATA_FACTS.format(dataset=dataset)))
        return facts["mean_length"]["shard1"] + 1
    except (DataError, KeyError, TypeError):
        entry = config.datasets[dataset]
        return TOKENS[entry["kind"] if entry["kind"] in TOKENS else entry.get("source", "embedded")]


def multiplied_images(recipe: dict, side: int) -> int:
    """Return the multiplications of an autoencoder for an image of ``side`` pixels: those of both halves."""
    channels, total = [1, *recipe.get("channels", (64, 128))], 0
    for before, after in pairwise(channels):
        side //= 2
        total += 2 * side * side * 16 * before * after
    return total + 3 * side * side * channels[-1] * recipe.get("latent", 20)


def weigh(config: Config, rule: str, w: dict) -> float:
    """Return the expected core-seconds of a job.

    Args:
        config: the scale.
        rule: name of the rule.
        w: its wildcards; numbers may be strings.
    """
    seconds = START.get(rule, 1.0)
    if rule == "simulate":
        return seconds + _simulation(config, w)
    if rule not in ("fit_first", "fit", "sample", "measure"):
        return seconds
    recipe, data = configs.recipe(config, w["recipe"]), config.datasets[w["dataset"]]
    if recipe["family"] == "vae":
        return seconds + (_images(config, rule, recipe, data, w) if rule.startswith("fit") else 0)
    if "hidden" not in recipe:
        return seconds
    size, mean = data["train"] or OFFICIAL_TRAIN, tokens(config, w["dataset"])
    work = multiplied(recipe, data.get("vocabulary", VOCABULARY)) * mean
    beams = config.samplers[w["sampler"]].get("beams", 1) if "sampler" in w else 1
    if rule == "measure":
        return seconds + PER_STORY * min(size, data["test"] or OFFICIAL_TEST) * int(w["last"])
    if rule in ("fit", "fit_first"):
        items, n, drawn = size, int(w.get("n", 1)), 0
        if rule == "fit":
            rule_, last = grid.policy(config, w["policy"]), configs.series(config)[_key(w)]
            drawn = policies.drawn(rule_, n, last, size)
            if rule_.budget == "epochs":
                items = sum(share.count for share in policies.plan(rule_, n, size))
        epochs = recipe["epochs"] if n > 1 else recipe.get("first_epochs") or recipe["epochs"]
        epochs *= recipe.get("stop", 1)
        test = data["test"] or OFFICIAL_TEST
        points = len(recipe.get("evaluations", [])) * (config.curve_items or test) + test
        fitted = 6 * work * items * epochs / TRAIN + 2 * work * points / EVALUATE
        return seconds + fitted + 2 * work * drawn * beams / SAMPLE
    return seconds + 2 * work * size * beams / SAMPLE


def _images(config: Config, rule: str, recipe: dict, data: dict, w: dict) -> float:
    """Seconds of an autoencoder's fit."""
    items = data["train"]
    if rule == "fit":
        plan = policies.plan(grid.policy(config, w["policy"]), int(w["n"]), items)
        items = sum(share.count for share in plan)
    steps = recipe.get("epochs", 30) * -(-items // recipe.get("batch", 256))
    side = 8 if data.get("source") == "digits" else 28
    work = 6 * multiplied_images(recipe, side) * items * recipe.get("epochs", 30)
    return STEP * steps + work / IMAGES


def _simulation(config: Config, w: dict) -> float:
    entry, chain = config.datasets[w["dataset"]], grid.chains(config)[w["dataset"], w["recipe"], w["policy"]]
    family = configs.recipe(config, w["recipe"])["family"]
    if family in CHAIN:
        sizes = entry.get("T") or entry.get("train", 1000)
        items = sum(max(1.0, t / 1000) for t in (sizes if isinstance(sizes, list) else [sizes]))
        repeats = len(entry["shape"]) if isinstance(entry.get("shape"), list) else 1
        return CHAIN[family] * items * repeats * chain["seeds"] * chain["generations"]
    sizes = entry.get("T", 1)
    sizes, designs = sizes if isinstance(sizes, list) else [sizes], len(entry.get("design", [0]))
    d, rule = entry.get("d", 1), config.policies[w["policy"]]["kind"]
    each = sum((t if rule == "accumulate_subsample" else d) * (d + 40) + 4000 for t in sizes)
    return SIMULATE * each * designs * chain["seeds"] * chain["generations"] * 4


def _key(w: dict) -> tuple:
    return tuple(int(w[a]) if a == "seed" else w[a] for a in configs.SERIES)


def weigher(path: Path) -> Callable[[str, dict[str, str]], float | None]:
    """Return (rule, wildcards) -> expected seconds for the scale of a config; None for what is not in its grid."""
    config = configs.load(path)

    def seconds(rule: str, wildcards: dict[str, str]) -> float | None:
        try:
            return weigh(config, rule, wildcards)
        except KeyError:
            return None

    return seconds


def recorded(config: Config) -> dict[str, tuple[int, float, float]]:
    """Return rule -> (jobs, seconds, largest memory in MiB) of what the benchmarks of a run recorded.

    Seconds are of wall time: a job has a thread of its own, and CPU time is sampled too coarsely for short jobs.
    """
    found: dict[str, list[dict]] = defaultdict(list)
    root = Path("results", config.scale, "benchmarks")
    for path in sorted(root.rglob("*.tsv")):
        rule = path.relative_to(root).parts[0].removesuffix(".tsv")
        rule = {"chains": "simulate", "figures": "figure"}.get(rule, rule)
        with path.open(newline="") as file:
            found[rule] += list(csv.DictReader(file, delimiter="\t"))

    def number(text: str) -> float:
        return float(text) if text not in ("", "-", "NA") else 0.0

    return {
        rule: (len(rows), sum(number(r["s"]) for r in rows), max(number(r["max_rss"]) for r in rows))
        for rule, rows in found.items()
    }


def cost(path: Path) -> str:
    """Return the ledger of a scale as text: jobs, expected core-seconds, what a run recorded, and each figure alone."""
    config = configs.load(path)
    jobs, seconds, done = Counter(), Counter(), recorded(config)
    for rule, wildcards in grid.jobs(config):
        jobs[rule] += 1
        seconds[rule] += weigh(config, rule, wildcards)
    lines = [f"{'rule':<12}{'jobs':>6}{'core-seconds':>14}{'recorded jobs':>15}{'core-seconds':>14}{'peak MiB':>10}"]
    for rule in jobs:
        ran, cpu, peak = done.get(rule, (0, 0.0, 0.0))
        lines.append(f"{rule:<12}{jobs[rule]:>6}{seconds[rule]:>14,.0f}{ran:>15}{cpu:>14,.0f}{peak:>10,.0f}")
    ran = [done.get(rule, (0, 0.0, 0.0)) for rule in jobs]
    peak = max((r[2] for r in ran), default=0.0)
    total = f"{'all':<12}{sum(jobs.values()):>6}{sum(seconds.values()):>14,.0f}"
    lines.append(total + f"{sum(r[0] for r in ran):>15}{sum(r[1] for r in ran):>14,.0f}{peak:>10,.0f}")
    lines += ["", f"{'target alone':<32}{'jobs':>6}{'core-seconds':>14}"]
    for paper, figures in config.figures.items():
        for figure in figures:
            own = grid.jobs(config, paper, figure)
            lines.append(f"{f'{paper}_{figure}':<32}{len(own):>6}{sum(weigh(config, *job) for job in own):>14,.0f}")
    starts = sum(START.get(rule, 1.0) * count for rule, count in jobs.items())
    lines.append("")
    lines.append(f"start-up is {starts / sum(seconds.values()):.0%} of the expected core-seconds")
    if config.scale == "paper":
        lines.append("core-seconds are of one CPU core; the paper's scale is meant for GPUs")
    return "\n".join(lines)
