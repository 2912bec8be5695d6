"""`collapse bench`: speeds, as ratios against plain use of the libraries, measured in the same run.

Needs `transformers` (the `dev` extra). One thread. Nothing here is asserted: tests never depend on time.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from collapse.datasets import stories
from collapse.errors import ConfigError
from collapse.families import gpt2, language
from collapse.families.decoding import Sampler
from collapse.loop import Budget
from collapse.seeding import Streams

DATA = stories.Config(train=1000, validation=50, test=300, vocabulary=768, max_tokens=90)
MODEL = {"hidden": 64, "layers": 2, "heads": 4, "positions": 96, "init_sd": 0.1, "learning_rate": 1e-2, "batch": 16}


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU seconds of a few repeats."""
    found = []
    work()  # the first call pays for what is made once
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def _library(config: gpt2.Config):
    """The same model of transformers, without dropout."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise ConfigError("bench compares with transformers: pip install -c constraints.txt -e '.[dev]'") from error
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    names = {"n_embd": config.hidden, "n_layer": config.layers, "n_head": config.heads, "n_positions": config.positions}
    ends = {"bos_token_id": config.end, "eos_token_id": config.end, "pad_token_id": config.end}
    return GPT2LMHeadModel(GPT2Config(vocab_size=config.vocabulary, **names, **dropout, **ends))


def _train_library(model, items, config) -> None:
    """One pass of the plain loop that one would write: torch's AdamW class, stories in their order, padded."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    texts = items.output
    for start in range(0, len(texts), config.batch):
        rows = [texts[i].astype(np.int64) for i in range(start, min(start + config.batch, len(texts)))]
        width = max(map(len, rows)) + 2
        tokens, labels = torch.full((len(rows), width), config.end), torch.full((len(rows), width), -100)
        for row, text in enumerate(rows):
            tokens[row, 1 : len(text) + 1] = torch.from_numpy(text)
            labels[row, 1 : len(text) + 2] = tokens[row, 1 : len(text) + 2]
        loss = model(tokens, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def bench() -> None:
    """Print training, evaluation, sampling and set-up speeds of the laptop's language model, beside transformers'."""
    torch.set_num_threads(1)
    data = stories.load(DATA, *stories.prepare(DATA))
    config = gpt2.Config(vocabulary=data.facts["vocabulary"], end=data.end, **MODEL)
    items, tokens = data.real(), len(data.real().output.values) + data.size
    common = {"weights": None, "init": None, "validation": None, "observer": None}

    def fit(passes: float = 1.0):
        return gpt2.fit(items, config=config, budget=Budget(passes=passes), rng=Streams(("bench",), (0,)), **common)

    ours, library = _seconds(fit), _library(config)
    theirs = _seconds(lambda: _train_library(library, items, config))
    flops = 6 * gpt2.parameters(config) * tokens
    size = f"{gpt2.parameters(config):,} parameters, {data.size} stories of {tokens / data.size:.0f} tokens"
    print(f"GPT-2, {size}, 1 thread")
    rate = f"{tokens / ours:>9,.0f} tokens/s {flops / ours / 1e9:>6.1f} GFLOP/s"
    print(f"train     {rate} {theirs / ours:>6.1f} x transformers")
    model = fit(8.0)
    own = _seconds(lambda: language.evaluate(model, data.test, None))
    tested = len(data.test.output.values) + len(data.test)
    rate = 2 * gpt2.parameters(config) * tested / own / 1e9
    print(f"evaluate  {tested / own:>9,.0f} tokens/s {rate:>6.1f} GFLOP/s")
    sampler, count = Sampler(1.0, 90), 256
    drawn = gpt2.sample(model, count, sampler, Streams(("bench", "sample"), (0,)))
    own = _seconds(lambda: gpt2.sample(model, count, sampler, Streams(("bench", "sample"), (0,))))
    library.load_state_dict(gpt2.to_transformers(model.state_dict()), strict=False)
    library.eval()
    start = torch.full((count, 1), config.end)

    def generate():
        return library.generate(
            start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=90,
            pad_token_id=config.end, eos_token_id=config.end,
        )  # fmt: skip

    theirs = _seconds(generate)
    written = len(drawn.output.values) + count
    print(f"sample    {written / own:>9,.0f} tokens/s {'':>14} {theirs / own:>6.1f} x transformers' generate")
