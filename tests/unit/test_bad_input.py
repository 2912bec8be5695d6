"""Bad input, through the verbs of the command line: one line says what is wrong, and no file is left or changed."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch

from collapse import cli, store
from collapse.datasets import bpe, hub
from collapse.errors import DataError
from collapse.families import gaussian, gpt2, llama2
from collapse.items import Items, Ragged
from collapse.seeding import Streams
from tests.hub_server import REVISION, Lie, serve

END = "<|endoftext|>"
DATASET = {"kind": "stories", "train": 24, "validation": 4, "test": 6, "vocabulary": 300, "max_tokens": 250}
MODEL = {"hidden": 8, "layers": 1, "heads": 2, "positions": 256, "epochs": 1, "batch": 12, "warmup_steps": 0}
SETTINGS = {
    "dataset": DATASET,
    "recipe": {"family": "gpt2", **MODEL},
    "policy": {"kind": "replace", "init": "previous"},
    "sampler": {"temperature": 1.0, "max_tokens": 40},
    "selector": {"kind": "all"},
    "generations": 1,
    "count": 24,
}
CHAIN = {"dataset": "tales", "recipe": "tiny", "policy": "replace", "sampler": "temp1.0", "selector": "all", "seed": 0}
NAMES = {
    "prepare": ("dataset",),
    "fit": ("dataset", "recipe", "seed", "generation"),
    "refit": (*CHAIN, "generation"),
    "sample": ("dataset", "recipe", "sampler", "seed", "part"),
    "measure": tuple(CHAIN),
}
"""The names that each verb takes; ``refit`` is ``fit`` of generation 2."""


def run(root, verb, settings=SETTINGS, **names):
    """Run a verb in this process; return its exit code."""
    given = {**CHAIN, "generation": 2 if verb == "refit" else 1, "part": 0, **names}
    words = [word for name in NAMES[verb] for word in (f"--{name}", str(given[name]))]
    arguments = ["collapse", verb.removeprefix("re"), "--root", str(root), "--settings", json.dumps(settings), *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder in which data are prepared, and generation 1 is fitted and sampled."""
    root, threads = tmp_path_factory.mktemp("good"), torch.get_num_threads()
    for verb in ("prepare", "fit", "sample", "measure"):
        assert run(root, verb) == 0, verb
    yield root
    torch.set_num_threads(threads)


@pytest.fixture
def root(good, tmp_path):
    """A copy of it, to be spoilt."""
    return shutil.copytree(good, tmp_path / "results")


