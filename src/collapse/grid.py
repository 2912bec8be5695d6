"""The jobs of a scale: which generations read which samples, and every job that the workflow will run.

The workflow's input functions and the ledger (`collapse cost`) use the same functions. Standard library and pydantic.
"""

from dataclasses import dataclass
from math import ceil

from collapse import config as configs
from collapse import paths, policies, selection
from collapse.config import SERIES, Config, Selection
from collapse.policies import Policy


@dataclass(frozen=True)
class Series:
    """One persisted chain: its names, and how many generations it has."""

    names: dict
    generations: int


def size(config: Config, dataset: str) -> int:
    """N, the number of items of generation 1."""
    return config.datasets[dataset]["train"]


def policy(config: Config, name: str) -> Policy:
    """The policy of a name."""
    return policies.parse(name, config.policies[name])


def parts(config: Config, names: dict, n: int) -> dict[int, int]:
    """Return model -> parts of N items that generation ``n`` of a chain reads of its samples."""
    total, rule = size(config, names["dataset"]), policy(config, names["policy"])
    selector = selection.parse(names["selector"], config.selectors[names["selector"]])
    found: dict[int, int] = {}
    for share in policies.plan(rule, n, total):
        for source in share.sources:
            if source.kind == "synthetic":
                wanted = ceil(selection.pool(selector, policies.needs(share, total)) / total)
                found[source.index] = max(wanted, found.get(source.index, 0))
    if n > 1 and config.samplers[names["sampler"]].get("prompts") == "synthetic":
        found[n - 1] = max(ceil(selection.pool(selector, total) / total), found.get(n - 1, 0))
    return found


def models(config: Config, names: dict, n: int) -> list[str]:
    """Return the files of the models that generation ``n`` needs: whose weights it starts from, whose stream it sees.

    Args:
        config: the scale.
        names: of the chain: dataset, recipe, seed, and for ``n`` > 1 the others.
        n: generation.
    """
    rule = policy(config, names["policy"]) if n > 1 else Policy("real_only")
    start = configs.recipe(config, names["recipe"]).get("start")
    needed = (
        policies.starts_from(rule, n, start is not None),
        policies.streamed(rule, n, size(config, names["dataset"])),
    )
    found = {k: paths.model(k, **names) if k else pretrained(config, start) for k in needed if k is not None}
    return list(found.values())


def pretrained(config: Config, name: str) -> str:
    """Return the file of pretrained weights: of generation 1 of a recipe on a data set, or read from elsewhere."""
    entry = config.pretrained[name]
    if entry.recipe is not None:
        return paths.model(1, dataset=entry.dataset, recipe=entry.recipe, seed=0)
    return paths.PRETRAINED.format(pretrained=name)


def series(config: Config) -> list[Series]:
    """Return every persisted chain of a scale."""
    return [Series(dict(zip(SERIES, key, strict=True)), last) for key, last in configs.series(config).items()]


def tables(config: Config, selections: list[Selection]) -> list[dict]:
    """Return the tables that hold the rows of selections: names of a series and ``last``, or of a file of chains.

    A series that stands in several blocks counts once, to the most generations that are asked for.
    """
    kept: dict[tuple, dict] = {}
    for rows in selections:
        for cell in configs.resolve(config, rows):
            key = tuple(cell[a] for a in SERIES if a in cell)
            last = {"last": max(cell["generations"], kept.get(key, {}).get("last", 0))} if "seed" in cell else {}
            kept[key] = {a: cell[a] for a in SERIES if a in cell} | last
    return list(kept.values())


def chains(config: Config) -> dict[tuple[str, str, str], dict[str, int]]:
    """Return (dataset, recipe, policy) -> {seeds, generations} of every file of chains, the largest of all blocks."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for name in config.chains:
        for cell in configs.resolve(config, Selection(block=name)):
            here = found.setdefault((cell["dataset"], cell["recipe"], cell["policy"]), {"seeds": 0, "generations": 0})
            here.update({k: max(here[k], cell[k]) for k in here})
    return found


def jobs(config: Config, paper: str | None = None, figure: str | None = None) -> list[tuple[str, dict]]:
    """Return (rule, wildcards) of every job that builds the whole scale, or one figure alone, from nothing.

    The whole scale is without what is built on demand.
    """
    config = config if figure else configs.usual(config)
    found: dict[tuple, tuple[str, dict]] = {}

    def add(rule: str, **wildcards):
        found.setdefault((rule, *wildcards.values()), (rule, wildcards))

    blocks = [Selection(block=b) for b in (*config.cells, *config.chains)]
    wanted = tables(config, blocks if figure is None else config.figures[paper][figure].rows)
    kept = [Series({a: t[a] for a in SERIES}, t["last"]) for t in wanted if "seed" in t]
    memory = [(t["dataset"], t["recipe"], t["policy"]) for t in wanted if "seed" not in t]
    for chain in kept:
        names = chain.names
        shared = {k: names[k] for k in ("dataset", "recipe", "seed")}
        add("prepare", dataset=names["dataset"])
        if start := configs.recipe(config, names["recipe"]).get("start"):
            entry = config.pretrained[start]
            if entry.recipe is not None:
                add("prepare", dataset=entry.dataset)
                add("fit_first", dataset=entry.dataset, recipe=entry.recipe, seed=0)
            else:
                add("pretrained", pretrained=start)
        add("fit_first", **shared)
        if not configs.draws(config, names["sampler"]):
            continue
        needed = [parts(config, names, n).get(1, 0) for n in range(2, chain.generations + 1)]
        for part in range(max([1, *needed])):
            add("sample", **shared, sampler=names["sampler"], part=part)
        for n in range(2, chain.generations + 1):
            add("fit", **names, n=n)
    drawn = [(paper, figure)] if figure else [(p, f) for p, figures in config.figures.items() for f in figures]
    for table in [*wanted, *(t for p, f in drawn for t in tables(config, config.figures[p][f].rows))]:
        if "seed" in table:
            add("measure", **table)
    for dataset, recipe, rule in memory:
        add("simulate", dataset=dataset, recipe=recipe, policy=rule)
    for each in drawn:
        add("figure", paper=each[0], figure=each[1])
    if figure is None:
        add("runs")
        add("judge")
    return list(found.values())
