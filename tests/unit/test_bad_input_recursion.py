"""Bad input of the recursion paper, through the verbs: one line says what is wrong, and no file is left or changed."""

import json
import re
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from pyarrow import parquet

from collapse import cli, store
from collapse.items import Items, Ragged

ROOT = Path(__file__).parents[2]
WORDS = ["the", "old", "house", "stood", "near", "a", "river", "small", "town", "where", "people", "lived", "king"]
CHAIN = {"dataset": "data", "recipe": "tiny", "policy": "mix", "sampler": "drawn", "selector": "kept", "seed": 0}
NAMES = {
    "prepare": ("dataset",),
    "fit": ("dataset", "recipe", "seed", "generation"),
    "refit": (*CHAIN, "generation"),
    "sample": ("dataset", "recipe", "sampler", "seed", "part"),
    "measure": tuple(CHAIN),
    "simulate": ("dataset", "recipe", "policy"),
}
"""The names that each verb takes; ``refit`` is ``fit`` of generation 2."""
REPLACE = {"policy": {"kind": "replace"}, "selector": {"kind": "all"}, "generations": 1}
LANGUAGE = {"hidden": 8, "layers": 1, "heads": 2, "epochs": 1, "warmup_steps": 0}
TEXT = {
    **REPLACE,
    "dataset": {
        "kind": "articles", "source": "local", "train": 12, "validation": 2, "test": 6, "block": 8, "vocabulary": 280,
        "empty_lines": "dropped", "remainder_every": None,
    },
    "recipe": {"family": "opt", **LANGUAGE, "positions": 16, "batch": 6},
    "sampler": {"kind": "beam", "beams": 2, "start": "continuation", "max_tokens": 8},
    "count": 12,
}  # fmt: skip
IMAGES = {
    **REPLACE,
    "dataset": {"kind": "images", "train": 40, "validation": 5, "test": 10},
    "recipe": {"family": "vae", "channels": [4], "latent": 2, "epochs": 1, "batch": 20},
    "sampler": {"kind": "prior"},
    "count": 40,
}
SUMS = {
    **REPLACE,
    "dataset": {
        "kind": "arithmetic", "train": 30, "validation": 5, "test": 10, "digits": "12", "operators": "+-",
    },
    "recipe": {"family": "gpt2", **LANGUAGE, "positions": 12, "batch": 10},
    "sampler": {"max_tokens": 11},
    "count": 30,
}  # fmt: skip
SYSTEMS = {"text": TEXT, "images": IMAGES, "sums": SUMS}
FIRST = "runs/data/tiny/real/seed0/gen1"
MODEL = f"{FIRST}/model.safetensors"
PART = f"{FIRST}/drawn/part0.safetensors"


def run(root, verb, settings, **names):
    """Run a verb in this process; return its exit code."""
    given = {**CHAIN, "generation": 2 if verb == "refit" else 1, "part": 0, **names}
    words = [word for name in NAMES[verb] for word in (f"--{name}", str(given[name]))]
    return collapse(verb.removeprefix("re"), "--root", str(root), "--settings", json.dumps(settings), *words)