def files(root):
    return {str(path.relative_to(root)): store.sha256(path) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def refused(capfd):
    """A function that runs a verb and checks that it ends with such an error, and touches no file."""

    def check(root, verb, message, settings=SETTINGS, **names):
        before = files(root)
        capfd.readouterr()
        assert run(root, verb, settings, **names) == 1
        printed = " ".join(capfd.readouterr().err.partition("error: ")[2].split())
        assert re.search(message, printed), printed
        assert files(root) == before

    return check


def changed(**changes):
    """The settings with some entries changed: changed(recipe={"hidden": 16})."""
    return {name: {**entry, **changes[name]} if name in changes else entry for name, entry in SETTINGS.items()}


DATA = "data/tales/data.safetensors"
FIRST = "runs/tales/tiny/real/seed0/gen1"


def rewrite(root, change):
    """Change the prepared arrays; checksums are made anew, as if they had always been so."""
    arrays = store.load_arrays(root / DATA)
    change(arrays)
    store.save_arrays(root / DATA, arrays)


def test_what_is_spoilt_below_runs_when_it_is_not(root):
    assert run(root, "refit") == 0
    assert run(root, "measure", {**SETTINGS, "generations": 2}) == 0


# tokenizers


def spoil(array, change):
    """Return a stored tokenizer with its JSON changed."""
    content = json.loads(array.tobytes())
    change(content)
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def without(*symbols):
    """Take symbols out of a tokenizer; others get their numbers, so that none is left out."""

    def change(content):
        vocabulary = content["model"]["vocab"]
        for symbol in symbols:
            vocabulary[f"{symbol}{symbol}{symbol}"] = vocabulary.pop(symbol)

    return change


def shifted(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["Z"] = len(vocabulary) + 7


TOKENIZERS = [
    (without("Z"), r"lacks 1 of the 256 byte symbols \(Z\): delete the prepared data set and prepare it again"),
    (without(*"0123456789"), r"lacks 10 of the 256 byte symbols \(0 1 2 3 4 5 6 7 \.\.\.\)"),
    (lambda content: content.update(added_tokens=[]), "has no end token of number 0"),
    (shifted, "are not numbered from 0"),
    (lambda content: content.update(normalizer={"type": "Lowercase"}), "does not give back the text"),
    (lambda content: content.update(decoder=None), "does not give back the text"),
    (lambda content: content.pop("model"), "cannot be read"),
]


@pytest.mark.parametrize(("change", "message"), TOKENIZERS)
def test_a_stored_tokenizer_that_cannot_hold_any_text(root, refused, change, message):
    rewrite(root, lambda arrays: arrays.update(tokenizer=spoil(arrays["tokenizer"], change)))
    refused(root, "measure", f"stored tokenizer.* {message}")


def test_a_tokenizer_that_is_cut_off(root, refused):
    rewrite(root, lambda arrays: arrays.update(tokenizer=arrays["tokenizer"][:-9]))
    refused(root, "measure", "stored tokenizer cannot be read")


def test_text_is_never_lost_in_silence():
    whole = bpe.train(["A zebra met a Zorilla."], 300, END)
    lacking = bpe.Tokenizer.from_str(spoil(bpe.pack(whole), without("Z")).tobytes().decode())
    texts = ["A zebra met nobody.", "Zoë met a zebra."]
    assert bpe.decode(whole, bpe.encode(whole, texts)) == texts
    assert lacking.decode(lacking.encode(texts[1]).ids) == "oë met a zebra."  # what the library does
    with pytest.raises(DataError, match=r"the tokenizer loses a part of 'Zoë met a zebra\.': delete the prepared"):
        bpe.encode(lacking, texts)
    assert len(bpe.encode(lacking, texts[:1])) == 1


# tokens that are not the data set's


def part(root, tokens):
    """Put stories in the place of those that generation 1 drew."""
    items = Items.make(Ragged.of(tokens), generation=1)
    store.save_arrays(root / FIRST / "temp1.0/part0.safetensors", items.arrays())


def test_samples_of_another_vocabulary(root, refused):
    part(root, [[5, 6, 300]] * 24)
    refused(root, "measure", "token 300 is not one of the 300 of the tokenizer")
    refused(root, "refit", "hold token 300, the model knows 300: another tokenizer")


def test_samples_that_hold_an_end_token(root, refused):
    part(root, [[5, 0, 6]] * 24)
    refused(root, "refit", "a story holds the end token 0 inside")


# stories longer than the context


def test_a_real_story_that_is_longer_than_the_context(root, refused):
    short = changed(recipe={"positions": 32})
    refused(root, "fit", r"story \d+ has \d+ tokens; .* 32 positions take 31: raise `positions`", short, recipe="short")


def test_a_drawn_story_that_is_longer_than_the_context(root, refused):
    part(root, [[5, 6]] * 23 + [[7] * 256])
    refused(root, "refit", "story 23 has 256 tokens; .* 256 positions take 255")


def test_a_sampler_that_draws_more_than_the_context(root, refused):
    long = changed(sampler={"max_tokens": 256})
    refused(root, "sample", "max_tokens is 256, but the model's 256 positions", long, part=1)


def test_an_embedded_story_that_is_longer_than_max_tokens(tmp_path, refused):
    short = changed(dataset={"max_tokens": 20})
    refused(tmp_path, "prepare", r"an embedded story has \d+ tokens: raise `max_tokens`", short)
    assert files(tmp_path) == {}


# models


def untrained(family, **settings):
    config = family.Config(**{**MODEL, "vocabulary": 300, "end": 0, **settings})
    return (gpt2.GPT2 if family is gpt2 else llama2.Llama2)(config).initialise(Streams(("x",), (0,)).torch("weights"))


def another_family(path):
    llama2.save(untrained(llama2, intermediate=16), path)


def no_language_model(path):
    items = Items.make(np.arange(20.0)[None], generation=0)
    model = gaussian.fit(
        items, config=gaussian.Config(), weights=None, budget=None, init=None, validation=None, observer=None,
        rng=Streams(("x",), (0,)),
    )  # fmt: skip
    gaussian.save(model, path)


def another_shape_inside(path):
    arrays = store.load_arrays(path)
    store.save_arrays(path, arrays | {"wte.weight": arrays["wte.weight"][:, :4]})


def a_weight_missing(path):
    arrays = store.load_arrays(path)
    arrays.pop("ln_f.bias")
    store.save_arrays(path, arrays)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def missing(path):
    path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_family, r"/gen1/model\.safetensors does not hold a GPT2: "),
        (no_language_model, r"/gen1/model\.safetensors does not hold a GPT2: "),
        (another_shape_inside, r"/gen1/model\.safetensors does not hold a GPT2: "),
        (a_weight_missing, r"/gen1/model\.safetensors does not hold a GPT2: "),
        (truncated, "is truncated or not safetensors .*delete it and run again"),
        (flipped, "is corrupted: its content does not match its checksum"),
        (missing, r"cannot read .*/gen1/model\.safetensors: No such file"),
    ],
)
def test_a_file_that_holds_another_model_or_none(root, refused, change, message):
    change(root / FIRST / "model.safetensors")
    refused(root, "refit", message)
    refused(root, "sample", message, part=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 16}, r"other settings than the recipe \(hidden\): delete it"),
        ({"heads": 4}, r"other settings than the recipe \(heads\): delete it"),
        ({"layers": 2}, r"other settings than the recipe \(layers\): delete it"),
        ({"positions": 512}, r"other settings than the recipe \(positions\): delete it"),
        ({"vocabulary": 280}, r"other settings than the recipe \(vocabulary\): delete it"),
        ({"end": 7}, r"other settings than the recipe \(end\): delete it"),
    ],
)
def test_a_first_model_of_another_shape_is_no_start(root, refused, change, message):
    gpt2.save(untrained(gpt2, **change), root / FIRST / "model.safetensors")
    refused(root, "refit", message)
    refused(root, "sample", message, part=1)


