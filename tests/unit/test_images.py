"""Images: the digits, files of the official formats and what may be wrong with them, and measures of drawn ones."""

import gzip
import io
import struct
from functools import partial
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import stats

from collapse import store
from collapse.datasets import hub, imagefiles, images
from collapse.errors import ConfigError, DataError
from collapse.items import Items
from collapse.metrics import images as metrics
from collapse.seeding import Streams, stream
from tests.hub_server import serve

DIGITS = {"train": 300, "shards": 2, "validation": 40, "test": 100}
LOCAL = {"source": "local", "train": 6, "validation": 2, "test": None}
RNG = Streams(("test", "images"), (0,))


@pytest.fixture(scope="module")
def data():
    return make(images.Config(**DIGITS), "digits")


def make(config, name="pictures"):
    return images.load(config, *images.prepare(config, name), name=name)


def pictures(count, seed=0, side=(5, 4), planes=()):
    """Images of bytes that are all different, and their labels."""
    rng = stream("test", "pictures", seed)
    return rng.integers(0, 256, (count, *side, *planes), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8)


def idx(path, array, magic=None):
    """Write an idx file; .gz compressed."""
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    raw = head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def mnist(folder, end="", dot="-", train=9, test=3):
    """Write the four files of MNIST; return the images and labels that they hold."""
    folder.mkdir(exist_ok=True)
    found = {}
    for split, count in (("train", train), ("t10k", test)):
        found[split] = pictures(count, seed=count)
        for kind, array in zip(("images", "labels"), found[split], strict=True):
            idx(folder / f"{split}-{kind}{dot}idx{array.ndim}-ubyte{end}", array)
    return found


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "png")
    return {"bytes": out.getvalue(), "path": None}


def parquet(path, array, labels):
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table({"image": [png(a) for a in array], "label": labels.astype(np.int64)}), path)
    return path


def stored(data):
    """All images of a data set as a set of bytes."""
    return {row.tobytes() for name in data.arrays if name.endswith(".images") for row in data.arrays[name]}


# the digits


def test_digits_are_those_of_scikit_learn_cut_into_disjoint_splits(data):
    from sklearn.datasets import load_digits

    real = load_digits()
    assert [len(p) for p in (data.fresh(1), data.fresh(2), data.validation, data.test)] == [300, 300, 40, 100]
    known = {
        image.astype(np.uint8).tobytes(): int(label) for image, label in zip(real.images, real.target, strict=True)
    }
    assert len(stored(data)) == 740
    for split in ("shard1", "shard2", "validation", "test"):
        found = [known[row.tobytes()] for row in data.arrays[f"{split}.images"]]
        assert found == data.labels(split).tolist()
    assert data.test.output.dtype == np.float16
    assert data.test.output.shape == (1, 100, 1, 8, 8)
    np.testing.assert_array_equal(data.test.output[0] * 16, data.arrays["test.images"])
    assert (data.facts["classes"], data.facts["levels"], data.facts["duplicates"]) == (10, 16, 0)
    assert data.provides == {"shape": (1, 8, 8)}
    assert data.floor is None
    assert data.truth(data.test) is None
    assert data.contexts(7, RNG) == 7


def test_shards_are_numbered_on_and_all_is_real(data):
    np.testing.assert_array_equal(data.fresh(2).index, [np.arange(300, 600)])
    assert data.fresh(1).sha256() == data.real().sha256()
    assert (data.fresh(2).generation == 0).all()
    for n in (0, 3):
        with pytest.raises(ConfigError, match="raise `shards`"):
            data.fresh(n)


def test_the_test_set_does_not_depend_on_what_is_trained_on_and_the_name_does(data):
    smaller = make(images.Config(train=50, validation=40, test=100), "digits")
    assert smaller.test.sha256() == data.test.sha256()
    np.testing.assert_array_equal(smaller.real().output, data.real().output[:, :50])
    assert make(images.Config(**DIGITS), "others").test.sha256() != data.test.sha256()
    everything = make(images.Config(train=None, validation=97, test=300), "digits")
    assert everything.size == 1400
    assert len(stored(everything)) == 1797


