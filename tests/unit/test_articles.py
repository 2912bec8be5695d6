import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from collapse import store
from collapse.datasets import articles, articlesplits, bpe, corpora, lines, tokenfiles, wikitext
from collapse.datasets.sentences import complete
from collapse.errors import CollapseError, ConfigError, DataError
from collapse.items import Items, Ragged
from collapse.loop import evaluate
from collapse.seeding import Streams

EMBEDDED = {"train": 60, "shards": 2, "validation": 20, "test": 40, "block": 32, "empty_lines": "dropped"}
TEXT = [
    " = Wye = \n",
    " \n",
    " The Wye is a river . It is old . \n",
    " \n",
    " = = Course = = \n",
    " It flows north . \n",
]


@pytest.fixture(scope="module")
def data():
    config = articles.Config(**EMBEDDED)
    return articles.load(config, *articles.prepare(config))


def rng(*name):
    return Streams(("test", *name), (0,))


def text_of(data, items):
    return "".join(data.decode(items)).replace(data.mark, "")


def local(folder, **change):
    """A folder in the layout of the archive, and settings that read it."""
    folder.mkdir(exist_ok=True)
    for name, times in (("train", 40), ("valid", 8), ("test", 9)):
        (folder / f"wiki.{name}.raw").write_text("".join(TEXT) * times, encoding="utf-8")
    small = {"train": 20, "validation": None, "test": None, "block": 16, "vocabulary": 300, "remainder_every": None}
    return articles.Config(source="local", path=str(folder), **small | change)


def made(config):
    return articles.load(config, *articles.prepare(config))


# lines and blocks


def letters():
    """A tokenizer of one token a byte, so that blocks can be written by hand."""
    return bpe.train([], 257, corpora.MARK)


