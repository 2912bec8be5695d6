"""Measures of values drawn from a one-dimensional Gaussian."""

from collapse.datasets.gaussian import Gaussian
from collapse.items import Items


def reference(data: Gaussian) -> None:
    """Nothing: the measures need no real items."""


def measure(items: Items, real: None, data: Gaussian, limit: int | None) -> dict[str, float]:
    """Return mean and standard deviation of the only chain's items."""
    return {"mean": float(items.output[0].mean()), "sd": float(items.output[0].std(ddof=1))}