# data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (truncated, "is truncated or not safetensors"),
        (flipped, "is corrupted: its content does not match its checksum"),
        (missing, "cannot read"),
    ],
)
def test_prepared_data_that_are_broken(root, refused, change, message):
    change(root / DATA)
    for verb in ("fit", "refit", "sample", "measure"):
        refused(root, verb, message, part=1)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (Lie({"X-Linked-Size": "999"}), "wrong length: the hub announces 999 bytes and sends 42"),
        (Lie(body=b"x" * 42), "its SHA-256 is .*, not .*; delete it and run again"),
    ],
)
def test_a_hub_file_of_the_wrong_length_or_content(tmp_path, refused, monkeypatch, lie, message):
    content = b"A cat sat.<|endoftext|>A dog ran.<|endoftext|>"[:42]
    (tmp_path / "right").write_bytes(content)
    entry = {
        "source": "hub", "repository": "someone/stories", "revision": REVISION,
        "sha256": {"TinyStories-train.txt": store.sha256(tmp_path / "right")},
    }  # fmt: skip
    root = tmp_path / "results"
    root.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        server.put("TinyStories-train.txt", content)
        server.faults.append(lie)
        fetch = hub.fetch
        monkeypatch.setattr(hub, "fetch", lambda *arguments: fetch(*arguments, endpoint=server.url))
        refused(root, "prepare", f"{message}.* set `source: local` and `path: <folder", changed(dataset=entry))
    assert not list((tmp_path / "cache").rglob("snapshots/*/*"))