def collapse(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["collapse", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code


def corpus(folder, **texts):
    """Write a corpus of three different splits in WikiText's layout; return its folder."""
    folder.mkdir(parents=True)
    for seed, name in enumerate(("train", "valid", "test")):
        rng, text = np.random.default_rng(seed), texts.get(name)
        lines = [" = Title = \n" if i % 5 == 0 else f" {' '.join(rng.choice(WORDS, 9))} . \n" for i in range(40)]
        (folder / f"wiki.{name}.raw").write_text("".join(lines) if text is None else text)
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings and a folder of each system; data are prepared, generation 1 is fitted, sampled and measured."""
    threads, top, found = torch.get_num_threads(), tmp_path_factory.mktemp("made"), {}
    TEXT_AT = {**TEXT, "dataset": {**TEXT["dataset"], "path": corpus(top / "corpus")}}
    for name, settings in {**SYSTEMS, "text": TEXT_AT}.items():
        for verb in ("prepare", "fit", "sample", "measure"):
            assert run(top / name, verb, settings) == 0, (name, verb)
        found[name] = settings, top / name
    yield found
    torch.set_num_threads(threads)


@pytest.fixture
def system(made, tmp_path):
    """A function of a system's name: its settings with some entries changed, and a copy of its folder, to be spoilt."""

    def copy(name, **changes):
        settings, folder = made[name]
        return changed(settings, **changes), shutil.copytree(folder, tmp_path / name)

    return copy


def changed(settings, **changes):
    """Settings with some options of entries changed; an entry of another kind or family replaces the whole one."""
    out = dict(settings)
    for name, entry in changes.items():
        old = settings.get(name)
        whole = not isinstance(entry, dict) or any(entry.get(k, old.get(k)) != old.get(k) for k in ("kind", "family"))
        out[name] = entry if whole else {**old, **entry}
    return out


def files(root):
    return {str(path.relative_to(root)): store.sha256(path) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def refused(capfd):
    """A function that runs a verb and checks that it ends with such an error, and touches no file."""

    def check(root, verb, settings, message, **names):
        before = files(root)
        capfd.readouterr()
        assert run(root, verb, settings, **names) == 1
        printed = " ".join(capfd.readouterr().err.partition("error: ")[2].split())
        assert re.search(message, printed), printed
        assert files(root) == before

    return check


def finite(path):
    """Assert that a table has rows, and no number that is not one; return it."""
    table = pd.read_parquet(path)
    numbers = table.select_dtypes("number")
    assert len(table)
    assert [name for name in numbers if not np.isfinite(numbers[name].to_numpy(float)).all()] == []
    return table


def put(*tokens):
    """Put texts in the place of those that generation 1 drew."""

    def change(root):
        store.save_arrays(root / PART, Items.make(Ragged.of(list(tokens)), generation=1).arrays())

    return change


def rewrite(file, change):
    """Change the arrays of a file; checksums are made anew, as if they had always been so."""

    def spoil(root):
        arrays = store.load_arrays(root / file)
        store.save_arrays(root / file, {name: change(array.copy()) for name, array in arrays.items()})

    return spoil


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_spoilt_below_runs_when_it_is_not(system, name):
    settings, root = system(name)
    assert run(root, "refit", settings) == 0
    assert run(root, "measure", {**settings, "generations": 2}) == 0
    folder = root / "runs/data/tiny/mix/drawn/kept/seed0/to2"
    finite(folder / "rows.parquet")
    if name != "sums":  # whose items are measured as a whole alone
        finite(folder / "details.parquet")


# data


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ({"train": ""}, {}, r"wiki\.train\.raw holds no text: check that it is the right file"),
        ({"train": " \n\n \n"}, {}, r"wiki\.train\.raw holds no text"),
        ({"test": ""}, {}, r"wiki\.test\.raw holds no text"),
        ({"train": "a\n"}, {}, r"a block of 8 tokens is longer than the train split .*, which has 3: lower `block`"),
        ({}, {"block": 5000}, r"a block of 5000 tokens is longer than the train split .*: lower `block`"),
        ({}, {"train": 5000}, r"train split .* blocks of 8 tokens, 5,000 are asked for: lower `train` or `shards`"),
        ({}, {"test": 5000}, r"the test split .* 5,000 are asked for: lower `test`"),
        ({}, {"remainder_every": 1, "block": 60}, r"no 1 lines of the train split .* raise `remainder_every`"),
        ({"valid": "x", "test": "x"}, {}, "two of the files are the same .* splits must be different texts"),
        ({}, {"vocabulary": 100}, "vocabulary is from 258 .* to 65536, got 100"),
        ({}, {"tokenizer": "nowhere"}, "nowhere holds no tokenizer: it needs tokenizer.json, or vocab.json and merges"),
        ({}, {"path": "nowhere"}, "nowhere is no folder: set `path` to the one that holds the files of WikiText"),
    ],
)
def test_a_corpus_that_gives_no_blocks(tmp_path, refused, texts, options, message):
    path = {"path": corpus(tmp_path / "corpus", **texts)}
    refused(tmp_path / "results", "prepare", changed(TEXT, dataset={**path, **options}), message)


def test_a_tokenizer_of_more_tokens_than_the_vocabulary(made, tmp_path, refused):
    settings, root = made["text"]
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(
        store.load_arrays(root / "data/data/data.safetensors")["tokenizer"].tobytes()
    )
    settings = changed(settings, dataset={"tokenizer": str(folder), "vocabulary": 260})
    refused(tmp_path / "results", "prepare", settings, r"has \d+ tokens: set `vocabulary` to as many, or to null")


def test_an_empty_split_of_generated_text(tmp_path, refused):
    entry = {"source": "embedded", "train": 0}
    refused(tmp_path, "prepare", changed(TEXT, dataset=entry), "train is a whole number above 0 or null, got 0")


def idx(folder, count=30, announced=30, labels=30):
    """Write MNIST's four files."""
    folder.mkdir()
    for split in ("train", "t10k"):
        head = bytes([0, 0, 8, 3]) + struct.pack(">3I", announced, 8, 8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + bytes(64 * count))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + struct.pack(">I", labels) + bytes(labels)
        )
    return folder


