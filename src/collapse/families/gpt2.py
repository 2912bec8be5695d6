"""GPT-2, in one file that reads top to bottom: settings, model, fit, sample, evaluate, save, load.

Radford et al., *Language Models are Unsupervised Multitask Learners* (2019): pre-norm blocks, learned positions, GELU
in its tanh form, the output head tied to the token embedding. Logits equal those of ``transformers.GPT2LMHeadModel`` on
the same weights, which `to_transformers` and `from_transformers` convert. What is not GPT-2's own is elsewhere: the
training loop in `collapse.families.language`, the sampler in `collapse.families.decoding`.

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
from collapse.families import decoding, language
from collapse.families.decoding import Sampler
from collapse.families.language import budget, evaluate, log_probabilities, save, steps
from collapse.families.matmul import linear
from collapse.items import Items
from collapse.seeding import Streams

__all__ = [
    "GPT2", "Config", "budget", "evaluate", "fit", "from_transformers", "load", "log_probabilities", "parameters",
    "sample", "save", "steps", "to_transformers",
]  # fmt: skip

SHORT = 128
"""Up to this many positions, scores are cheapest as one dense (T, T) product; beyond, skipping the masked half is."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Model and training settings.

    Attributes:
        vocabulary: V, number of tokens, the end token included; at most 65536.
        end: id of the end-of-text token: the first input of each story, and its last target.
        hidden: C, width of the residual stream.
        layers: L, number of blocks.
        heads: H, attention heads; divides ``hidden``.
        positions: longest input in tokens; a story may have ``positions`` - 1 tokens beside the end token.
        init_sd: standard deviation of fresh weights. GPT-2's 0.02 is meant for a width of 768; 0.02 sqrt(768 / C)
            learns faster at another.
        dropout: probability of zeroing embeddings, attention weights and block outputs in training.
        epochs: passes over the training set where the budget does not say otherwise.
        batch: stories per step, at most.
        learning_rate: peak of the schedule, per step.
        warmup_steps: steps over which the learning rate rises linearly from 0 to its peak.
        schedule: after warm-up, ``linear`` decay to 0 at the last step, or ``constant``.
        weight_decay: decoupled, per unit of learning rate; matrices and embeddings only.
        betas: decay rates of AdamW's first and second moments.
        clip: largest L2 norm of the gradient; None for no limit.
        evaluations: fractions of training, in (0, 1], at which the observer is called; 1.0 always is.
        device: ``cpu`` or ``cuda``; the workflow sets it for all recipes of a scale.
    """

    vocabulary: int
    end: int
    hidden: int
    layers: int
    heads: int
    positions: int
    init_sd: float = 0.02
    dropout: float = 0.0
    epochs: float = 1.0
    batch: int = 16
    learning_rate: float = 5e-3
    warmup_steps: int = 10
    schedule: str = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = 1.0
    evaluations: tuple[float, ...] = (1.0,)
    device: str = "cpu"

    def __post_init__(self):
        language.check_settings(self)
        if self.hidden % self.heads:
            raise ConfigError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")


def parameters(config: Config) -> int:
    """Number of parameters, (V + positions) C + L (12 C^2 + 13 C) + 2 C; the tied head counts once.

    With C = 256, L = 8, V = 8000 and 2048 positions 8,890,880, the GPT-2 of Gerstgrasser et al. (arXiv 2404.01413).
    """
    c = config.hidden
    return (config.vocabulary + config.positions) * c + config.layers * (12 * c * c + 13 * c) + 2 * c


class Linear(nn.Linear):
    """Affine map whose weights are not drawn from the global generator: `GPT2.initialise` draws all of them."""

    def reset_parameters(self):
        """Leave the memory as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (..., in), result (..., out)."""
        return linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """Table of vectors whose weights are not drawn from the global generator."""

    def reset_parameters(self):
        """Leave the memory as it is."""


def _drop(x: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Zero a share of ``x`` and scale the rest up; nothing without a generator."""
    if noise is None or not share:
        return x
    return x * torch.empty_like(x).bernoulli_(1 - share, generator=noise).div_(1 - share)


