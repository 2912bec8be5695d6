import json
import math
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collapse import store
from collapse.datasets import bpe, hub, splits, stories, storybook, textfiles
from collapse.errors import ConfigError, DataError
from collapse.items import Items, Ragged
from collapse.metrics import stories as metrics
from collapse.seeding import Streams, stream

END = "<|endoftext|>"
EMBEDDED = {"train": 300, "shards": 2, "validation": 40, "test": 200, "vocabulary": 400, "max_tokens": 200}
SMALL = {"source": "local", "train": 6, "validation": 2, "test": 2, "vocabulary": 300, "max_tokens": 100}
TEXTS = [f"Lily saw {n} birds. They sang, and Tim said: «{'la ' * n}»." for n in range(1, 13)]


@pytest.fixture(scope="module")
def data():
    config = stories.Config(**EMBEDDED)
    return stories.load(config, *stories.prepare(config))


def measured(data, items, limit=100_000):
    return metrics.measure(items, metrics.reference(data), data, limit)


def rng(*name):
    return Streams(("test", *name), (0,))


def jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return path


def text(path, texts):
    path.write_text("".join(f"{t}\n{END}\n" for t in texts), encoding="utf-8")
    return path


def parquet(path, texts, column="text"):
    pq.write_table(pa.table({column: texts}), path, row_group_size=4)
    return path


# the embedded source


def test_splits_are_disjoint_distinct_and_of_the_sizes_asked_for(data):
    parts = [data.fresh(1), data.fresh(2), data.validation, data.test]
    assert [len(p) for p in parts] == [300, 300, 40, 200]
    assert data.size == 300
    texts = [t for part in parts for t in data.decode(part)]
    assert len(set(texts)) == len(texts) == 840
    assert all(map(storybook.stories().well_formed, texts))


def test_shards_are_numbered_on_and_all_is_real(data):
    np.testing.assert_array_equal(data.fresh(2).index, [np.arange(300, 600)])
    assert data.fresh(1).sha256() == data.real().sha256()
    assert (data.fresh(2).generation == 0).all()
    for n in (0, 3):
        with pytest.raises(ConfigError, match="raise `shards`"):
            data.fresh(n)


def test_preparing_twice_gives_the_same_and_another_name_another(data, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    arrays, facts = stories.prepare(data.config)
    assert facts == data.facts
    assert arrays.keys() == data.arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, data.arrays[name], err_msg=name)
    other, _ = stories.prepare(data.config, "other")
    assert not np.array_equal(other["shard1.values"], arrays["shard1.values"])


def test_the_test_set_does_not_depend_on_what_is_trained_on(data):
    config = replace(data.config, train=100, shards=1)
    smaller = stories.load(config, *stories.prepare(config))
    assert smaller.decode(smaller.test) == data.decode(data.test)
    assert smaller.decode(smaller.real()) == data.decode(data.real())[:100]


def test_storage_keeps_everything(data, tmp_path):
    store.save_arrays(tmp_path / "data.safetensors", data.arrays)
    store.write_json(tmp_path / "facts.json", data.facts)
    again = stories.load(
        data.config, store.load_arrays(tmp_path / "data.safetensors"), store.read_json(tmp_path / "facts.json"), (3,)
    )
    assert again.test.sha256() == data.test.sha256()
    assert again.decode(again.real()) == data.decode(data.real())
    assert measured(again, again.test) == measured(data, data.test)


def test_truth_and_floor_are_those_of_the_grammar(data):
    truth, texts = data.truth(data.test), data.decode(data.test)
    source = storybook.stories()
    assert truth.shape == (1, 200)
    assert truth[0, 7] == source.log_probability(texts[7])
    predicted = len(data.test.output.values) + 200
    assert data.floor == pytest.approx(-truth.sum() / predicted)
    assert data.facts["grammar_entropy_per_token"] == pytest.approx(source.entropy() * 200 / predicted)
    # a mean of 200 draws of -log p
    assert -truth.mean() == pytest.approx(source.entropy(), abs=4 * truth.std() / math.sqrt(200))
    broken = Items.make(Ragged.of([data.test.output[0][:-1]]), generation=1)
    assert data.truth(broken)[0, 0] == -np.inf