def npz(path, **arrays):
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def table(folder, **columns):
    folder.mkdir()
    for split in ("train", "test"):
        parquet.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")
    return folder


NOTHING = pa.array([], pa.struct([("bytes", pa.binary())]))
PICTURES = [
    (lambda p: idx(p, count=29), "images-idx3-ubyte has the wrong length .* truncated or damaged, fetch it again"),
    (lambda p: idx(p, count=0, announced=0, labels=0), r"images must be \(N, H, W\).* N above 0; got \(0, 8, 8\)"),
    (lambda p: idx(p, labels=29), r"labels of shape \(29,\) for the 30 images"),
    (lambda p: npz(p, images=np.zeros((0, 8, 8), np.uint8)), "N above 0"),
    (lambda p: npz(p, images=np.zeros((90, 8, 8))), "must be bytes from 0 to 255 .* got float64: convert them"),
    (lambda p: npz(p, pictures=np.zeros((90, 8, 8), np.uint8)), "holds pictures: rename its arrays"),
    (lambda p: npz(p, images=np.zeros((20, 8, 8), np.uint8)), "20 images, 55 are asked for: lower `train`"),
    (lambda p: table(p, img=[b""], label=[1]), r"has no column image \(it has img, label\)"),
    (lambda p: table(p, image=[{"bytes": b"x"}], label=[1]), "row 1: the image cannot be decoded"),
    (lambda p: table(p, image=NOTHING, label=pa.array([], pa.int64())), "holds no images"),
    (lambda p: p / "nowhere.npz", r"nowhere\.npz does not exist: set `path` to"),
]


@pytest.mark.parametrize(("make", "message"), PICTURES)
def test_files_that_hold_no_images(tmp_path, refused, make, message):
    entry = {"source": "local", "path": str(make(tmp_path / "files"))}
    refused(tmp_path / "results", "prepare", changed(IMAGES, dataset=entry), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0}, "train is a whole number above 0, got 0"),
        ({"digits": "1"}, "digits is quoted text of 2 or more different characters of 0123456789, got '1'"),
        ({"exponent": float("nan")}, "exponent is a number of 0 or more, got nan"),
        ({"exponent": 1e6}, "some statements have probability 0: lower `exponent`"),
    ],
)
def test_a_law_of_arithmetic_that_is_none(tmp_path, refused, options, message):
    refused(tmp_path, "prepare", changed(SUMS, dataset=options), message)


# models, samplers, policies