def test_blocks_by_hand():
    tokenizer = letters()
    a, b, c, d = (bpe.encode(tokenizer, [x]).values[0] for x in "abcd")
    rows = lines.encode(tokenizer, ["abc", "", "d", "ab"], 0)
    assert rows.values.tolist() == [0, a, b, c, 0, 0, d, 0, a, b]
    assert rows.lengths.tolist() == [4, 1, 2, 3]
    cut = lines.cut(rows, 4, None, "it")
    assert cut.blocks.tolist() == [[0, a, b, c], [0, 0, d, 0]]
    assert (cut.starts.tolist(), cut.tokens) == ([0, 4], 10)
    # of each two lines the rest is dropped: the second block does not go on where the first ends
    cut = lines.cut(rows, 4, 2, "it")
    assert cut.blocks.tolist() == [[0, a, b, c], [0, d, 0, a]]
    assert cut.starts.tolist() == [0, 5]
    assert lines.cut(rows, 3, 3, "it").blocks.tolist() == [[0, a, b], [c, 0, 0], [0, a, b]]
    assert lines.cut(rows, 3, 3, "it").first(2).tokens == 6
    bare = lines.encode(tokenizer, ["abc", "", "d"], None)
    assert bare.values.tolist() == [a, b, c, d]
    assert bare.lengths.tolist() == [3, 0, 1]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(2, 6), st.none() | st.integers(1, 8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_blocks_are_the_text_without_the_rests(lengths, block, every):
    rows = Ragged.of([range(i * 10, i * 10 + n) for i, n in enumerate(lengths)])
    groups = [lengths[i : i + (every or len(lengths))] for i in range(0, len(lengths), every or len(lengths))]
    if not any(sum(group) >= block for group in groups):
        with pytest.raises(DataError, match="raise `remainder_every`" if sum(lengths) >= block else "lower `block`"):
            lines.cut(rows, block, every, "it")
        return
    cut = lines.cut(rows, block, every, "it")
    assert len(cut.blocks) == sum(sum(group) // block for group in groups)
    for row, start in zip(cut.blocks, cut.starts, strict=True):
        np.testing.assert_array_equal(row, rows.values[start : start + block])
    assert (np.diff(cut.starts) >= block).all()


# the embedded corpora


def test_blocks_of_the_embedded_corpus(data):
    parts = [data.fresh(1), data.fresh(2), data.validation, data.test]
    assert [len(part) for part in parts] == [60, 60, 20, 40]
    for part in parts:
        assert (part.output.lengths == 32).all()
        assert part.context is None
        assert (part.generation == 0).all()
    assert data.provides == {"vocabulary": 768, "end": 0, "block": 32}
    assert (data.size, data.mark) == (60, "</s>")
    np.testing.assert_array_equal(data.fresh(2).index, [np.arange(60, 120)])
    assert data.real().sha256() == data.fresh(1).sha256()
    for n in (0, 3):
        with pytest.raises(ConfigError, match="raise `shards`"):
            data.fresh(n)


def test_blocks_follow_one_another_in_the_text_of_the_grammar(data):
    text = text_of(data, Items.concat([data.real(), data.fresh(2)]))
    source = corpora.grammar("articles")
    drawn = next(corpora.draw(source, "articles", "test", set()))
    assert text_of(data, data.test).startswith("".join(line for line in corpora.lines(drawn[:5])))
    whole = text.split(" = ")[1]
    assert text.startswith(f" = {whole} = \n")  # the text begins with an article
    sentences = [s for t in data.decode(data.real()) for s in complete(t, data.mark)]
    assert len(sentences) > 50
    assert data.acceptor.share(sentences) == 1
    marks = "".join(data.decode(data.real()))
    assert marks.count("\n") - 1 <= marks.count("</s>") <= marks.count("\n") + 1
    assert data.facts["gaps"] == 0  # less than 1000 lines


def test_splits_are_different_texts(data):
    titles = {}
    source = corpora.grammar("articles")
    avoid = set()
    for split in ("test", "validation", "train"):
        chunk = next(corpora.draw(source, "articles", split, avoid))
        titles[split] = set(chunk)
        assert len(titles[split]) == corpora.CHUNK
    assert not titles["test"] & titles["validation"]
    assert not (titles["test"] | titles["validation"]) & titles["train"]
    rows = [set(map(bytes, data.arrays[name])) for name in ("shard1", "shard2", "validation", "test")]
    assert sum(map(len, rows)) == len(set().union(*rows))


def test_preparing_twice_gives_the_same_and_a_smaller_train_set_is_the_beginning(data, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    arrays, facts = articles.prepare(data.config, "another name")
    assert facts == data.facts
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, data.arrays[name], err_msg=name)
    smaller = made(replace(data.config, train=30, shards=1, validation=10))
    np.testing.assert_array_equal(smaller.arrays["shard1"], data.arrays["shard1"][:30])
    np.testing.assert_array_equal(smaller.arrays["validation"], data.arrays["validation"][:10])
    np.testing.assert_array_equal(smaller.arrays["test"], data.arrays["test"])


def test_both_corpora_have_one_tokenizer(data):
    other = made(replace(data.config, corpus="stories", train=20, shards=1))
    np.testing.assert_array_equal(other.arrays["tokenizer"], data.arrays["tokenizer"])
    text = text_of(other, other.real())
    assert re.match(r" (One day|One night|In spring|In winter|At dawn|Long ago) , ", text)
    assert other.acceptor.share(s for t in other.decode(other.real()) for s in complete(t, data.mark)) == 1
    third = made(replace(data.config, vocabulary=300, train=20, shards=1))
    assert third.facts["vocabulary"] == 300


def test_the_floor_is_the_entropy_of_the_test_texts(data):
    source, texts, tokens = corpora.grammar("articles"), [], 0
    for chunk in corpora.draw(source, "articles", "test", set()):
        for text in chunk:
            if tokens < 40 * 32:
                texts.append(text)
                kept = [line for line in corpora.lines([text]) if line]
                tokens += int(lines.encode(data.tokenizer, kept, 0).offsets[-1])
        if tokens >= 40 * 32:
            break
    assert data.facts["texts"]["test"] == len(texts)
    assert data.floor == pytest.approx(-sum(map(source.log_probability, texts)) / tokens)
    scores = np.array([source.log_probability(text) for text in texts])
    assert -scores.mean() == pytest.approx(source.entropy(), abs=4 * scores.std() / np.sqrt(len(scores)))
    kept_empty = made(replace(data.config, empty_lines="kept", train=20, shards=1))
    assert kept_empty.floor < data.floor  # the same nats over more tokens
    assert "</s></s>" in "".join(kept_empty.decode(kept_empty.test))
    assert "</s></s>" not in "".join(data.decode(data.test))


def test_storage_keeps_everything(data, tmp_path):
    store.save_arrays(tmp_path / "data.safetensors", data.arrays)
    store.write_json(tmp_path / "facts.json", data.facts)
    arrays, facts = store.load_arrays(tmp_path / "data.safetensors"), store.read_json(tmp_path / "facts.json")
    again = articles.load(data.config, arrays, facts, (3,))
    assert again.test.sha256() == data.test.sha256()
    assert again.decode(again.real()) == data.decode(data.real())
    assert again.floor == data.floor


def test_facts_count_what_was_made(data):
    first, test = data.arrays["shard1"], data.arrays["test"]
    assert data.facts["blocks"] == {"shard1": 60, "shard2": 60, "validation": 20, "test": 40}
    assert data.facts["types"]["shard1"] == len(np.unique(first))
    assert data.facts["test_tokens_seen"] == pytest.approx(np.mean([t in first for t in test.ravel()]))
    p = np.bincount(first.ravel()) / first.size
    assert data.facts["unigram_entropy"] == pytest.approx(-sum(x * np.log(x) for x in p if x))
    assert data.facts["source"] == "embedded articles grammar"
    assert data.facts["mean_length"]["shard1"] == 32


def test_small_articles_import_no_torch_and_no_pandas():
    heavy = ("torch", "pandas", "scipy", "transformers")
    code = f"import sys, collapse.datasets.articles; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


# contexts, prompts, corrections


def test_contexts_are_the_blocks_in_order_and_come_again(data):
    contexts = data.contexts(130, rng("contexts"))
    assert (contexts.shape, contexts.dtype) == ((130, 32), np.int64)
    np.testing.assert_array_equal(contexts, data.arrays["shard1"][np.arange(130) % 60])


def test_prompts_are_outputs(data):
    np.testing.assert_array_equal(data.prompts(data.test), data.arrays["test"])
    with pytest.raises(DataError, match=r"blocks of one length, got \[1, 2\]"):
        data.prompts(Items.make(Ragged.of([[1], [1, 2]]), generation=1))


def drawn(data, count, start=0):
    """Items as a model draws them."""
    blocks = np.random.default_rng(0).integers(1, 700, (count, 32)).astype(np.uint16)
    items = Items.make(Ragged.of(blocks), generation=2, logprob=np.zeros((1, count)))
    return items.labelled(2, start)


def test_correcting_all_items_gives_the_next_blocks_of_the_text(data):
    fixed = data.correct(drawn(data, 60), 1.0, rng("correct"))
    np.testing.assert_array_equal(fixed.output.values.reshape(60, 32), np.roll(data.arrays["shard1"], -1, axis=0))
    assert fixed.real_fraction().tolist() == [1.0]
    assert fixed.logprob is None
    np.testing.assert_array_equal(fixed.index[0], (np.arange(60) + 1) % 60)
    # item 60 + i continues block i, too; items are found by their number, wherever they stand
    shuffled = drawn(data, 60, start=60).take(np.arange(60)[None, ::-1])
    fixed = data.correct(shuffled, 1.0, rng("correct"))
    np.testing.assert_array_equal(fixed.output[0], data.arrays["shard1"][0])
    np.testing.assert_array_equal(fixed.output[59], data.arrays["shard1"][1])


def test_correcting_a_share_replaces_so_many(data):
    items = drawn(data, 60)
    fixed = data.correct(items, 0.1, rng("correct"))
    changed = np.flatnonzero((fixed.output.values != items.output.values).reshape(60, 32).any(1))
    np.testing.assert_array_equal(changed, np.flatnonzero(fixed.generation[0] == 0))
    assert len(changed) == 6
    for i in changed:
        np.testing.assert_array_equal(fixed.output[i], data.arrays["shard1"][(i + 1) % 60])
    again = data.correct(items, 0.1, rng("correct"))
    assert again.sha256() == fixed.sha256() != data.correct(items, 0.1, rng("other")).sha256()
    assert data.correct(items, 0.0, rng("correct")) is items
    assert data.correct(data.real(), 1.0, rng("correct")).sha256() == data.real().sha256()


def test_corrupt_replaces_tokens_by_draws_from_the_unigram_distribution(data):
    items = data.real()
    assert data.corrupt(items, 0.0, rng("none")) is items
    full = data.corrupt(items, 1.0, rng("full"))
    p = data.counts / data.counts.sum()
    found = np.bincount(full.output.values, minlength=768) / 1920
    assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / 1920)).all()
    half = data.corrupt(items, 0.5, rng("half"))
    expected = 0.5 * (1 - (p**2).sum())
    assert np.mean(half.output.values != items.output.values) == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / 1920)
    )


