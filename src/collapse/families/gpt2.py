"""GPT-2, in one file that reads top to bottom: settings, model, fit, sample, evaluate, save, load.

Radford et al., *Language Models are Unsupervised Multitask Learners* (2019): pre-norm blocks, learned positions, GELU
in its tanh form, the output head tied to the token embedding. Logits equal those of ``transformers.GPT2LMHeadModel`` on
the same weights, which `to_transformers` and `from_transformers` convert. What is not GPT-2's own is elsewhere: layers
and settings that Llama-2 has too in `collapse.families.transformer`, the training loop in `collapse.families.training`,
the sampler in `collapse.families.decoding`.

Shapes: B stories, T positions, C hidden, H heads, D = C / H, V tokens, L blocks.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from collapse.errors import ConfigError
from collapse.families import decoding, language, transformer
from collapse.families.decoding import Sampler
from collapse.families.language import block_losses, budget, evaluate, log_probabilities, save, steps
from collapse.families.matmul import linear
from collapse.families.transformer import Decoder, Embedding, Linear, Settings, attend, attend_step, drop
from collapse.items import Items
from collapse.seeding import Streams

__all__ = [
    "GPT2", "RESUMES", "Config", "Sampler", "block_losses", "budget", "evaluate", "fit", "from_transformers", "load",
    "log_probabilities", "parameters", "sample", "save", "steps", "to_transformers",
]  # fmt: skip

RESUMES = True
"""`fit` takes a ``checkpoint``."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The settings of `collapse.families.transformer`; dropout is of embeddings, attention weights, block outputs."""


def parameters(config: Config) -> int:
    """Number of parameters, (V + positions) C + L (12 C^2 + 13 C) + 2 C; the tied head counts once.

    With C = 256, L = 8, V = 8000 and 2048 positions 8,890,880, the GPT-2 of Gerstgrasser et al. (arXiv 2404.01413).
    """
    c = config.hidden
    return (config.vocabulary + config.positions) * c + config.layers * (12 * c * c + 13 * c) + 2 * c


class Attention(nn.Module):
    """Causal self-attention with H heads."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.c_attn = Linear(config.hidden, 3 * config.hidden)
        self.c_proj = Linear(config.hidden, config.hidden)

    def forward(
        self, x: Tensor, mask: Tensor | None, noise: torch.Generator | None, cache: Tensor | None = None
    ) -> Tensor:
        """Attend to this and earlier positions.

        Shapes: x (B, T, C), mask (T, T) or None, cache to be filled (2, B, H, M, D) or None, result (B, T, C).
        """
        B, T, C = x.shape
        qkv = self.c_attn(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        return self.c_proj(attend(*qkv, mask, self.dropout, noise, cache))

    def step(self, x: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Attend from position t alone, adding to the cache (`attend_step`). Shapes: x and result (B, C)."""
        B, C = x.shape
        qkv = self.c_attn(x).view(B, 3, self.heads, C // self.heads).unbind(1)  # each (B, H, D)
        return self.c_proj(attend_step(*qkv, t, cache, ancestors))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), the mlp being C -> 4 C -> C."""

    def __init__(self, config: Config):
        super().__init__()
        self.dropout = config.dropout
        self.ln_1 = nn.LayerNorm(config.hidden, eps=1e-5)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.hidden, eps=1e-5)
        self.c_fc = Linear(config.hidden, 4 * config.hidden)
        self.c_proj = Linear(4 * config.hidden, config.hidden)

    def mlp(self, x: Tensor) -> Tensor:
        """Shapes: x and result (..., C)."""
        return self.c_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    def forward(
        self, x: Tensor, mask: Tensor | None, noise: torch.Generator | None, cache: Tensor | None = None
    ) -> Tensor:
        """Shapes: x and result (B, T, C), cache (2, B, H, M, D) or None."""
        x = x + drop(self.attn(self.ln_1(x), mask, noise, cache), self.dropout, noise)
        return x + drop(self.mlp(x), self.dropout, noise)

    def step(self, x: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Shapes: x and result (B, C), cache (2, B, H, M, D)."""
        x = x + self.attn.step(self.ln_1(x), t, cache, ancestors)
        return x + self.mlp(x)