@pytest.mark.parametrize(
    ("name", "recipe", "message"),
    [
        ("text", {"positions": 7}, "blocks have 8 tokens, the model 7 positions: raise `positions` of the recipe, or"),
        ("text", {"layout": "stories"}, "a story holds the end token 0 inside"),
        ("text", {"keep": "bets"}, "unknown keep 'bets': did you mean 'best'"),
        ("text", {"shift": "no"}, "shift must be true or false, got 'no'"),
        ("text", {"vocabulary": 300}, r"sets \['vocabulary'\], which the data set provides"),
        ("text", {"learning_rate": 1e30}, "training diverged: loss nan.*: lower `learning_rate`"),
        ("text", {"start": "weights"}, "starts from weights: name their file, `start` of --settings"),
        ("text", IMAGES["recipe"], "missing 1 required keyword-only argument: 'shape'"),
        ("images", {"channels": [4] * 4}, "images of 8 x 8 are too small for 4 convolutions .* shorten `channels`"),
        ("images", {"learning_rate": 1e20}, "training diverged: loss nan.*: lower `learning_rate`"),
        ("sums", {"positions": 8}, r"story \d+ has \d+ tokens; .* 8 positions take 7: raise `positions`"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(system, refused, name, recipe, message):
    settings, root = system(name, recipe=recipe)
    refused(root, "fit", settings, message, recipe="other")


NEXT = {"kind": "sample", "start": "continuation", "max_tokens": 8}


@pytest.mark.parametrize(
    ("name", "sampler", "message"),
    [
        ("text", {"max_tokens": 9}, r"prompts of 8 tokens and max_tokens = 9 need 17 positions, the model has 16"),
        ("text", {"start": "bos_fixed_length"}, "a model of blocks continues others: set `start: continuation`"),
        (
            "text",
            {"kind": "prior"},
            "kind 'prior' draws nothing from a language model: take one of sample, gree",
        ),
        ("text", {"beams": 200}, "beams is 200, but the vocabulary has 280 tokens: at most half of them"),
        ("text", {"repetition_penalty": 0}, "repetition_penalty must be a positive number, got 0"),
        ("text", {"noise": "mean"}, "noise is an option of kind 'prior', this sampler is of kind 'beam'"),
        ("text", {**NEXT, "start": "bos_fixed_length", "prompts": "synthetic"}, "needs a start that takes contexts"),
        ("images", {"noise": "meen"}, "unknown noise of the sampler 'meen': did you mean 'mean'"),
        ("images", {"max_tokens": 5}, "max_tokens must be left out where the kind is 'prior'"),
        ("images", NEXT, "a VAE is sampled by `kind: prior`, the sampler is of kind 'sample'"),
        ("sums", {"max_tokens": 12}, "max_tokens is 12, but the model's 12 positions take 11 beside the end token"),
        ("sums", {"max_tokens": 6, "start": "first_token_inclusive"}, "contexts of 6 tokens leave none of max_tokens"),
    ],
)
def test_a_sampler_that_does_not_fit_the_model(system, refused, name, sampler, message):
    settings, root = system(name)
    whole = {} if "kind" in sampler else settings["sampler"]
    refused(root, "sample", {**settings, "sampler": {**whole, **sampler}}, message, part=1)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("text", {"selector": {"kind": "valid", "keep": 1.0}}, "'kept' needs the true source, which 'data' does not"),
        ("images", {"selector": {"kind": "valid", "keep": 1.0}}, "'kept' needs the true source"),
        ("images", {"policy": {"kind": "oracle"}}, "policy 'mix' corrects items, which data set 'data' cannot"),
        ("text", {"policy": {"kind": "oracle", "share": 2}}, "policy 'mix': share must lie between 0 and 1, got 2"),
        ("text", {"policy": {"kind": "stream"}}, "'tiny' trains on sets alone, and policy 'mix' is a stream"),
        ("text", {"policy": {"kind": "fresh_real"}}, "shard 2 was asked for, 1 were cut: raise `shards`"),
        ("images", {"sampler": {**NEXT, "prompts": "synthetic"}}, "'data' makes no prompts .*: set `prompts: real`"),
        (
            "images",
            {"recipe": {"latent": 3}, "policy": {"init": "first"}},
            r"has other settings than the recipe \(latent\): delete it",
        ),
    ],
)
def test_what_a_data_set_or_a_family_cannot_do(system, refused, name, changes, message):
    settings, root = system(name, **changes)
    refused(root, "refit", settings, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 16}, "init has hidden 8, the recipe 16"),
        ({"layers": 2}, "init has layers 1, the recipe 2"),
        ({"positions": 32}, "init has positions 16, the recipe 32"),
    ],
)
def test_start_weights_of_another_shape(system, refused, change, message):
    settings, root = system("text", recipe={"start": "weights", **change})
    refused(root, "fit", {**settings, "start": MODEL}, message, recipe="other")


