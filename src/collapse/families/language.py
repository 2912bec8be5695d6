"""What decoder-only language models share: training, evaluation, files.

A model is a module with ``config``, ``trunk(tokens, noise)`` (B, T) -> (B, T, C), ``head`` (..., C) -> (..., V). Each
story s_1 .. s_n is fed as end, s_1 .. s_n and predicted as s_1 .. s_n, end: n + 1 predicted tokens. Losses are
cross-entropies in nats per predicted token. Batches are in `collapse.families.batches`, the training loop is in
`collapse.families.training`.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from collapse.errors import ConfigError, DataError
from collapse.families.batches import IGNORED, padded, texts
from collapse.families.training import budget, steps, train
from collapse.families.transformer import place
from collapse.items import Items
from collapse.seeding import Streams
from collapse.store import load_arrays, save_arrays

__all__ = ["budget", "evaluate", "load", "log_probabilities", "save", "steps", "train"]

EVALUATION_TOKENS = 4096
"""Positions per batch in evaluation on a CPU."""

EVALUATION_TOKENS_GPU = 32768
"""Positions per batch in evaluation on a GPU: more keep it busy, but 4 V bytes of logits for each must fit, thrice."""


@torch.inference_mode()
def _score(model, items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses of a set in nats: of each story with its end (N,), and of each token type, summed (V,).

    Raises DataError where a story does not fit the model.
    """
    stories, config = texts(items, model.config), model.config
    most = EVALUATION_TOKENS if config.device == "cpu" else EVALUATION_TOKENS_GPU
    of_story, of_token = np.empty(len(stories)), np.zeros(config.vocabulary)
    order, at = np.argsort(stories.lengths, kind="stable"), 0
    while at < len(order):
        widths = (stories.lengths[order[at : at + most]] + 1) * np.arange(1, len(order) - at + 1)[:most]
        index = order[at : at + max(1, int(np.searchsorted(widths, most, side="right")))]
        inputs, targets = padded(stories, index, config)
        logits = model.head(model.trunk(inputs)).transpose(1, 2)  # (B, V, T)
        losses = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")  # (B, T)
        of_story[index] = losses.sum(1, dtype=torch.float64).cpu()
        targets, losses = targets.cpu().numpy(), losses.cpu().numpy()
        predicted = targets != IGNORED
        of_token += np.bincount(targets[predicted], losses[predicted], minlength=config.vocabulary)
        at += len(index)
    return of_story, of_token


def log_probabilities(model, items: Items) -> np.ndarray:
    """Return the log-probability of each story with its end token, in nats, at temperature 1: (N,) float64.

    Raises:
        DataError: a story does not fit the model.
    """
    return -_score(model, items)[0]


def evaluate(model, items: Items, rng: Streams | None) -> dict[str, np.ndarray]:
    """Measure a model on a set, in float32. Deterministic: ``rng`` is not used.

    Returns:
        ``cross_entropy`` (1,), nats per predicted token, mean over all tokens of the set; ``tokens`` (1,), how many;
        ``token_loss`` (1, V), nats summed over the occurrences of each token type as a target, and ``token_count``
        (1, V), their number.

    Raises:
        DataError: a story does not fit the model.
    """
    of_story, of_token = _score(model, items)
    tokens = items.output.offsets[-1] + len(items)
    count = np.bincount(items.output.values, minlength=model.config.vocabulary).astype(np.float64)
    count[model.config.end] += len(items)
    return {
        "cross_entropy": np.array([of_story.sum() / tokens]),
        "tokens": np.array([tokens]),
        "token_loss": of_token[None],
        "token_count": count[None],
    }


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