def test_storage_keeps_everything(data, tmp_path):
    store.save_arrays(tmp_path / "data.safetensors", data.arrays)
    store.write_json(tmp_path / "facts.json", data.facts)
    arrays, facts = store.load_arrays(tmp_path / "data.safetensors"), store.read_json(tmp_path / "facts.json")
    again = images.load(data.config, arrays, facts, (3,))
    assert again.real().sha256() == data.real().sha256()
    assert again.provides == data.provides
    with pytest.raises(ConfigError, match="one chain at a time"):
        images.load(data.config, arrays, facts, (0, 1))


def test_pixels_are_corrupted_at_the_rate_asked_for(data):
    real = data.real()
    assert data.corrupt(real, 0, RNG) is real
    noisy = data.corrupt(real, 1.0, RNG)
    levels = [
        np.bincount(np.rint(16 * i.output.astype(float)).astype(int).ravel(), minlength=17) for i in (real, noisy)
    ]
    assert stats.chi2_contingency([levels[0], levels[1]]).pvalue > 1e-4  # the same pixels ..
    across = [i.output[0].astype(float).mean(axis=0).std() for i in (real, noisy)]
    assert across[1] < 0.1 * across[0]  # .. at any place
    changed = (data.corrupt(real, 0.3, RNG).output != real.output).mean() / (noisy.output != real.output).mean()
    assert changed == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / (real.output.size / 2)))
    np.testing.assert_array_equal(real.output, data.real().output)


def test_an_image_is_shown_as_text(data):
    image = np.zeros((1, 1, 2, 2, 3))
    image[0, 0, :, 0, 1] = 1
    image[0, 0, 0, 1, 2] = 0.5
    assert data.decode(Items.make(image, generation=1)) == [" @ \n  :"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"source": "faces"}, "unknown source of images"),
        ({"train": 0}, "train is a whole number above 0 or null"),
        ({"validation": None}, "validation is a whole number above 0, got None"),
        ({"train": None, "shards": 2}, "leaves no further shards"),
        ({"test": None}, "the digits have no test split"),
        ({"path": "here"}, "`path` goes with `source: local`"),
        ({"source": "local"}, "`path` goes with `source: local`"),
        ({"revision": "a" * 40}, "`revision` goes with `source: hub`"),
        ({"source": "hub"}, images.REVISION),
        ({"source": "hub", "revision": "main"}, "40 hexadecimal digits"),
        ({"source": "hub", "revision": "a" * 40, "files": ["one"]}, "`files` are two"),
        ({"sha256": {"x": "1"}}, "64 hexadecimal digits"),
    ],
)
def test_settings_that_cannot_be(entry, message):
    with pytest.raises(ConfigError, match=message):
        images.Config(**{**DIGITS, **entry})


def test_more_digits_than_there_are():
    with pytest.raises(DataError, match=r"1,797 images, 1,840 are asked for: lower `train`, .* or `test`"):
        images.prepare(images.Config(train=1700, validation=40, test=100))


# files


@pytest.mark.parametrize(("end", "dot"), [("", "-"), (".gz", "-"), ("", ".")])
def test_idx_files_are_read_as_they_are(tmp_path, end, dot):
    found = mnist(tmp_path / "mnist", end, dot)
    train, test = imagefiles.read(tmp_path / "mnist")
    for split, part in (("train", train), ("t10k", test)):
        np.testing.assert_array_equal(part.images[:, 0], found[split][0])
        np.testing.assert_array_equal(part.labels, found[split][1])
    data = make(images.Config(**LOCAL, path=str(tmp_path / "mnist")))
    assert (data.size, len(data.test)) == (6, 3)
    assert data.facts["test_from"] == f"the official test split, t10k-images{dot}idx3-ubyte{end}"
    assert f"sha256 {store.sha256(train.files[0])}" in data.facts["source"]
    kept = {image.tobytes(): int(label) for image, label in zip(*found["t10k"], strict=True)}
    assert {
        row.tobytes(): int(n) for row, n in zip(data.arrays["test.images"], data.labels("test"), strict=True)
    } == kept
    assert (
        np.rint(255 * data.test.output.astype(float)).astype(np.uint8).tobytes() == data.arrays["test.images"].tobytes()
    )
    smaller = make(images.Config(**{**LOCAL, "test": 2}, path=str(tmp_path / "mnist")))
    np.testing.assert_array_equal(smaller.test.output, data.test.output[:, :2])