def test_start_weights_of_another_model_or_of_none(system, made, refused):
    settings, root = system("text", recipe={"start": "weights"})
    refused(root, "fit", {**settings, "start": "w.safetensors"}, "cannot read .*w.safetensors: No such", recipe="other")
    shutil.copy(made["images"][1] / MODEL, root / "w.safetensors")
    refused(root, "fit", {**settings, "start": "w.safetensors"}, "does not hold a OPT", recipe="other")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"family": "opt"}, r"cannot read .*config\.json"),
        ({"family": "vae"}, "family 'vae' reads no weights of another layout: name a dataset and a recipe"),
        ({"family": "opt", "sha256": {"w": "0"}}, r"there is no .*/w, of which the config says the SHA-256"),
    ],
)
def test_pretrained_weights_that_are_none(tmp_path, capfd, entry, message):
    settings = json.dumps({"path": str(tmp_path), **entry})
    assert collapse("pretrained", "--out", str(tmp_path / "out/w.safetensors"), "--settings", settings) == 1
    assert re.search(message, capfd.readouterr().err)
    assert files(tmp_path) == {}


# what was drawn


def fewer(root):
    arrays = Items.of_arrays(store.load_arrays(root / PART)).first(7).arrays()
    store.save_arrays(root / PART, arrays)


@pytest.mark.parametrize(
    ("name", "verb", "spoil", "message"),
    [
        ("text", "refit", put(*[[5] * 8] * 11, [5] * 7), "blocks have 7 to 8 tokens: all must be of one length"),
        ("text", "refit", put(*[[5] * 7 + [300]] * 12), "token 300, the model knows 280: another tokenizer"),
        ("text", "refit", put(*[[5] * 17] * 12), "blocks have 17 tokens, the model 16 positions"),
        ("text", "refit", put(*[[]] * 12), "2 or more are needed"),
        ("text", "refit", fewer, r"part0\.safetensors holds 7 of 12 items: delete it and run again"),
        ("text", "refit", put(), "holds 0 of 12 items"),
        ("text", "measure", fewer, r"part0\.safetensors holds 7 of 12 items: delete it and run again"),
        ("text", "measure", put(*[[5] * 6] * 12), "drawn blocks have 6 tokens, those of data 8: set `max_tokens`"),
        ("text", "measure", put(*[[5] * 7 + [60000]] * 12), "token 60000, the model knows 280"),
        ("images", "refit", rewrite(PART, lambda a: a * 0 - 1), r"images hold values that are not in \[0, 1\]"),
        ("images", "measure", rewrite(PART, lambda a: a * np.nan if a.dtype == np.float16 else a), r"not in \[0, 1\]"),
        ("images", "refit", rewrite(PART, lambda a: a[..., :4] if a.ndim > 2 else a), r"the model takes images of one"),
        ("images", "measure", rewrite(PART, lambda a: a[..., :4] if a.ndim > 2 else a), r"are \(1, 8, 4\), those of"),
        ("sums", "refit", put(*[[2, 0]] * 30), "a story holds the end token 0 inside"),
        ("sums", "refit", put(*[[2, 15]] * 30), "token 15, the model knows 15"),
        ("sums", "measure", put(*[[2, 15]] * 30), "tokens of arithmetic are 1 to 14: the items are of another data"),
    ],
)
def test_samples_that_do_not_fit(system, refused, name, verb, spoil, message):
    settings, root = system(name)
    spoil(root)
    refused(root, verb, settings, message)


def test_nothing_that_a_checker_accepts(system, refused):
    settings, root = system("sums", selector={"kind": "valid", "keep": 1.0})
    put(*[[2]] * 30)(root)
    refused(root, "refit", settings, "not one of 30 items is valid: there is nothing to train on")


