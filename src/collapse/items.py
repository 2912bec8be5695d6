"""Items: what data sets hold, models are fitted on and samplers return.

An item is (context, output, provenance). S chains may run side by side: the first axis of every dense array is the
chain, the second the item. Ragged outputs (texts) hold one chain.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N sequences of different lengths; sequence i is ``values[offsets[i] : offsets[i + 1]]``.

    Shapes: values (total,), offsets (N + 1,) int64.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences, dtype=np.uint16) -> "Ragged":
        """Build from an iterable of sequences. Raises ValueError where a value does not fit ``dtype``."""
        given = [np.asarray(s) for s in sequences]
        rows = [g.astype(dtype) for g in given]
        if any((g != r).any() for g, r in zip(given, rows, strict=True)):
            raise ValueError(f"values do not fit {np.dtype(dtype)}")
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)]).astype(np.int64)
        return cls(np.concatenate(rows) if rows else np.zeros(0, dtype), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < len(self):
            raise IndexError(f"sequence {i} of {len(self)}")
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sequence, shape (N,)."""
        return np.diff(self.offsets)

    def take(self, index: np.ndarray) -> "Ragged":
        """Return the sequences ``index`` (shape (n,)), in that order."""
        lengths = self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[:-1][index], lengths)
        return Ragged(self.values[where], offsets)

    @classmethod
    def concat(cls, parts: "list[Ragged]") -> "Ragged":
        """Join sets of sequences, in order."""
        values = np.concatenate([p.values for p in parts])
        lengths = np.concatenate([p.lengths for p in parts])
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@dataclass(frozen=True)
class Items:
    """N items of each of S chains.

    Attributes:
        output: (S, N, ...), or ragged with S = 1.
        generation: (S, N) int32; 0 is real, k > 0 was drawn from the model of generation k.
        index: (S, N) int64; number of the item inside its source.
        context: real input of a conditional family, like ``output``; None otherwise.
        logprob: (S, N) log-probability under the model and sampler that drew it, in nats; None where unknown or real.
    """

    output: np.ndarray | Ragged
    generation: np.ndarray
    index: np.ndarray
    context: np.ndarray | Ragged | None = None
    logprob: np.ndarray | None = None

    def __post_init__(self):
        shape = self.generation.shape
        sizes = {
            f.name: (1, len(v)) if isinstance(v, Ragged) else v.shape[:2]
            for f in fields(self)
            if (v := getattr(self, f.name)) is not None
        }
        if len(shape) != 2 or any(s != shape for s in sizes.values()):
            raise ValueError(f"items of different numbers: {sizes}")

    @classmethod
    def make(cls, output, *, generation: int, context=None, logprob=None, start: int = 0) -> "Items":
        """Build items of one source, numbered from ``start``."""
        chains, count = (1, len(output)) if isinstance(output, Ragged) else output.shape[:2]
        index = np.broadcast_to(np.arange(start, start + count), (chains, count))
        return cls(output, np.full((chains, count), generation, np.int32), index, context, logprob)

    def labelled(self, generation: int, start: int) -> "Items":
        """Return the items as drawn from the model of ``generation``, numbered from ``start``."""
        index = np.broadcast_to(np.arange(start, start + len(self)), self.generation.shape)
        return replace(self, generation=np.full_like(self.generation, generation), index=index)

    @property
    def chains(self) -> int:
        """S, the number of chains side by side."""
        return self.generation.shape[0]

    def __len__(self) -> int:
        """N, the number of items of each chain."""
        return self.generation.shape[1]

    def take(self, index: np.ndarray) -> "Items":
        """Return the items ``index``, shape (S, n), chain by chain."""
        index = np.ascontiguousarray(
            index
        )  # so are the items: sums over them do not depend on how many chains there are

        def pick(value):
            if value is None:
                return None
            if isinstance(value, Ragged):
                return value.take(index[0])
            return np.take_along_axis(value, index.reshape(*index.shape, *[1] * (value.ndim - 2)), axis=1)

        return Items(**{f.name: pick(getattr(self, f.name)) for f in fields(self)})

    def first(self, count: int) -> "Items":
        """Return the first ``count`` items of each chain. Raises ValueError where there are fewer."""
        if count > len(self):
            raise ValueError(f"{count} items asked for, {len(self)} there")
        if count == len(self):
            return self
        return self.take(np.broadcast_to(np.arange(count), (self.chains, count)))

    @classmethod
    def concat(cls, parts: "list[Items]") -> "Items":
        """Join sets of items, in order; log-probabilities are kept where all parts have them.

        Raises ValueError where some parts have contexts and others none.
        """
        if len(parts) == 1:
            return parts[0]

        def join(name):
            values = [getattr(p, name) for p in parts]
            if any(v is None for v in values):
                if name == "context" and not all(v is None for v in values):
                    raise ValueError("items with contexts cannot be joined with items without")
                return None
            return Ragged.concat(values) if isinstance(values[0], Ragged) else np.concatenate(values, axis=1)

        return cls(**{f.name: join(f.name) for f in fields(cls)})

    def real_fraction(self) -> np.ndarray:
        """Share of real items in each chain, shape (S,)."""
        return (self.generation == 0).mean(axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the items as named arrays, for storage; `Items.of_arrays` is the inverse."""
        out = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Ragged):
                out[f"{f.name}.values"], out[f"{f.name}.offsets"] = value.values, value.offsets
            elif value is not None:
                out[f.name] = np.ascontiguousarray(value)
        return out

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> "Items":
        """Rebuild items from `Items.arrays`."""
        names = {f.name for f in fields(cls)}
        plain = {k: v for k, v in arrays.items() if k in names}
        ragged = {k.removesuffix(".values") for k in arrays if k.endswith(".values")}
        return cls(**plain, **{k: Ragged(arrays[f"{k}.values"], arrays[f"{k}.offsets"]) for k in ragged})

    def sha256(self) -> str:
        """SHA-256 of contexts, outputs and provenance; hexadecimal. Log-probabilities are left out."""
        digest = hashlib.sha256()
        for name, array in sorted(replace(self, logprob=None).arrays().items()):
            digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


class Endless:
    """Items of a model without end: no set, but parts of N items drawn one after the other as they are asked for.

    Attributes:
        model: what they are drawn from.
        size: N, the items of a part; a pass over the stream is one part.
    """

    def __init__(self, part: Callable[[int], Items], size: int, model: Any = None):
        """Build a stream.

        Args:
            part: number of a part, from 0 -> its N items; the same number always gives the same items.
            size: N.
            model: what they are drawn from.
        """
        self.model, self.size = model, size
        self._part, self._drawn, self._current, self._at = part, 0, None, 0

    def __len__(self) -> int:
        return self.size

    def batch(self, count: int) -> Items:
        """Return the next ``count`` items; none comes twice."""
        out = []
        while count > 0:
            if self._current is None or self._at == len(self._current):
                self._current, self._drawn, self._at = self._part(self._drawn), self._drawn + 1, 0
            end = min(self._at + count, len(self._current))
            index = np.arange(self._at, end)
            out.append(self._current.take(np.broadcast_to(index, (self._current.chains, len(index)))))
            self._at, count = end, count - len(index)
        return Items.concat(out)

    def sha256(self) -> str:
        """SHA-256 of the first part; hexadecimal."""
        return self._part(0).sha256()
