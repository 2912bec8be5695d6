"""Words of texts: what data sets and measures count alike."""

import hashlib
import re
from collections.abc import Mapping

import numpy as np

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return WORD.findall(text.lower())


def by_rarity(counts: Mapping[str, int]) -> list[str]:
    """Return the words from the rarest to the most common, ties in alphabetical order."""
    return sorted(counts, key=lambda word: (counts[word], word))


def digest(text: str) -> bytes:
    """What stands for a text where many are compared: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def entropy(counts: np.ndarray) -> float:
    """Plug-in entropy of a table of counts, in nats: -sum p ln p with p = counts / sum. 0 for an empty table."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log(p)).sum() + 0.0)