def test_samples_without_a_statement_have_measures(system):
    for tokens in ([2], []):
        settings, root = system("sums")
        put(*[tokens] * 30)(root)
        assert run(root, "measure", settings) == 0
        finite(root / "runs/data/tiny/mix/drawn/kept/seed0/to1/rows.parquet")
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("text", put(*[[5] * 8] * 11, [5] * 7), r"prompts are blocks of one length, got \[7, 8\]"),
        ("text", put(*[[5] * 9] * 12), "prompts of 9 tokens and max_tokens = 8 need 17 positions"),
        ("text", put(*[[5] * 7 + [300]] * 12), "contexts hold tokens 5 to 300, the model knows 280"),
        ("text", lambda root: (root / PART).unlink(), r"cannot read .*part0\.safetensors"),
        ("sums", put(*[[2, 3]] * 30), "not one of 30 items begins with a left-hand side: nothing to prompt with"),
    ],
)
def test_synthetic_prompts_that_are_none(system, refused, name, spoil, message):
    """Also where the policy trains on real items alone."""
    start = {"start": "first_token_inclusive"} if name == "sums" else {}
    settings, root = system(name, sampler={"prompts": "synthetic", **start}, policy={"kind": "real_only"})
    if name == "sums":  # a model of a few steps writes none
        put(*[[2, 11, 2, 11, 2, 14, 4]] * 30)(root)  # 1+1+1=3
    assert run(root, "refit", settings) == 0
    shutil.rmtree(root / "runs/data/tiny/mix")
    spoil(root)
    refused(root, "refit", settings, message)


# measures


def scaled(factor):
    """Multiply all weights of model 1."""
    return rewrite(MODEL, lambda a: a * np.float32(factor) if a.dtype == np.float32 else a)


def test_a_broken_first_model_gives_no_table_and_no_samples(system, refused):
    settings, root = system("text", policy={"init": "first"})
    scaled(np.nan)(root)
    refused(root, "measure", settings, "perplexities that are not finite: lower the learning rate of its recipe")
    refused(root, "sample", settings, "probabilities that are not finite: its training diverged", part=1)
    refused(root, "refit", settings, "training diverged: loss nan")


def test_a_first_model_whose_perplexity_overflows(system, refused):
    settings, root = system("text", policy={"init": "first"})
    scaled(3e4)(root)
    refused(root, "measure", settings, "perplexities that are not finite: lower the learning rate of its recipe")
    refused(root, "refit", settings, "perplexity is inf: the fit diverged; lower the learning rate of the recipe")


def test_an_encoder_that_finds_no_latents_gives_no_table(system, refused):
    settings, root = system("images")
    scaled(np.nan)(root)
    refused(root, "measure", settings, "latent_mean of generation 0 is nan: .*gen1: delete that and run again")


def test_a_corpus_of_few_words_has_no_deciles(tmp_path, refused):
    lines = {name: " a b \n" * count for name, count in (("train", 90), ("valid", 30), ("test", 31))}
    settings = changed(TEXT, dataset={"path": corpus(tmp_path / "corpus", **lines)})
    for verb in ("prepare", "fit", "sample"):
        assert run(tmp_path / "results", verb, settings) == 0
    refused(tmp_path / "results", "measure", settings, r"data has \d token types: deciles need 10")


@pytest.mark.parametrize("figure", ["figure_1b", "figure_1c", "figure_s8", "figure_s9"])
def test_figures_of_items_that_were_not_kept(system, made, capfd, figure):
    """The table of details has no rows where a series draws nothing."""
    settings, root = system("text", sampler={"kind": "none"})
    assert run(root, "measure", settings) == 0
    folder = root / "runs/data/tiny/mix/drawn/kept/seed0/to1"
    assert len(pd.read_parquet(folder / "details.parquet")) == 0
    before = files(root)
    script = ROOT / "figures/recursion" / f"{figure}.py"
    tables = [str(folder / f"{name}.parquet") for name in ("rows", "details")]
    assert collapse("figure", "recursion", figure, *tables, "--root", str(root), "--script", str(script)) == 1
    assert "error: the figure needs " in capfd.readouterr().err
    assert files(root) == before


# chains in memory


def chains(dataset, recipe, policy="replace", seeds=2, generations=3):
    policy = policy if isinstance(policy, dict) else {"kind": policy}
    return {"dataset": dataset, "recipe": recipe, "policy": policy, "seeds": seeds, "generations": generations}


