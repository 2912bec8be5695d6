"""Measures of drawn images: how spread they are, what a fixed classifier sees in them, and where model 1 encodes them.

The classifier is k-nearest neighbours on pixels, fitted once on real images: no training that could fail, and the
distance to the nearest real image besides. Measures depend on the number of images: the same number of each generation
is measured.
"""

from dataclasses import dataclass, field

import numpy as np

from collapse.datasets.images import Images
from collapse.datasets.words import entropy
from collapse.errors import DataError
from collapse.items import Items

MOST = 2000
"""Images measured, at most."""

KNOWN = 10_000
"""Real images that the classifier holds, at most: the first ones of D_1."""

NEIGHBOURS = 5

SHOWN = 100
"""Images of each generation that are kept one by one, and whose latents are averaged, as in the official code."""


@dataclass(frozen=True)
class Reference:
    """What drawn images are measured against.

    Attributes:
        size: images that are measured.
        known: (R, d) float32, real images of D_1 as rows of pixels.
        labels: (R,) their classes; None where there are none.
        classes: number of classes.
        level: the measures of real test images, as far as there are; ``real_accuracy`` of the classifier on them.
    """

    size: int
    known: np.ndarray
    labels: np.ndarray | None
    classes: int
    level: dict[str, float] = field(default_factory=dict)


def rows(items: Items, count: int) -> np.ndarray:
    """Return the first ``count`` images as rows of pixels, (count, d) float32."""
    return items.first(min(count, len(items))).output[0].astype(np.float32).reshape(min(count, len(items)), -1)


def nearest(images: np.ndarray, known: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the ``k`` nearest known images of each, in order, and the squared distance of the first.

    Euclidean, by |a|^2 - 2 ab + |b|^2. In numpy: scikit-learn would cost each process most of a second at its start.

    Shapes: images (n, d), known (R, d), results (n, k) and (n,).
    """
    distance = (images**2).sum(axis=1)[:, None] - 2 * images @ known.T + (known**2).sum(axis=1)
    found = np.argpartition(distance, range(k), axis=1)[:, :k]
    return found, np.maximum(np.take_along_axis(distance, found[:, :1], axis=1)[:, 0], 0)


def votes(found: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return how many of the neighbours ``found`` (n, k) are of each class, (n, classes)."""
    return (labels[found][:, :, None] == np.arange(classes)).sum(axis=1)


def greyness(images: np.ndarray) -> float:
    """Mean over pixels of -x ln x - (1 - x) ln(1 - x), in nats: 0 for black and white, ln 2 for all grey (blurred)."""
    x = images.clip(0, 1).astype(np.float64)
    terms = (np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0) for p in (x, 1 - x))
    return float(-sum(terms).mean())


def spread(images: np.ndarray) -> float:
    """Root of the mean over pixels of the variance over images: 0 where all images are the same."""
    return float(np.sqrt(images.astype(np.float64).var(axis=0).mean()))


def _of(images: np.ndarray, real: Reference) -> dict[str, float]:
    found, squared = nearest(images, real.known, min(NEIGHBOURS, len(real.known)))
    out = {
        "pixel_sd": spread(images),
        "pixel_entropy": greyness(images),
        "nearest_real": float(np.sqrt(squared.mean() / images.shape[1])),
    }
    if real.labels is None:
        return out
    counts = votes(found, real.labels, real.classes)
    histogram = np.bincount(counts.argmax(axis=1), minlength=real.classes)
    return out | {
        "class_entropy": entropy(histogram),
        "classes": float((histogram > 0).sum()),
        "confidence": float(counts.max(axis=1).mean() / found.shape[1]),
    }


def reference(data: Images) -> Reference:
    """Return what samples are measured against: real images of D_1, and the level of the real test images."""
    known, labels = rows(data.real(), KNOWN), data.labels("shard1")
    classes = 0 if labels is None else int(labels.max()) + 1
    real = Reference(min(data.size, MOST), known, None if labels is None else labels[: len(known)], classes)
    test = rows(data.test, real.size)
    level = {f"real_{name}": value for name, value in _of(test, real).items()}
    if labels is not None:
        found, _ = nearest(test, known, min(NEIGHBOURS, len(known)))
        guess = votes(found, real.labels, classes).argmax(axis=1)
        level["real_accuracy"] = float((guess == data.labels("test")[: len(test)]).mean())
    return Reference(real.size, known, real.labels, classes, level)


def measure(items: Items, real: Reference, data: Images, limit: int | None) -> dict[str, float]:
    """Measure drawn images of one chain.

    Args:
        items: the first of them are measured, as many as ``real`` says.
        real: see `reference`.
        data: the data set.
        limit: not used.

    Returns:
        ``pixel_sd`` (`spread`), ``pixel_entropy`` (`greyness`), ``nearest_real`` (root mean square over images and
        pixels of the difference to the nearest real image of D_1); with labels, by the classifier, ``class_entropy``
        (of the histogram of classes, nats: ln 10 where all ten are as frequent), ``classes`` (that appear at all) and
        ``confidence`` (mean share of the neighbours that agree). ``real_<name>``: of real test images, and the
        classifier's ``real_accuracy``.

    Raises:
        DataError: they have not the shape of the real ones.
    """
    if items.output.shape[2:] != data.shape:
        raise DataError(f"drawn images are {items.output.shape[2:]}, those of {data.name} {data.shape}: draw them anew")
    return _of(rows(items, real.size), real) | real.level


def details(items: Items, first, data: Images, n: int) -> tuple[dict[str, list], dict[str, float]]:
    """Return what is kept of single images, and where the encoder of model 1 puts them.

    Args:
        items: images of generation ``n``.
        first: ``family`` and ``model`` of generation 1.
        data: the data set.
        n: generation; 0 are the real images.

    Returns:
        Of the first `SHOWN` images: ``pixels``, (P H W,) uint8, rounded to 255 levels; ``latent``, (D,) float32, the
        posterior mean under model 1's encoder. And ``latent_mean`` and ``latent_sd`` over these images and all
        dimensions, as in the official code, and ``latent_sd_all``, the same over all images (at most `MOST`).
    """
    measured = items.first(min(MOST, len(items)))
    latent, _ = first.family.encode(first.model, measured)
    pixels = np.rint(255 * rows(measured, SHOWN).clip(0, 1)).astype(np.uint8)
    shown = latent[:SHOWN].astype(np.float64)
    scalars = {
        "latent_mean": float(shown.mean()),
        "latent_sd": float(shown.std()),
        "latent_sd_all": float(latent.astype(np.float64).std()),
    }
    return {"pixels": list(pixels), "latent": list(latent[:SHOWN])}, scalars
