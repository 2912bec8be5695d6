"""Images: MNIST (LeCun et al.) from the hub or from files, any others from an .npz, or scikit-learn's real digits.

Images are stored as bytes and handed out as numbers in [0, 1] in half precision, (1, N, P, H, W) with P planes. Labels
are kept for classifiers; no model sees them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from collapse import seeding, store
from collapse.datasets import hub, imagefiles
from collapse.datasets.imagefiles import Pictures
from collapse.datasets.shards import Shards
from collapse.errors import ConfigError, DataError, unknown
from collapse.items import Items
from collapse.seeding import Streams

SOURCES = ("digits", "local", "hub")
REPOSITORY = "ylecun/mnist"
# The head of `main` since August 2024. Revision and checksums stand in several independent public manifests; they are
# to be confirmed by the first download, which fails where the bytes differ.
REVISION = "77f3279092a1c1579b2250db8eafed0ad422088c"
CHECKSUMS = {
    "mnist/train-00000-of-00001.parquet": "f2c01285a9f89399335b00ee4e8d499dc4e46db5e39c74903ce5618d895eb3bf",
    "mnist/test-00000-of-00001.parquet": "d49fcf556ce25b002b302e318ce4a11098bbfe5d4499c3f35d7c72297c52374b",
}
SHADES = " .:-=+*#%@"
"""Characters for pixels from 0 to 1, where an image is shown as text."""

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which images, and how many.

    Attributes:
        source: ``digits`` (1,797 of 8 x 8 with 17 grey levels, from scikit-learn), ``local`` (files) or ``hub``.
        train: N, images of generation 1; None takes all that validation (and test) leave.
        shards: disjoint sets of N images; the first is D_1, the others are fresh real data.
        validation: images for validation, cut from train.
        test: images for the test; None takes the whole official test split.
        path: an .npz file, or a folder with idx, parquet or .npz files (``local``; `collapse.datasets.imagefiles`).
        repository, revision: data set and commit (``hub``).
        files: train and test file inside the repository (``hub``).
        sha256: file name -> expected SHA-256 (``local`` and ``hub``); for the known revision it is built in.
    """

    source: str = "digits"
    train: int | None
    shards: int = 1
    validation: int
    test: int | None
    path: str | None = None
    repository: str = REPOSITORY
    revision: str | None = None
    files: tuple[str, str] = tuple(CHECKSUMS)
    sha256: Mapping[str, str] | None = None

    def __post_init__(self):
        object.__setattr__(self, "files", tuple(self.files))
        if self.source not in SOURCES:
            raise unknown("source of images", str(self.source), SOURCES)
        for name in ("train", "shards", "validation", "test"):
            value, optional = getattr(self, name), name in ("train", "test")
            if not (optional and value is None) and (type(value) is not int or value < 1):
                raise ConfigError(f"images: {name} is a whole number above 0{' or null' * optional}, got {value!r}")
        if self.train is None and self.shards > 1:
            raise ConfigError("images: `train: null` takes all images and leaves no further shards: set `train`")
        if self.source == "digits" and self.test is None:
            raise ConfigError("images: the digits have no test split: set `test` to a number")
        if (self.path is not None) != (self.source == "local"):
            raise ConfigError("images: `path` goes with `source: local`, and with no other")
        if self.source != "hub" and self.revision is not None:
            raise ConfigError("images: `revision` goes with `source: hub`, and with no other")
        if self.source == "hub" and not _hexadecimal(self.revision, 40):
            known = f"the known one of {REPOSITORY} is {REVISION}"
            raise ConfigError(f"images: `source: hub` needs a `revision` of 40 hexadecimal digits; {known}")
        if len(self.files) != 2:
            raise ConfigError(f"images: `files` are two, of train and of test, got {self.files}")
        for name, value in (self.sha256 or {}).items():
            if not _hexadecimal(value, 64):
                raise ConfigError(f"images: sha256 of {name} is 64 hexadecimal digits, got {value!r}")