def test_npz_files_of_both_layouts(tmp_path):
    (x, y), (tx, ty) = pictures(9, 1), pictures(4, 2)
    np.savez_compressed(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=tx, y_test=ty)
    for path in (tmp_path, tmp_path / "mnist.npz"):
        data = make(images.Config(**LOCAL, path=str(path)))
        assert stored(data) >= {row.tobytes() for row in tx}
    np.savez(tmp_path / "pool.npz", images=x, labels=y)
    data = make(images.Config(**{**LOCAL, "test": 1}, path=str(tmp_path / "pool.npz")))
    assert len(stored(data)) == 9
    np.savez(tmp_path / "colour.npz", images=pictures(9, planes=(3,))[0], subject=y)
    data = make(images.Config(**{**LOCAL, "test": 1}, path=str(tmp_path / "colour.npz")))
    assert data.provides == {"shape": (3, 5, 4)}
    assert data.labels("shard1") is None
    with pytest.raises(ConfigError, match="has no test split: set `test`"):
        make(images.Config(**LOCAL, path=str(tmp_path / "colour.npz")))


def test_the_hub_gives_its_parquet_files(tmp_path, monkeypatch):
    (x, y), (tx, ty) = pictures(9, 1), pictures(4, 2)
    files = [parquet(tmp_path / name, *part) for name, part in zip(images.CHECKSUMS, ((x, y), (tx, ty)), strict=True)]
    local = make(images.Config(**LOCAL, path=str(tmp_path)))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    huggingface_hub.close_session()
    with serve() as server:
        for name, file in zip(images.CHECKSUMS, files, strict=True):
            for revision in ("a" * 40, images.REVISION):
                server.put(name, file.read_bytes(), images.REPOSITORY, revision)
        monkeypatch.setattr(hub, "fetch", partial(hub.fetch, endpoint=server.url, cache=tmp_path / "cache"))
        other = {**LOCAL, "source": "hub", "revision": "a" * 40}
        data = make(images.Config(**other))
        sums = {name: store.sha256(file) for name, file in zip(images.CHECKSUMS, files, strict=True)}
        checked = make(images.Config(**other, sha256=sums))
        with pytest.raises(DataError, match="its SHA-256 is"):  # the known revision has other bytes
            make(images.Config(**{**other, "revision": images.REVISION}))
        huggingface_hub.close_session()
    assert {row.tobytes() for row in data.arrays["test.images"]} == {row.tobytes() for row in tx}
    for part in ("shard1", "validation", "test"):
        np.testing.assert_array_equal(data.arrays[f"{part}.images"], local.arrays[f"{part}.images"])
        np.testing.assert_array_equal(data.labels(part), local.labels(part))
    assert data.facts["source"].startswith(f"hub {images.REPOSITORY}@{'a' * 40}: train-00000-of-00001.parquet")
    assert [[f["checked"] for f in d.facts["files"]] for d in (data, checked)] == [[False] * 2, [True] * 2]


def test_checksums_of_local_files(tmp_path):
    mnist(tmp_path)
    name = "t10k-labels-idx1-ubyte"
    for key, error, message in ((name, DataError, f"{name} has the SHA-256"), (name[:-1], ConfigError, "unknown file")):
        with pytest.raises(error, match=message):
            make(images.Config(**LOCAL, path=str(tmp_path), sha256={key: "0" * 64}))


