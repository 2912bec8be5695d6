"""What a generation may train on beside sets: streams without end, what an oracle corrects, what a checker accepts."""

import gc
import weakref
from dataclasses import fields, replace
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest

from collapse import loop, policies, selection, store
from collapse.commands.fit import fit, select
from collapse.commands.prepare import prepare
from collapse.datasets import gaussian as data_module
from collapse.errors import ConfigError, TrainingError
from collapse.families import gaussian as family
from collapse.items import Endless, Items
from collapse.loop import Budget, Cell, mix, run_chain, turn
from collapse.policies import REAL, Policy, Share, Source, parse, synthetic
from collapse.samplers import Sampler
from collapse.seeding import Streams
from tests.chains import DATA, LAST, SELECTORS, SIZE, Folder, chain, draw_from_every_stream, same_bytes

CELL = Cell("normal", "moments", "p", "exact", "all")
STREAM = {"kind": "stream"}
BATCH = 3


@pytest.fixture
def able(monkeypatch):
    """A Gaussian family that trains on streams, in batches, and a data set that corrects and judges its items."""
    draw_from_every_stream(monkeypatch)
    on_a_set, seen = family.fit, []

    def fit(items, *, budget, **options):
        if isinstance(items, Endless):
            batches = ceil(budget.passes * len(items) / BATCH)
            items = Items.concat([items.batch(BATCH) for _ in range(batches)])
        seen.append(items)
        return on_a_set(items, budget=budget, **options)

    def correct(self, items, share, rng):
        count = round(share * len(items))
        chosen = rng.each(lambda g: g.permutation(len(items)) < count)
        return replace(items, output=np.where(chosen, self.config.mean, items.output))

    def truth(self, items):
        far = abs(items.output - self.config.mean) > self.config.sd
        return np.where(far, -np.inf, -abs(items.output))

    monkeypatch.setattr(family, "fit", fit)
    monkeypatch.setattr(family, "STREAMS", True, raising=False)
    monkeypatch.setattr(data_module.Gaussian, "correct", correct, raising=False)
    monkeypatch.setattr(data_module.Gaussian, "truth", truth)
    return seen


NEW = [
    (STREAM, "all"),
    ({**STREAM, "init": "first"}, "all"),
    ({**STREAM, "init": "previous"}, "all"),
    ({"kind": "oracle", "share": 0.3}, "all"),
    ({"kind": "oracle", "share": 0.3, "init": "first"}, "valid"),
    ({"kind": "replace"}, "valid"),
    ({"kind": "replace_multiple"}, "valid"),
    ({"kind": "real_fraction", "share": 0.4}, "valid"),
]


@pytest.mark.parametrize(("entry", "selector"), NEW)
def test_files_and_memory_give_the_same_bytes(tmp_path, able, entry, selector):
    folder = Folder(tmp_path, entry, seed=3, selector=selector).run()
    same_bytes(folder, chain(entry, (3,), selector, name="policy"))


@pytest.mark.parametrize(("entry", "selector"), NEW)
def test_chains_side_by_side_are_each_alone(able, entry, selector):
    together = chain(entry, range(3), selector, size=37)
    assert len({made.model.sd[s] for made, _, _ in together for s in range(3)}) == 3 * LAST
    for seed in range(3):
        for (made, _, samples), (alone, _, drawn) in zip(
            together, chain(entry, (seed,), selector, size=37), strict=True
        ):
            assert made.model.sd[seed].tobytes() == alone.model.sd.tobytes()
            for field in fields(Items):
                a, b = getattr(samples, field.name), getattr(drawn, field.name)
                assert (a is b is None) or a[seed].tobytes() == b[0].tobytes()


# streams


