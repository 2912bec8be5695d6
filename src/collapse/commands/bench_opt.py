"""The part of `collapse bench` that continues prompts: OPT against ``generate``, on the same weights."""

import io
from contextlib import redirect_stderr
from functools import partial

import numpy as np
import torch

from collapse.commands.bench_library import LIBRARY
from collapse.commands.bench_turns import Sizes, line, rates, take_turns
from collapse.families import beam, decoding, opt
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams

SHAPES = ((64, 2), (128, 4))
"""Width and layers of the models: that of the laptop scale, and a larger one."""

BLOCK = 64
"""Tokens of a prompt, and of what continues it, as published."""

PENALTIES = (1.0, 2.0)


def continuation(items: Items, vocabulary: int, end: int, sizes: Sizes) -> None:
    """Print speeds of continuing blocks, of models that were trained on such blocks for a pass.

    Args:
        items: stories, which are joined and cut into blocks.
        vocabulary: tokens that they may hold.
        end: the token between two stories.
        sizes: how much is measured.
    """
    blocks = _blocks(items, end)
    prompts = np.resize(blocks, (sizes.continued, BLOCK)).astype(np.int64)
    for hidden, layers in SHAPES:
        config = opt.Config(
            vocabulary=vocabulary, end=end, hidden=hidden, layers=layers, heads=4, positions=2 * BLOCK, keep="last",
            init_sd=0.08, warmup_steps=0,
        )  # fmt: skip
        training = {"weights": None, "budget": Budget(passes=sizes.passes), "init": None, "validation": None}
        with redirect_stderr(io.StringIO()):
            model = opt.fit(
                Items.make(Ragged.of(blocks), generation=0), config=config, observer=None,
                rng=Streams(("bench", "opt"), (0,)), **training,
            )  # fmt: skip
        theirs = LIBRARY["opt"](config).eval()
        theirs.load_state_dict(opt.to_transformers(model.state_dict()))
        size, what = opt.parameters(config), f"{len(prompts)} prompts of {BLOCK} tokens, each continued by {BLOCK}"
        print(f"opt {hidden} x {layers}: {size:,} parameters, {what}")
        print(_draw(model, theirs, prompts, sizes), flush=True)
        for penalty in PENALTIES:
            print(_search(model, theirs, prompts, sizes, penalty), flush=True)


def _blocks(items: Items, end: int) -> np.ndarray:
    """Join stories, each after an end token, and cut them: (N, BLOCK)."""
    values = np.insert(items.output.values, items.output.offsets[:-1], end)
    return values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK)


def _generate(theirs, prompts: np.ndarray, **more):
    """Return the library's run on prompts (N, P), whose end token is forbidden as ours is."""
    given = torch.from_numpy(prompts)
    length = {"min_new_tokens": BLOCK, "max_new_tokens": BLOCK}
    return partial(theirs.generate, given, attention_mask=torch.ones_like(given), **length, **more)


def _draw(model, theirs, prompts: np.ndarray, sizes: Sizes) -> str:
    sampler, rng = Sampler(1.0, BLOCK, start="continuation"), ("bench", "continue")
    found = take_turns(
        {
            "ours": lambda: partial(decoding.sample, model, prompts, sampler, Streams(rng, (0,)), batch=len(prompts)),
            "generate": lambda: _generate(theirs, prompts, do_sample=True, top_k=0, top_p=1.0),
        },
        sizes.turns,
    )
    ours, library = (rates(found[name], lambda _: prompts.size) for name in ("ours", "generate"))
    return line("sample", opt.parameters(model.config), 2, ours, generate=library)


def _search(model, theirs, prompts: np.ndarray, sizes: Sizes, penalty: float, beams: int = 5) -> str:
    sampler = Sampler(kind="beam", beams=beams, max_tokens=BLOCK, start="continuation", repetition_penalty=penalty)
    plain = {"do_sample": False, "num_beams": beams, "repetition_penalty": penalty}
    found = take_turns(
        {
            "ours": lambda: partial(beam.search, model, prompts, sampler),
            "generate": lambda: _generate(theirs, prompts, **plain),
        },
        sizes.turns,
    )
    best, out = found["ours"][-1][1].tokens[:, 0], found["generate"][-1][1][:, BLOCK:]
    equal = int((best == out).all(1).sum())
    ours, library = (rates(found[name], lambda _: prompts.size) for name in ("ours", "generate"))
    told = line(f"beam {beams}", opt.parameters(model.config), 2, ours, generate=library)
    return f"{told}, penalty {penalty:g}, {equal} of {len(best)} outputs equal"
