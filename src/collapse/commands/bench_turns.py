"""Speeds of contenders that take turns, and how they are told: what the parts of `collapse bench` share."""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        turns: runs of each contender.
        passes: over the training set, in one run of training.
        sampled: stories drawn together.
        searched: stories of a beam search.
        continued: prompts continued together.
        chains: (seeds, items of a generation) of recursive Gaussians.
    """

    turns: int = 5
    passes: float = 1.0
    sampled: int = 256
    searched: int = 64
    continued: int = 32
    chains: tuple[tuple[int, int], ...] = ((10, 100), (100, 100), (1000, 100), (10, 1000), (100, 1000), (1000, 1000))


def take_turns(contenders: dict[str, Callable[[], Callable]], turns: int) -> dict[str, list[tuple[float, Any]]]:
    """Return the CPU seconds and the result of each contender in each turn.

    Args:
        contenders: name -> what prepares a run, outside of the time that is taken.
        turns: how many; one more before them pays for what is made once.
    """
    found = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, made in contenders.items():
            run = made()
            with redirect_stderr(io.StringIO()):  # progress
                start = time.process_time()
                result = run()
                seconds = time.process_time() - start
            if turn:
                found[name].append((seconds, result))
    return found


def rates(found: list[tuple[float, Any]], tokens: Callable[[Any], int]) -> np.ndarray:
    """Return tokens per second in each turn, (turns,)."""
    return np.array([tokens(result) / seconds for seconds, result in found])


def line(what: str, size: int, work: int, ours: np.ndarray, **others: np.ndarray) -> str:
    """Return a line: tokens and operations (``work`` for each parameter and token) per second, ratios to others."""
    rate, text = np.median(ours), []
    for name, theirs in others.items():
        ratio = ours / theirs
        text.append(f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) x {name.replace('_', ' ')}")
    return f"{what:<9}{rate:>9,.0f} tokens/s {work * size * rate / 1e9:>6.1f} GFLOP/s   {', '.join(text)}".rstrip()