def streamed(entry=STREAM, n=3, seeds=(0, 1), **more):
    """What the fit of generation n is told, and what the turn says of it."""
    told = {"drawn": [], "asked": []}

    def fit(items, **options):
        told.update(options, items=items)
        return "fitted"

    def sample(model, contexts, sampler, rng):
        told["drawn"].append((model, contexts, sampler, rng.name, rng.seeds))
        return Items.make(rng.normal(contexts), generation=-1)

    def initial(k):
        told["asked"].append(k)
        return f"model {k}"

    def read(source, count):
        told.setdefault("read", []).append(source)
        return Items.make(np.zeros((len(seeds), count)), generation=source.index)

    options = {
        "family": SimpleNamespace(
            fit=fit, sample=sample, STREAMS=True, budget=lambda *a, **k: Budget(passes=3.0)
        ),
        "data": SimpleNamespace(validation=None, contexts=lambda count, rng: count),
        "config": None, "sampler": "sampler", "initial": initial, "read": read, "seeds": seeds, **more,
    }  # fmt: skip
    told["facts"] = turn(CELL, n, SIZE, policy=parse("p", entry), **options).facts
    return told


def test_a_stream_is_of_the_model_before_without_end():
    told = streamed()
    items = told["items"]
    assert isinstance(items, Endless)
    assert (items.model, items.size, len(items)) == ("model 2", SIZE, SIZE)
    assert "read" not in told  # no set of samples
    assert told["init"] is None
    assert told["weights"] is None
    assert told["budget"] == Budget(passes=3.0)
    told["drawn"].clear()
    seen = Items.concat([items.batch(count) for count in (4, 9, 12)])
    assert (seen.generation == 2).all()
    assert seen.index.tolist() == [list(range(25))] * 2
    names = [("stream", "normal", "moments", "p", "exact", "all", 3, part) for part in range(3)]
    assert told["drawn"] == [("model 2", SIZE, "sampler", name, (0, 1)) for name in names]
    expected = np.concatenate([Streams(name, (0, 1)).normal(SIZE) for name in names], axis=1)
    assert np.array_equal(seen.output, expected[:, :25])


def test_facts_of_a_stream():
    told = streamed()
    first = Items.make(Streams(("stream", *CELL.fitted(3), 0), (0, 1)).normal(SIZE), generation=2)
    assert told["facts"] == {
        "generation": 3,
        "plan": f"stream(2) {SIZE} all | epochs, scratch",
        "items": SIZE,
        "real_fraction": [0.0, 0.0],
        "training_sha256": first.sha256(),
    }
    # what the facts are made of is not lost to the fit
    assert np.array_equal(told["items"].batch(SIZE).output, first.output)
    assert streamed(n=4)["facts"]["training_sha256"] != told["facts"]["training_sha256"]


@pytest.mark.parametrize(
    ("init", "asked", "start"),
    [("scratch", [2], None), ("first", [2, 1], "model 1"), ("previous", [2, 2], "model 2")],
)
def test_a_stream_and_the_weights_to_start_from(init, asked, start):
    told = streamed({**STREAM, "init": init})
    assert told["asked"] == asked
    assert told["init"] == start


def test_generation_1_of_a_stream_is_fitted_on_real_items():
    told = streamed(n=1)
    assert told["read"] == [REAL]
    assert isinstance(told["items"], Items)
    assert told["asked"] == []


def test_what_a_fit_sees_is_not_what_later_jobs_read(able):
    turns = chain(STREAM, (5,), last=3)
    (_, second, third), samples = able, [items for _, _, items in turns]
    assert len(second) == len(third) == BATCH
    for seen, drawn, k in ((second, samples[0], 1), (third, samples[1], 2)):
        assert (seen.generation == k).all()
        assert not set(seen.output[0]) & set(drawn.output[0])


def test_streams_differ_between_seeds_generations_and_policies():
    ends = [streamed(n=n, seeds=(s,))["items"].batch(1).output.item() for n in (2, 3) for s in (0, 1)]
    other = Cell("normal", "moments", "q", "exact", "all")
    told = {}
    turn(
        other, 2, SIZE, policy=parse("q", STREAM), config=None, read=None, seeds=(0,), sampler=None,
        initial=str, data=SimpleNamespace(validation=None, contexts=lambda count, rng: count),
        family=SimpleNamespace(
            STREAMS=True, budget=lambda *a, **k: None, fit=lambda items, **k: told.update(items=items),
            sample=lambda model, contexts, sampler, rng: Items.make(rng.normal(contexts), generation=1),
        ),
    )  # fmt: skip
    ends.append(told["items"].batch(1).output.item())
    assert len(set(ends)) == 5


