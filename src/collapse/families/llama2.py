"""Llama-2, in one file that reads top to bottom: settings, model, fit, sample, evaluate, save, load.

Touvron et al., *Llama 2: Open Foundation and Fine-Tuned Chat Models*, arXiv 2307.09288: pre-norm blocks with RMSNorm,
rotary positions, a SwiGLU of its own width, no biases, and an output head that is not tied to the embedding. All heads
have keys and values of their own, as in the 7B and 13B models. Logits equal those of ``transformers.LlamaForCausalLM``
on the same weights, which `to_transformers` and `from_transformers` convert. What is not Llama's own is elsewhere:
layers and settings that GPT-2 has too in `collapse.families.transformer`, the training loop in
`collapse.families.language`, the sampler in `collapse.families.decoding`.

Shapes: B stories, T positions, C hidden, I intermediate, H heads, D = C / H, V tokens, L blocks.
"""

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
from collapse.families.transformer import Decoder, Embedding, Linear, Settings, attend, attend_step
from collapse.items import Items
from collapse.seeding import Streams

__all__ = [
    "RESUMES", "Config", "Llama2", "Sampler", "block_losses", "budget", "evaluate", "fit", "from_transformers", "load",
    "log_probabilities", "parameters", "sample", "save", "steps", "to_transformers",
]  # fmt: skip

RESUMES = True
"""`fit` takes a ``checkpoint``."""

EPSILON = 1e-5
"""Added to the mean square in RMSNorm."""

