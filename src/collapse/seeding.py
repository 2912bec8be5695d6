"""Every random number of the project comes from here: generators keyed by SHA-256 of a descriptive tuple.

A stream's name says what it is for, e.g. ``("fit", "stories", "gpt2_xs", "replace", "temp1.0", "all", 0, 3)``. Results
therefore do not depend on the order of jobs, on the process, or on how many chains run side by side.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np


def digest(*name) -> bytes:
    """Return the SHA-256 of a descriptive tuple of strings, integers, floats and None (32 bytes)."""
    return hashlib.sha256(json.dumps(name, separators=(",", ":")).encode()).digest()


def stream(*name) -> np.random.Generator:
    """Return the numpy generator named by a tuple (Philox, keyed by the first 128 bits of its SHA-256)."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest(*name)[:16], "little")))


def torch_seed(*name) -> int:
    """Return the seed, in [0, 2**63), of a ``torch.Generator`` named by a tuple."""
    return int.from_bytes(digest(*name)[16:24], "little") >> 1


class Streams:
    """One generator per chain, for chains that run side by side along the first axis of every array.

    Chain ``s`` draws the same numbers whether it runs alone or beside others.
    """

    def __init__(self, name: Sequence, seeds: Sequence[int]):
        self.name, self.seeds = tuple(name), tuple(seeds)

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def generators(self) -> list[np.random.Generator]:
        """The generators, made when the first number is drawn: many fits and measures draw none."""
        return [stream(*self.name, seed) for seed in self.seeds]

    @property
    def alone(self) -> np.random.Generator:
        """The generator of the only chain. Raises ValueError where there are several."""
        if len(self.generators) != 1:
            raise ValueError(f"{len(self.generators)} chains run side by side, not one")
        return self.generators[0]

    def torch(self, purpose: str = "torch", device: str = "cpu"):
        """Return a ``torch.Generator`` for the only chain, seeded from the stream's name and ``purpose``."""
        import torch

        if len(self.seeds) != 1:
            raise ValueError(f"{len(self.seeds)} chains run side by side, not one")
        return torch.Generator(device).manual_seed(torch_seed(*self.name, self.seeds[0], purpose))

    def each(self, draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        """Stack ``draw(generator)`` over the chains. Shapes: each draw (...), result (S, ...)."""
        return np.stack([draw(g) for g in self.generators])

    def normal(self, *shape: int) -> np.ndarray:
        """Return standard normal draws of shape (S, *shape), float64."""
        out = np.empty((len(self.generators), *shape))
        for row, generator in zip(out, self.generators, strict=True):
            generator.standard_normal(out=row)
        return out
