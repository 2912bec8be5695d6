"""What language models share: settings, the device, layers, causal attention with and without a cache, first weights.

Shapes: B stories, T positions, C hidden, H heads, D = C / H, M positions of the cache, V tokens, L blocks.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from collapse.errors import ConfigError, unknown
from collapse.families.batches import LAYOUTS
from collapse.families.matmul import linear
from collapse.seeding import Streams

SHORT = 128
"""On a CPU, up to this many positions, scores are cheapest as one dense (T, T) product; beyond, and on a GPU, skipping
the masked half is."""

SCHEDULES = ("linear", "constant")

PRECISIONS = ("float32", "bfloat16")

KEEPS = ("last", "best")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Model and training settings.

    Attributes:
        vocabulary: V, number of tokens, the end token included; at most 65536.
        end: id of the end-of-text token: the first input of each story, and its last target; blocks may hold it.
        hidden: C, width of the residual stream.
        layers: L, number of blocks.
        heads: H, attention heads; divides ``hidden``.
        positions: longest input in tokens; a story may have ``positions`` - 1 tokens beside the end token, a block
            ``positions``, a prompt and its continuation together as many.
        layout: what texts are: ``stories``, each between two end tokens and of a length of its own, or ``blocks`` of
            one length, cut from a running text; see `collapse.families.batches`.
        init_sd: standard deviation of fresh weights. The usual 0.02 is meant for a width of 768; 0.02 sqrt(768 / C)
            learns faster at another.
        dropout: share that is zeroed in training; each model says of what.
        epochs: passes over the training set where the budget does not say otherwise.
        first_epochs: passes of generation 1 where it trains for a time of its own; None for ``epochs``.
        batch: stories per step, at most.
        learning_rate: peak of the schedule, per step.
        warmup_steps: steps over which the learning rate rises linearly from 0 to its peak.
        schedule: after warm-up, ``linear`` decay to 0 at the last step, or ``constant``.
        weight_decay: decoupled, per unit of learning rate; matrices and embeddings only.
        betas: decay rates of AdamW's first and second moments.
        clip: largest L2 norm of the gradient; None for no limit.
        evaluations: fractions of training, in (0, 1], at which the observer is called; 1.0 always is.
        keep: the weights that are returned: of the ``last`` step, or the ``best`` of those after each pass and after
            the last step, by the cross-entropy on the real validation set.
        stop: share of the steps, in (0, 1], after which training ends while the schedule stays that of all of them; to
            compare the beginnings of learning curves.
        device: ``cpu`` or ``cuda``; the workflow sets it for all recipes of a scale.
        precision: of products in training, ``float32`` or, on a GPU, ``bfloat16`` through autocast; weights, losses,
            evaluation and sampling are float32 always.
        compile: whether training runs through ``torch.compile``; on a GPU. Dropout cuts the program at each draw.
        checkpoint_minutes: time between two checkpoints of a fit that is given a place for them.
    """

    vocabulary: int
    end: int
    hidden: int
    layers: int
    heads: int
    positions: int
    layout: str = "stories"
    init_sd: float = 0.02
    dropout: float = 0.0
    epochs: float = 1.0
    first_epochs: float | None = None
    batch: int = 16
    learning_rate: float = 5e-3
    warmup_steps: int = 10
    schedule: str = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = 1.0
    evaluations: tuple[float, ...] = (1.0,)
    keep: str = "last"
    stop: float = 1.0
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    checkpoint_minutes: float = 10.0

    def __post_init__(self):
        """Check all settings and make lists tuples. Raises ConfigError naming the setting."""
        for name in ("betas", "evaluations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("vocabulary", "hidden", "layers", "heads", "batch"):
            self._require(name, type(getattr(self, name)) is int and getattr(self, name) > 0, "a whole number above 0")
        self._require("vocabulary", self.vocabulary <= 65536, "at most 65536: tokens are stored in 16 bits")
        self._require("positions", type(self.positions) is int and self.positions > 1, "a whole number above 1")
        self._require("end", type(self.end) is int and 0 <= self.end < self.vocabulary, "a token of the vocabulary")
        self._require("hidden", self.hidden % self.heads == 0, f"a multiple of heads ({self.heads})")
        whole = type(self.warmup_steps) is int and self.warmup_steps >= 0
        self._require("warmup_steps", whole, "a whole number, 0 or more")
        self._require("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        for name in ("epochs", "learning_rate", "init_sd"):
            self._require(name, 0 < getattr(self, name) < float("inf"), "positive")
        first = self.first_epochs
        self._require("first_epochs", first is None or 0 < first < float("inf"), "positive, or null for `epochs`")
        for name in ("weight_decay", "checkpoint_minutes"):
            self._require(name, getattr(self, name) >= 0 and isfinite(getattr(self, name)), "0 or more")
        self._require("clip", self.clip is None or self.clip > 0, "positive, or null for no limit")
        self._require("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        self._require("evaluations", all(0 < f <= 1 for f in self.evaluations), "fractions above 0, at most 1")
        self._require("stop", 0 < self.stop <= 1, "a fraction above 0, at most 1")
        self._require("device", self.device in ("cpu", "cuda"), "cpu or cuda")
        self._require("compile", type(self.compile) is bool, "true or false")
        for name, known in (
            ("schedule", SCHEDULES), ("precision", PRECISIONS), ("layout", LAYOUTS), ("keep", KEEPS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)
        if self.device == "cpu" and self.precision == "bfloat16":
            raise ConfigError("precision bfloat16 needs a GPU: set `device: cuda` or `precision: float32`")
        if self.device == "cpu" and self.compile:
            raise ConfigError("compile needs a GPU: set `device: cuda` or `compile: false`")

    def _require(self, name: str, good: bool, what: str) -> None:
        if not good:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}")


SHAPE = ("vocabulary", "end", "hidden", "layers", "heads", "positions")
"""Settings that two models must share for one to take the other's weights."""


def place(model: nn.Module) -> nn.Module:
    """Move a model to the device of its settings. Raises ConfigError where that is not there: no other one is taken."""
    device = model.config.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device: cuda` is asked for and torch finds no GPU: set `device: cpu`, or mend the driver")
    return model.to(device)


def begin(model: nn.Module, init: nn.Module | None, rng: Streams, shape: tuple[str, ...] = SHAPE) -> nn.Module:
    """Give a new model its first weights, drawn or copied, and move it to the device of its settings.

    Args:
        model: just made; it is changed and returned.
        init: a model of the same class and shape whose weights are copied; None draws fresh ones.
        rng: one chain; its stream ``weights`` is drawn from.
        shape: settings in which ``init`` must agree.

    Raises:
        ConfigError: ``init`` is another model, or the device is not there.
    """
    if init is None:
        model.initialise(rng.torch("weights"))
    else:
        if type(init) is not type(model):
            raise ConfigError(f"init is a {type(init).__name__}, the recipe a {type(model).__name__}")
        for name in shape:
            ours, theirs = getattr(model.config, name), getattr(init.config, name)
            if ours != theirs:
                raise ConfigError(f"init has {name} {theirs}, the recipe {ours}")
        model.load_state_dict(init.state_dict())
    return place(model)


class Linear(nn.Linear):
    """Affine map whose weights are not drawn from the global generator: the model's `initialise` draws all of them."""

    def reset_parameters(self):
        """Leave the memory as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (..., in), result (..., out)."""
        return linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """Table of vectors whose weights are not drawn from the global generator."""

    def reset_parameters(self):
        """Leave the memory as it is."""


def drop(x: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Zero a share of ``x`` and scale the rest up; nothing without a generator."""
    if noise is None or not share:
        return x
    return x * torch.empty_like(x).bernoulli_(1 - share, generator=noise).div_(1 - share)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float, noise: torch.Generator | None,
    cache: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Causal attention, softmax(q k' / sqrt(D)) v (Vaswani et al., arXiv 1706.03762, equation 1).

    Args:
        q, k, v: (B, H, T, D).
        mask: (T, T), minus infinity where a position may not look, else 0; None for torch's kernel, without dropout.
        share: dropout of the attention weights.
        noise: its generator, or None for no dropout.
        cache: (2, B, H, M, D) where keys and values go, from the first position on; None for nowhere.

    Returns:
        (B, T, C), the heads side by side.
    """
    B, H, T, D = q.shape
    if cache is not None:
        cache[0, :, :, :T], cache[1, :, :, :T] = k, v
    if mask is None:
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
    else:
        q, k, v = (a.reshape(B * H, T, D) for a in (q, k, v))
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=D**-0.5)  # (BH, T, T)
        y = (drop(scores.softmax(-1), share, noise) @ v).view(B, H, T, D)
    return y.transpose(1, 2).reshape(B, T, H * D)


def attend_step(q: Tensor, k: Tensor, v: Tensor, t: int, cache: Tensor, ancestors: Tensor | None = None) -> Tensor:
    """Attend from one position alone, adding its key and value to the cache.

    Without ``ancestors`` that is position t of each of B texts. With them each text has b hypotheses of how it goes on,
    whose tokens are columns of one cache beside what all of them share; the newest b columns are those added here.

    Shapes: q, k and v (B, H, D), cache (2, B, H, M, D), result (B, C). With ancestors q, k and v (B b, H, D), result
    (B b, C), and ancestors (B, b, n): 0 where a column holds a token of the hypothesis, else minus infinity.
    """
    A, H, D = q.shape
    if ancestors is None:
        cache[0, :, :, t], cache[1, :, :, t] = k, v
        keys, values = cache.flatten(1, 2)[:, :, : t + 1]  # (BH, t + 1, D)
        scores = torch.bmm(q.reshape(A * H, 1, D), keys.transpose(1, 2)).mul_(D**-0.5)  # (BH, 1, t + 1)
        return torch.bmm(scores.softmax(-1), values).view(A, H * D)
    B, b, n = ancestors.shape
    q, k, v = (x.view(B, b, H, D).transpose(1, 2) for x in (q, k, v))  # (B, H, b, D)
    cache[0, :, :, n - b : n], cache[1, :, :, n - b : n] = k, v
    keys, values = cache.flatten(1, 2)[:, :, :n]  # (BH, n, D)
    scores = torch.bmm(q.reshape(B * H, b, D), keys.transpose(1, 2)).view(B, H, b, n)
    weights = torch.add(ancestors[:, None], scores, alpha=D**-0.5).softmax(-1)
    return torch.bmm(weights.view(B * H, b, n), values).view(B, H, b, D).transpose(1, 2).reshape(A, H * D)


class Decoder(nn.Module):
    """What the training loop and the sampler ask of a model; a subclass adds ``trunk``, ``head`` and ``step``.

    ``facts`` says how it was trained (`collapse.families.language.train`).
    """

    DROPS_ATTENTION = True
    """Whether dropout is of attention weights too: torch's kernel cannot take a generator for it."""

    def __init__(self, config: Settings):
        super().__init__()
        self.config, self.facts = config, {}
        dense = config.positions if config.dropout and self.DROPS_ATTENTION else min(SHORT, config.positions)
        self.register_buffer("mask", torch.full((dense, dense), -torch.inf).triu(1), persistent=False)

    def causal(self, T: int, noise: torch.Generator | None) -> Tensor | None:
        """Return the mask (T, T) for `attend`, or None where torch's kernel is faster and there is no dropout."""
        dropping = noise is not None and self.config.dropout > 0 and self.DROPS_ATTENTION
        short = T <= SHORT and self.mask.device.type == "cpu"
        return self.mask[:T, :T] if dropping or short else None

    def start(self, step: int, length: int) -> int:
        """Return the position of the first of ``length`` tokens in the texts of a training step."""
        return 0

    def memories(self, cache: Tensor | None) -> Tensor | list[None]:
        """Return what each block remembers of a cache; None of none."""
        return [None] * self.config.layers if cache is None else cache

    def prefill(self, tokens: Tensor, cache: Tensor) -> Tensor:
        """Feed the beginnings of texts at once, filling the cache; return the logits of what follows.

        Shapes: tokens (B, T), cache (L, 2, B, H, M, D), result (B, V).
        """
        return self.head(self.trunk(tokens, cache=cache)[:, -1])

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token that follows each position. Shapes: tokens (B, T), result (B, T, V)."""
        return self.head(self.trunk(tokens))

    def cache(self, stories: int, length: int) -> Tensor:
        """Allocate keys and values of ``length`` positions, (L, 2, B, H, M, D)."""
        c = self.config
        shape = (c.layers, 2, stories, c.heads, length, c.hidden // c.heads)
        return torch.empty(shape, dtype=torch.float32, device=self.mask.device)


def repeated(contexts: int | np.ndarray, k: int) -> int | np.ndarray:
    """Return contexts with each ``k`` times in a row: a number, or tokens (N, P) -> (N k, P)."""
    return np.repeat(contexts, k, axis=0) if isinstance(contexts, np.ndarray) else contexts * k
