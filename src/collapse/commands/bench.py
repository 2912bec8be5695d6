"""`collapse bench`: speeds, as ratios against the libraries on the same weights, measured in the same run.

Needs `transformers` and `accelerate` (the `dev` extra). One thread, CPU seconds. Contenders take turns (ours, theirs,
ours, theirs ...), so that what slows the machine slows both; a ratio is the median over the turns. Nothing here is
asserted: tests never depend on time.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from collapse import config as configs
from collapse import digest
from collapse.commands.bench_gaussian import gaussian
from collapse.commands.bench_library import LIBRARY, plain_loop, trainer
from collapse.commands.bench_opt import continuation
from collapse.commands.bench_turns import Sizes, line, rates, take_turns
from collapse.commands.cost import recorded
from collapse.commands.fit import use_threads
from collapse.commands.prepare import prepare
from collapse.commands.settings import dataset_config
from collapse.errors import ConfigError, TrainingError
from collapse.families import beam, decoding
from collapse.families.decoding import Sampler
from collapse.items import Ragged
from collapse.loop import Budget
from collapse.seeding import Streams


def _check_libraries() -> None:
    """Raise ConfigError where the other side of the comparison is missing."""
    for name in ("transformers", "accelerate"):
        if find_spec(name) is None:
            raise ConfigError(
                f"bench compares with {name}, which is missing: pip install -c constraints.txt -e '.[dev]'"
            )
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()


# what is measured


def _fit(family, items, config, budget: Budget):
    common = {"weights": None, "init": None, "validation": None, "observer": None, "rng": Streams(("bench",), (0,))}
    return family.fit(items, config=config, budget=budget, **common)


def _train(family, config, items, library: Callable, sizes: Sizes, folder: str) -> str:
    texts = [items.output[i].tolist() for i in range(len(items))]
    budget = Budget(passes=sizes.passes)
    found = take_turns(
        {
            "ours": lambda: partial(_fit, family, items, config, budget),
            "Trainer": lambda: trainer(library(config), texts, config, sizes.passes, folder).train,
            "loop": lambda: partial(plain_loop, library(config).train(), texts, config, sizes.passes),
        },
        sizes.turns,
    )
    tokens = sizes.passes * (len(items.output.values) + len(items))
    ours, grouped, loop = (rates(found[name], lambda _: tokens) for name in ("ours", "Trainer", "loop"))
    return line("train", family.parameters(config), 6, ours, Trainer_by_length=grouped, a_plain_loop=loop)


def _told(tokens: torch.Tensor, end: int) -> int:
    """Return how many tokens were drawn up to the end of each story, the end included. Shapes: tokens (N, T)."""
    ended = tokens == end
    return int(torch.where(ended.any(1), ended.int().argmax(1) + 1, tokens.shape[1]).sum())


def _sample(model, theirs, size: int, sizes: Sizes, most: int) -> str:
    count, end, sampler = sizes.sampled, model.config.end, Sampler(1.0, most)
    start = torch.full((count, 1), end)
    plain = {"attention_mask": torch.ones_like(start), "do_sample": True, "top_k": 0, "top_p": 1.0}
    rng = ("bench", "sample")
    found = take_turns(
        {
            "ours": lambda: partial(decoding.sample, model, count, sampler, Streams(rng, (0,)), batch=count),
            "generate": lambda: partial(theirs.generate, start, max_new_tokens=most, **plain),
        },
        sizes.turns,
    )
    ours = rates(found["ours"], lambda x: len(x.output.values) + len(x) - decoding.truncated(x, sampler))
    return line("sample", size, 2, ours, generate=rates(found["generate"], lambda x: _told(x[:, 1:], end)))


def _search(model, theirs, size: int, texts: Ragged, sizes: Sizes, most: int, beams: int = 5) -> str:
    first = np.array([texts[i][:2] for i in range(sizes.searched)], np.int64)
    sampler = Sampler(kind="beam", beams=beams, max_tokens=most, start="first_token_inclusive")
    prompts, end = torch.from_numpy(np.insert(first, 0, model.config.end, axis=1)), model.config.end
    plain = {"attention_mask": torch.ones_like(prompts), "do_sample": False, "num_beams": beams}
    found = take_turns(
        {
            "ours": lambda: partial(beam.search, model, first, sampler),
            "generate": lambda: partial(theirs.generate, prompts, max_length=most + 1, **plain),
        },
        sizes.turns,
    )
    best, out = found["ours"][-1][1], found["generate"][-1][1][:, 1:]
    best = torch.where(torch.arange(most) < best.lengths[:, :1], best.tokens[:, 0], end)
    equal = (best == torch.nn.functional.pad(out, (0, most - out.shape[1]), value=end)).all(1).sum()
    tokens = _told(best[:, first.shape[1] :], end)
    ours, library = (rates(found[name], lambda _: tokens) for name in ("ours", "generate"))
    return f"{line(f'beam {beams}', size, 2, ours, generate=library)}, {equal} of {len(best)} outputs equal"


def _model(config, name: str, data, sizes: Sizes, most: int, folder: str) -> None:
    """Measure one recipe and print its lines."""
    entry = configs.recipe(config, name)
    kind = entry.pop("family")
    family = import_module(f"collapse.families.{kind}")
    settings, library = family.Config(**{**data.provides, **entry}), LIBRARY[kind]
    items, test, size = data.real(), data.test, family.parameters(settings)
    tokens = (len(items.output.values) + len(items)) / len(items)
    print(f"{name}: {size:,} parameters, batches of {settings.batch}, {len(items)} stories of {tokens:.0f} tokens")
    print(_train(family, settings, items, library, sizes, folder), flush=True)
    with redirect_stderr(io.StringIO()):
        model = _fit(family, items, settings, family.budget(settings, len(items), equal_steps=False))
    theirs = library(settings).eval()
    theirs.load_state_dict(family.to_transformers(model.state_dict()))
    found = take_turns({"ours": lambda: partial(family.evaluate, model, test, None)}, sizes.turns)
    print(line("evaluate", size, 2, rates(found["ours"], lambda x: int(x["tokens"].sum()))), flush=True)
    print(_sample(model, theirs, size, sizes, most), flush=True)
    print(_search(model, theirs, size, items.output, sizes, most), flush=True)


def _start_up(config, entry: dict, name: str, turns: int, folder: str) -> None:
    """Print the CPU seconds of a fit of one step, and what share of a build such starts are."""
    dataset = {**entry, "test": 10}
    one_step = {**configs.recipe(config, name), "epochs": 1e-6, "warmup_steps": 0, "evaluations": []}
    with redirect_stderr(io.StringIO()):
        prepare(Path(folder), "stories", dataset)
    settings = json.dumps({"dataset": dataset, "recipe": one_step, "curve_items": 1})
    command = [sys.executable, "-m", "collapse", "fit", "--root", folder, "--dataset", "stories", "--recipe", name]
    command += ["--seed", "0", "--generation", "1", "--settings", settings]
    path = os.pathsep.join(filter(None, (str(digest.SOURCE.parent), os.environ.get("PYTHONPATH"))))
    seconds = []
    for _ in range(turns):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
        if made.returncode:
            raise TrainingError(f"a fit of one step failed: {made.stderr.strip().rpartition(chr(10))[2]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    start, done = float(np.median(seconds)), recorded(config)
    print(f"start-up {start:>9.2f} CPU seconds: a process that makes one step of {name}, from its start to its end")
    jobs, total = sum(done[r][0] for r in ("fit_first", "fit", "sample") if r in done), sum(d[1] for d in done.values())
    part = f"{jobs * start / total:.0%} of the {config.scale} build here ({jobs} fits and samplings)" if jobs else ""
    print(f"{'':<9}{part or f'there is no {config.scale} build here to compare with'}")


def bench(
    path: Path = Path("config/laptop.yaml"),
    dataset: str = "stories",
    recipes: tuple[str, ...] = ("gpt2_xs", "llama2_xs"),
    sizes: Sizes | None = None,
) -> None:
    """Print speeds of training, evaluation, sampling, beam search, continuation and start-up beside transformers'.

    Args:
        path: config of a scale.
        dataset: name of its data set of stories.
        recipes: names of recipes of its language models.
        sizes: how much is measured; by default about three minutes.

    Raises:
        ConfigError: transformers or accelerate is missing, or the config is wrong.
        TrainingError: a fit failed.
    """
    _check_libraries()
    use_threads(1)
    sizes, config = sizes or Sizes(), configs.load(path)
    entry = config.datasets[dataset]
    module, settings = dataset_config(entry)
    data = module.load(settings, *module.prepare(settings, dataset))
    print(f"one thread, CPU time, medians of {sizes.turns} turns (smallest and largest ratio)")
    with tempfile.TemporaryDirectory() as folder:
        for name in recipes:
            _model(config, name, data, sizes, settings.max_tokens, folder)
        continuation(data.real(), data.provides["vocabulary"], data.provides["end"], sizes)
        print("\n".join(gaussian(sizes.chains, turns=sizes.turns)))
        _start_up(config, entry, recipes[0], sizes.turns, folder)