def spoil(folder, kind):
    """Break one of the files of MNIST; return its name and what the error says."""
    name = f"train-{kind.split()[0]}-idx{3 if kind.startswith('images') else 1}-ubyte"
    path, (x, y) = folder / name, pictures(9, 9)
    raw = path.read_bytes()
    if kind == "images magic":
        idx(path, x, magic=bytes([0, 0, 8, 1]))
        return name, "begins with 00000801, idx files of 3 axes with 00000803"
    if kind == "images truncated":
        path.write_bytes(raw[:-1])
        return name, "wrong length .9x5x4 values announced, 179 there"
    if kind == "images longer":
        path.write_bytes(raw + b"0")
        return name, "wrong length"
    if kind == "images header":
        path.write_bytes(raw[:9])
        return name, "wrong length .no sizes"
    if kind == "images packed":
        path.write_bytes(gzip.compress(raw))
        return name, "it is compressed: name it .gz"
    if kind == "images gz":
        path.unlink()
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw)[:-9])
        return f"{name}.gz", "truncated or cannot be read"
    if kind == "images none":
        idx(path, x[:0])
        return name, "N above 0"
    if kind == "images size":
        idx(path, x[:, :4])
        return name, "images of different sizes, 1x4x4 and 1x5x4"
    if kind == "labels count":
        idx(path, y[:8])
        return name, r"labels of shape \(8,\) for the 9 images"
    path.unlink()
    return str(folder), "holds no labels of train"


@pytest.mark.parametrize(
    "kind",
    ["images magic", "images truncated", "images longer", "images header", "images packed", "images gz", "images none",
     "images size", "labels count", "labels missing"],
)  # fmt: skip
def test_broken_idx_files_are_named(tmp_path, kind):
    mnist(tmp_path)
    name, message = spoil(tmp_path, kind)
    with pytest.raises(DataError, match=message) as caught:
        imagefiles.read(tmp_path)
    assert name in str(caught.value)


def test_broken_npz_files_are_named(tmp_path):
    x, y = pictures(9)
    cases = {
        "float.npz": ({"images": x / 255.0}, "bytes from 0 to 255 .uint8., got float64"),
        "flat.npz": ({"images": x.reshape(9, -1)}, r"must be \(N, H, W\)"),
        "labels.npz": ({"images": x, "labels": y[:-1]}, r"labels of shape \(8,\)"),
        "real.npz": ({"images": x, "labels": y / 2}, "labels must be whole numbers"),
        "minus.npz": ({"images": x, "labels": -1 - y.astype(int)}, "labels must be whole numbers from 0"),
        "names.npz": ({"pictures": x}, "holds pictures: rename its arrays"),
        "half.npz": ({"x_train": x, "x_test": x, "y_train": y}, "labels for one split alone"),
        "sizes.npz": ({"x_train": x, "x_test": x[:, :3]}, "different sizes"),
        "object.npz": ({"images": np.array([x, None], dtype=object)}, "no .npz file of plain arrays"),
    }
    for name, (arrays, message) in cases.items():
        np.savez(tmp_path / name, **arrays)
        with pytest.raises(DataError, match=message) as caught:
            imagefiles.read(tmp_path / name)
        assert name in str(caught.value)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "flat.npz").read_bytes()[:-40])
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("cut.npz", "text.npz"):
        with pytest.raises(DataError, match=f"{name} is truncated or no .npz"):
            imagefiles.read(tmp_path / name)
    with pytest.raises(DataError, match="no images in a known layout"):
        imagefiles.read(tmp_path)  # several archives: which?
    with pytest.raises(DataError, match="does not exist"):
        imagefiles.read(tmp_path / "nowhere")


def test_broken_parquet_files_are_named(tmp_path):
    x, y = pictures(4)
    file = parquet(tmp_path / "train-0.parquet", x, y)
    with pytest.raises(DataError, match="holds no test-"):
        imagefiles.read(tmp_path)
    tables = {
        "column": ({"image": [png(a) for a in x]}, "has no column label .it has image."),
        "bytes": ({"image": ["a", "b"], "label": [1, 2]}, "row 1: 'image' holds no `bytes`"),
        "broken": (
            {"image": [png(x[0]), {"bytes": b"PNG", "path": None}], "label": [1, 2]},
            "row 2: .* cannot be decoded",
        ),
        "sizes": ({"image": [png(x[0]), png(x[0, :3])], "label": [1, 2]}, "row 2: an image of .3, 4."),
        "labels": ({"image": [png(x[0])], "label": ["one"]}, "row 1: the label is 'one'"),
    }
    for name, (columns, message) in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=message) as caught:
            imagefiles.parquet([tmp_path / f"{name}.parquet"])
        assert f"{name}.parquet" in str(caught.value)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-0.parquet is truncated or not parquet"):
        imagefiles.parquet([file])