BESIDE = {
    "share": lambda n, size: (Share((Source("stream", n - 1),), size), Share((REAL,), size)),
    "source": lambda n, size: (Share((synthetic(n - 1), Source("stream", n - 1)), 2 * size),),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_a_stream_beside_another_source_is_refused(monkeypatch, kind):
    monkeypatch.setitem(policies._KINDS, "both", BESIDE[kind])
    policy = Policy("both")
    assert policies.streamed(policy, 1, SIZE) is None  # generation 1 is real whatever the policy
    with pytest.raises(ConfigError, match="'both' puts a stream beside other sources"):
        policies.streamed(policy, 2, SIZE)
    family_ = SimpleNamespace(STREAMS=True, fit=None, budget=None)
    with pytest.raises(ConfigError, match="beside other sources"):
        turn(CELL, 2, SIZE, policy=policy, family=family_, config=None, data=None, read=None, initial=str, seeds=(0,))


@pytest.mark.parametrize("streams", [{}, {"STREAMS": False}])
def test_a_family_that_needs_a_set_is_refused(streams):
    family_ = SimpleNamespace(fit=None, budget=None, sample=None, **streams)
    with pytest.raises(ConfigError, match="recipe 'moments' trains on sets alone, and policy 'p' is a stream"):
        streamed(family=family_)
    told = {}
    family_ = SimpleNamespace(fit=lambda items, **k: told.update(items=items), budget=lambda *a, **k: None, **streams)
    streamed(n=1, family=family_)
    assert len(told["items"]) == SIZE


def test_jobs_and_chains_refuse_a_family_that_needs_a_set(tmp_path):
    with pytest.raises(ConfigError, match="policy 'policy' is a stream"):
        chain(STREAM, name="policy")
    folder = Folder(tmp_path, STREAM, seed=0)
    prepare(tmp_path, "normal", DATA)
    folder.one(1)
    with pytest.raises(ConfigError, match="trains on sets alone"):
        folder.one(2)
    assert not folder.path(2).exists()


def test_a_stream_is_drawn_as_the_sampler_says(tmp_path, able, monkeypatch):
    exact, used = family.sample, []

    def sample(model, contexts, sampler, rng):
        used.append((rng.name[0], sampler))
        return exact(model, contexts, sampler, rng)

    monkeypatch.setattr(family, "sample", sample)
    entry = {"kind": "sample", "temperature": 0.5, "max_tokens": 3}
    Folder(tmp_path, STREAM, seed=0, sampler=entry, last=3).run()
    assert {name for name, _ in used} == {"sample", "stream"}
    assert {sampler for _, sampler in used} == {Sampler(**entry)}
    used.clear()
    chain(STREAM, last=2, sampler="mine")
    assert set(used) == {("sample", "mine"), ("stream", "mine")}


def test_a_model_that_gives_no_samples_has_no_stream():
    silent = SimpleNamespace(
        STREAMS=True, budget=lambda *a, **k: None, fit=lambda items, **k: items.batch(1),
        sample=lambda *a: Items.make(np.zeros((1, 0)), generation=0),
    )  # fmt: skip
    limit = SimpleNamespace(left=50)

    def contexts(count, rng):
        limit.left -= 1
        assert limit.left, "it asks for items for ever"
        return count

    with pytest.raises(TrainingError, match=r"model 2 of .* gave no samples"):
        streamed(family=silent, seeds=(0,), data=SimpleNamespace(validation=None, contexts=contexts))


# models in memory


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ({"kind": "replace"}, [[1], [2], [3], [4]]),
        ({"kind": "replace", "init": "first"}, [[1], [1, 2], [1, 3], [4]]),
        ({"kind": "replace", "init": "previous"}, [[1], [2], [3], [4]]),
        (STREAM, [[1], [2], [3], [4]]),
        ({**STREAM, "init": "first"}, [[1], [1, 2], [1, 3], [4]]),
        ({"kind": "accumulate"}, [[1], [2], [3], [4]]),
    ],
)
def test_a_chain_keeps_the_models_that_are_awaited_alone(able, monkeypatch, entry, kept):
    made, stand_in, there = [], family.fit, []

    def fit(items, **options):
        model = stand_in(items, **options)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(family, "fit", fit)
    data = data_module.Gaussian(data_module.Config(SIZE), (0,), "normal")
    for _ in run_chain(
        CELL, SIZE, LAST, policy=parse("p", entry), family=family, config=family.Config(), data=data, sampler=None,
        selector=selection.parse("all", SELECTORS["all"]), seeds=(0,),
    ):  # fmt: skip
        gc.collect()
        there.append([k for k, model in enumerate(made, 1) if model() is not None])
    assert there == kept