def normal(**options):
    return {"kind": "gaussian", **options}


def points(**options):
    return {"kind": "mixture", "test": 20, **options}


def states(**options):
    return {"kind": "discrete", **options}


MOMENTS, DESCENT, EMPIRICAL = ({"family": name} for name in ("gaussian", "sgd", "discrete"))
NOTHING_LOST = [
    *(chains(normal(T=n), {**MOMENTS, "ddof": d}, generations=200) for n in (2, 3) for d in (0, 1)),
    *(chains(normal(T=2), MOMENTS, p, generations=200) for p in ("accumulate", "accumulate_subsample", "augment")),
    *(
        chains(points(T=n), {"family": "mixture", "components": 2, "init": init}, generations=200)
        for n in (2, 3)
        for init in ("kmeans", "random")
    ),
    chains(points(T=3), {"family": "mixture", "components": 2}, {"kind": "replace", "init": "previous"}, 2, 200),
    chains(points(T=2), {"family": "mixture", "components": 1, "reg_covar": 1e-12}, generations=200),
    chains(points(T=2), {"family": "kde", "bandwidth": 1e-100}, generations=50),
    chains(points(T=2), {"family": "kde", "bandwidth": 1e-5}, generations=200),
    chains(points(T=10), {"family": "kde"}, {"kind": "golden_ratio", "weight": 1.0}, generations=20),
    chains(states(T=1), EMPIRICAL, generations=50),
    chains(states(T=2, states=2), EMPIRICAL, generations=200),
    chains(states(T=5, states=2, law="zipf", exponent=25.0), EMPIRICAL, generations=50),
    chains(normal(T=2), {**DESCENT, "steps": 3, "batch": 2}, "stream", generations=200),
]


@pytest.mark.parametrize("settings", NOTHING_LOST, ids=lambda s: json.dumps(s, sort_keys=True)[:90])
def test_chains_that_collapse_have_finite_tables(tmp_path, settings):
    assert run(tmp_path, "simulate", settings) == 0
    found = finite(tmp_path / "chains/data/tiny/mix.parquet")
    assert len(found) == settings["seeds"] * settings["generations"]


