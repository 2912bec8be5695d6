"""What a conditional model continues: real items, or the synthetic ones that its generation was fitted on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from collapse.commands.fit import fit
from collapse.commands.measure import measure
from collapse.commands.prepare import prepare
from collapse.datasets import gaussian as data_module
from collapse.errors import DataError
from collapse.families import gaussian as family
from collapse.items import Items
from collapse.loop import Cell, draw, prompted
from collapse.policies import synthetic
from collapse.samplers import Sampler
from tests.chains import DATA, LAST, SIZE, Folder, chain, same_bytes

CELL = Cell("normal", "moments", "p", "next", "all")
REAL = {"kind": "greedy", "max_tokens": 5, "start": "continuation"}
SYNTHETIC = {**REAL, "prompts": "synthetic"}


@pytest.fixture
def contexts(monkeypatch):
    """What each draw of the Gaussian family continued, in order; half of it is in what is drawn."""
    exact, found = family.sample, []

    def sample(model, contexts, sampler, rng):
        found.append(contexts)
        drawn = exact(model, contexts.shape[1], sampler, rng)
        return replace(drawn, output=drawn.output + 0.5 * contexts)

    monkeypatch.setattr(family, "sample", sample)
    monkeypatch.setattr(data_module.Gaussian, "contexts", lambda self, count, rng: self.real().first(count).output)
    monkeypatch.setattr(data_module.Gaussian, "prompts", lambda self, items: items.output, raising=False)
    return found


def test_generation_1_continues_real_items_and_later_ones_what_the_sampler_says():
    for sampler, expected in (
        (None, [False, False, False]),
        (SimpleNamespace(), [False, False, False]),
        (SimpleNamespace(prompts="real"), [False, False, False]),
        (SimpleNamespace(prompts="synthetic"), [False, True, True]),
    ):
        assert [prompted(sampler, k) for k in (1, 2, 7)] == expected


def drawn(count, prompts, parts=None, size=4):
    """What a draw asks of the data set, and what the family is given; and the items."""
    asked, given = [], []

    def contexts(n, rng):
        asked.append(n)
        return f"contexts of {rng.name[-1]}"

    def sample(model, contexts, sampler, rng):
        given.append(contexts)
        return Items.make(rng.normal(size), generation=-1)

    data = SimpleNamespace(contexts=contexts, prompts=lambda items: items.output[0].tolist())
    items = draw(
        CELL, 2, count, model=None, family=SimpleNamespace(sample=sample), data=data, sampler=None, seeds=(0,),
        size=size, parts=parts, prompts=prompts,
    )  # fmt: skip
    return asked, given, items


def test_a_draw_continues_the_prompts_that_it_is_handed():
    prompts = Items.make(np.arange(100.0, 106.0)[None], generation=1)
    asked, given, items = drawn(4, prompts)
    assert (asked, given) == ([], [[100, 101, 102, 103]])
    assert items.index[0].tolist() == [0, 1, 2, 3]
    # each part of N items continues the same N prompts, with draws of its own
    asked, given, items = drawn(7, prompts)
    assert (asked, given) == ([], [[100, 101, 102, 103]] * 2)
    assert len(set(items.output[0])) == 8
    assert drawn(4, prompts, parts=[1])[1] == [[100, 101, 102, 103]]
    with pytest.raises(ValueError, match="4 items asked for, 3 there"):
        drawn(4, prompts.first(3))


def test_a_draw_without_prompts_asks_the_data_set():
    assert drawn(7, None)[:2] == ([4, 4], ["contexts of 0", "contexts of 1"])


def of(folder, n):
    """The items of S_n that later generations are fitted on."""
    return folder.whole().read(synthetic(n), SIZE).output


@pytest.mark.parametrize(
    ("policy", "selector"),
    [
        ({"kind": "replace"}, "all"),
        ({"kind": "replace"}, "half"),
        ({"kind": "accumulate", "init": "first"}, "all"),
        ({"kind": "real_only"}, "all"),
        ({"kind": "real_fraction", "share": 0.3}, "third"),
    ],
)
def test_jobs_continue_the_items_of_the_generation_before(tmp_path, contexts, policy, selector):
    folder = Folder(tmp_path, policy, seed=3, selector=selector, sampler=SYNTHETIC)
    prepare(tmp_path, "normal", DATA)
    folder.one(1)
    real = folder.whole().data.real().output
    assert contexts
    assert all(np.array_equal(given, real) for given in contexts)
    for n in range(2, LAST + 1):
        contexts.clear()
        folder.one(n)
        before = of(folder, n - 1)
        assert contexts
        assert all(np.array_equal(given, before) for given in contexts)
        assert not np.array_equal(before, real)
        found = folder.whole().samples(n, SIZE)
        model = family.load(folder.path(n) / "model.safetensors")
        assert abs(found.output - 0.5 * before - model.mean).mean() < 3 * model.sd


@pytest.mark.parametrize("selector", ["all", "half"])
@pytest.mark.parametrize("kind", ["replace", "accumulate", "real_only", "replace_multiple"])
def test_files_and_memory_give_the_same_bytes(tmp_path, contexts, kind, selector):
    folder = Folder(tmp_path, {"kind": kind}, seed=3, selector=selector, sampler=SYNTHETIC).run()
    same_bytes(folder, chain({"kind": kind}, (3,), selector, name="policy", sampler=Sampler(**SYNTHETIC)))


def test_real_prompts_are_of_no_generation(tmp_path, contexts):
    folder = Folder(tmp_path, "replace", seed=3, sampler=REAL, last=3).run()
    real = folder.whole().data.real().output
    assert len(contexts) == 3
    assert all(np.array_equal(given, real) for given in contexts)


def test_many_items_of_a_generation_continue_its_first_n_prompts(tmp_path, contexts):
    folder = Folder(tmp_path, "replace_multiple", seed=3, sampler=SYNTHETIC, last=3).run()
    contexts.clear()
    fit(folder.whole(count=3 * SIZE), 2)
    assert len(contexts) == 3
    assert all(np.array_equal(given, of(folder, 1)) for given in contexts)


def test_prompts_are_read_from_the_samples_of_the_generation_before(tmp_path, contexts):
    """Also where the policy itself reads no samples."""
    folder = Folder(tmp_path, {"kind": "real_only"}, seed=3, sampler=SYNTHETIC).run()
    (folder.path(2) / "samples.safetensors").unlink()
    with pytest.raises(DataError, match=r"cannot read .*gen2.samples\.safetensors"):
        folder.one(3)
    plain = Folder(tmp_path / "plain", {"kind": "real_only"}, seed=3, sampler=REAL).run()
    (plain.path(2) / "samples.safetensors").unlink()
    plain.one(3)


# examples


def shown(folder):
    measure(folder.whole(generations=folder.last), examples=4)
    return json.loads((folder.tables() / "examples.json").read_text())


@pytest.mark.parametrize("selector", ["all", "half"])
def test_examples_are_shown_with_what_they_continue(tmp_path, contexts, selector):
    folder = Folder(tmp_path, "replace", seed=3, selector=selector, sampler=SYNTHETIC, last=3).run()
    data, examples = folder.whole().data, shown(folder)
    prompts = {
        "1": data.real(),
        "2": folder.whole().read(synthetic(1), SIZE),
        "3": folder.whole().read(synthetic(2), SIZE),
    }
    for n, items in prompts.items():
        texts = data.decode(folder.whole().samples(int(n), SIZE))[:4]
        assert [row["text"] for row in examples[n]] == texts
        assert [row["prompt"] for row in examples[n]] == data.decode(items)[:4]


def test_examples_of_real_prompts(tmp_path, contexts):
    folder = Folder(tmp_path, "replace", seed=3, sampler=REAL, last=2).run()
    real, examples = folder.whole().data.decode(folder.whole().data.real())[:4], shown(folder)
    assert [[row["prompt"] for row in examples[n]] for n in ("1", "2")] == [real, real]


@pytest.mark.parametrize("sampler", [{}, {"kind": "greedy", "max_tokens": 5}])
def test_examples_that_continue_nothing_have_no_prompt(tmp_path, sampler):
    folder = Folder(tmp_path, "replace", seed=3, sampler=sampler, last=2).run()
    assert all(set(row) == {"text", "grammatical", "true_logprob"} for rows in shown(folder).values() for row in rows)
