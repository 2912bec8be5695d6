"""OPT, in one file that reads top to bottom: settings, model, fit, sample, evaluate, save, load, pretrained weights.

Zhang et al., *OPT: Open Pre-trained Transformer Language Models*, arXiv 2205.01068: pre-norm blocks, learned positions,
ReLU, the output head tied to the token embedding. Logits equal those of ``transformers.OPTForCausalLM`` on the same
weights, which `to_transformers` and `from_transformers` convert, and `load_pretrained` reads from files. The model of
350 million parameters, which normalises after its blocks, is another one. What is not OPT's own is elsewhere: layers
and settings that others have too in `collapse.families.transformer`, the training loop in
`collapse.families.training`, the sampler in `collapse.families.decoding`.

OPT is fine-tuned here: texts are blocks cut from a running text, and what is sampled continues such blocks.

Shapes: B texts, T positions, C hidden, H heads, D = C / H, V tokens, L blocks of layers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from collapse.errors import ConfigError, DataError
from collapse.families import decoding, language, pretrained, transformer
from collapse.families.decoding import Sampler
from collapse.families.language import block_losses, budget, evaluate, log_probabilities, save, steps
from collapse.families.matmul import linear
from collapse.families.transformer import Decoder, Embedding, Linear, Settings, attend, attend_step, drop
from collapse.items import Items
from collapse.seeding import Streams

__all__ = [
    "OPT", "RESUMES", "Config", "Sampler", "block_losses", "budget", "evaluate", "fit", "from_transformers", "load",
    "load_pretrained", "log_probabilities", "parameters", "sample", "save", "steps", "to_transformers",
]  # fmt: skip

RESUMES = True
"""`fit` takes a ``checkpoint``."""

TURN = (5**0.5 - 1) / 2
"""Multiples of it modulo 1 cover the unit interval evenly, however many there are."""
OFFSET = 2
"""Position t has row t + 2 of the table of positions: the rows before are left from the library OPT was made with."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The settings of `collapse.families.transformer`; dropout is of what attention and mlp add, 0.1 as published.

    Two have other defaults here.

    Attributes:
        layout: ``blocks``.
        keep: ``best``.
        shift: whether the blocks of a training step begin at a position of their own, so that all positions keep being
            trained. A continuation is decoded behind its prompt, where blocks that begin at 0 never reach; the large
            models have learned these positions in a pre-training that fine-tuning hardly changes, a small one has not.
    """

    layout: str = "blocks"
    keep: str = "best"
    shift: bool = False

    def __post_init__(self):
        """Check all settings. Raises ConfigError naming the setting."""
        super().__post_init__()
        self._require("shift", type(self.shift) is bool, "true or false")


def parameters(config: Config) -> int:
    """Number of parameters, (V + positions + 2) C + L (12 C^2 + 13 C) + 2 C; the tied head counts once.

    With C = 768, L = 12, V = 50272 and 2048 positions 125,239,296, those of facebook/opt-125m.
    """
    c = config.hidden
    tables = (config.vocabulary + config.positions + OFFSET) * c
    return tables + config.layers * (12 * c * c + 13 * c) + 2 * c


class Attention(nn.Module):
    """Causal self-attention with H heads; its weights are not dropped."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.hidden, 3 * config.hidden)
        self.out = Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Tensor | None = None) -> Tensor:
        """Attend to this and earlier positions.

        Shapes: x (B, T, C), mask (T, T) or None, cache to be filled (2, B, H, M, D) or None, result (B, T, C).
        """
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        return self.out(attend(*qkv, mask, 0.0, None, cache))

    def step(self, x: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Attend from position t alone, adding to the cache (`attend_step`). Shapes: x and result (B, C)."""
        B, C = x.shape
        qkv = self.qkv(x).view(B, 3, self.heads, C // self.heads).unbind(1)  # each (B, H, D)
        return self.out(attend_step(*qkv, t, cache, ancestors))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), the mlp being C -> 4 C -> C."""

    def __init__(self, config: Config):
        super().__init__()
        self.dropout = config.dropout
        self.norm_1 = nn.LayerNorm(config.hidden, eps=1e-5)
        self.attn = Attention(config)
        self.norm_2 = nn.LayerNorm(config.hidden, eps=1e-5)
        self.fc1 = Linear(config.hidden, 4 * config.hidden)
        self.fc2 = Linear(4 * config.hidden, config.hidden)

    def mlp(self, x: Tensor) -> Tensor:
        """Shapes: x and result (..., C)."""
        return self.fc2(functional.relu(self.fc1(self.norm_2(x))))

    def forward(
        self, x: Tensor, mask: Tensor | None, noise: torch.Generator | None, cache: Tensor | None = None
    ) -> Tensor:
        """Shapes: x and result (B, T, C), cache (2, B, H, M, D) or None."""
        x = x + drop(self.attn(self.norm_1(x), mask, cache), self.dropout, noise)
        return x + drop(self.mlp(x), self.dropout, noise)

    def step(self, x: Tensor, t: int, cache: Tensor, ancestors: Tensor | None) -> Tensor:
        """Shapes: x and result (B, C), cache (2, B, H, M, D)."""
        x = x + self.attn.step(self.norm_1(x), t, cache, ancestors)
        return x + self.mlp(x)


class OPT(Decoder):
    """The model."""

    DROPS_ATTENTION = False

    def __init__(self, config: Config):
        super().__init__(config)
        self.embedding = Embedding(config.vocabulary, config.hidden)
        self.places = Embedding(config.positions + OFFSET, config.hidden)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden, eps=1e-5)

    def initialise(self, generator: torch.Generator) -> "OPT":
        """Draw all weights: normal, of the maps back into the residual stream divided by sqrt(2 L); biases are 0.

        So section 2.2 of the paper says, with ``init_sd`` 0.006.
        """
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.ndim == 2:
                    residual = name.endswith(("attn.out.weight", "fc2.weight"))
                    sd = self.config.init_sd * ((2 * self.config.layers) ** -0.5 if residual else 1)
                    p.normal_(0, sd, generator=generator)
                elif name.endswith("bias"):
                    p.zero_()
                else:
                    p.fill_(1)
        return self

    def start(self, step: int, length: int) -> int:
        """Return the position of the first token in a step's batch: with ``shift`` all of them in turn, spread evenly.

        Args:
            step: of training, from 0.
            length: T.
        """
        return int(step * TURN % 1 * (self.config.positions - length + 1)) if self.config.shift else 0

    def trunk(
        self, tokens: Tensor, noise: torch.Generator | None = None, cache: Tensor | None = None, start: int = 0
    ) -> Tensor:
        """Run all blocks; dropout needs ``noise``, its generator; ``cache`` is filled from its first position on.

        ``start`` is the position of the first token, 0 with a cache.

        Shapes: tokens (B, T), cache (L, 2, B, H, M, D) or None, result (B, T, C).
        """
        T = tokens.shape[1]
        mask = self.causal(T, noise)
        x = self.embedding(tokens) + self.places.weight[OFFSET + start : OFFSET + start + T]
        for block, memory in zip(self.layers, self.memories(cache), strict=True):
            x = block(x, mask, noise, memory)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Return logits. Shapes: x (..., C), result (..., V)."""
        return linear(self.norm(x), self.embedding.weight)

    def step(self, tokens: Tensor, t: int, cache: Tensor, ancestors: Tensor | None = None) -> Tensor:
        """Feed the tokens at position t; return the logits of the next ones.

        Shapes: tokens (B,), cache (L, 2, B, H, M, D) holding positions before t, result (B, V); with ancestors see
        `collapse.families.transformer.attend_step`.
        """
        x = self.embedding(tokens) + self.places.weight[OFFSET + t]
        for block, memory in zip(self.layers, cache, strict=True):
            x = block.step(x, t, memory, ancestors)
        return self.head(x)


_OUTER = {"embedding.weight": "embed_tokens.weight", "places.weight": "embed_positions.weight"}
_INNER = {
    "norm_1": ("self_attn_layer_norm",),
    "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out": ("self_attn.out_proj",),
    "norm_2": ("final_layer_norm",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
}
"""Our parts of a block, and those of transformers that stand in them one below the other."""

_PREFIX, _HEAD = "model.decoder.", "lm_head.weight"


def _names(layers: int) -> dict[str, list[str]]:
    """Return the names of our parameters, each with those of transformers behind its prefix."""
    names = {ours: [theirs] for ours, theirs in _OUTER.items()}
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = [f"final_layer_norm.{kind}"]
        for i in range(layers):
            for ours, parts in _INNER.items():
                names[f"layers.{i}.{ours}.{kind}"] = [f"layers.{i}.{part}.{kind}" for part in parts]
    return names


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn an `OPT` state dict into one of ``transformers.OPTForCausalLM``."""
    out = {}
    for ours, theirs in _names(sum(name.endswith(".fc1.weight") for name in state)).items():
        out |= zip((_PREFIX + name for name in theirs), state[ours].chunk(len(theirs)), strict=True)
    return {**out, _HEAD: state["embedding.weight"]}


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict of ``transformers.OPTForCausalLM`` into one of `OPT`, in float32.

    Published files name the weights of the decoder alone, ``decoder. ..``, or leave out the head, which is tied.

    Raises:
        ConfigError: the head is not tied, or there are weights that OPT does not have.
    """
    state = {("model." if name.startswith("decoder.") else "") + name: value for name, value in state.items()}
    table, head = state.get(_PREFIX + "embed_tokens.weight"), state.pop(_HEAD, None)
    if head is not None and table is not None and not torch.equal(head, table):
        raise ConfigError("the head of these weights is not tied to the token embedding: that is another model")
    names = _names(sum(name.endswith(".fc1.weight") for name in state))
    known = {_PREFIX + name for theirs in names.values() for name in theirs}
    if other := sorted(state.keys() ^ known):
        raise ConfigError(f"these weights are of another model: {other[0]} is missing or not known")
    return {ours: torch.cat([state[_PREFIX + name] for name in theirs]).float() for ours, theirs in names.items()}


def fit(
    items: Items, *, config: Config, weights: np.ndarray | None, budget, init: OPT | None, validation, observer,
    rng: Streams, checkpoint=None,
) -> OPT:  # fmt: skip
    """Train on texts; see `collapse.families.language.train`.

    Args:
        items: blocks of one length, one chain (or stories, where the settings say so).
        config: settings.
        weights: loss weight of each text, (1, N) or None.
        budget: passes or steps.
        init: a model of the same shape whose weights are copied; None draws fresh ones.
        validation: real texts, for ``keep: best`` alone.
        observer: called as ``observer(model, {"step", "fraction", "loss"})`` at ``config.evaluations``.
        rng: one generator; fresh weights, order and dropout each have a stream of their own.
        checkpoint: where an interrupted training is kept and taken up again; None for nowhere.

    Raises:
        ConfigError: ``init`` has another shape, the warm-up is longer than the training, or there are no validation
            texts where they are needed.
        DataError: a text does not fit the model.
        TrainingError: the loss is not finite, or the weights did not move.
    """
    model = transformer.begin(OPT(config), init, rng)
    return language.train(
        model, items, weights=weights, budget=budget, validation=validation, observer=observer, rng=rng,
        checkpoint=checkpoint,
    )  # fmt: skip


def sample(model: OPT, contexts: int | np.ndarray, sampler: Sampler, rng: Streams, k: int = 1) -> Items:
    """Continue each context ``k`` times, side by side; see `collapse.families.decoding.sample`.

    Args:
        model: the model.
        contexts: the tokens that are continued, (N, P) integers.
        sampler: how to draw.
        rng: one chain.
        k: continuations of each context.
    """
    return decoding.sample(model, transformer.repeated(contexts, k), sampler, rng)


def load(path: str | Path) -> OPT:
    """Read what `save` wrote. Raises DataError: missing, corrupted, or another model."""
    return language.load(path, OPT, Config)


_SHAPE = {
    "vocabulary": "vocab_size", "end": "eos_token_id", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "positions": "max_position_embeddings", "dropout": "dropout",
}  # fmt: skip
"""Our settings -> those of ``config.json``."""

_FIXED = {
    "model_type": "opt", "activation_function": "relu", "do_layer_norm_before": True, "enable_bias": True,
    "layer_norm_elementwise_affine": True, "_remove_final_layer_norm": False, "tie_word_embeddings": True,
}  # fmt: skip
"""What ``config.json`` must say, where it says it, for a model to be this one."""


def load_pretrained(folder: str | Path, config: Config | None = None) -> OPT:
    """Read a model as transformers saves it, see `collapse.families.pretrained`; in eval mode, in float32.

    Args:
        folder: where ``config.json`` and ``model.safetensors`` are.
        config: settings that the model gets; None for defaults beside the shape that the folder says.

    Raises:
        ConfigError: it is not a model of this kind, or of another shape than ``config``; the message names both.
        DataError: a file is missing or broken, or the weights are in a pickle alone.
    """
    told = pretrained.settings(folder, *_SHAPE.values())
    wide = {"ffn_dim": 4 * told["hidden_size"], "word_embed_proj_dim": told["hidden_size"]}
    for name, value in {**_FIXED, **wide}.items():
        if told.get(name, value) != value:
            raise ConfigError(f"the model in {folder} has {name} {told[name]!r}, this family {value!r}")
    found = Config(**{ours: told[theirs] for ours, theirs in _SHAPE.items()})
    for name in transformer.SHAPE if config is not None else ():
        if getattr(found, name) != getattr(config, name):
            raise ConfigError(
                f"the model in {folder} has {name} {getattr(found, name)}, the recipe {getattr(config, name)}"
            )
    model = OPT(config or found)
    try:
        model.load_state_dict(from_transformers(pretrained.weights(folder)))
    except RuntimeError as error:
        reason = " ".join(" ".join(str(error).splitlines()[:2]).split())  # torch lists every weight that differs
        raise DataError(f"the weights in {folder} are not of the shape that config.json says: {reason}") from error
    return transformer.place(model).eval()
