"""Items: taking, joining, provenance and storage, dense and ragged; and streams of them without end."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse.items import Endless, Items, Ragged
from collapse.seeding import stream
from collapse.store import load_arrays, save_arrays

TEXTS = st.lists(st.lists(st.integers(0, 65535), max_size=6), max_size=8)


def forall(*strategies):
    return lambda test: settings(derandomize=True, deadline=None, max_examples=60)(given(*strategies)(test))


def rows(ragged):
    return [sequence.tolist() for sequence in ragged]


def dense(chains=3, count=5, generation=2, start=0, shape=(2,)):
    rng = stream("items", chains, count, generation, start)
    output = rng.random((chains, count, *shape))
    context, logprob = rng.random((chains, count)), rng.random((chains, count))
    return Items.make(output, generation=generation, start=start, context=context, logprob=logprob)


def ragged(sequences=((1, 2), (), (3,), (4, 5, 6)), generation=1, **more):
    return Items.make(Ragged.of(sequences), generation=generation, **more)


def same(a, b):
    a, b = a.arrays(), b.arrays()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


# ragged


@forall(TEXTS)
def test_ragged_holds_what_it_is_given(texts):
    made = Ragged.of(texts)
    assert rows(made) == texts
    assert made.lengths.tolist() == [len(t) for t in texts]
    assert (len(made), made.values.dtype, made.offsets.dtype) == (len(texts), np.uint16, np.int64)


@forall(TEXTS.filter(bool), st.data())
def test_ragged_take_is_fancy_indexing(texts, data):
    index = data.draw(st.lists(st.integers(-len(texts), len(texts) - 1), max_size=12))
    assert rows(Ragged.of(texts).take(np.array(index, dtype=int))) == [texts[i] for i in index]


@forall(st.lists(TEXTS, min_size=1, max_size=4))
def test_ragged_concat_is_list_concatenation(sets):
    assert rows(Ragged.concat([Ragged.of(s) for s in sets])) == [text for s in sets for text in s]


def test_ragged_refuses_values_that_do_not_fit():
    for values in ([70000], np.array([-1]), np.array([1 << 20])):
        with pytest.raises(ValueError, match="do not fit uint16"):
            Ragged.of([[1], values])
    assert rows(Ragged.of([[70000]], dtype=np.int32)) == [[70000]]


@pytest.mark.parametrize("place", [4, -1])
def test_ragged_has_no_sequence_outside(place):
    with pytest.raises(IndexError):
        Ragged.of([[1], [2], [3], []])[place]


# items


def test_make_numbers_items_of_one_source():
    items = dense(start=10)
    assert (items.chains, len(items)) == (3, 5)
    assert items.index.tolist() == [list(range(10, 15))] * 3
    assert (items.generation == 2).all()
    assert (items.generation.dtype, items.index.dtype) == (np.int32, np.int64)


def test_items_of_different_numbers_are_refused():
    whole = dense()
    for field in ("output", "index", "context", "logprob"):
        values = {f.name: getattr(whole, f.name) for f in fields(Items)}
        with pytest.raises(ValueError, match="different numbers"):
            Items(**{**values, field: values[field][:, :-1]})
        with pytest.raises(ValueError, match="different numbers"):
            Items(**{**values, field: values[field][:-1]})
    with pytest.raises(ValueError, match="different numbers"):
        Items.make(Ragged.of([[1], [2]]), generation=0, logprob=np.zeros((2, 2)))


def test_take_picks_chain_by_chain_with_all_that_belongs_to_an_item():
    items, index = dense(), np.array([[4, 0], [1, 1], [2, 3]])
    taken = items.take(index)
    for s in range(3):
        for place, i in enumerate(index[s]):
            for field in fields(Items):
                assert np.array_equal(getattr(taken, field.name)[s, place], getattr(items, field.name)[s, i])
    # the layout in memory decides in which order sums add up
    assert items.take(np.asfortranarray(index)).output.flags.c_contiguous


def test_take_of_texts():
    items = ragged(context=Ragged.of([[7], [8, 8], [], [9]]), logprob=np.array([[0.1, 0.2, 0.3, 0.4]]), start=5)
    taken = items.take(np.array([[3, 1, 3]]))
    assert rows(taken.output) == [[4, 5, 6], [], [4, 5, 6]]
    assert rows(taken.context) == [[9], [8, 8], [9]]
    assert taken.index.tolist() == [[8, 6, 8]]
    assert taken.logprob.tolist() == [[0.4, 0.2, 0.4]]


@pytest.mark.parametrize("make", [dense, ragged])
def test_first(make):
    items = make()
    assert items.first(len(items)) is items
    assert same(items.first(2), items.take(np.broadcast_to(np.arange(2), (items.chains, 2))))
    assert len(items.first(0)) == 0
    with pytest.raises(ValueError, match=f"9 items asked for, {len(items)} there"):
        items.first(9)


def test_concat_keeps_order_and_provenance():
    a, b = dense(generation=0), dense(count=2, generation=3, start=40)
    joined = Items.concat([a, b])
    assert joined.generation[1].tolist() == [0] * 5 + [3] * 2
    assert joined.index[1].tolist() == [0, 1, 2, 3, 4, 40, 41]
    assert np.array_equal(joined.output, np.concatenate([a.output, b.output], axis=1))
    assert np.array_equal(joined.context, np.concatenate([a.context, b.context], axis=1))
    assert np.array_equal(joined.logprob, np.concatenate([a.logprob, b.logprob], axis=1))
    assert joined.real_fraction() == pytest.approx(5 / 7)
    assert Items.concat([a]) is a
    texts = Items.concat([ragged(), ragged([[9]], generation=0)])
    assert rows(texts.output) == [[1, 2], [], [3], [4, 5, 6], [9]]
    assert texts.generation.tolist() == [[1, 1, 1, 1, 0]]


def test_concat_then_take_gives_the_parts_back():
    a, b = dense(generation=0), dense(generation=3)
    joined = Items.concat([a, b])
    assert same(joined.first(5), a)
    assert same(joined.take(np.broadcast_to(np.arange(5, 10), (3, 5))), b)


def test_concat_drops_log_probabilities_of_some_but_no_context():
    a = ragged(logprob=np.zeros((1, 4)))
    assert Items.concat([a, ragged()]).logprob is None
    assert Items.concat([a, a]).logprob.shape == (1, 8)
    with pytest.raises(ValueError, match="contexts"):
        Items.concat([a, ragged(context=Ragged.of([[1]] * 4))])


def test_labelled_changes_provenance_alone():
    items = dense()
    other = items.labelled(7, 100)
    assert (other.generation == 7).all()
    assert other.generation.dtype == np.int32
    assert other.index.tolist() == [list(range(100, 105))] * 3
    assert other.output is items.output
    assert (items.generation == 2).all()


def test_real_fraction_of_each_chain():
    generation = np.array([[0, 0, 1, 2], [0, 3, 3, 3]], dtype=np.int32)
    items = Items(np.zeros((2, 4)), generation, np.zeros((2, 4), dtype=np.int64))
    assert items.real_fraction().tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "items",
    [dense(), ragged(), ragged(context=Ragged.of([[1]] * 4)), ragged([]), Items.make(np.ones((1, 3)), generation=0)],
)
def test_storage_gives_the_same_back(items, tmp_path):
    assert same(Items.of_arrays(items.arrays()), items)
    save_arrays(tmp_path / "items", items.arrays())
    assert same(Items.of_arrays(load_arrays(tmp_path / "items")), items)


def test_sha256_sees_what_items_are_and_where_they_are_from():
    items = ragged(logprob=np.zeros((1, 4)))
    assert items.sha256() == ragged().sha256()  # not the log-probabilities
    others = [
        ragged(((1, 2), (), (3,), (4, 5, 7))),
        ragged(((1,), (2,), (3,), (4, 5, 6))),  # the same tokens, cut elsewhere
        ragged(generation=2),
        ragged(start=1),
        ragged(context=Ragged.of([[1]] * 4)),
        items.take(np.array([[0, 1, 3, 2]])),
    ]
    assert len({items.sha256(), *(o.sha256() for o in others)}) == 1 + len(others)
    assert len(items.sha256()) == 64


# streams without end


def counted(size=5, model=None):
    """A stream of dense items, and the numbers of the parts that were drawn for it."""
    asked = []

    def part(number):
        asked.append(number)
        return dense(count=size, start=number * size)

    return Endless(part, size, model), asked


def texts_without_end(size=3):
    return Endless(lambda number: ragged([[number] * (i + 1) for i in range(size)], start=number * size), size)


@forall(st.lists(st.integers(1, 17), min_size=1, max_size=8))
def test_batches_of_a_stream_cross_parts_and_nothing_comes_twice(sizes):
    stream_, asked = counted()
    batches = [stream_.batch(size) for size in sizes]
    assert [len(batch) for batch in batches] == sizes
    total = sum(sizes)
    assert np.concatenate([batch.index for batch in batches], axis=1).tolist() == [list(range(total))] * 3
    assert asked == list(range(-(-total // 5)))  # each part is drawn once, and none before it is needed
    whole = Items.concat([dense(start=5 * number) for number in range(-(-total // 5))])
    assert same(Items.concat(batches), whole.first(total))


@forall(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_batches_of_texts_without_end(sizes):
    stream_ = texts_without_end()
    batches = [stream_.batch(size) for size in sizes]
    whole = [[number] * (i + 1) for number in range(sum(sizes)) for i in range(3)]
    assert [text for batch in batches for text in rows(batch.output)] == whole[: sum(sizes)]
    assert [i for batch in batches for i in batch.index[0].tolist()] == list(range(sum(sizes)))


def test_a_stream_has_the_size_of_a_part():
    stream_, asked = counted(size=4, model="model")
    assert (len(stream_), stream_.size, stream_.model) == (4, 4, "model")
    assert asked == []


def test_sha256_of_a_stream_is_that_of_its_first_part_wherever_it_is_read():
    stream_, _ = counted()
    first = stream_.sha256()
    assert first == dense(count=5).sha256()
    assert stream_.batch(7).index[0].tolist() == list(range(7))  # nothing was lost to it
    assert stream_.sha256() == first
    assert stream_.batch(2).index[0].tolist() == [7, 8]
    assert counted(size=6)[0].sha256() != first