class GPT2(Decoder):
    """The model."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.wte = Embedding(config.vocabulary, config.hidden)
        self.wpe = Embedding(config.positions, config.hidden)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.hidden, eps=1e-5)

    def initialise(self, generator: torch.Generator) -> "GPT2":
        """Draw all weights: normal, of the maps back into the residual stream divided by sqrt(2 L); biases are 0."""
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.ndim == 2:
                    residual = name.endswith("c_proj.weight")
                    sd = self.config.init_sd * ((2 * self.config.layers) ** -0.5 if residual else 1)
                    p.normal_(0, sd, generator=generator)
                elif name.endswith("bias"):
                    p.zero_()
                else:
                    p.fill_(1)
        return self

    def trunk(self, tokens: Tensor, noise: torch.Generator | None = None, cache: Tensor | None = None) -> Tensor:
        """Run all blocks; dropout needs ``noise``, its generator; ``cache`` is filled from its first position on.

        Shapes: tokens (B, T), cache (L, 2, B, H, M, D) or None, result (B, T, C).
        """
        T = tokens.shape[1]
        mask = self.causal(T, noise)
        x = drop(self.wte(tokens) + self.wpe.weight[:T], self.config.dropout, noise)
        for block, memory in zip(self.h, self.memories(cache), strict=True):
            x = block(x, mask, noise, memory)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Return logits. Shapes: x (..., C), result (..., V)."""
        return linear(self.ln_f(x), self.wte.weight)

    def step(self, tokens: Tensor, t: int, cache: Tensor, ancestors: Tensor | None = None) -> Tensor:
        """Feed the tokens at position t; return the logits of the next ones.

        Shapes: tokens (B,), cache (L, 2, B, H, M, D) holding positions before t, result (B, V); with ancestors see
        `collapse.families.transformer.attend_step`.
        """
        x = self.wte(tokens) + self.wpe.weight[t]
        for block, memory in zip(self.h, cache, strict=True):
            x = block.step(x, t, memory, ancestors)
        return self.head(x)


_TRANSPOSED = re.compile(r"c_(attn|proj|fc)\.weight$")  # transformers stores these matrices as (in, out)
_MLP = re.compile(r"(h\.\d+\.)(c_fc|c_proj)")


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a `GPT2` state dict into one of ``transformers.GPT2LMHeadModel``."""
    out = {}
    for name, value in state.items():
        value = value.t().contiguous() if _TRANSPOSED.search(name) else value
        out["transformer." + _MLP.sub(r"\1mlp.\2", name)] = value
    return {**out, "lm_head.weight": state["wte.weight"]}


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict of ``transformers.GPT2LMHeadModel`` into one of `GPT2`. Raises ConfigError: head not tied."""
    if not torch.equal(state["lm_head.weight"], state["transformer.wte.weight"]):
        raise ConfigError("the head of these weights is not tied to the token embedding: that is another model")
    out = {}
    for name, value in state.items():
        if name != "lm_head.weight" and not name.endswith((".attn.bias", ".attn.masked_bias")):  # old releases' masks
            value = value.t().contiguous() if _TRANSPOSED.search(name) else value
            out[name.removeprefix("transformer.").replace(".mlp.", ".")] = value
    return out


def fit(
    items: Items, *, config: Config, weights: np.ndarray | None, budget, init: GPT2 | None, validation, observer,
    rng: Streams, checkpoint=None,
) -> GPT2:  # fmt: skip
    """Train on stories; see `collapse.families.language.train`.

    Args:
        items: stories without the end token, one chain.
        config: settings.
        weights: loss weight of each story, (1, N) or None.
        budget: passes or steps.
        init: a model of the same shape whose weights are copied; None draws fresh ones.
        validation: real stories, for ``keep: best`` alone.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations``.
        rng: one generator; fresh weights, order and dropout each have a stream of their own.
        checkpoint: where an interrupted training is kept and taken up again; None for nowhere.

    Raises:
        ConfigError: ``init`` has another shape, or the warm-up is longer than the training.
        DataError: a story does not fit the model.
        TrainingError: the loss is not finite, or the weights did not move.
    """
    model = transformer.begin(GPT2(config), init, rng)
    return language.train(
        model, items, weights=weights, budget=budget, validation=validation, observer=observer, rng=rng,
        checkpoint=checkpoint,
    )  # fmt: skip


def sample(model: GPT2, contexts: int | np.ndarray, sampler: Sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``k`` stories for each context, side by side; see `collapse.families.decoding.sample`.

    Args:
        model: the model.
        contexts: the number of stories, or the tokens that they may begin with, (N, P) integers.
        sampler: how to draw.
        rng: one chain.
        k: stories per context.
    """
    return decoding.sample(model, transformer.repeated(contexts, k), sampler, rng)


def load(path: str | Path) -> GPT2:
    """Read what `save` wrote. Raises DataError: missing, corrupted, or another model."""
    return language.load(path, GPT2, Config)
