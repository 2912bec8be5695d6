"""Measures of values drawn from a Gaussian."""

from collapse.datasets.gaussian import Gaussian
from collapse.items import Items


def reference(data: Gaussian) -> None:
    """Nothing: the measures need no real items."""


def measure(items: Items, real: None, data: Gaussian, limit: int | None) -> dict[str, float]:
    """Return mean and standard deviation of the only chain's items, of their first coordinate where there are more."""
    values = items.output[0] if items.output.ndim == 2 else items.output[0, :, 0]
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