# an oracle


class Expert:
    """A data set that marks what it corrects, and notes what it was asked."""

    def __init__(self):
        self.asked = []

    def correct(self, items, share, rng):
        self.asked.append((len(items), share, rng.name, rng.seeds))
        chosen = rng.each(lambda g: g.permutation(len(items)) < round(share * len(items)))
        return replace(items, output=np.where(chosen, -1.0, items.output))


def corrected(share, n=3, seeds=(0, 1), data=None):
    """The training set of generation n, of items numbered from 0."""

    def read(source, count):
        assert source == synthetic(n - 1)
        return Items.make(np.broadcast_to(np.arange(1.0 * count), (len(seeds), count)), generation=n - 1)

    plan = policies.plan(parse("p", {"kind": "oracle", "share": share}), n, SIZE)
    return mix(plan, SIZE, "epochs", read, data, CELL, n, seeds)[0]


def test_an_oracle_corrects_a_share_with_a_stream_of_its_own():
    expert = Expert()
    items = corrected(0.3, data=expert)
    assert expert.asked == [(SIZE, 0.3, ("correct", "normal", "moments", "p", "exact", "all", 3), (0, 1))]
    assert (items.output == -1).sum(axis=1).tolist() == [3, 3]
    assert np.array_equal(items.output[items.output >= 0], items.index[items.output >= 0])
    assert (items.generation == 2).all()
    again = corrected(0.3, n=4, data=expert)
    assert not np.array_equal(items.output == -1, again.output == -1)
    assert not np.array_equal(items.output[0] == -1, items.output[1] == -1)


def test_an_oracle_of_share_1_corrects_all_and_of_share_0_is_not_asked():
    assert (corrected(1, data=Expert()).output == -1).all()
    expert = Expert()
    plain = corrected(0, data=expert)
    assert expert.asked == []
    assert np.array_equal(plain.output, plain.index)


def test_an_oracle_draws_from_no_stream_of_others(able, monkeypatch):
    names = []

    class Recorded(Streams):
        def __init__(self, name, seeds):
            super().__init__(name, seeds)
            names.append(self.name)

    monkeypatch.setattr(loop, "Streams", Recorded)
    chain({"kind": "oracle", "share": 0.3})
    asked = [name for name in names if name[0] == "correct"]
    assert asked == [("correct", *Cell("normal", "moments", str({"kind": "oracle", "share": 0.3}), "exact",
                                       "all").fitted(n)) for n in range(2, LAST + 1)]  # fmt: skip
    own = [name for name in names if name[0] != "select"]
    assert len(own) == len(set(own))


def test_corrected_items_are_in_the_facts(able):
    plain, oracle = (chain(entry, name="policy") for entry in ({"kind": "replace"}, {"kind": "oracle", "share": 0.3}))
    assert plain[0][0].facts == oracle[0][0].facts
    assert plain[1][0].facts["training_sha256"] != oracle[1][0].facts["training_sha256"]
    assert oracle[1][0].facts["plan"] == f"synthetic(1) {SIZE} first corrected 0.3 | epochs, scratch"
    assert oracle[1][0].facts["real_fraction"] == [0.0]