def test_rare_tokens_make_up_at_most_a_tenth_and_are_the_rarest(data):
    rare = data.rare_tokens
    assert 0.08 < data.counts[rare].sum() / data.counts.sum() <= 0.1
    assert data.counts[rare].max() <= data.counts[~rare].min()


@pytest.mark.parametrize("marks", [0, 5])
def test_losses_of_token_types_are_reduced_to_those_of_rare_ones_and_of_all_but_the_mark(data, marks):
    class Family:
        @staticmethod
        def evaluate(model, items, rng):
            count = np.ones((1, 768))
            count[0, 0] = marks
            return {"cross_entropy": np.ones(1), "token_loss": np.arange(768.0)[None] + 7, "token_count": count}

    metrics = evaluate(Family, None, data, data.test, None)
    assert metrics.keys() == {"cross_entropy", "rare_cross_entropy"} | ({"unmarked_cross_entropy"} if marks else set())
    assert metrics["rare_cross_entropy"] == pytest.approx(np.flatnonzero(data.rare_tokens).mean() + 7)
    if marks:
        assert metrics["unmarked_cross_entropy"] == pytest.approx(np.arange(1, 768).mean() + 7)
    plain = {"cross_entropy": np.ones(1)}
    assert data.reduce(plain) == plain


def test_truth_of_blocks_is_unknown_and_chains_run_alone(data):
    assert data.truth(data.test) is None
    with pytest.raises(ConfigError, match="one chain at a time"):
        articles.load(data.config, data.arrays, data.facts, (0, 1))