def test_facts_count_what_was_made(data):
    real = data.real().output
    assert data.facts["tokens"]["shard1"] == len(real.values)
    assert data.facts["mean_length"]["test"] == pytest.approx(data.test.output.lengths.mean())
    p = np.bincount(real.values) / len(real.values)
    assert data.facts["unigram_entropy"] == pytest.approx(-sum(x * math.log(x) for x in p if x))
    assert data.facts["vocabulary"] == 400 == data.provides["vocabulary"]
    assert data.facts["source"] == "embedded story grammar"


def test_corrupt_replaces_tokens_by_draws_from_the_unigram_distribution(data):
    items = replace(data.real(), logprob=np.zeros((1, 300)))
    assert data.corrupt(items, 0.0, rng("none")) is items
    half, full = data.corrupt(items, 0.5, rng("half")), data.corrupt(items, 1.0, rng("full"))
    np.testing.assert_array_equal(full.output.offsets, items.output.offsets)
    np.testing.assert_array_equal(full.index, items.index)
    assert half.logprob is None
    p = np.bincount(items.output.values, minlength=400) / len(items.output.values)
    total = len(items.output.values)
    # a token is drawn again with probability sum p^2
    changed, expected = np.mean(half.output.values != items.output.values), 0.5 * (1 - (p**2).sum())
    assert changed == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / total))
    found = np.bincount(full.output.values, minlength=400) / total
    assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / total)).all()


def test_small_answers(data):
    assert data.contexts(17, rng("contexts")).shape == (17, 1)
    assert not (data.real().output.values == data.end).any()
    with pytest.raises(ConfigError, match="one chain at a time"):
        stories.load(data.config, data.arrays, data.facts, (0, 1))


def test_measures_of_real_stories_stand_beside_those_of_other_real_ones(data):
    real, other = measured(data, data.test), measured(data, data.fresh(2))
    assert real["grammatical"] == other["grammatical"] == 1
    assert (real["copied"], other["copied"], measured(data, data.real())["copied"]) == (0, 0, 1)
    assert real["truth_excess"] == pytest.approx(0)
    assert abs(other["truth_excess"]) < 4 * data.truth(data.test).std() * math.sqrt(2 / 200)
    for name in ("distinct_2", "compression_ratio", "unigram_entropy", "vocabulary_coverage", "length_mean"):
        assert other[name] == pytest.approx(real[name], rel=0.1), name
    with pytest.raises(DataError, match="200 texts are measured, 10 are there"):
        measured(data, data.test.first(10))


def test_truncated_stories_are_those_that_reach_the_limit(data):
    lengths = data.test.output.lengths
    limit = int(np.median(lengths))
    assert measured(data, data.test, limit)["truncated"] == pytest.approx((lengths >= limit).mean())
    assert measured(data, data.test)["truncated"] == 0


def test_collapsed_stories_are_told_from_real_ones(data):
    few = data.test.take(np.tile(np.arange(4), 50)[None])
    real, collapsed = measured(data, data.test), measured(data, few)
    assert collapsed["duplicates"] == 1 - 4 / 200
    for name in ("distinct_2", "vocabulary_coverage", "rare_coverage", "attribute_coverage", "unigram_entropy"):
        assert collapsed[name] < real[name], name
    assert collapsed["compression_ratio"] > 3 * real["compression_ratio"]


def test_embedded_stories_are_never_dropped(data):
    with pytest.raises(ConfigError, match=r"an embedded story has \d+ tokens: raise `max_tokens`"):
        stories.prepare(replace(data.config, max_tokens=60))