THETA = 10000.0
"""Base of the wavelengths of rotary positions."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The settings of `collapse.families.transformer`, and one more; dropout is of attention weights alone.

    Attributes:
        intermediate: I, width of the SwiGLU; 4 C in the models of Gerstgrasser et al. (arXiv 2404.01413).
    """

    intermediate: int

    def __post_init__(self):
        super().__post_init__()
        good = type(self.intermediate) is int and self.intermediate > 0
        self._require("intermediate", good, "a whole number above 0")
        self._require("hidden", self.hidden // self.heads % 2 == 0, "an even number for each head: pairs are rotated")


def parameters(config: Config) -> int:
    """Number of parameters, 2 V C + L (4 C^2 + 3 C I + 2 C) + C.

    With V = 8000 and I = 4 C the models of Gerstgrasser et al. (arXiv 2404.01413): 12,488,960 with C = 256 and L = 8;
    41,755,136 with C = 512 and L = 8; 125,553,408 with C = 768 and L = 12.
    """
    c = config.hidden
    return 2 * config.vocabulary * c + config.layers * (4 * c * c + 3 * c * config.intermediate + 2 * c) + c


def rotations(positions: int, width: int) -> Tensor:
    """Return the cosines and signed sines that `rotate` multiplies with: (2, positions, width), float32.

    Dimensions i and i + width / 2 are a pair; position t turns it by t THETA^(-2 i / width).
    """
    frequencies = 1.0 / THETA ** (torch.arange(0, width, 2).float() / width)  # (D / 2,)
    angles = torch.outer(torch.arange(positions).float(), frequencies)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of dimensions by the angle of its position (Su et al., arXiv 2104.09864, equation 34).

    Shapes: x (..., D), rotation (2, ..., D), result (..., D).
    """
    cos, sin = rotation
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class Attention(nn.Module):
    """Causal self-attention with H heads; queries and keys are rotated."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = Linear(config.hidden, 3 * config.hidden, bias=False)
        self.out = Linear(config.hidden, config.hidden, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, mask: Tensor | None, noise: torch.Generator | None,
        cache: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Attend to this and earlier positions.

        Shapes: x (B, T, C), rotation (2, T, D), mask (T, T) or None, cache to be filled (2, B, H, M, D) or None, result
        (B, T, C).
        """
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        qk, v = qkv.split((2, 1))
        q, k = rotate(qk.contiguous(), rotation)
        return self.out(attend(q, k, v.squeeze(0), mask, self.dropout, noise, cache))

    def step(self, x: Tensor, rotation: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Attend from position t alone, adding to the cache (`attend_step`), which holds rotated keys.

        Shapes: x and result (B, C), rotation (2, D).
        """
        B, C = x.shape
        qk, v = self.qkv(x).view(B, 3, self.heads, C // self.heads).split((2, 1), dim=1)  # (B, 2 or 1, H, D)
        q, k = rotate(qk, rotation).unbind(1)
        return self.out(attend_step(q, k, v.squeeze(1), t, cache, ancestors))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), the mlp being down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm_1 = nn.RMSNorm(config.hidden, eps=EPSILON)
        self.attn = Attention(config)
        self.norm_2 = nn.RMSNorm(config.hidden, eps=EPSILON)
        self.gate_up = Linear(config.hidden, 2 * config.intermediate, bias=False)
        self.down = Linear(config.intermediate, config.hidden, bias=False)

    def mlp(self, x: Tensor) -> Tensor:
        """Shapes: x and result (..., C)."""
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, -1)  # (..., I)
        return self.down(functional.silu(gate) * up)

    def forward(
        self, x: Tensor, rotation: Tensor, mask: Tensor | None, noise: torch.Generator | None,
        cache: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Shapes: x and result (B, T, C), cache (2, B, H, M, D) or None."""
        x = x + self.attn(self.norm_1(x), rotation, mask, noise, cache)
        return x + self.mlp(x)

    def step(self, x: Tensor, rotation: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Shapes: x and result (B, C), cache (2, B, H, M, D)."""
        x = x + self.attn.step(self.norm_1(x), rotation, t, cache, ancestors)
        return x + self.mlp(x)


class Llama2(Decoder):
    """The model."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.embedding = Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, eps=EPSILON)
        self.output = Linear(config.hidden, config.vocabulary, bias=False)
        rotation = rotations(config.positions, config.hidden // config.heads)
        self.register_buffer("rotation", rotation, persistent=False)

    def initialise(self, generator: torch.Generator) -> "Llama2":
        """Draw all matrices from a normal distribution, as transformers does; the norms' weights are 1."""
        with torch.no_grad():
            for p in self.parameters():
                if p.ndim == 2:
                    p.normal_(0, self.config.init_sd, generator=generator)
                else:
                    p.fill_(1)
        return self

    def trunk(self, tokens: Tensor, noise: torch.Generator | None = None, cache: Tensor | None = None) -> Tensor:
        """Run all blocks; dropout needs ``noise``, its generator; ``cache`` is filled from its first position on.

        Shapes: tokens (B, T), cache (L, 2, B, H, M, D) or None, result (B, T, C).
        """
        T = tokens.shape[1]
        rotation, mask = self.rotation[:, :T], self.causal(T, noise)
        x = self.embedding(tokens)
        for block, memory in zip(self.layers, self.memories(cache), strict=True):
            x = block(x, rotation, mask, noise, memory)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Return logits. Shapes: x (..., C), result (..., V)."""
        return self.output(self.norm(x))

    def step(self, tokens: Tensor, t: int, cache: Tensor, ancestors: Tensor | None = None) -> Tensor:
        """Feed the tokens at position t; return the logits of the next ones.

        Shapes: tokens (B,), cache (L, 2, B, H, M, D) holding positions before t, result (B, V); with ancestors see
        `collapse.families.transformer.attend_step`.
        """
        x, rotation = self.embedding(tokens), self.rotation[:, t]
        for block, memory in zip(self.layers, cache, strict=True):
            x = block.step(x, rotation, t, memory, ancestors)
        return self.head(x)


_OUTER = {"embedding": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
_INNER = {
    "norm_1": ("input_layernorm",),
    "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out": ("self_attn.o_proj",),
    "norm_2": ("post_attention_layernorm",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Our matrices, and those of transformers that stand in them one below the other."""


def _names(layers: int) -> dict[str, list[str]]:
    """Return the names of our parameters, each with those of transformers."""
    names = {f"{ours}.weight": [f"{theirs}.weight"] for ours, theirs in _OUTER.items()}
    for i in range(layers):
        for ours, parts in _INNER.items():
            names[f"layers.{i}.{ours}.weight"] = [f"model.layers.{i}.{part}.weight" for part in parts]
    return names


def _layers(state: dict[str, Tensor], norm: str) -> int:
    return sum(name.endswith(norm) for name in state)


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a `Llama2` state dict into one of ``transformers.LlamaForCausalLM``."""
    out = {}
    for ours, theirs in _names(_layers(state, ".norm_1.weight")).items():
        out |= zip(theirs, state[ours].chunk(len(theirs)), strict=True)
    return out


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict of ``transformers.LlamaForCausalLM`` into one of `Llama2`.

    Raises:
        ConfigError: heads share keys and values, or there are weights that Llama-2 does not have.
    """
    names = _names(_layers(state, ".input_layernorm.weight"))
    known = {name for theirs in names.values() for name in theirs}
    if other := sorted(state.keys() ^ known):
        raise ConfigError(f"these weights are of another model: {other[0]} is missing or not known")
    if any(state[name].shape[0] != state[name].shape[1] for name in known if name.endswith("k_proj.weight")):
        raise ConfigError("the heads of these weights share keys and values: that is another model")
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in names.items()}


def fit(
    items: Items, *, config: Config, weights: np.ndarray | None, budget, init: Llama2 | None, validation, observer,
    rng: Streams, checkpoint=None,
) -> Llama2:  # fmt: skip
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
    model = transformer.begin(Llama2(config), init, rng, (*transformer.SHAPE, "intermediate"))
    return language.train(
        model, items, weights=weights, budget=budget, validation=validation, observer=observer, rng=rng,
        checkpoint=checkpoint,
    )  # fmt: skip


def sample(model: Llama2, contexts: int | np.ndarray, sampler: Sampler, rng: Streams, k: int = 1) -> Items:
    """Draw ``k`` stories for each context, side by side; see `collapse.families.decoding.sample`.

    Args:
        model: the model.
        contexts: the number of stories, or the tokens that they may begin with, (N, P) integers.
        sampler: how to draw.
        rng: one chain.
        k: stories per context.
    """
    return decoding.sample(model, transformer.repeated(contexts, k), sampler, rng)


def load(path: str | Path) -> Llama2:
    """Read what `save` wrote. Raises DataError: missing, corrupted, or another model."""
    return language.load(path, Llama2, Config)