# files


def test_local_files_in_the_layout_of_the_archive(tmp_path):
    data = made(local(tmp_path / "wikitext"))
    assert data.floor is None is data.acceptor
    assert (
        text_of(data, data.real())
        == "".join(line for line in TEXT * 40 if line.strip())[: len(text_of(data, data.real()))]
    )
    assert data.facts["vocabulary"] <= 300
    assert data.facts["lines"] == {"train": 240, "validation": 48, "test": 54}
    assert data.facts["test_from"].startswith("the official test split")
    marks = "".join(data.decode(data.test))
    assert marks.startswith("</s> = Wye = \n</s></s> The Wye")
    bare = made(local(tmp_path / "wikitext", bos_per_line=False))
    assert "</s>" not in "".join(bare.decode(bare.test))
    dropped = made(local(tmp_path / "wikitext", empty_lines="dropped", tokenizer="embedded", vocabulary=768))
    assert dropped.facts["lines"]["train"] == 160
    shared = articles.load(articles.Config(**EMBEDDED), *articles.prepare(articles.Config(**EMBEDDED)))
    np.testing.assert_array_equal(dropped.arrays["tokenizer"], shared.arrays["tokenizer"])


def test_all_blocks_of_a_split_are_taken_where_no_number_is_given(tmp_path):
    data = made(local(tmp_path / "wikitext", train=None))
    tokens = data.facts["tokens"]
    assert data.facts["blocks"] == {
        "shard1": tokens["train"] // 16, "validation": tokens["validation"] // 16, "test": tokens["test"] // 16
    }  # fmt: skip
    each = tokens["train"] // 40
    assert each % 16 == 0 < each % 13
    for block, gaps in ((16, 0), (13, 39)):  # a batch is an article, all have the same tokens
        batches = made(local(tmp_path / "wikitext", train=None, block=block, remainder_every=6))
        assert batches.size == 40 * (each // block)
        assert batches.facts["gaps"] == gaps


def test_named_files_and_parquet_give_the_same_blocks(tmp_path):
    data = made(local(tmp_path / "wikitext"))
    for name in ("train", "valid", "test"):
        (tmp_path / "wikitext" / f"wiki.{name}.raw").rename(tmp_path / "wikitext" / f"my {name}.txt")
    files = {"train": "my train.txt", "validation": "my valid.txt", "test": "my test.txt"}
    named = made(local_named(tmp_path / "wikitext", files))
    parquet = tmp_path / "parquet" / wikitext.FOLDER
    parquet.mkdir(parents=True)
    for split, name in files.items():
        rows = (tmp_path / "wikitext" / name).read_text().splitlines(keepends=True)
        rows = [row if row.strip() else "" for row in rows]  # as the hub has it
        pq.write_table(pa.table({"text": rows}), parquet / f"{split}-00000-of-00001.parquet", row_group_size=7)
    columns = made(replace(named.config, path=str(tmp_path / "parquet"), files=None))
    inside = made(replace(named.config, path=str(parquet), files=None))
    for other in (named, columns, inside):
        for name, array in data.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


def local_named(folder, files):
    return articles.Config(
        source="local", path=str(folder), files=files, train=20, validation=None, test=None, block=16, vocabulary=300,
        remainder_every=None,
    )  # fmt: skip


def test_the_hub_is_asked_for_the_pinned_files(tmp_path, monkeypatch):
    folder = tmp_path / wikitext.FOLDER
    folder.mkdir()
    config = local(tmp_path / "wikitext")
    sums = {}
    for name, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        rows = (tmp_path / "wikitext" / f"wiki.{name}.raw").read_text().splitlines(keepends=True)
        path = folder / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table({"text": rows}), path)
        sums[f"{wikitext.FOLDER}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    asked = []

    def fetch(repository, revision, names, checksums):
        asked.append((repository, revision, names, checksums))
        return tuple(tmp_path / name for name in names)

    monkeypatch.setattr(articlesplits.hub, "fetch", fetch)
    hub = replace(config, source="hub", path=None, revision=wikitext.REVISION)
    with pytest.raises(DataError, match=r"train-00000-of-00001.parquet has the SHA-256 \w{64}, not e83889ba"):
        articles.prepare(hub)
    assert asked == [("Salesforce/wikitext", wikitext.REVISION, tuple(wikitext.CHECKSUMS), wikitext.CHECKSUMS)]
    monkeypatch.setattr(wikitext, "CHECKSUMS", sums)
    arrays, facts = articles.prepare(hub)
    assert [file["checked"] for file in facts["files"]] == [True] * 3
    assert facts["source"].startswith(f"hub Salesforce/wikitext@{wikitext.REVISION}: train-00000")
    for name, array in articles.prepare(config)[0].items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test", None, r"wiki\.test\.raw is missing: put it there"),
        ("valid", b" ok \n \xff\xfe \n", r"wiki\.valid\.raw is not UTF-8 at byte 6"),
        ("train", b" \n \n", r"wiki\.train\.raw holds no text"),
        ("train", b"", r"wiki\.train\.raw holds no text"),
        ("train", b" = A = \n", r"16 tokens is longer than the train split \(.*wiki\.train\.raw\), which has"),
        (
            "train",
            "".join(TEXT).encode(),
            r"the train split \(.*\) has \d+ blocks of 16 tokens, 20 are asked for: lower",
        ),
        ("test", "".join(TEXT * 8).encode(), "two of the files are the same"),
    ],
)
def test_wrong_files_are_errors_that_name_them(tmp_path, name, content, message):
    config = local(tmp_path / "wikitext")
    path = tmp_path / "wikitext" / f"wiki.{name}.raw"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        articles.prepare(config)