END = "run fewer generations, or take more items"
REFUSED = [
    *((chains(normal(T=n), {**MOMENTS, "ddof": d}, generations=3000), END) for n in (2, 3) for d in (0, 1)),
    (chains(normal(T=4, d=3), MOMENTS, generations=3000), END),
    (chains(normal(T=3), MOMENTS, {"kind": "replace", "budget": "items"}, generations=3000), "singular: take more"),
    (chains(normal(T=2, mean=1e20), MOMENTS, "accumulate_subsample"), "covariance of 2 of 2 Gaussians is singular"),
    (chains(normal(T=1), MOMENTS), "needs d >= 1, train > d"),
    (chains(normal(T=2.5), MOMENTS), "T of a Gaussian data set is a whole number, got 2.5"),
    (chains(normal(T=[]), MOMENTS), "T is a list of nothing: name a value"),
    (chains(normal(T=9, mean=float("inf")), MOMENTS), "mean of a Gaussian data set is a number, got inf"),
    (chains(normal(T=9, sd=1e-300), MOMENTS), "sd of a Gaussian data set must be positive, 1e-100 to 1e100"),
    (chains(normal(T=9), MOMENTS, "oracle"), "policy 'mix' corrects items, which data set 'data' cannot"),
    (chains(normal(T=9), MOMENTS, "stream"), "'tiny' trains on sets alone, and policy 'mix' is a stream"),
    (chains(normal(T=9), MOMENTS, "fresh_real"), "shard 2 was asked for, 1 were cut: raise `shards`"),
    (chains(normal(T=9, d=2), DESCENT), "gradient descent fits Gaussians in one dimension"),
    (chains(normal(T=9), {**DESCENT, "learning_rate": 1e6}, "stream"), "has diverged: lower learning_rate"),
    (chains(points(T=2), {"family": "mixture", "components": 3}), "3 components needs at least as many items, got 2"),
    (chains(points(T=3), {"family": "mixture", "reg_covar": 0.0}, generations=50), "set reg_covar, or fit fewer"),
    (chains(points(T=2.5), {"family": "kde"}), "T of a data set of points is a whole number"),
    (chains(points(T=9), {"family": "kde", "bandwidth": 1e-200}), "bandwidth must be positive, 1e-100 to 1e100, or"),
    (chains(points(T=2), {"family": "kde", "scaled": True}), "needs at least 3 items, got 2"),
    (chains(points(T=4), {"family": "kde", "scaled": True}, generations=3000), "lie on a line: set `scaled: false`"),
    (chains(states(states=1), EMPIRICAL), "needs states >= 2"),
    (chains(states(T=2.5), EMPIRICAL), "T of a discrete data set is a whole number"),
    (chains(states(T=0), EMPIRICAL), "T >= 1"),
    (chains(states(law="zipf", exponent=400.0), EMPIRICAL), "all mass on one state, .*: lower `exponent`"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=lambda v: v if isinstance(v, str) else None)
def test_chains_that_have_no_table(tmp_path, refused, settings, message):
    refused(tmp_path, "simulate", settings, message)


# configs

CONFIG = {
    "scale": "tiny",
    "datasets": {"data": SUMS["dataset"], "images": IMAGES["dataset"], "normal": normal(train=9)},
    "recipes": {
        "tiny": SUMS["recipe"], "vae": IMAGES["recipe"], "moments": MOMENTS, "descent": DESCENT,
        "deep": {**IMAGES["recipe"], "channels": [4] * 9},
    },
    "policies": {name: {"kind": name} for name in ("replace", "oracle", "stream")},
    "samplers": {"drawn": {"max_tokens": 11}, "prior": {"kind": "prior"}, "seeded": {**NEXT, "prompts": "synthetic"}},
    "selectors": {"all": {"kind": "all"}},
    "figures": {"paper": {}},
}  # fmt: skip
GOOD = {"dataset": ["data"], "recipe": ["tiny"], "policy": ["replace", "oracle"], "sampler": ["drawn", "seeded"]}
PICTURED = {"dataset": ["images"], "recipe": ["vae"], "policy": ["stream"], "sampler": ["prior"]}
LINE = {"dataset": ["normal"], "recipe": ["moments"], "policy": ["replace"], "seeds": 2, "generations": 3}


@pytest.mark.parametrize(
    ("cells", "chains", "message"),
    [
        ({}, {}, None),
        (PICTURED, {}, None),
        ({}, {"policy": ["stream"], "recipe": ["descent"]}, None),
        ({}, {"policy": ["oracle"], "generations": 1}, None),
        ({"policy": ["stream"]}, {}, "'stream' is a stream, recipe 'tiny' of family 'gpt2' trains on sets alone"),
        ({**PICTURED, "policy": ["oracle"]}, {}, "policy 'oracle' corrects items, which dataset 'images' cannot"),
        ({**PICTURED, "sampler": ["seeded"]}, {}, "'images' makes no prompts of synthetic items, as sampler 'seeded'"),
        ({**PICTURED, "recipe": ["deep"]}, {}, "are too small for 9 convolutions"),
        ({}, {"policy": ["oracle"]}, "block 'line': policy 'oracle' corrects items, which dataset 'normal' cannot"),
        ({}, {"policy": ["stream"]}, "block 'line': policy 'stream' is a stream, recipe 'moments' of family 'gaus"),
    ],
)
def test_configs_that_ask_for_what_is_not_there(tmp_path, capfd, cells, chains, message):
    cells = {"main": {**GOOD, "seed": [0], "generations": 2, **cells}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "cells": cells, "chains": {"line": {**LINE, **chains}}}))
    assert collapse("check", "--configfile", str(path)) == (1 if message else 0)
    told = capfd.readouterr()
    assert (message in told.err) if message else (told.err == "" and "jobs" in told.out)


def test_pretrained_weights_of_a_family_that_reads_none(tmp_path, capfd):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "pretrained": {"w": {"family": "vae", "path": "weights"}}}))
    assert collapse("check", "--configfile", str(path)) == 1
    assert "pretrained 'w': family 'vae' reads no weights of another layout" in capfd.readouterr().err
