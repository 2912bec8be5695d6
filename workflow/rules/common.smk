# All functions of the workflow. Paths, plans and the grid come from the library: the DAG and the code cannot disagree.
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "src")))
sys.setrecursionlimit(20_000)  # a chain deeper than 478 jobs would be reported as a cyclic dependency

from collapse import config as checked
from collapse import digest, grid, judging, paths, policies
from collapse.errors import CollapseError

try:
    CONFIG = checked.check({k: v for k, v in config.items()})
except CollapseError as error:
    raise WorkflowError(str(error))

ROOT = f"results/{CONFIG.scale}"
USUAL = checked.usual(CONFIG)
SERIES = checked.series(CONFIG)
CHAINS = grid.chains(CONFIG)


def at(*parts):
    """A path under results/<scale>; wildcards stay in braces."""
    return "/".join([ROOT, *parts])


def root(w):
    return ROOT


def any_of(values):
    return "|".join(re.escape(str(v)) for v in sorted(set(values), key=str)) or "none"


wildcard_constraints:
    dataset=any_of(CONFIG.datasets),
    recipe=any_of(CONFIG.recipes),
    policy=any_of(CONFIG.policies),
    sampler=any_of(CONFIG.samplers),
    selector=any_of(CONFIG.selectors),
    pretrained=any_of(CONFIG.pretrained),
    paper=any_of(CONFIG.figures),
    figure=any_of(f for figures in CONFIG.figures.values() for f in figures),
    seed=r"\d+",
    part=r"\d+",
    last=r"\d+",
    n=r"[2-9]|[1-9]\d+",


def as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def dataset_entry(w):
    return CONFIG.datasets[w.dataset]


def recipe_entry(w):
    return checked.recipe(CONFIG, w.recipe)


def length(w):
    """Generations of the series that a job belongs to."""
    key = tuple(int(w[a]) if a == "seed" else w[a] for a in checked.SERIES)
    if key not in SERIES:
        raise WorkflowError(f"no such series in config/{CONFIG.scale}.yaml: {'/'.join(map(str, key))}")
    return SERIES[key]


def settings(w, *axes, **more):
    """The entries of the config that a job is made of, as JSON: its `--settings`, and what re-runs it when edited."""
    entry = {
        "dataset": lambda: dataset_entry(w),
        "recipe": lambda: recipe_entry(w),
        "policy": lambda: CONFIG.policies[w.policy],
        "sampler": lambda: CONFIG.samplers[w.sampler],
        "selector": lambda: CONFIG.selectors[w.selector],
    }
    return as_json({**{axis: entry[axis]() for axis in axes}, **more})


def code(verb):
    """A function of the wildcards: the digest of what a verb runs for this data set, family and policy."""

    def of(w):
        modules, rules = [f"collapse.commands.{verb}"], []
        if "dataset" in w.keys():
            kind = dataset_entry(w)["kind"]
            modules += [f"collapse.datasets.{kind}"] + [f"collapse.metrics.{kind}"] * (verb == "measure")
        if "recipe" in w.keys():
            modules.append(f"collapse.families.{recipe_entry(w)['family']}")
        if "policy" in w.keys():
            rules.append(CONFIG.policies[w.policy]["kind"])
        return digest.code(*modules, rules=rules)

    return of


def memory(base, each):
    """A function of the wildcards: MB of a job that holds what generation n trains on, or N items; ``each`` is of an item."""

    def of(w):
        items = grid.size(CONFIG, w.dataset) or 2_200_000
        if "n" in w.keys():
            shares = policies.plan(grid.policy(CONFIG, w.policy), int(w.n), items)
            items = max(items, sum(share.count for share in shares))
        return base + int(each * items)

    return of


def gpu(w):
    return int(CONFIG.device == "cuda")


def plan(w):
    """What a generation trains on, as text: it re-runs the generation when the plan changes."""
    return policies.describe(grid.policy(CONFIG, w.policy), int(w.n), grid.size(CONFIG, w.dataset))


def drawn(w):
    """How many items the later generations of the series need of model n."""
    return policies.drawn(grid.policy(CONFIG, w.policy), int(w.n), length(w), grid.size(CONFIG, w.dataset))


def training_inputs(w):
    """Files that generation n reads: the same `plan` as the library's says which."""
    n, names = int(w.n), {axis: w[axis] for axis in checked.SERIES}
    if n > length(w):
        raise WorkflowError(f"generation {n} is not in the grid: {w.policy} ends at {length(w)}")
    parts = sorted(grid.parts(CONFIG, names, n).items())
    files = [at(file) for k, count in parts for file in paths.samples(k, count, **names)]
    return files + [at(file) for file in grid.models(CONFIG, names, n)]


def first_inputs(w):
    """The pretrained weights that generation 1 starts from, where its recipe has some."""
    return [at(file) for file in grid.models(CONFIG, dict(w.items()), 1)]


def start(w):
    """Settings of a recipe that starts from pretrained weights: where they are."""
    name = recipe_entry(w).get("start")
    return {"start": grid.pretrained(CONFIG, name)} if name else {}


def generation_files(w):
    """Every generation of a series up to the last one asked for: its metrics and the items that are measured."""
    names, last = {k: w[k] for k in checked.SERIES}, int(w.last)
    if last > length(w):
        raise WorkflowError(f"generation {last} is not in the grid: {w.policy} ends at {length(w)}")
    metrics = [at(paths.generation(n, **names), "metrics.json") for n in range(1, last + 1)]
    metrics.append(at(paths.model(1, **names)))
    drawn = range(1, last + 1) if checked.draws(CONFIG, w.sampler) else ()
    items = [at(file) for n in drawn for file in paths.samples(n, 1, **names)]
    return metrics + items


def rows_files(selections, name="rows.parquet"):
    """Tables of the cells that a figure names, each series once."""
    found = grid.tables(CONFIG, selections)
    return [at(paths.series(name, **table) if "seed" in table else paths.CHAIN.format(**table)) for table in found]


def figure_rows(w):
    return rows_files(CONFIG.figures[w.paper][w.figure].rows)


def figure_extra(w):
    """Curves, examples and facts of data sets, where a figure asks for them."""
    entry = CONFIG.figures[w.paper][w.figure]
    persisted = [r for r in entry.rows if r.block in CONFIG.cells]
    files = [f for name in entry.extra for f in rows_files(persisted, name)]
    datasets = sorted({cell["dataset"] for rows in persisted for cell in checked.resolve(CONFIG, rows)})
    return files + [at(paths.DATA_FACTS.format(dataset=d)) for d in datasets]


def figures(*papers):
    """The pdf of every figure of some papers, or of all; without those on demand."""
    return [at("figures", paper, f"{name}.pdf") for paper in papers or USUAL.figures for name in USUAL.figures[paper]]


def claims_files():
    return [f"config/claims/{paper}.yaml" for paper in CONFIG.claims]


def judged_rows():
    """Rows of every claim and gate that this scale's grid holds; each series once, at its full length."""
    gated = {name for gate in USUAL.gates.values() for name in (gate.block, gate.against) if name}
    wanted = judging.selections([Path(workflow.basedir, file) for file in claims_files()], USUAL)
    wanted += [checked.Selection(block=block) for block in sorted(gated)]
    files, usual = [], checked.series(USUAL)
    for table in grid.tables(CONFIG, wanted):
        if "seed" in table:
            last = usual[tuple(table[axis] for axis in checked.SERIES)]
            files.append(at(paths.series("rows.parquet", **{**table, "last": last})))
        else:
            files.append(at(paths.CHAIN.format(**table)))
    return files