def test_more_wrong_files_are_errors(tmp_path):
    config = local(tmp_path / "wikitext")
    with pytest.raises(DataError, match="is no folder"):
        articles.prepare(replace(config, path=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match=r"wiki\.valid\.raw has the SHA-256"):
        articles.prepare(replace(config, sha256={"wiki.valid.raw": "0" * 64}))
    for path in (tmp_path / "wikitext").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match="holds no known layout"):
        articles.prepare(config)
    for path in (tmp_path / "wikitext").iterdir():
        path.rename(path.with_suffix(".raw"))
    with pytest.raises(CollapseError, match=r"did you mean 'wiki\.valid\.raw'"):
        articles.prepare(replace(config, sha256={"wiki.vaild.raw": "0" * 64}))
    with pytest.raises(ConfigError, match="names no file for test"):
        articles.prepare(replace(config, files={"train": "wiki.train.raw", "validation": "wiki.valid.raw"}))
    with pytest.raises(ConfigError, match="split of `files`"):
        articles.prepare(replace(config, files={"training": "wiki.train.raw"}))
    with pytest.raises(DataError, match="gone does not exist"):
        articles.prepare(
            replace(config, files={"train": "wiki.train.raw", "validation": "wiki.valid.raw", "test": "gone"})
        )
    folder = tmp_path / "parquet"
    folder.mkdir()
    for split in wikitext.SPLITS:
        pq.write_table(pa.table({"txt": [split]}), folder / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DataError, match="has no column 'text'"):
        articles.prepare(replace(config, path=str(folder)))
    (folder / "train-00000-of-00001.parquet").rename(folder / "train-00000-of-00002.parquet")
    with pytest.raises(DataError, match="1 of 2 parts"):
        articles.prepare(replace(config, path=str(folder)))
    with pytest.raises(DataError, match=r"no 2 lines of the train split .* raise `remainder_every`"):
        articles.prepare(replace(config, block=200, remainder_every=2))