@pytest.mark.parametrize("entry", [STREAM, {"kind": "oracle", "share": 0.3}])
def test_chains_in_memory_have_single_items_where_a_policy_takes_them(entry):
    """Sufficient statistics of a set can be neither cut into batches nor corrected."""
    data = data_module.for_chain(data_module.Config(20), (0,), "normal", parse("p", entry), 3)
    assert isinstance(data.real(), Items)


# a formal checker


def checked(scores, count, keep=0.5, seeds=(0,), dataset="normal"):
    """The numbers of the items that are kept."""
    items = Items.make(np.broadcast_to(np.arange(12.0), (len(seeds), 12)), generation=1)
    data = SimpleNamespace(truth=lambda given: scores)
    rule = selection.parse("valid", {"kind": "valid", "keep": keep})
    cell = replace(CELL, selector="valid", dataset=dataset)
    return loop.selected(items, rule, cell, 1, count, seeds, data).index.tolist()


def scored(*valid, count=12):
    return np.where(np.isin(np.arange(count), valid), -3.0, -np.inf)[None]


def test_a_checker_keeps_valid_items_in_order_and_again_where_they_are_too_few():
    assert checked(scored(1, 4, 5, 9, 11), 3) == [[1, 4, 5]]
    assert checked(scored(1, 4, 5, 9, 11), 6) == [[1, 4, 5, 9, 11, 1]]
    assert checked(scored(7), 4) == [[7, 7, 7, 7]]
    assert checked(scored(7, 2), 5) == [[2, 7, 2, 7, 2]]
    # of 4 / 0.5 items alone
    assert checked(scored(7, 8, 9), 4) == [[7, 7, 7, 7]]
    both = np.concatenate([scored(0, 1), scored(5)])
    assert checked(both, 3, seeds=(0, 1)) == [[0, 1, 0], [5, 5, 5]]


def test_nothing_valid_is_an_error():
    with pytest.raises(TrainingError, match="not one of 6 items is valid"):
        checked(scored(6, 7), 3)
    with pytest.raises(TrainingError, match="not one of 12 items is valid"):
        checked(np.concatenate([scored(0), scored()]), 6, seeds=(0, 1))


def test_a_checker_needs_a_truth():
    with pytest.raises(ConfigError, match="selector 'valid' needs the true source, which 'novels' does not know"):
        checked(None, 3, dataset="novels")


def test_a_selector_that_needs_nothing_asks_nothing():
    items = Items.make(np.arange(12.0)[None], generation=1)
    for name in ("all", "half"):
        rule = selection.parse(name, SELECTORS[name])
        kept = loop.selected(items, rule, CELL, 1, 6, (0,), SimpleNamespace())
        assert len(kept) == 6


def test_jobs_tell_that_the_truth_is_not_known(tmp_path, able, monkeypatch):
    folder = Folder(tmp_path, "replace", seed=0, selector="valid")
    prepare(tmp_path, "normal", DATA)
    folder.one(1)
    monkeypatch.setattr(data_module.Gaussian, "truth", lambda self, items: None)
    with pytest.raises(ConfigError, match="selector 'valid' needs the true source, which 'normal' does not know"):
        fit(folder.whole(count=SIZE), 2)
    with pytest.raises(ConfigError, match="selector 'valid'"):
        chain("replace", selector="valid")


def test_what_is_trained_on_is_what_the_checker_kept(tmp_path, able):
    folder = Folder(tmp_path, "replace", seed=4, selector="valid").run()
    data, kept = folder.whole().data, select(folder.whole(), 2, SIZE)
    drawn = folder.whole().samples(2, ceil(SIZE / 0.4))
    valid = np.flatnonzero(np.isfinite(data.truth(drawn)[0]))
    assert 1 < len(valid) < 25
    assert kept == {"drawn": 25, "kept": SIZE, "index": np.resize(valid, SIZE).tolist()}
    seen = able[2]  # of generation 3
    assert seen.index[0].tolist() == kept["index"]
    assert store.read_json(folder.path(3) / "metrics.json")["training_sha256"] == seen.sha256()
