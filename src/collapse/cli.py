"""The command line: a verb for each rule of the workflow, each of whose shell lines can be pasted.

Verbs import what they need when they run: `collapse --help` loads neither torch nor pandas.
"""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from collapse.errors import CollapseError, ConfigError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)

Root = Annotated[Path, typer.Option(help="results/<scale>")]
Dataset = Annotated[str, typer.Option(help="name of the data set")]
Recipe = Annotated[str, typer.Option(help="name of the recipe: model and training settings")]
PolicyName = Annotated[str, typer.Option("--policy", help="name of the mixing policy")]
SamplerName = Annotated[str, typer.Option("--sampler", help="name of the sampler")]
SelectorName = Annotated[str, typer.Option("--selector", help="name of the selector")]
Seed = Annotated[int, typer.Option(help="seed of the chain", min=0)]
Generation = Annotated[int, typer.Option(help="generation, counted from 1")]
Threads = Annotated[int, typer.Option(help="threads of the fit", min=1)]
Settings = Annotated[str, typer.Option(help="the entries of the config that the job needs: JSON, or a file of it")]
Scale = Annotated[Path, typer.Option("--configfile", help="config of a scale")]


def _settings(text: str) -> dict[str, Any]:
    from collapse.store import read_json

    if not text.lstrip().startswith("{"):
        return read_json(text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--settings is not valid JSON: {error}") from None


def _job(root, seed, settings, **names):
    from collapse.commands.job import Job
    from collapse.loop import Cell

    return Job(
        root, Cell(**{"policy": "real", "sampler": "none", "selector": "none", **names}), seed, _settings(settings)
    )


@app.command()
def prepare(dataset: Dataset, root: Root, settings: Settings) -> None:
    """Prepare a data set: splits, tokenizer and facts on disk."""
    from collapse.commands.prepare import prepare

    prepare(root, dataset, _settings(settings)["dataset"])


@app.command()
def pretrained(out: Annotated[Path, typer.Option(help="the file")], settings: Settings) -> None:
    """Convert weights of transformers' layout, from a folder or the hub, for recipes to start from."""
    from collapse.commands.pretrained import pretrained

    pretrained(out, _settings(settings))


@app.command()
def fit(
    dataset: Dataset,
    recipe: Recipe,
    seed: Seed,
    generation: Generation,
    root: Root,
    settings: Settings,
    policy: PolicyName = "real",
    sampler: SamplerName = "none",
    selector: SelectorName = "none",
    threads: Threads = 1,
) -> None:
    """Make one generation: fit, evaluate and, from generation 2 on, sample."""
    if generation < 1:
        raise ConfigError(
            f"generation {generation} does not exist: generations count from 1, the one fitted on real data"
        )
    if generation > 1 and "none" in (sampler, selector):
        raise ConfigError(f"generation {generation} needs --policy, --sampler and --selector")
    from collapse.commands.fit import fit

    names = {"dataset": dataset, "recipe": recipe, "policy": policy, "sampler": sampler, "selector": selector}
    fit(_job(root, seed, settings, **names), generation, threads)


@app.command()
def sample(
    dataset: Dataset,
    recipe: Recipe,
    sampler: SamplerName,
    seed: Seed,
    part: Annotated[int, typer.Option(help="part of N items, counted from 0", min=0)],
    root: Root,
    settings: Settings,
    threads: Threads = 1,
) -> None:
    """Draw one part of the shared generation 1's samples."""
    from collapse.commands.fit import sample

    sample(_job(root, seed, settings, dataset=dataset, recipe=recipe, sampler=sampler), part, threads)


@app.command()
def select(
    dataset: Dataset,
    recipe: Recipe,
    policy: PolicyName,
    sampler: SamplerName,
    selector: SelectorName,
    seed: Seed,
    generation: Generation,
    count: Annotated[int, typer.Option(help="items to keep", min=1)],
    root: Root,
    settings: Settings,
) -> None:
    """Print which of the items drawn from a generation's model a selector keeps."""
    from collapse.commands.fit import select

    names = {"dataset": dataset, "recipe": recipe, "policy": policy, "sampler": sampler, "selector": selector}
    typer.echo(json.dumps(select(_job(root, seed, settings, **names), generation, count)))


@app.command()
def measure(
    dataset: Dataset,
    recipe: Recipe,
    policy: PolicyName,
    sampler: SamplerName,
    selector: SelectorName,
    seed: Seed,
    root: Root,
    settings: Settings,
) -> None:
    """Write the rows, learning curves and examples of one series."""
    from collapse.commands.measure import measure

    names = {"dataset": dataset, "recipe": recipe, "policy": policy, "sampler": sampler, "selector": selector}
    measure(_job(root, seed, settings, **names))


@app.command()
def simulate(dataset: Dataset, recipe: Recipe, policy: PolicyName, root: Root, settings: Settings) -> None:
    """Run whole chains in memory, all seeds side by side, and write their rows."""
    from collapse.commands.simulate import simulate

    simulate(root, dataset, recipe, policy, _settings(settings))


@app.command()
def runs(out: Annotated[Path, typer.Option(help="the table")], files: list[Path]) -> None:
    """Join tables of rows, checked: a missing or doubled row is an error."""
    from collapse.commands.runs import runs

    runs(out, files)


@app.command()
def figure(
    paper: str,
    name: str,
    files: Annotated[list[Path] | None, typer.Argument(help="tables, examples and facts that it shows")] = None,
    root: Root = Path("results/laptop"),
    options: Annotated[str, typer.Option(help="what its script is told: JSON")] = "{}",
    script: Annotated[Path | None, typer.Option(help="the script, where it is not that of the figure's name")] = None,
) -> None:
    """Draw a figure or a table: pdf, png, csv and caption."""
    from collapse.commands.figure import figure

    figure(paper, name, files or [], root, _settings(options), script=script)


@app.command()
def judge(
    root: Root,
    settings: Settings,
    files: Annotated[list[Path] | None, typer.Argument(help="claims (yaml) and rows (parquet)")] = None,
):
    """Judge claims: estimate, interval and verdict of each."""
    from collapse.commands.judge import judge

    typer.echo(judge(files or [], root, _settings(settings)))


@app.command()
def cost(scale: Scale = Path("config/laptop.yaml")) -> None:
    """Print what a scale costs before it runs: fits, steps, core-seconds per rule; and beside it what is recorded."""
    from collapse.commands.cost import cost

    typer.echo(cost(scale))


@app.command()
def check(scale: Scale = Path("config/laptop.yaml")) -> None:
    """Check a config, down to the settings of every family and data set."""
    from collapse.commands.check import check

    typer.echo(check(scale))


@app.command()
def bench() -> None:
    """Print speeds of training and sampling as ratios against the libraries, measured in the same run."""
    from collapse.commands.bench import bench

    bench()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def build() -> None:
    """Run the workflow and say what is being done, how far it is and how long it may still take.

    Arguments are Snakemake's.
    """
    from collapse.commands.build import run
    from collapse.commands.cost import weigher
    from collapse.config import load

    arguments = sys.argv[sys.argv.index("build") + 1 :]  # as they were typed: the parser would drop a lone --
    path = _configfile(arguments)
    code = run(arguments, weigh=weigher(path))
    root = Path("results", load(path).scale)
    if code == 0 and (root / "verdicts/verdicts.csv").is_file():
        typer.echo(f"Figures: {root}/figures   Verdicts: {root}/verdicts/verdicts.csv")
    raise typer.Exit(code)


def _configfile(arguments: list[str]) -> Path:
    """The config that Snakemake's arguments name, or the default."""
    for flag, value in pairwise([*arguments, ""]):
        if flag == "--configfile":
            return Path(value)
        if flag.startswith("--configfile="):
            return Path(flag.partition("=")[2])
    return Path("config/laptop.yaml")


def main() -> None:
    """Run a verb. Errors meant for the user end as one line on stderr, with exit code 1, without a traceback."""
    try:
        app()
    except CollapseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