# tokenizers in files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer as OPT's: special tokens first, the mark of number 2, bytes and merges after them."""
    folder = tmp_path_factory.mktemp("opt")
    tokenizer = bpe.train(TEXT * 3, 300, "<s>")
    plain = json.loads(tokenizer.to_str())["model"]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    kept = [symbol for symbol, _ in sorted(plain["vocab"].items(), key=lambda pair: pair[1]) if symbol != "<s>"]
    vocabulary = {symbol: i for i, symbol in enumerate(special + kept)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in plain["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    names = {"bos_token": {"content": "</s>"}, "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    return folder


def test_a_tokenizer_of_two_files_reads_lines_as_transformers_does(folder):
    transformers = pytest.importorskip("transformers")
    tokenizer, end = tokenfiles.read(folder)
    assert end == 2
    other = transformers.GPT2Tokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), bos_token="</s>", eos_token="</s>", unk_token="</s>",
        pad_token="<pad>",
    )  # fmt: skip
    texts = [*TEXT, " naïve “quotes” — 🐈 @-@ 1 @,@ 000 \n"]
    for text in texts:
        mine = lines.encode(tokenizer, [text], end).values.tolist()
        assert mine == [2, *other(text, add_special_tokens=False)["input_ids"]]


def test_articles_with_a_tokenizer_from_files(folder, tmp_path):
    config = local(tmp_path / "wikitext", tokenizer=str(folder), vocabulary=None)
    data = made(config)
    size = tokenfiles.read(folder)[0].get_vocab_size()
    assert (data.end, data.mark, data.provides["vocabulary"]) == (2, "</s>", size)
    assert data.decode(data.test)[0].startswith("</s> = Wye = \n</s></s> The")
    padded = made(replace(config, vocabulary=320))
    assert padded.provides["vocabulary"] == 320 == len(padded.counts)
    with pytest.raises(DataError, match=f"has {size} tokens: set `vocabulary`"):
        articles.prepare(replace(config, vocabulary=size - 1))
    grammar = made(
        articles.Config(**EMBEDDED | {"tokenizer": str(folder), "vocabulary": None, "train": 10, "shards": 1})
    )
    assert grammar.end == 2
    assert grammar.floor > 0


