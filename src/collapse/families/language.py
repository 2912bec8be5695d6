"""What decoder-only language models share: training, evaluation, files.

A model is a module with ``config``, ``trunk(tokens, noise)`` (B, T) -> (B, T, C), ``head`` (..., C) -> (..., V). What
of a text is fed and predicted is in `collapse.families.batches`, the training loop is in `collapse.families.training`.
Losses are cross-entropies in nats per predicted token.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from collapse.checkpoint import Checkpoint
from collapse.errors import ConfigError, DataError
from collapse.families import training
from collapse.families.batches import IGNORED, padded, predictions, texts
from collapse.families.training import budget, steps
from collapse.families.transformer import place
from collapse.items import Items
from collapse.loop import Budget
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

__all__ = ["block_losses", "budget", "evaluate", "load", "log_probabilities", "save", "steps", "train"]

EVALUATION_TOKENS = 4096
"""Positions per batch in evaluation on a CPU."""

EVALUATION_TOKENS_GPU = 32768
"""Positions per batch in evaluation on a GPU: more keep it busy, but 4 V bytes of logits for each must fit, thrice."""


@torch.inference_mode()
def _score(model, items: Items) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return losses in nats and what they are of.

    Raises DataError where a text does not fit the model.

    Returns:
        The losses of each text, summed, (N,), and how many tokens of it were predicted, (N,); the losses of each token
        type, summed, (V,), and how often it was a target, (V,).
    """
    found, config = texts(items, model.config), model.config
    counts = predictions(found, config)
    most = EVALUATION_TOKENS if config.device == "cpu" else EVALUATION_TOKENS_GPU
    of_text, of_token, seen = np.empty(len(found)), np.zeros(config.vocabulary), np.zeros(config.vocabulary)
    order, at = np.argsort(counts, kind="stable"), 0
    while at < len(order):
        widths = counts[order[at : at + most]] * np.arange(1, len(order) - at + 1)[:most]
        index = order[at : at + max(1, int(np.searchsorted(widths, most, side="right")))]
        inputs, targets = padded(found, index, config)
        logits = model.head(model.trunk(inputs)).transpose(1, 2)  # (B, V, T)
        losses = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")  # (B, T)
        of_text[index] = losses.sum(1, dtype=torch.float64).cpu()
        targets, losses = targets.cpu().numpy(), losses.cpu().numpy()
        told = targets != IGNORED
        of_token += np.bincount(targets[told], losses[told], minlength=config.vocabulary)
        seen += np.bincount(targets[told], minlength=config.vocabulary)
        at += len(index)
    return of_text, counts, of_token, seen


def log_probabilities(model, items: Items) -> np.ndarray:
    """Return the log-probability of each text in nats, at temperature 1: (N,) float64.

    Of a story it is that of all its tokens and of the end token, of a block that of all tokens after the first one.

    Raises:
        DataError: a text does not fit the model.
    """
    return -_score(model, items)[0]


def block_losses(model, items: Items) -> np.ndarray:
    """Return the mean loss of each text, in nats per predicted token: (N,) float64.

    Raises:
        DataError: a text does not fit the model.
    """
    of_text, counts, *_ = _score(model, items)
    return of_text / counts


def evaluate(model, items: Items, rng: Streams | None) -> dict[str, np.ndarray]:
    """Measure a model on a set, in float32. Deterministic: ``rng`` is not used.

    Returns:
        ``cross_entropy`` (1,), nats per predicted token, mean over all tokens of the set; ``tokens`` (1,), how many;
        ``token_loss`` (1, V), nats summed over the occurrences of each token type as a target, and ``token_count``
        (1, V), their number. In layout ``blocks`` also three perplexities (1,), as published numbers seldom say which
        one they are: ``perplexity``, exp of the cross-entropy; ``perplexity_batches``, the mean over batches of
        ``config.batch`` blocks, in their order, of exp of the batch's cross-entropy, the last batch as heavy as the
        others; ``perplexity_sequences``, the mean over blocks of exp of the block's.

    Raises:
        DataError: a text does not fit the model.
    """
    of_text, counts, of_token, seen = _score(model, items)
    tokens = counts.sum()
    metrics = {
        "cross_entropy": np.array([of_text.sum() / tokens]),
        "tokens": np.array([tokens]),
        "token_loss": of_token[None],
        "token_count": seen[None],
    }
    if model.config.layout == "blocks":
        batches = np.arange(0, len(of_text), model.config.batch)
        of_batch = np.add.reduceat(of_text, batches) / np.add.reduceat(counts, batches)
        with np.errstate(over="ignore"):  # infinite is what it says
            metrics["perplexity"] = np.exp(metrics["cross_entropy"])
            metrics["perplexity_batches"] = np.exp(of_batch).mean(keepdims=True)
            metrics["perplexity_sequences"] = np.exp(of_text / counts).mean(keepdims=True)
    return metrics


def train(
    model, items: Items, *, weights: np.ndarray | None, budget: Budget, observer: Callable | None, rng: Streams,
    validation: Items | None = None, checkpoint: Checkpoint | None = None,
):  # fmt: skip
    """Train a model in place; see `collapse.families.training.train`.

    Args:
        model, items, weights, budget, observer, rng, checkpoint: see there.
        validation: real texts. With ``keep: best`` the model is looked at on them, otherwise they are not read.

    Raises:
        ConfigError: ``keep: best`` without validation texts.
        DataError: a text of either set does not fit the model.
    """
    if model.config.keep == "last":
        look = None
    elif validation is None or len(validation) == 0:
        raise ConfigError("`keep: best` needs a validation set, and the data set has none: set `keep: last`")
    else:
        texts(validation, model.config)

        def look() -> float:
            of_text, counts, *_ = _score(model, validation)
            return float(of_text.sum() / counts.sum())

    return training.train(
        model, items, weights=weights, budget=budget, observer=observer, rng=rng, checkpoint=checkpoint, look=look
    )


def _json(value) -> np.ndarray:
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8)


def save(model, path: str | Path) -> None:
    """Write weights, settings and facts as safetensors. Raises DataError."""
    weights = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
    save_arrays(path, {**weights, "config": _json(asdict(model.config)), "facts": _json(model.facts)})


def load(path: str | Path, model_class: type, config_class: type):
    """Read what `save` wrote, as a model in eval mode.

    Raises:
        DataError: the file is missing or corrupted, or holds another kind of model.
    """
    arrays = load_arrays(path)
    try:
        config, facts = (json.loads(arrays.pop(name).tobytes()) for name in ("config", "facts"))
        model = model_class(config_class(**config))
        model.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
    except (KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        reason = " ".join(" ".join(str(error).splitlines()[:2]).split())  # torch lists every weight that differs
        raise DataError(f"{path} does not hold a {model_class.__name__}: {reason}") from error
    model.facts = facts
    return place(model).eval()