# the config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "embeded"}, "did you mean 'embedded'"),
        ({"train": 0}, "train is a whole number above 0 or null"),
        ({"validation": None}, "validation is a whole number above 0, got None"),
        ({"shards": 1.5}, "shards is a whole number"),
        ({"vocabulary": 200}, "from 258"),
        ({"vocabulary": 70000}, "to 65536"),
        ({"train": None}, "leaves no further shards"),
        ({"train": None, "shards": 1}, "no end"),
        ({"path": "stories.txt"}, "`source: local`"),
        ({"source": "local"}, "`path` goes with"),
        ({"revision": "a" * 40}, "`source: hub`"),
        ({"source": "hub"}, hub.REVISION),
        ({"source": "hub", "revision": "main"}, "40 hexadecimal digits"),
        ({"sha256": {"a.txt": "12"}}, "64 hexadecimal digits"),
    ],
)
def test_wrong_settings_are_errors_that_say_what_to_set(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        stories.Config(**EMBEDDED | change)


# tokens


def test_tokens_hold_any_text_without_loss():
    tokenizer = bpe.train(TEXTS, 400, END)
    assert tokenizer.token_to_id(END) == 0
    texts = ["", " two  spaces\n", "naïve “quotes” — 🐈", "\x00\t"]
    tokens = bpe.encode(tokenizer, texts)
    assert bpe.decode(tokenizer, tokens) == texts
    assert tokens.values.dtype == np.uint16
    assert not (tokens.values == 0).any()
    again = bpe.unpack(bpe.pack(tokenizer))
    np.testing.assert_array_equal(bpe.encode(again, texts).values, tokens.values)


def test_a_tokenizer_does_not_depend_on_threads_or_hashing():
    # many pairs of equal counts, in a fresh process with other hashes and threads
    words = [" ".join(f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst")] * 3
    code = f"from collapse.datasets import bpe; print(bpe.train({words!r}, 350, {END!r}).to_str())"
    other = [
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()
        for env in ({"TOKENIZERS_PARALLELISM": "false"}, {"RAYON_NUM_THREADS": "2"})
    ]
    assert other[0] == other[1] == bpe.train(words, 350, END).to_str()


def test_importing_stories_needs_no_torch_and_no_pandas():
    code = "import sys, collapse.datasets.stories; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


# files


@pytest.mark.parametrize(("write", "name"), [(text, "a.txt"), (jsonl, "a.jsonl"), (parquet, "a.parquet")])
def test_every_format_gives_the_same_stories(tmp_path, write, name):
    path = write(tmp_path / name, ["", *TEXTS, "  \n"])
    assert [t for t in textfiles.read(path) if t] == TEXTS
    config = stories.Config(**SMALL, path=str(path))
    data = stories.load(config, *stories.prepare(config))
    assert data.facts["found"]["train"] == {"stories": 14, "empty": 2, "duplicates": 0, "elsewhere": 0}
    taken = [t for part in (data.real(), data.validation, data.test) for t in data.decode(part)]
    assert len(taken) == len(set(taken)) == 10
    assert set(taken) <= set(TEXTS)
    assert data.facts["test_from"] == f"cut from {name}"
    assert data.floor is None
    assert data.truth(data.test) is None
    assert "grammatical" not in measured(data, data.test)


def test_a_folder_of_official_files_keeps_their_split(tmp_path):
    text(tmp_path / "TinyStories-train.txt", [*TEXTS, TEXTS[0], TEXTS[1], TEXTS[0]])
    text(tmp_path / "TinyStories-valid.txt", [TEXTS[1], TEXTS[2], TEXTS[2], "Only here."])
    jsonl(tmp_path / "train.jsonl", ["not read"])
    config = stories.Config(**SMALL | {"test": None, "train": None}, path=str(tmp_path))
    data = stories.load(config, *stories.prepare(config))
    assert set(data.decode(data.test)) == {TEXTS[1], TEXTS[2], "Only here."}
    train = data.decode(data.real()) + data.decode(data.validation)
    assert sorted(train) == sorted(set(TEXTS) - {TEXTS[1], TEXTS[2]})
    assert (data.size, len(data.validation)) == (8, 2)
    assert data.facts["found"] == {
        "test": {"stories": 4, "empty": 0, "duplicates": 1, "elsewhere": 0},
        "train": {"stories": 15, "empty": 0, "duplicates": 2, "elsewhere": 3},
    }
    assert data.facts["test_from"] == "the official validation split, TinyStories-valid.txt"
    assert data.facts["validation_from"] == "cut from TinyStories-train.txt"
    assert [f["checked"] for f in data.facts["files"]] == [False, False]


def test_parts_of_a_split_are_read_in_order_and_none_may_miss(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        parquet(tmp_path / f"data/train-0000{i}-of-00003-ab.parquet", TEXTS[4 * i : 4 * i + 4])
    parquet(tmp_path / "data/validation-00000-of-00001-cd.parquet", ["Only here."])
    train, test = textfiles.find(tmp_path)
    assert [t for path in train for t in textfiles.read(path)] == TEXTS
    assert len(test) == 1
    train[1].unlink()
    with pytest.raises(DataError, match="holds 2 of 3 parts: fetch part 00001"):
        textfiles.find(tmp_path)


def test_long_stories_are_dropped_counted_and_replaced(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [t + " more" * 200 * (i % 3 == 0) for i, t in enumerate(TEXTS)])
    tokenizer = bpe.train(TEXTS, 300, END)
    pool = splits.Pool(((path, False),), np.arange(12))
    part, dropped = splits.take(
        pool, 4, everything=False, tokenizer=tokenizer, limit=150, report=lambda *a: None, what="train"
    )
    assert part.texts == [TEXTS[i] for i in (1, 2, 4, 5)]
    assert dropped == 2
    assert bpe.decode(tokenizer, part.tokens) == part.texts
    whole, dropped = splits.take(
        pool, 1, everything=True, tokenizer=tokenizer, limit=150, report=lambda *a: None, what="train"
    )
    assert (len(whole.texts), dropped) == (8, 4)
    config = stories.Config(**SMALL | {"max_tokens": 150}, path=str(path))
    with pytest.raises(DataError, match=r"train set has 8 different stories of at most 150 tokens, 10 .* `max_tokens`"):
        stories.prepare(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 9}, "has 12 different stories, 13 are asked for: lower `train`, `shards`, `validation`"),
        ({"shards": 2}, "12 different stories, 16 are asked for"),
        ({"test": None}, "without a test split: set `test`"),
        ({"sha256": {"a.jsonl": "0" * 64}}, "truncated or another file"),
        ({"sha256": {"b.jsonl": "0" * 64}}, "did you mean 'a.jsonl'"),
    ],
)
def test_asking_for_what_a_file_does_not_hold(tmp_path, change, message):
    path = jsonl(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises((DataError, ConfigError), match=re.escape(message)):
        stories.prepare(stories.Config(**SMALL | change, path=str(path)))


def test_a_test_split_that_is_too_small(tmp_path):
    jsonl(tmp_path / "train.jsonl", TEXTS)
    jsonl(tmp_path / "validation.jsonl", ["Only here."])
    with pytest.raises(DataError, match="test set has 1 different stories"):
        stories.prepare(stories.Config(**SMALL, path=str(tmp_path)))


GOOD = b'{"text": "A cat."}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text", r"a\.csv ends in '\.csv'; stories are read from \.txt, \.parquet, \.jsonl"),
        ("a.txt", b"One story.\nAnother.", r"a\.txt has no '<\|endoftext\|>'"),
        ("a.txt", b"One.<|endoftext|>\nAnother sto", r"a\.txt ends inside a sentence .*truncated"),
        ("a.txt", b"One.<|endoftext|>\nAnother.<|endofte", "truncated"),
        ("a.txt", b"One.<|endoftext|>\nCaf\xe9.<|endoftext|>", r"a\.txt is not UTF-8 at byte 21"),
        ("a.txt", b"One.<|endoftext|>\nCaf\xc3", r"not UTF-8 at byte 21"),
        ("a.txt", b"<|endoftext|>\n \n<|endoftext|>", "no story in it that counts"),
        ("a.txt", b"", "has no"),
        ("a.jsonl", b"", "no story in it that counts"),
        ("a.jsonl", GOOD * 2 + b'{"text": "A do', r"a\.jsonl, line 3 is not valid JSON .*truncated"),
        ("a.jsonl", GOOD + b"{'text': 1}\n" + GOOD, r"line 2 is not valid JSON .*mend or delete"),
        ("a.jsonl", GOOD + b'\n{"story": "A dog."}\n', r"line 3 has no field 'text' \(it has story\)"),
        ("a.jsonl", b'["A dog."]\n', "line 1 has no field 'text'"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: 'text' is int, not a string"),
        ("a.jsonl", b'{"text": "\\ud83d"}\n', "line 1: the text holds half of a character"),
        ("a.jsonl", b'{"text": "A.<|endoftext|>B."}\n', "line 1: the text contains"),
        ("a.jsonl", GOOD + b'{"text": "Caf\xe9"}\n', "not UTF-8 at line 2"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet is truncated or not parquet"),
        ("b.txt", None, r"b\.txt does not exist"),
    ],
)
def test_broken_files_are_errors_that_name_the_place(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        stories.prepare(stories.Config(**SMALL, path=str(path)))


def test_broken_parquet_is_an_error(tmp_path):
    whole = parquet(tmp_path / "whole.parquet", TEXTS).read_bytes()
    cut, flipped, path = tmp_path / "cut.parquet", tmp_path / "flipped.parquet", tmp_path / "a.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    flipped.write_bytes(whole[:4] + bytes(200) + whole[204:])
    for broken in (cut, flipped):
        with pytest.raises(DataError, match=f"{broken.name} is truncated or not parquet"):
            list(textfiles.read(broken))
    with pytest.raises(DataError, match=r"has no column 'text' \(it has story\)"):
        list(textfiles.read(parquet(path, TEXTS, "story")))
    with pytest.raises(DataError, match="row 2: 'text' is NoneType"):
        list(textfiles.read(parquet(path, ["A.", None])))
    with pytest.raises(DataError, match="row 1: 'text' is int"):
        list(textfiles.read(parquet(path, [1, 2])))


def test_folders_without_stories(tmp_path):
    with pytest.raises(DataError, match="no stories in a known layout"):
        textfiles.find(tmp_path)
    text(tmp_path / "TinyStories-train.txt", TEXTS)
    with pytest.raises(DataError, match=r"TinyStories-valid\.txt is missing"):
        textfiles.find(tmp_path)


def test_the_end_of_a_file_with_a_known_checksum_is_not_doubted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(END.join([*TEXTS, "the end without a full stop"]), encoding="utf-8")
    with pytest.raises(DataError, match="inside a sentence"):
        stories.prepare(stories.Config(**SMALL, path=str(path)))
    _, facts = stories.prepare(stories.Config(**SMALL, path=str(path), sha256={"a.txt": store.sha256(path)}))
    assert facts["found"]["train"]["stories"] == 13
    assert facts["files"][0]["checked"]


def test_text_is_read_in_bounded_memory_and_cut_anywhere(tmp_path):
    path, count = tmp_path / "a.txt", 9000
    expected = [f"Zoë met {i} émus. {'ü' * (i % 997)}." for i in range(count)]
    size = path.write_text(END.join(expected) + END, encoding="utf-8")
    assert size > 4 << 20
    tracemalloc.start()
    same = sum(a == b for a, b in zip(textfiles.read(path), expected, strict=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert same == count
    assert peak < 10 << 20
    raw = bytearray(path.read_bytes())
    raw[3_000_000:3_000_002] = b"\xff\xff"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"not UTF-8 at byte (3,000,000|2,999,999)"):
        list(textfiles.read(path))


def test_progress_is_told(tmp_path):
    told = []
    path = jsonl(tmp_path / "a.jsonl", TEXTS)
    stories.prepare(stories.Config(**SMALL, path=str(path)), progress=lambda *step: told.append(step))
    assert told[0] == ("reading stories", 0, None)
    assert told[-1] == ("encoding train stories", 12, 12)


def test_the_order_of_files_is_drawn_by_name(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", TEXTS)
    config = stories.Config(**SMALL, path=str(path))
    data = stories.load(config, *stories.prepare(config, "mine"))
    order = stream("stories", "mine", "train").permutation(12)
    assert data.decode(data.real()) == [TEXTS[i] for i in order[:6]]