def test_a_mark_that_stands_in_the_text_is_text(folder, tmp_path):
    config = local(tmp_path / "wikitext", tokenizer=str(folder), vocabulary=None, train=2)
    with (tmp_path / "wikitext" / "wiki.train.raw").open("r+") as file:
        file.write(" a </s> b <unk> \n")
    for tokenizer, vocabulary in ((str(folder), None), (None, 300), ("embedded", 300)):
        data = made(replace(config, tokenizer=tokenizer, vocabulary=vocabulary))
        row = data.arrays["shard1"].ravel()
        assert (row == data.end).tolist().index(True, 1) > 12  # the line has one mark, before it
        assert "".join(data.decode(data.real())).startswith("</s> a </s> b <unk> \n</s>")


def test_one_file_is_the_same_tokenizer_as_two(folder, tmp_path):
    tokenizer, _ = tokenfiles.read(folder)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again, end = tokenfiles.read(tmp_path)
    assert end == 2  # `</s>`, though no file says so
    assert bpe.encode(again, TEXT).values.tolist() == bpe.encode(tokenfiles.read(folder)[0], TEXT).values.tolist()


def test_wrong_tokenizers_are_errors(folder, tmp_path):
    with pytest.raises(DataError, match="holds no tokenizer"):
        tokenfiles.read(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        tokenfiles.read(tmp_path)
    lossy = Tokenizer(models.BPE({"</s>": 0, "a": 1}, []))
    lossy.pre_tokenizer, lossy.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    lossy.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="does not give back all texts"):
        tokenfiles.read(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": "<bos>"}')
    with pytest.raises(DataError, match="has no token <bos>"):
        tokenfiles.read(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text("[]")
    with pytest.raises(DataError, match=r"special_tokens_map\.json is not what a tokenizer needs"):
        tokenfiles.read(tmp_path)


# the config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "embeded"}, "did you mean 'embedded'"),
        ({"corpus": "article"}, "did you mean 'articles'"),
        ({"empty_lines": "drop"}, "did you mean 'dropped'"),
        ({"block": 1}, "at least 2 tokens"),
        ({"block": None}, "block is a whole number above 0, got None"),
        ({"train": 0}, "train is a whole number above 0 or null"),
        ({"shards": 1.5}, "shards is a whole number"),
        ({"remainder_every": 0}, "remainder_every is a whole number above 0 or null"),
        ({"bos_per_line": "yes"}, "true or false"),
        ({"vocabulary": 257}, "from 258"),
        ({"vocabulary": None}, "null goes with a tokenizer from files"),
        ({"train": None}, "leaves no further shards"),
        ({"test": None}, "no end"),
        ({"path": "."}, "`path` goes with `source: local`"),
        ({"files": {"train": "a"}}, "`files` goes with `source: local`"),
        ({"revision": "a" * 40}, "`revision` goes with `source: hub`"),
        ({"sha256": {"a": "0" * 64}}, "`sha256` goes with files"),
        ({"source": "local"}, "needs a `path`"),
        ({"source": "local", "path": ".", "corpus": "stories"}, "`corpus` goes with"),
        ({"source": "local", "path": ".", "files": {"train": "a", "test": "a"}}, "one file twice"),
        ({"source": "local", "path": ".", "sha256": {"a": "12"}}, "64 hexadecimal digits"),
        ({"source": "hub"}, wikitext.REVISION),
        ({"source": "hub", "revision": "main"}, "40 hexadecimal digits"),
    ],
)
def test_wrong_settings_are_errors_that_say_what_to_set(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        articles.Config(**EMBEDDED | change)