class Attention(nn.Module):
    """Causal self-attention with H heads."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.scale = (config.hidden // config.heads) ** -0.5
        self.c_attn = Linear(config.hidden, 3 * config.hidden)
        self.c_proj = Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, mask: Tensor | None, noise: torch.Generator | None) -> Tensor:
        """Attend to this and earlier positions. Shapes: x (B, T, C), mask (T, T) or None, result (B, T, C)."""
        B, T, C = x.shape
        qkv = self.c_attn(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        if mask is None:
            y = functional.scaled_dot_product_attention(*qkv, is_causal=True)  # (B, H, T, D)
        else:
            q, k, v = qkv.reshape(3, B * self.heads, T, C // self.heads)
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=self.scale)  # (BH, T, T)
            y = (_drop(scores.softmax(-1), self.dropout, noise) @ v).view(B, self.heads, T, -1)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))

    def step(self, x: Tensor, t: int, cache: Tensor) -> Tensor:
        """Attend from position t alone, adding to the cache. Shapes: x (B, C), cache (2, B, H, M, D), result (B, C)."""
        B, C = x.shape
        q, k, v = self.c_attn(x).view(B, 3, self.heads, C // self.heads).unbind(1)  # (B, H, D)
        cache[0, :, :, t], cache[1, :, :, t] = k, v
        keys, values = cache.flatten(1, 2)[:, :, : t + 1]  # (BH, t + 1, D)
        scores = torch.bmm(q.reshape(B * self.heads, 1, -1), keys.transpose(1, 2)).mul_(self.scale)  # (BH, 1, t + 1)
        return self.c_proj(torch.bmm(scores.softmax(-1), values).view(B, C))


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

    def forward(self, x: Tensor, mask: Tensor | None, noise: torch.Generator | None) -> Tensor:
        """Shapes: x and result (B, T, C)."""
        x = x + _drop(self.attn(self.ln_1(x), mask, noise), self.dropout, noise)
        return x + _drop(self.mlp(x), self.dropout, noise)

    def step(self, x: Tensor, t: int, cache: Tensor) -> Tensor:
        """Shapes: x and result (B, C), cache (2, B, H, M, D)."""
        x = x + self.attn.step(self.ln_1(x), t, cache)
        return x + self.mlp(x)


class GPT2(nn.Module):
    """The model. ``facts`` says how it was trained (`collapse.families.language.train`)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.facts = config, {}
        self.wte = Embedding(config.vocabulary, config.hidden)
        self.wpe = Embedding(config.positions, config.hidden)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.hidden, eps=1e-5)
        dense = config.positions if config.dropout else min(SHORT, config.positions)
        self.register_buffer("mask", torch.full((dense, dense), -torch.inf).triu(1), persistent=False)

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

    def trunk(self, tokens: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Run all blocks; dropout needs ``noise``, its generator. Shapes: tokens (B, T), result (B, T, C)."""
        T = tokens.shape[1]
        dense = T <= SHORT or (noise is not None and self.config.dropout > 0)
        x = _drop(self.wte(tokens) + self.wpe.weight[:T], self.config.dropout, noise)
        for block in self.h:
            x = block(x, self.mask[:T, :T] if dense else None, noise)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Return logits. Shapes: x (..., C), result (..., V)."""
        return linear(self.ln_f(x), self.wte.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token that follows each position. Shapes: tokens (B, T), result (B, T, V)."""
        return self.head(self.trunk(tokens))

    def cache(self, stories: int, length: int) -> Tensor:
        """Allocate keys and values of ``length`` positions, (L, 2, B, H, M, D)."""
        c = self.config
        weight = self.wte.weight
        shape = (c.layers, 2, stories, c.heads, length, c.hidden // c.heads)
        return torch.empty(shape, dtype=weight.dtype, device=weight.device)

    def step(self, tokens: Tensor, t: int, cache: Tensor) -> Tensor:
        """Feed the tokens at position t; return the logits of the next ones.

        Shapes: tokens (B,), cache (L, 2, B, H, M, D) holding positions before t, result (B, V).
        """
        x = self.wte(tokens) + self.wpe.weight[t]
        for block, memory in zip(self.h, cache, strict=True):
            x = block.step(x, t, memory)
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
    rng: Streams,
) -> GPT2:  # fmt: skip
    """Train on stories; see `collapse.families.language.train`.

    Args:
        items: stories without the end token, one chain.
        config: settings.
        weights: loss weight of each story, (1, N) or None.
        budget: passes or steps.
        init: a model of the same shape whose weights are copied; None draws fresh ones.
        validation: not used, there is no early stopping.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations``.
        rng: one generator; fresh weights, order and dropout each have a stream of their own.

    Raises:
        ConfigError: ``init`` has another shape, or the warm-up is longer than the training.
        DataError: a story does not fit the model.
        TrainingError: the loss is not finite, or the weights did not move.
    """
    model = GPT2(config)
    if init is None:
        model.initialise(rng.torch("weights"))
    else:
        for name in ("vocabulary", "end", "hidden", "layers", "heads", "positions"):
            if getattr(init.config, name) != getattr(config, name):
                raise ConfigError(f"init has {name} {getattr(init.config, name)}, the recipe {getattr(config, name)}")
        model.load_state_dict(init.state_dict())
    return language.train(language.place(model), items, weights=weights, budget=budget, observer=observer, rng=rng)


def sample(model: GPT2, contexts: int, sampler: Sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``contexts`` * ``k`` stories; see `collapse.families.decoding.sample`."""
    return decoding.sample(model, contexts * k, sampler, rng)


def load(path: str | Path) -> GPT2:
    """Read what `save` wrote. Raises DataError: missing, corrupted, or another model."""
    return language.load(path, GPT2, Config)
