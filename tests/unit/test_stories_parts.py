"""Data sets that are parts of others, first tokens, and the loss on rare tokens."""

import numpy as np
import pytest

from collapse.datasets import stories
from collapse.seeding import Streams

WHOLE = {"train": 300, "shards": 2, "validation": 20, "test": 100, "vocabulary": 400, "max_tokens": 200}
PART = {**WHOLE, "train": 60, "shards": 1, "tokenizer_stories": 300, "drawn_as": "stories"}


def loaded(entry, name):
    config = stories.Config(**entry)
    return stories.load(config, *stories.prepare(config, name), name=name)


@pytest.fixture(scope="module")
def whole():
    return loaded(WHOLE, "stories")


def rng(*name):
    return Streams(("test", *name), (0,))


def test_a_part_has_the_tokens_the_test_set_and_the_first_stories_of_the_whole(whole):
    part = loaded(PART, "stories_fifth")
    assert (part.size, whole.size) == (60, 300)
    for name in ("tokenizer", "test.values", "test.offsets"):
        np.testing.assert_array_equal(part.arrays[name], whole.arrays[name])
    assert part.decode(part.real()) == whole.decode(whole.real().first(60))
    assert "first 300 stories" in part.facts["tokenizer_from"]


def test_a_data_set_of_its_own_name_holds_other_stories(whole):
    other = loaded({**PART, "drawn_as": None}, "stories_fifth")
    assert not set(other.decode(other.test)) & set(whole.decode(whole.test))


def test_a_part_of_files_has_the_tokens_and_the_first_stories_of_the_whole(tmp_path):
    texts = [f"Story {n}: " + "Lily saw a bird. " * (n % 5 + 1) for n in range(60)]
    path = tmp_path / "stories.txt"
    path.write_text("".join(f"{t}\n<|endoftext|>\n" for t in texts))
    entry = {"source": "local", "path": str(path), "train": 30, "validation": 2, "test": 5}
    entry |= {"vocabulary": 300, "max_tokens": 100}
    large = loaded(entry, "all")
    small = loaded({**entry, "train": 6, "tokenizer_stories": 30, "drawn_as": "all"}, "fifth")
    np.testing.assert_array_equal(small.arrays["tokenizer"], large.arrays["tokenizer"])
    assert small.decode(small.real()) == large.decode(large.real().first(6))


def test_contexts_are_first_tokens_of_real_stories(whole):
    drawn = whole.contexts(5000, rng("contexts"))
    assert drawn.shape == (5000, 1)
    assert drawn.dtype == np.int64
    texts = whole.real().output
    firsts = np.bincount([texts[i][0] for i in range(len(texts))], minlength=400) / len(texts)
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=400) / 5000, firsts, atol=0.03)
    np.testing.assert_array_equal(drawn, whole.contexts(5000, rng("contexts")))


def test_contexts_do_not_move_the_stream_of_the_samples(whole):
    streams = rng("samples")
    whole.contexts(10, streams)
    assert streams.alone.random() == rng("samples").alone.random()


def test_rare_tokens_are_the_rarest_ones_that_make_up_a_tenth(whole):
    counts = np.bincount(whole.real().output.values, minlength=400)
    counts[whole.end] = whole.size
    rare = whole.rare_tokens
    share = counts[rare].sum() / counts.sum()
    assert 0.1 - counts[~rare].min() / counts.sum() < share <= 0.1
    assert counts[rare].max() <= counts[~rare].min()


def test_the_loss_on_rare_tokens_is_a_mean_over_tokens(whole):
    count = np.zeros((1, 400))
    first, second = np.flatnonzero(whole.rare_tokens)[:2]
    common = np.flatnonzero(~whole.rare_tokens)[0]
    count[0, [first, second, common]] = 3, 1, 10
    loss = count * 0
    loss[0, [first, second, common]] = 6, 4, 100
    found = whole.reduce({"cross_entropy": np.ones(1), "token_loss": loss, "token_count": count})
    assert set(found) == {"cross_entropy", "rare_cross_entropy"}
    assert found["rare_cross_entropy"].tolist() == [2.5]
    assert whole.reduce({"token_loss": loss * 0, "token_count": count * 0}) == {}
    assert whole.reduce({"tokens": np.ones(1)}) == {"tokens": np.ones(1)}