def _hexadecimal(value, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and set(value) <= set("0123456789abcdef")


def _digits(config: Config) -> tuple[Pictures, None, dict]:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = found.images.astype(np.uint8)[:, None]
    source = "real handwritten digits of 8 x 8 pixels (scikit-learn's load_digits)"
    return Pictures(images, found.target.astype(np.uint8), ()), None, {"source": source, "levels": 16, "files": []}


def _local(config: Config) -> tuple[Pictures, Pictures | None, dict]:
    train, test = imagefiles.read(config.path)
    return train, test, _from_files(train, test, config.sha256 or {}, "local files")


def _hub(config: Config) -> tuple[Pictures, Pictures, dict]:
    known = (config.repository, config.revision) == (REPOSITORY, REVISION)
    sums = {**(CHECKSUMS if known else {}), **(config.sha256 or {})}
    train, test = (
        imagefiles.parquet([file]) for file in hub.fetch(config.repository, config.revision, config.files, sums)
    )
    by_name = {name.rpartition("/")[2]: value for name, value in sums.items()}
    return train, test, _from_files(train, test, by_name, f"hub {config.repository}@{config.revision}")


def _from_files(train: Pictures, test: Pictures | None, sums: Mapping[str, str], origin: str) -> dict:
    """Return facts of files. Raises DataError: another checksum; ConfigError: a checksum names no file."""
    about = []
    paths = list(dict.fromkeys(train.files + (test.files if test else ())))
    for name in sums:
        if name not in (names := [path.name for path in paths]):
            raise unknown("file of `sha256`", name, names)
    for path in paths:
        found = store.sha256(path)
        if sums.get(path.name, found) != found:
            raise DataError(f"{path} has the SHA-256 {found}, not {sums[path.name]}: it is truncated or another file")
        about.append({"name": path.name, "bytes": path.stat().st_size, "sha256": found, "checked": path.name in sums})
    text = f"{origin}: " + ", ".join(f"{a['name']} (sha256 {a['sha256']})" for a in about)
    return {"source": text, "levels": 255, "files": about}


def prepare(config: Config, name: str = "images", progress: Progress | None = None) -> tuple[dict, dict]:
    """Read the images and cut the splits. Pure: nothing is written.

    The order in which images are taken is drawn; the test set is taken first, so that it does not depend on what is
    trained on.

    Args:
        config: what to prepare.
        name: of the data set; seeds the order.
        progress: called with (what is done, images done, images in all or None).

    Returns:
        Arrays (``shard1`` .., ``validation``, ``test`` as ``.images`` (N, P, H, W) uint8 and, where there are labels,
        ``.labels`` (N,)), and facts: source, counts, shape, grey levels, duplicates, classes.

    Raises:
        DataError: a file is missing or wrong, or holds fewer images than are asked for.
        ConfigError: files that have no test split need a number for `test`; or a checksum names no file.
    """
    if progress is not None:
        progress("reading images", 0, None)
    train, test, facts = {"digits": _digits, "local": _local, "hub": _hub}[config.source](config)
    if test is None and config.test is None:
        raise ConfigError(f"images: {config.path} has no test split: set `test` to a number")
    order = {"train": _order(name, "train", train), "test": None if test is None else _order(name, "test", test)}
    held = config.validation + (config.test if test is None else 0)
    least = (config.train or 1) * config.shards + held
    if len(train) < least:
        keys = "`train`, `shards` or `validation`" + (", or `test`" if test is None else "")
        raise _shortage("train", len(train), least, keys)
    if test is not None and len(test) < (config.test or 1):
        raise _shortage("test", len(test), config.test, "`test`")
    cuts = {"test": 0 if test is not None else config.test, "validation": config.validation}
    cuts |= {f"shard{i + 1}": config.train or len(train) - held for i in range(config.shards)}
    parts, at = {}, 0
    for part, count in cuts.items():
        parts[part] = (train, order["train"][at : at + count])
        at += count
    if test is not None:
        parts["test"] = (test, order["test"][: config.test])
    arrays = {}
    for part, (pool, places) in parts.items():
        arrays[f"{part}.images"] = pool.images[places]
        if train.labels is not None:
            arrays[f"{part}.labels"] = pool.labels[places]
    taken = [row.tobytes() for part in parts for row in arrays[f"{part}.images"]]
    from_train = f"cut from {facts['source'].partition(' (')[0] if test is None else train.files[0].name}"
    return arrays, facts | {
        "images": {part: len(places) for part, (_, places) in parts.items()},
        "shape": list(train.images.shape[1:]),
        "classes": None if train.labels is None else int(arrays["shard1.labels"].max()) + 1,
        "duplicates": len(taken) - len(set(taken)),
        "test_from": from_train if test is None else f"the official test split, {test.files[0].name}",
        "validation_from": from_train,
    }


def _order(name: str, split: str, pool: Pictures) -> np.ndarray:
    return seeding.stream("images", name, split).permutation(len(pool))


def _shortage(what: str, there: int, least: int, keys: str) -> DataError:
    return DataError(f"the {what} set has {there:,} images, {least:,} are asked for: lower {keys}")


@dataclass(frozen=True, eq=False)
class Images(Shards):
    """A prepared data set of images, as `load` gives it; one chain."""

    config: Config
    arrays: dict[str, np.ndarray]
    facts: dict
    name: str = "images"

    floor = None
    """The true source is not known."""

    @property
    def size(self) -> int:
        """N, the images of generation 1."""
        return len(self.arrays["shard1.images"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height and width of an image."""
        return tuple(self.facts["shape"])

    @property
    def provides(self) -> dict:
        """Settings that a family takes from the data."""
        return {"shape": self.shape}

    def _split(self, name: str, start: int = 0) -> Items:
        values = self.arrays[f"{name}.images"] / np.float32(self.facts["levels"])
        return Items.make(values.astype(np.float16)[None], generation=0, start=start)

    def labels(self, split: str) -> np.ndarray | None:
        """Classes of the images of ``shard1`` .., ``validation`` or ``test``, (N,) uint8; None where there are none."""
        return self.arrays.get(f"{split}.labels")

    def contexts(self, count: int, rng: Streams) -> int:
        """Unconditional: the number of images asked for."""
        return count

    def corrupt(self, items: Items, rate: float, rng: Streams) -> Items:
        """Replace each pixel with probability ``rate`` by one drawn from all pixels of D_1."""
        if rate == 0:
            return items
        values, pixels = items.output.copy(), self.real().output.ravel()
        hit = rng.alone.random(values.shape) < rate
        values[hit] = rng.alone.choice(pixels, int(hit.sum()))
        return replace(items, output=values, logprob=None)

    def truth(self, items: Items) -> None:
        """Nothing: the true source is not known."""

    def decode(self, items: Items) -> list[str]:
        """Return each image as text, a character for a pixel (the mean of its planes), a line for a row."""
        grey = items.output[0].astype(np.float32).mean(axis=1)
        shades = np.array(list(SHADES))[np.rint(grey.clip(0, 1) * (len(SHADES) - 1)).astype(int)]
        return ["\n".join("".join(row) for row in image) for image in shades]


def load(config: Config, arrays: dict, facts: dict, seeds=(0,), name: str = "images") -> Images:
    """Return the data set from what `prepare` gave. Raises ConfigError where several chains are to run side by side."""
    if len(seeds) != 1:
        raise ConfigError(f"images run one chain at a time, not {len(seeds)}: make it a block of `cells`")
    return Images(config, arrays, facts, name)