def test_colour_images_keep_their_planes(tmp_path):
    x, y = pictures(3, planes=(3,))
    found = imagefiles.parquet([parquet(tmp_path / "faces.parquet", x, y)])
    np.testing.assert_array_equal(found.images, x.transpose(0, 3, 1, 2))


# measures


def test_the_classifier_is_that_of_scikit_learn_and_good(data):
    from sklearn.neighbors import KNeighborsClassifier

    real, test = metrics.reference(data), metrics.rows(data.test, 100)
    model = KNeighborsClassifier(metrics.NEIGHBOURS).fit(real.known, real.labels)
    found, squared = metrics.nearest(test, real.known, metrics.NEIGHBOURS)
    distance, index = model.kneighbors(test)
    np.testing.assert_array_equal(np.sort(found), np.sort(index))  # of two as near, either may come first
    np.testing.assert_allclose(squared, distance[:, 0] ** 2, rtol=1e-4, atol=1e-4)
    counts = metrics.votes(found, real.labels, 10)
    np.testing.assert_array_equal(counts / metrics.NEIGHBOURS, model.predict_proba(test))
    assert real.level["real_accuracy"] == pytest.approx(model.score(test, data.labels("test")))
    assert real.level["real_accuracy"] > 0.9


def test_measures_of_images_that_are_all_the_same(data):
    real, one = metrics.reference(data), data.real().output[:, :1]
    found = metrics.measure(Items.make(np.repeat(one, 300, axis=1), generation=1), real, data, None)
    assert found["pixel_sd"] == 0
    assert found["class_entropy"] == 0
    assert found["classes"] == 1
    assert found["nearest_real"] == pytest.approx(0, abs=1e-3)
    again = metrics.measure(data.test, real, data, None)
    assert {k: again[k] for k in again if f"real_{k}" in again} == {
        k.removeprefix("real_"): v for k, v in again.items() if k.startswith("real_") and k != "real_accuracy"
    }


def test_measures_in_small(data):
    half = np.array([[0.0, 0.5], [1.0, 0.5]])
    assert metrics.greyness(half) == pytest.approx(np.log(2) / 2)
    assert metrics.spread(half) == pytest.approx(np.sqrt(0.125))
    assert metrics.greyness(np.array([[0.25]])) == pytest.approx(stats.bernoulli(0.25).entropy())


def test_images_without_labels_have_no_classes(tmp_path):
    np.savez(tmp_path / "pool.npz", images=pictures(12)[0])
    data = make(images.Config(**{**LOCAL, "test": 4}, path=str(tmp_path / "pool.npz")))
    found = metrics.measure(data.real(), metrics.reference(data), data, None)
    assert {"pixel_sd", "pixel_entropy", "nearest_real"} == {k for k in found if not k.startswith("real_")}


def test_details_keep_the_first_images_and_their_latents(data):
    def encode(model, items):
        flat = items.output[0].reshape(len(items), -1).astype(np.float32)
        return flat[:, 20:22] * model, None

    first = SimpleNamespace(family=SimpleNamespace(encode=encode), model=2.0)
    columns, scalars = metrics.details(data.real(), first, data, 0)
    assert {name: len(column) for name, column in columns.items()} == {"pixels": 100, "latent": 100}
    pixels = np.stack(columns["pixels"])
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.rint(255 * data.real().output[0, :100].reshape(100, -1).astype(float)))
    latent = np.stack(columns["latent"])
    np.testing.assert_array_equal(latent, encode(2.0, data.real())[0][:100])
    assert scalars["latent_sd"] == pytest.approx(latent.std(dtype=float))
    assert scalars["latent_mean"] == pytest.approx(latent.mean(dtype=float))
    assert scalars["latent_sd_all"] == pytest.approx(encode(2.0, data.real())[0].std(dtype=float))
