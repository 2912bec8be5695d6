"""A convolutional variational autoencoder, in one file: settings, model, fit, sample, evaluate, save, load.

Kingma and Welling (arXiv 1312.6114). Encoder: convolutions of stride 2 to the mean and the log-variance of a Gaussian
posterior q(z | x); decoder: the mirror image, to the mean of p(x | z). The prior is N(0, I). With its defaults on MNIST
this is the VAE of Shumailov et al., Nature 631 (2024); `Config` says which settings make that of Gerstgrasser et al.
(arXiv 2404.01413). The training loop is in `collapse.families.vae_training`.

Losses are in nats, summed over pixels and latent dimensions; wherever one number stands for several images it is their
mean. Images are stored in half precision: grey levels of 8 bits survive, and the real-valued means of a decoder are
rounded by at most 2.5e-4, a sixteenth of a grey level.

Shapes: B images, (P, H, W) one image (P planes), D latent dimensions.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite, log, pi, prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from collapse.errors import ConfigError, TrainingError, unknown
from collapse.families import language, transformer
from collapse.families.training import budget, steps
from collapse.families.vae_training import images, train
from collapse.items import Endless, Items
from collapse.samplers import Sampler
from collapse.seeding import Streams
from collapse.store import save_arrays

__all__ = [
    "STREAMS", "VAE", "Config", "Sampler", "budget", "encode", "evaluate", "fit", "load", "parameters", "sample",
    "save", "steps",
]  # fmt: skip

STREAMS = True
"""`fit` takes an endless stream of items."""

AT_ONCE = 500
"""Images per batch where nothing is learned; fixed, so that draws do not depend on the machine."""

CHOICES = {
    "activation": ("relu", "leaky_relu"),
    "head": ("transposed", "refined"),
    "output": ("sigmoid", "tanh"),
    "reconstruction": ("bernoulli", "gaussian"),
    "device": ("cpu", "cuda"),
}
SHAPE = ("shape", "channels", "kernel", "latent", "activation", "batch_norm", "head", "output", "reconstruction")
"""Settings that two models must share for one to take the other's weights."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Model and training settings; the defaults are those of Shumailov et al., whose activation is not known for sure.

    The VAE of Gerstgrasser et al. on 64 x 64 faces (as identified from its parameters: PyTorch-VAE's): channels (32,
    64, 128, 256, 512), kernel 3, latent 128, leaky_relu, batch_norm, head refined, output tanh, reconstruction
    gaussian, weight_decay 0, learning_rate 5e-3, decay 0.95, batch 64, epochs 100. Its loss, the squared error's mean
    over the d pixel values plus 2.5e-4 KL, is this one divided by d where variance = 0.5 and kl_weight = 2.5e-4 d.

    Attributes:
        shape: (P, H, W) of an image; the data set provides it.
        channels: width of each convolution of the encoder; the decoder has them in reverse.
        kernel: 3 or 4; stride 2 and padding 1 always.
        latent: D.
        activation: after each layer but the last, ``relu`` or ``leaky_relu`` (slope 0.01).
        batch_norm: whether each of these layers is normalised over its batch, before the activation.
        head: last layer: ``transposed``, the mirror of the first; or ``refined``: one to the width of the first, with
            norm and activation, and a 3 x 3 convolution to the image.
        output: of the decoder, ``sigmoid`` or ``tanh``.
        reconstruction: p(x | z): ``bernoulli``, binary cross-entropy (which for grey pixels is no likelihood, and not 0
            at its least); or ``gaussian``, with ``variance``.
        variance: of each pixel where the reconstruction is ``gaussian``.
        kl_weight: factor of the KL divergence in training; evaluation reports it without.
        epochs, first_epochs: passes over the training set; those of generation 1 where they are set apart.
        batch: images per step, at most. A step follows the gradient of the sum over the batch, as in the official code:
            this matters to the weight decay and to a smaller last batch alone, for Adam does not see scales.
        learning_rate: of Adam (Kingma and Ba, arXiv 1412.6980).
        decay: factor of the learning rate after each pass.
        weight_decay: added to the gradient times the weights (L2, the semantic of ``torch.optim.Adam``, not AdamW's).
        betas: decay rates of Adam's moments.
        evaluations: fractions of training, in (0, 1], at which the observer is called; 1.0 always is.
        device: ``cpu`` or ``cuda``; the workflow sets it for all recipes of a scale.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (64, 128)
    kernel: int = 4
    latent: int = 20
    activation: str = "relu"
    batch_norm: bool = False
    head: str = "transposed"
    output: str = "sigmoid"
    reconstruction: str = "bernoulli"
    variance: float = 1.0
    kl_weight: float = 1.0
    epochs: float = 30
    first_epochs: float | None = None
    batch: int = 256
    learning_rate: float = 1e-3
    decay: float = 1.0
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    evaluations: tuple[float, ...] = (1.0,)
    device: str = "cpu"

    def __post_init__(self):
        """Check all settings and make lists tuples. Raises ConfigError naming the setting."""
        for name in ("shape", "channels", "betas", "evaluations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)
        whole = [type(n) is int and n > 0 for n in self.shape]
        self._require("shape", len(whole) == 3 and all(whole), "planes, height and width, whole numbers above 0")
        widths = [type(n) is int and n > 0 for n in self.channels]
        self._require("channels", bool(widths) and all(widths), "whole numbers above 0, one for each convolution")
        for name in ("latent", "batch"):
            self._require(name, type(getattr(self, name)) is int and getattr(self, name) > 0, "a whole number above 0")
        self._require("kernel", self.kernel in (3, 4), "3 or 4")
        for name in ("epochs", "learning_rate", "variance"):
            self._require(name, 0 < getattr(self, name) < float("inf"), "positive")
        first = self.first_epochs
        self._require("first_epochs", first is None or 0 < first < float("inf"), "positive, or null for `epochs`")
        for name in ("kl_weight", "weight_decay"):
            self._require(name, getattr(self, name) >= 0 and isfinite(getattr(self, name)), "0 or more")
        self._require("decay", 0 < self.decay <= 1, "above 0, at most 1")
        self._require("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        self._require("evaluations", all(0 < f <= 1 for f in self.evaluations), "fractions above 0, at most 1")
        self._require("batch_norm", type(self.batch_norm) is bool, "true or false")
        if self.reconstruction == "bernoulli" and self.output != "sigmoid":
            raise ConfigError("reconstruction bernoulli needs probabilities: set `output: sigmoid`")
        if min(self.sides[-2]) < 2:
            raise ConfigError(f"images of {self.shape[1]} x {self.shape[2]} are too small for {len(self.channels)} "
                              "convolutions that halve them: shorten `channels`")  # fmt: skip

    def _require(self, name: str, good: bool, what: str) -> None:
        if not good:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}")

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Height and width of the image and after each convolution."""
        out = [self.shape[1:]]
        for _ in self.channels:
            out.append(tuple((side + 2 - self.kernel) // 2 + 1 for side in out[-1]))
        return out

    @property
    def least(self) -> float:
        """-log p(x | z) of an image that a Gaussian decoder meets exactly, in nats: d / 2 log(2 pi variance)."""
        return 0.5 * prod(self.shape) * log(2 * pi * self.variance)

    @property
    def flat(self) -> int:
        """Values that the last convolution gives for an image."""
        return self.channels[-1] * prod(self.sides[-1])


def parameters(config: Config) -> int:
    """Number of parameters: 647,081 on MNIST with the defaults (as published), 3,937,635 of the faces' (as published).

    Convolutions k^2 a b + b, the linear maps to mean and log-variance and back, two for each normalised channel.
    """
    planes, k, norm = config.shape[0], config.kernel**2, 2 * config.batch_norm
    inputs, widths = (planes, *config.channels[:-1]), config.channels
    down = sum((k * a + 1 + norm) * b for a, b in zip(inputs, widths, strict=True))
    middle = 2 * (config.flat + 1) * config.latent + (config.latent + 1) * config.flat
    up = sum((k * a + 1 + norm) * b for a, b in zip(widths[1:], widths, strict=False))
    refined = (k * widths[0] + 1 + norm) * widths[0] + (9 * widths[0] + 1) * planes
    return down + middle + up + (refined if config.head == "refined" else (k * widths[0] + 1) * planes)


class VAE(nn.Module):
    """The model; ``facts`` says how it was trained."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.facts = config, {}
        planes, widths, sides, k = config.shape[0], config.channels, config.sides, config.kernel

        def norm(width: int) -> nn.Module:
            return nn.BatchNorm2d(width) if config.batch_norm else nn.Identity()

        def convolution(a: int, b: int, size: int, stride: int) -> nn.Conv2d:
            return skip_init(nn.Conv2d, a, b, size, stride=stride, padding=1)

        def transposed(a: int, b: int, at: int) -> nn.ConvTranspose2d:
            """From the sides after convolution ``at`` + 1 back to those before it."""
            short = tuple(to - 2 * have + 4 - k for to, have in zip(sides[at], sides[at + 1], strict=True))
            return skip_init(nn.ConvTranspose2d, a, b, k, stride=2, padding=1, output_padding=short)

        back, refined = range(len(widths) - 1, 0, -1), config.head == "refined"
        self.down = nn.ModuleList(convolution(a, b, k, 2) for a, b in zip((planes, *widths), widths, strict=False))
        self.down_norm = nn.ModuleList(norm(width) for width in widths)
        self.posterior = skip_init(nn.Linear, config.flat, 2 * config.latent)  # mean and log-variance side by side
        self.lift = skip_init(nn.Linear, config.latent, config.flat)
        self.up = nn.ModuleList(transposed(widths[i], widths[i - 1], i) for i in back)
        self.up_norm = nn.ModuleList(norm(widths[i - 1]) for i in back)
        if refined:
            self.up.append(transposed(widths[0], widths[0], 0))
            self.up_norm.append(norm(widths[0]))
        self.head = convolution(widths[0], planes, 3, 1) if refined else transposed(widths[0], planes, 0)
        self.act = functional.relu if config.activation == "relu" else functional.leaky_relu

    def initialise(self, generator: torch.Generator) -> "VAE":
        """Draw weights and biases uniformly within 1 / sqrt(fan in), torch's default; norms start as the identity."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    bound = module.weight[0].numel() ** -0.5  # torch's fan in, of transposed convolutions too
                    for p in (module.weight, module.bias):
                        p.uniform_(-bound, bound, generator=generator)
        return self

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z | x). Shapes: x (B, P, H, W), results (B, D)."""
        for layer, norm in zip(self.down, self.down_norm, strict=True):
            x = self.act(norm(layer(x)))
        return self.posterior(x.flatten(1)).chunk(2, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoder's last layer, before its sigmoid or tanh. Shapes: z (B, D), result (B, P, H, W)."""
        x = self.lift(z).view(-1, self.config.channels[-1], *self.config.sides[-1])
        for layer, norm in zip(self.up, self.up_norm, strict=True):
            x = self.act(norm(layer(x)))
        return self.head(x)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the mean of p(x | z) from what `decode` gives."""
        return logits.sigmoid() if self.config.output == "sigmoid" else logits.tanh()

    def losses(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return -log p(x | z) at z = mean + sd * noise, and KL(q || prior) (Kingma and Welling, appendix B).

        Shapes: x (B, P, H, W), noise (B, D), results (B,) in nats.
        """
        mu, logvar = self.encode(x)
        logits = self.decode(mu + (0.5 * logvar).exp() * noise)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
        if self.config.reconstruction == "bernoulli":
            return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1), kl
        error = (self.mean(logits) - x).square().flatten(1).sum(1)
        return error / (2 * self.config.variance) + self.config.least, kl


def fit(
    items: Items | Endless, *, config: Config, weights: np.ndarray | None, budget, init: VAE | None, validation,
    observer: Callable | None, rng: Streams,
) -> VAE:  # fmt: skip
    """Train on -log p(x | z) + ``kl_weight`` KL; see `collapse.families.vae_training.train`.

    Args:
        items: images of one chain, (1, N, P, H, W) in [0, 1]; or a stream of them.
        config: settings.
        weights: loss weight of each image, (1, N) or None.
        budget: passes or steps.
        init: a model of the same shape whose weights are copied; None draws fresh ones.
        validation: not used, there is no early stopping.
        observer: called at ``config.evaluations``.
        rng: one chain; fresh weights, order and posterior draws each have a stream of their own.

    Raises:
        ConfigError: ``init`` has another shape, or loss weights for a stream.
        DataError: the images do not fit the model.
        TrainingError: a loss is not finite, or the weights did not move.
    """
    model = transformer.begin(VAE(config), init, rng, SHAPE)
    return train(model, items, weights=weights, budget=budget, observer=observer, rng=rng)


@torch.inference_mode()
def sample(model: VAE, contexts: int, sampler: Sampler, rng: Streams, k: int = 1) -> Items:
    """Draw z ~ N(0, I) and decode it: ``contexts`` times ``k`` images, (1, N, P, H, W) float16.

    Args:
        model: the model.
        contexts: number of images.
        sampler: of kind ``prior``. Noise ``mean`` returns the decoder's means, as the official code does; ``bernoulli``
            draws each pixel, 0 or 1, from p(x | z).
        rng: one chain; a further call goes on where this one ends.
        k: images for each context.

    Raises:
        ConfigError: the sampler is of another kind, or its noise is not that of the model.
    """
    config, out = model.config, []
    if sampler.kind != "prior":
        raise ConfigError(f"a VAE is sampled by `kind: prior`, the sampler is of kind {sampler.kind!r}")
    if sampler.noise not in ("mean", config.reconstruction):
        raise ConfigError(f"noise of the sampler is {sampler.noise!r}, the model's {config.reconstruction!r}")
    for at in range(0, contexts * k, AT_ONCE):
        z = rng.alone.standard_normal((min(AT_ONCE, contexts * k - at), config.latent), dtype=np.float32)
        drawn = model.mean(model.decode(torch.from_numpy(z).to(config.device))).cpu().numpy()
        if sampler.noise == "bernoulli":
            drawn = rng.alone.random(drawn.shape, dtype=np.float32) < drawn
        out.append(drawn.astype(np.float16))
    drawn = np.concatenate(out)
    if not np.isfinite(drawn).all():
        raise TrainingError("the decoder gave values that are not finite: lower `learning_rate`")
    return Items.make(drawn[None], generation=1)


@torch.inference_mode()
def encode(model: VAE, items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and log-variance of the posterior of each image, both (N, D) float32. Raises DataError."""
    parts = [model.encode(x.to(model.config.device).float()) for x in images(items, model.config).split(AT_ONCE)]
    mu, logvar = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return mu, logvar


@torch.inference_mode()
def evaluate(model: VAE, items: Items, rng: Streams) -> dict[str, np.ndarray]:
    """Measure a model on images, with one posterior draw for each.

    Returns:
        Means over images in nats, each (1,): ``reconstruction``, -log p(x | z); ``kl``, KL(q(z | x) || prior);
        ``cross_entropy``, their sum: the negative evidence lower bound (ELBO). Where the reconstruction is Gaussian,
        ``squared_error`` too, its mean over pixels.

    Raises:
        DataError: the images do not fit the model.
    """
    config, sums, every = model.config, np.zeros(2), images(items, model.config)
    for x in every.split(AT_ONCE):
        noise = torch.from_numpy(rng.alone.standard_normal((len(x), config.latent), dtype=np.float32))
        parts = model.losses(x.to(config.device).float(), noise.to(config.device))
        sums += [part.sum(dtype=torch.float64).item() for part in parts]
    reconstruction, kl = sums / len(every)
    found = {"cross_entropy": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
    if config.reconstruction == "gaussian":
        found["squared_error"] = (reconstruction - config.least) * 2 * config.variance / prod(config.shape)
    return {name: np.array([value]) for name, value in found.items()}


def save(model: VAE, path: str | Path) -> None:
    """Write weights, running means of norms, settings and facts as safetensors. Raises DataError."""
    notes = {"config": asdict(model.config), "facts": model.facts}
    packed = {name: np.frombuffer(json.dumps(note, sort_keys=True).encode(), np.uint8) for name, note in notes.items()}
    save_arrays(path, {name: value.cpu().numpy() for name, value in model.state_dict().items()} | packed)


def load(path: str | Path) -> VAE:
    """Read what `save` wrote. Raises DataError: missing, corrupted, or another model."""
    return language.load(path, VAE, Config)
