"""Recipes that start from pretrained weights: which weights each generation starts from, and where they are from."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from collapse import cli, loop, paths, store
from collapse.commands.fit import fit
from collapse.commands.measure import measure
from collapse.commands.prepare import prepare
from collapse.commands.pretrained import pretrained
from collapse.datasets import gaussian as data_module
from collapse.datasets import hub
from collapse.errors import DataError, TrainingError
from collapse.families import gaussian as family
from collapse.items import Items
from collapse.loop import Cell, turn
from collapse.policies import PRETRAINED, parse
from tests.chains import DATA, LAST, SIZE, Folder, chain, draw_from_every_stream

CELL = Cell("normal", "tuned", "p", "exact", "all")
FILE = "runs/normal/moments/real/seed0/gen1/model.safetensors"
"""Where `Folder` leaves generation 1 of the recipe that others start from."""


@pytest.fixture
def inits(monkeypatch):
    """The weights that each fit of the Gaussian family was given, in order; its metrics have a cross-entropy."""
    draw_from_every_stream(monkeypatch)
    stand_in, evaluate, found = family.fit, family.evaluate, []

    def fit(items, *, init, **options):
        found.append(init)
        return stand_in(items, init=init, **options)

    def scored(model, truth, rng):
        return {**evaluate(model, truth, rng), "cross_entropy": 100 * model.mean + model.sd}

    monkeypatch.setattr(family, "fit", fit)
    monkeypatch.setattr(family, "evaluate", scored)
    return found


@pytest.fixture
def weights(tmp_path):
    """Weights that no fit of the tests makes."""
    family.save(family.Model(np.array([77.0]), np.array([5.0])), tmp_path / "pretrained/w/model.safetensors")
    return "pretrained/w/model.safetensors"


def same(model, other):
    return model.mean.tolist() == other.mean.tolist() and model.sd.tolist() == other.sd.tolist()


# which weights


@pytest.mark.parametrize(
    ("init", "expected"),
    [("scratch", [0, 0, 0, 0]), ("first", [0, 1, 1, 1]), ("previous", [0, 1, 2, 3])],
)
def test_a_chain_starts_from_pretrained_weights(tmp_path, inits, weights, init, expected):
    policy = {"kind": "accumulate", "init": init}
    folder = Folder(tmp_path, policy, seed=2, name="tuned", start=weights).run()
    files = [tmp_path / weights, *(folder.path(n) / "model.safetensors" for n in range(1, LAST + 1))]
    assert len(inits) == LAST
    for given, k in zip(inits, expected, strict=True):
        assert same(given, family.load(files[k]))
    assert inits[0].mean == [77.0]


@pytest.mark.parametrize(("init", "expected"), [("scratch", [None] * 4), ("first", [None, 1, 1, 1])])
def test_a_chain_without_them_starts_as_before(tmp_path, inits, init, expected):
    folder = Folder(tmp_path, {"kind": "accumulate", "init": init}, seed=2).run()
    for given, k in zip(inits, expected, strict=True):
        assert (given is None) if k is None else same(given, family.load(folder.path(k) / "model.safetensors"))
    assert not any("start_cross_entropy" in store.read_json(folder.path(n) / "metrics.json")["metrics"] for n in (1, 2))


def test_weights_that_a_fit_of_the_project_made_are_a_start(tmp_path, inits):
    base = Folder(tmp_path, "replace", seed=0).run()
    assert base.relative(1) + "/model.safetensors" == FILE
    inits.clear()
    # the seed of the chain is its own, whatever that of its start
    folder = Folder(tmp_path, "replace", seed=6, name="tuned", start=FILE, last=2).run()
    assert same(inits[0], family.load(base.path(1) / "model.safetensors"))
    model = family.load(folder.path(1) / "model.safetensors")
    assert not same(model, inits[0])
    other = Folder(tmp_path, "replace", seed=7, name="tuned", start=FILE, last=2).run()
    assert not same(family.load(other.path(1) / "model.safetensors"), model)


def test_generation_1_is_shared_whatever_a_policy_starts_from(tmp_path, inits, weights):
    made = set()
    for init in ("scratch", "first", "previous"):
        root = tmp_path / init
        (root / weights).parent.mkdir(parents=True)
        (root / weights).write_bytes((tmp_path / weights).read_bytes())
        folder = Folder(root, {"kind": "replace", "init": init}, seed=2, name="tuned", start=weights, last=2).run()
        made.add((folder.path(1) / "model.safetensors").read_bytes())
        made.add((folder.path(1) / "metrics.json").read_bytes())
    assert len(made) == 2


def test_a_turn_asks_for_the_weights_of_before_generation_1():
    asked, told = [], {}

    def initial(k):
        asked.append(k)
        return f"model {k}"

    for n, given, expected in ((1, True, [PRETRAINED]), (1, False, []), (3, True, [PRETRAINED]), (3, False, [])):
        asked.clear()
        turn(
            CELL, n, SIZE, policy=parse("p", {"kind": "replace"}), config=None, seeds=(0,), initial=initial,
            read=lambda source, count: Items.make(np.zeros((1, count)), generation=source.index), pretrained=given,
            data=SimpleNamespace(validation=None),
            family=SimpleNamespace(fit=lambda items, **k: told.update(k), budget=lambda *a, **k: None),
        )  # fmt: skip
        assert asked == expected
        assert told["init"] == (f"model {PRETRAINED}" if given else None)


def test_a_start_may_have_other_settings_than_the_recipe(tmp_path, inits, weights, monkeypatch):
    """It was trained otherwise; models of the chain itself must be of its recipe."""
    exact = family.load

    def load(path):
        model = exact(path)
        object.__setattr__(model, "config", "other settings")
        return model

    folder = Folder(tmp_path, {"kind": "replace", "init": "first"}, seed=2, name="tuned", start=weights, last=2)
    prepare(tmp_path, "normal", DATA)
    monkeypatch.setattr(family, "load", load)
    fit(folder.job("dataset", "recipe", names={}, **folder.start), 1)
    with pytest.raises(DataError):
        fit(folder.whole(count=SIZE, **folder.start), 2)


# what they know before training


def test_the_cross_entropy_before_training_stands_beside_that_after_it(tmp_path, inits, weights):
    folder = Folder(tmp_path, {"kind": "replace"}, seed=2, name="tuned", start=weights, last=3).run()
    first = store.read_json(folder.path(1) / "metrics.json")["metrics"]
    assert first["start_cross_entropy"] == 7705.0
    model = family.load(folder.path(1) / "model.safetensors")
    assert first["cross_entropy"] == 100 * model.mean.item() + model.sd.item() != 7705.0
    for n in (2, 3):
        assert "start_cross_entropy" not in store.read_json(folder.path(n) / "metrics.json")["metrics"]
    measure(folder.whole(generations=3))
    rows = pd.read_parquet(folder.tables() / "rows.parquet")
    assert rows["start_cross_entropy"].isna().tolist() == [False, True, True]
    assert rows["start_cross_entropy"][0] == 7705.0


def test_it_leaves_the_other_metrics_as_they_are(tmp_path, inits, weights, monkeypatch):
    """Measuring the weights before training draws nothing from what measures the model."""
    folder = Folder(tmp_path, "replace", seed=2, name="tuned", start=weights)
    prepare(tmp_path, "normal", DATA)
    folder.one(1)
    metrics = store.read_json(folder.path(1) / "metrics.json")["metrics"]
    data = data_module.Gaussian(data_module.Config(SIZE, 2.0, 3.0, shards=LAST), (2,), "normal")
    rng = loop.Streams(("evaluate", "normal", "tuned", "real", 1), (2,))
    alone = loop.evaluate(family, family.load(folder.path(1) / "model.safetensors"), data, data.test, rng)
    assert metrics == {**{k: v.item() for k, v in alone.items()}, "start_cross_entropy": 7705.0}


def test_weights_before_training_that_cannot_be_measured_are_an_error(tmp_path, inits, weights):
    family.save(family.Model(np.array([77.0]), np.array([np.nan])), tmp_path / weights)
    folder = Folder(tmp_path, "replace", seed=2, name="tuned", start=weights)
    prepare(tmp_path, "normal", DATA)
    with pytest.raises(TrainingError, match="is nan"):
        folder.one(1)
    assert len(inits) == 1  # the fit itself went well
    assert not (folder.path(1) / "model.safetensors").exists()


def test_missing_weights_are_named(tmp_path, inits):
    folder = Folder(tmp_path, "replace", seed=2, name="tuned", start="pretrained/x/model.safetensors")
    prepare(tmp_path, "normal", DATA)
    with pytest.raises(DataError, match=r"cannot read .*pretrained.x.model\.safetensors"):
        folder.one(1)


def test_chains_in_memory_are_as_before(inits):
    chain({"kind": "replace", "init": "previous"})
    assert inits[0] is None
    assert all(given is not None for given in inits[1:])


# weights from elsewhere


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A folder of weights in another layout, which the Gaussian family can read."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"12.5")

    def load_pretrained(path):
        return family.Model(np.array([float((path / "model.safetensors").read_bytes())]), np.array([1.0]))

    monkeypatch.setattr(family, "load_pretrained", load_pretrained, raising=False)
    return folder


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_weights_of_a_folder_are_converted(tmp_path, foreign, inits):
    out = tmp_path / paths.PRETRAINED.format(pretrained="w")
    entry = {"family": "gaussian", "path": str(foreign), "sha256": {"model.safetensors": sha256(b"12.5")}}
    cli.app(["pretrained", "--out", str(out), "--settings", json.dumps(entry)], standalone_mode=False)
    assert family.load(out).mean.tolist() == [12.5]
    assert store.read_json(out.with_name("provenance.json")).keys() >= {"seconds"}
    Folder(tmp_path, "replace", seed=2, name="tuned", start=paths.PRETRAINED.format(pretrained="w"), last=1).run()
    assert inits[0].mean.tolist() == [12.5]


def test_other_bytes_than_the_config_says_are_refused(tmp_path, foreign):
    entry = {"family": "gaussian", "path": str(foreign), "sha256": {"config.json": sha256(b"[]")}}
    with pytest.raises(DataError, match=rf"config\.json has SHA-256 {sha256(b'{}')}, the config says {sha256(b'[]')}"):
        pretrained(tmp_path / "out/model.safetensors", entry)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(tmp_path, foreign):
    entry = {"family": "gaussian", "path": str(foreign), "sha256": {"weights.bin": sha256(b"")}}
    with pytest.raises(DataError, match=r"weights\.bin"):
        pretrained(tmp_path / "out/model.safetensors", entry)


def test_weights_of_the_hub_are_fetched_at_their_revision_and_checked(tmp_path, foreign, monkeypatch):
    asked = []

    def fetch(*arguments, **options):
        asked.append((arguments, options))
        return tuple(foreign / name for name in arguments[2])

    monkeypatch.setattr(hub, "fetch", fetch)
    sums = {"model.safetensors": sha256(b"12.5")}
    entry = {"family": "gaussian", "repository": "someone/small", "revision": "a" * 40, "sha256": sums}
    pretrained(tmp_path / "out/model.safetensors", entry)
    assert asked == [(("someone/small", "a" * 40, ("config.json", "model.safetensors"), sums), {"kind": "model"})]
    assert family.load(tmp_path / "out/model.safetensors").mean.tolist() == [12.5]
