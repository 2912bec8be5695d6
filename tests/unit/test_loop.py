"""The loop: the same in memory and through files; seeding, mixing, budgets; closed forms of the Gaussian chain."""

import json
from dataclasses import fields
from functools import cache
from math import lgamma, log, pi, sqrt
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma

from collapse import loop, paths, policies, selection, store, table
from collapse.checkpoint import Checkpoint
from collapse.commands.fit import fit, select
from collapse.commands.measure import measure
from collapse.commands.prepare import prepare
from collapse.datasets import gaussian as data_module
from collapse.errors import CollapseError, ConfigError, DataError, TrainingError
from collapse.families import gaussian as family
from collapse.items import Items
from collapse.loop import Budget, Cell, draw, mix, run_chain, turn
from collapse.policies import REAL, Policy, Share, parse, synthetic
from collapse.seeding import Streams
from tests.chains import DATA, LAST, POLICIES, SELECTORS, SIZE, Folder, chain, draw_from_every_stream, same_bytes


@cache
def big(policy, **options):
    """Means and standard deviations of 2000 chains of N(0, 1), each (G, 2000)."""
    turns = chain(dict(policy), range(2000), name="big", mean=0.0, sd=1.0, **options)
    return np.array([m["mean"] for _, m, _ in turns]), np.array([m["sd"] for _, m, _ in turns])


def close(values, expected, slack=0.0):
    """Within 4 standard errors of the mean over chains, and ``slack``."""
    error = values.std(ddof=1) / sqrt(len(values))
    return abs(values.mean() - expected) <= 4 * error + slack


# the same loop, in memory and through files


@pytest.fixture
def noisy(monkeypatch):
    draw_from_every_stream(monkeypatch)


THINNED = [(policy, selector) for policy in ("replace_multiple", "redrawn", "fresh") for selector in ("half", "third")]


@pytest.mark.parametrize(("policy", "selector"), [*((policy, "all") for policy in POLICIES), *THINNED])
def test_files_and_memory_give_the_same_bytes(tmp_path, noisy, policy, selector):
    folder = Folder(tmp_path, policy, seed=3, selector=selector).run()
    same_bytes(folder, chain(policy, (3,), selector, name=policy))
    for n in range(1, LAST + 1):
        record = store.read_json(folder.path(n) / "metrics.json")
        assert [point["step"] for point in record["curve"]] == [1]
        assert record["curve"][0]["noise"] != record["metrics"]["noise"]


def test_a_generation_made_anew_has_the_same_bytes(tmp_path):
    folder = Folder(tmp_path, "accumulate_subsample", seed=1).run()
    made = [folder.path(3) / name for name in ("model.safetensors", "samples.safetensors", "metrics.json")]
    before = [file.read_bytes() for file in made]
    for file in made:
        file.unlink()
    folder.one(3)
    assert [file.read_bytes() for file in made] == before


def test_measure_writes_a_row_per_generation(tmp_path):
    folder = Folder(tmp_path, "accumulate", seed=2, last=3).run()
    measure(folder.job(*folder.entries, generations=3))
    where = tmp_path / paths.TABLES.format(dataset="normal", recipe="moments", seed=2, last=3, **folder.names)
    rows = pd.read_parquet(where / "rows.parquet")
    table.check(rows, "rows", 3)
    made = chain("accumulate", (2,), last=3, name="accumulate")
    assert json.loads((where / "examples.json").read_text()).keys() == {"1", "2", "3"}
    assert rows["sd"].tolist() == [m["sd"].item() for _, m, _ in made]
    assert rows["real_fraction"].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert rows["items"].tolist() == [SIZE, 2 * SIZE, 3 * SIZE]
    assert rows["sample_mean"].tolist() == [t.output[0, :SIZE].mean() for _, _, t in made]


def test_measures_are_of_n_samples_however_many_were_drawn(tmp_path):
    folder = Folder(tmp_path, "replace_multiple", seed=2, last=3).run()
    measure(folder.job(*folder.entries, generations=3))
    where = tmp_path / paths.TABLES.format(dataset="normal", recipe="moments", seed=2, last=3, **folder.names)
    made = chain("replace_multiple", (2,), last=3, name="replace_multiple")
    assert [len(t) for _, _, t in made] == [2 * SIZE, 3 * SIZE, SIZE]
    found = pd.read_parquet(where / "rows.parquet")["sample_mean"].tolist()
    assert found == [t.output[0, :SIZE].mean() for _, _, t in made]


def test_jobs_name_the_input_that_is_missing_or_broken(tmp_path):
    folder = Folder(tmp_path, "replace", seed=0)
    with pytest.raises(DataError, match=r"cannot read .*data\.safetensors"):
        folder.one(1)
    folder.run()
    broken = folder.path(2) / "samples.safetensors"
    broken.write_bytes(broken.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"gen2.samples\.safetensors is truncated"):
        folder.one(3)
    broken.unlink()
    with pytest.raises(DataError, match=r"cannot read .*gen2.samples\.safetensors"):
        folder.one(3)


def test_generation_0_is_an_error_that_leaves_nothing(tmp_path):
    folder = Folder(tmp_path, "replace", seed=0).run()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="count from 1"):
        fit(folder.job(*folder.entries, count=SIZE), 0)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_setting_given_twice_or_unknown_is_refused(tmp_path):
    folder = Folder(tmp_path, "replace", seed=0)
    prepare(tmp_path, "normal", DATA)
    folder.entries["recipe"] = {"family": "gaussian", "dof": 1}
    with pytest.raises(ConfigError, match=r"recipe 'moments'.*dof"):
        folder.one(1)


def test_a_curve_of_more_items_than_there_are_is_refused(tmp_path, noisy, monkeypatch):
    monkeypatch.setattr(data_module.Gaussian, "test", property(lambda self: self.real()))
    folder = Folder(tmp_path, "replace", seed=0)
    prepare(tmp_path, "normal", DATA)
    with pytest.raises(ConfigError, match="curve_items is larger than the test set: 11 items asked for, 10 there"):
        fit(folder.job("dataset", "recipe", names={}, curve_items=11), 1)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_select_verb_says_which_items_are_kept(tmp_path):
    folder = Folder(tmp_path, "replace", seed=5, selector="half").run()
    kept = select(folder.job(*folder.entries), 2, SIZE)
    items = folder.job(*folder.entries).read(synthetic(2), SIZE)
    assert (kept["drawn"], kept["kept"]) == (2 * SIZE, SIZE)
    assert kept["index"] == items.index[0].tolist() == sorted(set(kept["index"]))


# seeding


def test_names_of_streams():
    cell = Cell("data", "recipe", "policy", "sampler", "selector")
    assert cell.fitted(1) == ("data", "recipe", "real", 1)
    assert cell.sampled(1) == ("data", "recipe", "real", 1, "sampler")
    assert cell.fitted(2) == cell.sampled(2) == ("data", "recipe", "policy", "sampler", "selector", 2)


@pytest.mark.parametrize("selector", ["all", "half"])
@pytest.mark.parametrize("policy", POLICIES)
def test_chains_side_by_side_are_each_alone(policy, selector):
    together = chain(policy, range(5), selector, size=37)
    for seed in range(5):
        turns = zip(together, chain(policy, (seed,), selector, size=37), strict=True)
        for (made, metrics, samples), (one, alone, drawn) in turns:
            assert {k: v[seed].tobytes() for k, v in metrics.items()} == {k: v.tobytes() for k, v in alone.items()}
            assert made.model.sd[seed].tobytes() == one.model.sd.tobytes()
            for field in fields(Items):
                a, b = getattr(samples, field.name), getattr(drawn, field.name)
                assert (a is b is None) or a[seed].tobytes() == b[0].tobytes()


def test_chain_does_not_depend_on_its_neighbours_or_their_order():
    some = {s: m["sd"][i] for i, s in enumerate((7, 2, 9)) for _, m, _ in chain("redrawn", (7, 2, 9))[-1:]}
    rest = {s: m["sd"][i] for i, s in enumerate((9, 1, 2, 7)) for _, m, _ in chain("redrawn", (9, 1, 2, 7))[-1:]}
    assert some == {s: rest[s] for s in some}
    assert len(set(rest.values())) == 4


def test_whoever_needs_more_samples_begins_with_the_same_ones():
    few, many = chain("replace")[0][2], chain("replace_multiple")[0][2]
    assert len(many) == 2 * len(few)
    assert np.array_equal(few.output, many.first(len(few)).output)
    assert many.index[0].tolist() == list(range(2 * SIZE))
    # two parts are not the same draw
    assert not set(many.output[0, :SIZE]) & set(many.output[0, SIZE:])


def test_generation_1_is_shared_by_policies_samplers_and_selectors():
    first = [chain(policy, (4,), selector)[0] for policy in POLICIES for selector in SELECTORS]
    assert len({made.model.sd.tobytes() for made, _, _ in first}) == 1
    assert len({json.dumps(made.facts) for made, _, _ in first}) == 1
    assert len({samples.first(SIZE).output.tobytes() for _, _, samples in first}) == 1


def test_later_generations_differ_between_policies_seeds_and_generations():
    ends = [turns[n][2].output[0, 0] for p in ("replace", "anchored", "golden") for n in (1, 2) for turns in [chain(p)]]
    ends += [chain("replace", (seed,))[1][2].output[0, 0] for seed in (1, 2)]
    assert len(set(ends)) == len(ends)


def test_no_two_draws_of_a_chain_share_a_stream(monkeypatch):
    """Only what is meant to be the same is drawn twice: an anchor, a channel, a selection that is read again."""
    names = {}

    class Recorded(Streams):
        def __init__(self, name, seeds):
            super().__init__(name, seeds)
            streams.append(self.name)

    monkeypatch.setattr(loop, "Streams", Recorded)
    for policy in POLICIES:
        for selector in SELECTORS:
            streams = []
            chain(policy, (0,), selector, name=policy)
            own = [s for s in streams if s[0] not in ("anchor", "corrupt", "select")]
            assert len(own) == len(set(own))
            names[policy, selector] = set(streams)
    shared = {"anchor", "corrupt"}
    for (policy, selector), mine in names.items():
        others = set().union(*(s for key, s in names.items() if key != (policy, selector)))
        later = {s for s in mine if "real" not in s[:4] and s[0] not in shared}
        assert later
        assert not later & others


def test_selectors_do_not_share_a_draw():
    kept = {}
    for name in ("half", "other"):
        cell = Cell("normal", "moments", "replace", "exact", name)
        items = Items.make(np.arange(40.0)[None], generation=1)
        rule = selection.parse(name, SELECTORS["half"])
        kept[name] = loop.selected(items, rule, cell, 1, 20, (0,), None).index[0].tolist()
    assert kept["half"] != kept["other"]


# mixing


def training(policy, n, seeds=(0,), name="policy"):
    """The training set of generation n, with numbered items, and its loss weights."""

    def read(source, count):
        value = {"real": 0, "fresh": -source.index}.get(source.kind, source.index)
        return Items.make(
            np.broadcast_to(np.arange(count) + 1000.0 * value, (len(seeds), count)), generation=max(value, 0)
        )

    parsed = parse(name, POLICIES[policy] if isinstance(policy, str) else policy)
    cell = Cell("normal", "moments", name, "exact", "all")
    return mix(policies.plan(parsed, n, SIZE), SIZE, parsed.budget, read, None, cell, n, seeds)


def test_anchored_items_are_the_same_in_all_generations_and_nested():
    def real(draw, share, n, name="policy"):
        items, _ = training({"kind": "real_fraction", "share": share, "draw": draw}, n, (0, 1), name)
        return [row[g == 0].tolist() for row, g in zip(items.index, items.generation, strict=True)]

    anchored = real("anchored", 0.3, 2)
    assert anchored == real("anchored", 0.3, 5) == real("anchored", 0.3, 2, "other")
    assert anchored[0] != anchored[1]
    assert all(set(a) < set(b) for a, b in zip(anchored, real("anchored", 0.6, 3), strict=True))
    redrawn = [real("redrawn", 0.3, n)[0] for n in range(2, 8)]
    assert len({tuple(sorted(r)) for r in redrawn}) > 3
    assert redrawn[0] != real("redrawn", 0.3, 2, "other")[0]
    golden, _ = training({"kind": "golden_ratio", "ratio": 0.3, "real": "anchored"}, 4, (0, 1))
    assert [row[:3].tolist() for row in golden.index] == anchored


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("replace", [1, 0, 0, 0]),
        ("accumulate", [1, 1 / 2, 1 / 3, 1 / 4]),
        ("replace_multiple", [1, 0, 0, 0]),
        ("anchored", [1, 0.3, 0.3, 0.3]),
        ("fresh", [1, 3 / 4, 4 / 6, 5 / 8]),
        ("golden", [1, 1 / 3, 1 / 3, 1 / 3]),
        ("repeat", [1, 1, 1, 1]),
    ],
)
def test_real_fraction(policy, expected):
    for (made, _, _), share in zip(chain(policy, range(3)), expected, strict=True):
        assert made.facts["real_fraction"] == pytest.approx([share] * 3)


def test_items_carry_their_provenance_through_the_chain():
    data = data_module.Gaussian(data_module.Config(SIZE, 2.0, 3.0), (0, 1), "normal")
    samples = {n: s for n, (_, _, s) in enumerate(chain("accumulate_subsample", (0, 1)), 1)}

    def read(source, count):
        return (data.real() if source == REAL else samples[source.index]).first(count)

    cell = Cell("normal", "moments", "accumulate_subsample", "exact", "all")
    shares = policies.plan(parse("p", POLICIES["accumulate_subsample"]), 4, SIZE)
    items, _ = mix(shares, SIZE, "epochs", read, data, cell, 4, (0, 1))
    for s in range(2):
        assert len(set(zip(items.generation[s], items.index[s], strict=True))) == SIZE
        for value, k, i in zip(items.output[s], items.generation[s], items.index[s], strict=True):
            assert value == (data.real() if k == 0 else samples[k]).output[s, i]
    assert set(items.generation.ravel()) == {0, 1, 2, 3}


def test_two_draws_of_one_plan_are_independent():
    shares = (Share((REAL,), 5, "redrawn"), Share((REAL,), 5, "redrawn"))
    cell = Cell("normal", "moments", "p", "exact", "all")
    items, _ = mix(
        shares, 40, "epochs", lambda s, c: Items.make(np.arange(1.0 * c)[None], generation=0), None, cell, 2, (0,)
    )
    assert items.index[0, :5].tolist() != items.index[0, 5:].tolist()


def test_corruption_touches_only_what_it_should():
    data = data_module.Gaussian(data_module.Config(5000, 2.0, 3.0), (0, 1), "normal")
    before, cell = data.real(), Cell("normal", "moments", "corrupted", "exact", "all")
    hits = []
    for n in (1, 2, 3):
        shares = policies.plan(parse("p", POLICIES["corrupted"]), n, 5000)
        items, _ = mix(shares, 5000, "epochs", lambda source, count: data.real(), data, cell, n, (0, 1))
        assert np.array_equal(items.index, before.index)
        assert (items.generation == 0).all()
        hits.append(items.output != before.output)
        assert np.abs(items.output[hits[-1]] - 2).max(initial=0) <= 9
        share = 1 - 0.7 ** (n - 1)
        assert np.abs(hits[-1].mean(axis=1) - share).max() <= 4 * sqrt(share * (1 - share) / 5000)
    assert not hits[0].any()
    assert (hits[1] <= hits[2]).all()  # what is garbled stays garbled
    assert not np.array_equal(hits[1][0], hits[1][1])
    assert np.array_equal(data.real().output, before.output)


def test_a_source_that_gives_too_few_items_is_an_error():
    cell = Cell("normal", "moments", "p", "exact", "all")
    with pytest.raises(ValueError, match="gave 5 items"):
        mix(
            (Share((REAL,), 10),),
            10,
            "epochs",
            lambda s, c: Items.make(np.zeros((1, 5)), generation=0),
            None,
            cell,
            1,
            (0,),
        )


def test_golden_ratio_weights_lie_on_the_right_items():
    items, weights = training({"kind": "golden_ratio"}, 2)
    w = (sqrt(5) - 1) / 2
    assert weights.shape == (1, 2 * SIZE)
    assert weights[items.generation == 0].sum() / weights.sum() == pytest.approx(w)
    assert set(np.round(weights[items.generation == 1], 12)) == {round(2 * (1 - w), 12)}


# budgets and initial weights


def recorded(policy, n=3, **more):
    """What the fit of generation n is told."""
    told = {}

    def fit(items, **options):
        told.update(options, items=len(items))
        return "model"

    def budget(config, size, *, equal_steps, first):
        return Budget(steps=size) if equal_steps else Budget(passes=0.5 if first else 2.0)

    turn(
        Cell("normal", "moments", "p", "exact", "all"), n, SIZE, policy=Policy(**{"kind": "accumulate", **policy}),
        data=SimpleNamespace(validation="held out"), family=SimpleNamespace(fit=fit, budget=budget), config="config",
        observer="observer", seeds=(0,), read=lambda s, c: Items.make(np.zeros((1, c)), generation=s.index), **more,
    )  # fmt: skip
    return told


def test_budgets():
    assert recorded({})["budget"] == Budget(passes=2.0)
    assert recorded({})["items"] == 3 * SIZE
    assert recorded({"budget": "items"})["budget"] == Budget(passes=2.0)
    assert recorded({"budget": "items"})["items"] == SIZE
    assert recorded({"budget": "steps"})["budget"] == Budget(steps=SIZE)
    assert recorded({"budget": "steps"})["items"] == 3 * SIZE
    # generation 1 has no steps to equal; it may have a length of its own
    assert recorded({"budget": "steps"}, n=1)["budget"] == recorded({}, n=1)["budget"] == Budget(passes=0.5)


@pytest.mark.parametrize("wrong", [{}, {"passes": 1.0, "steps": 3}])
def test_a_budget_is_passes_or_steps(wrong):
    with pytest.raises(ValueError, match="either passes or steps"):
        Budget(**wrong)


def test_the_fit_is_told_all_but_the_test_data():
    told = recorded({})
    assert set(told) == {"config", "weights", "budget", "init", "validation", "observer", "rng", "items"}
    assert (told["config"], told["validation"], told["observer"]) == ("config", "held out", "observer")
    assert told["rng"].name == ("fit", "normal", "moments", "p", "exact", "all", 3)
    assert told["weights"] is None
    weights = recorded({"kind": "golden_ratio", "options": {"ratio": 1.0}})["weights"]
    assert weights[0, 0] > 1 > weights[0, -1]


def test_a_checkpoint_learns_what_is_trained_on(tmp_path):
    shas = set()
    for n in (1, 3):
        checkpoint = Checkpoint(tmp_path / "checkpoint", {"seed": 0}, 1)
        assert recorded({}, n, checkpoint=checkpoint)["checkpoint"] is checkpoint
        assert checkpoint.identity["seed"] == 0
        shas.add(checkpoint.identity["training_sha256"])
    assert len(shas) == 2


def test_the_data_set_reduces_what_only_it_can_read():
    told = {}

    def evaluate(model, items, rng):
        told.update(model=model, items=items, rng=rng)
        return {"error": 1, "sums": [1, 2]}

    fake = SimpleNamespace(evaluate=evaluate)
    data = SimpleNamespace(reduce=lambda metrics: {"error": metrics["error"], "rare": metrics["sums"][1]})
    assert loop.evaluate(fake, "model", data, "items", "rng") == {"error": 1, "rare": 2}
    assert told == {"model": "model", "items": "items", "rng": "rng"}
    assert loop.evaluate(fake, "model", SimpleNamespace(), "items", "rng") == {"error": 1, "sums": [1, 2]}


def test_a_chain_and_a_job_give_what_the_data_set_makes_of_the_metrics(tmp_path, noisy, monkeypatch):
    def reduce(self, metrics):
        return {"reduced": metrics["sd"] * 0 + 7}

    monkeypatch.setattr(data_module.Gaussian, "reduce", reduce, raising=False)
    assert [m for _, m, _ in chain("replace")] == [{"reduced": 7}] * LAST
    folder = Folder(tmp_path, "replace", seed=0).run()
    record = store.read_json(folder.path(2) / "metrics.json")
    assert record["metrics"] == {"reduced": 7}
    assert record["curve"] == [{"step": 1, "reduced": 7}]


def test_a_gpu_without_memory_is_an_error_that_names_what_to_do(tmp_path, monkeypatch):
    import torch

    folder = Folder(tmp_path, "replace", seed=0).run()
    for name in ("fit", "evaluate", "sample"):
        for error, caught in ((torch.OutOfMemoryError, TrainingError), (RuntimeError, RuntimeError)):
            with monkeypatch.context() as patch:
                patch.setattr(family, name, _raise(error("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")))
                with pytest.raises(caught, match=r"CUDA out of memory\. Tried to allocate 2 GiB\.") as found:
                    folder.one(2)
            knobs = ("`batch`", "`precision: bfloat16`", "take one with more", "`max_tokens`")
            assert all((knob in str(found.value)) is (caught is TrainingError) for knob in knobs)
            assert type(found.value) is caught
    with monkeypatch.context() as patch:
        patch.setattr(family, "sample", _raise(torch.OutOfMemoryError("CUDA out of memory")))
        with pytest.raises(TrainingError, match="the GPU's memory is too small"):
            folder.one(1)


def test_a_gpu_is_named_with_the_memory_it_gave(tmp_path, monkeypatch):
    import torch

    folder = Folder(tmp_path, "replace", seed=0).run()
    provenance = folder.path(2) / "provenance.json"
    assert not {"device", "peak_gpu_mib"} & set(store.read_json(provenance))
    for name, value in (("is_initialized", True), ("get_device_name", "a card"), ("max_memory_allocated", 3 * 2**20)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    folder.one(2)
    found = store.read_json(provenance)
    assert (found["device"], found["peak_gpu_mib"]) == ("a card", 3.0)


def _raise(error):
    def raising(*arguments, **options):
        raise error

    return raising


def test_initial_weights():
    assert recorded({})["init"] is None
    assert recorded({"init": "first"}, 4, initial="model {}".format)["init"] == "model 1"
    assert recorded({"init": "previous"}, 4, initial="model {}".format)["init"] == "model 3"
    assert recorded({"init": "previous"}, 1)["init"] is None


@pytest.mark.parametrize(("init", "expected"), [("first", [None, 1, 1, 1]), ("previous", [None, 1, 2, 3])])
def test_run_chain_hands_over_the_models(init, expected, monkeypatch):
    models, starts = {}, []

    def fit(items, *, init, **options):
        starts.append(init if init is None else models[id(init)])
        model = family.fit(items, init=init, **options)
        models[id(model)] = len(starts)
        keep.append(model)
        return model

    keep = []
    fake = SimpleNamespace(**{k: getattr(family, k) for k in ("sample", "evaluate", "budget")}, fit=fit)
    data = data_module.Gaussian(data_module.Config(SIZE), (0,), "normal")
    cell = Cell("normal", "moments", "p", "exact", "all")
    parsed = parse("p", {"kind": "replace", "init": init})
    for _ in run_chain(
        cell, SIZE, 4, policy=parsed, family=fake, config=family.Config(), data=data, sampler=None,
        selector=selection.parse("all", SELECTORS["all"]), seeds=(0,),
    ):  # fmt: skip
        pass
    assert starts == expected


def test_a_policy_that_leaves_nothing_is_an_error(monkeypatch):
    monkeypatch.setitem(policies._KINDS, "nothing", lambda n, size: (Share((REAL,), 0),))
    with pytest.raises(TrainingError, match=r"generation 3 .* has no items to train on"):
        recorded({"kind": "nothing"})


def test_a_model_that_gives_no_samples_is_an_error():
    silent = SimpleNamespace(sample=lambda *a: Items.make(np.zeros((1, 0)), generation=0))
    data = data_module.Gaussian(data_module.Config(SIZE), (0,))
    cell = Cell("normal", "moments", "p", "exact", "all")
    with pytest.raises(TrainingError, match="gave no samples"):
        draw(cell, 2, SIZE, model=None, family=silent, data=data, sampler=None, seeds=(0,), size=SIZE)


def test_sufficient_statistics_are_drawn_at_once():
    asked = []

    def sample(model, contexts, sampler, rng):
        asked.append((contexts, rng.name))
        return Items.make(np.zeros((1, contexts)), generation=0)

    data = data_module.Gaussian(data_module.Config(SIZE), (0,))
    cell = Cell("normal", "moments", "p", "exact", "all")
    for by_part, counts in ((True, [SIZE] * 3), (False, [25])):
        asked.clear()
        fake = SimpleNamespace(sample=sample, BY_PART=by_part)
        items = draw(cell, 2, 25, model=None, family=fake, data=data, sampler=None, seeds=(0,), size=SIZE)
        assert [count for count, _ in asked] == counts
        assert len({name for _, name in asked}) == len(counts)
        assert items.index[0].tolist() == list(range(sum(counts)))
        assert (items.generation == 2).all()


def test_shards_are_disjoint_and_an_uncut_one_is_refused():
    data = data_module.Gaussian(data_module.Config(SIZE, shards=2), (0,), "normal")
    assert not set(data.real().output[0]) & set(data.fresh(2).output[0])
    assert data.fresh(2).index[0].tolist() == list(range(SIZE, 2 * SIZE))
    with pytest.raises(ConfigError, match="raise `shards`"):
        data.fresh(3)


def test_gaussian_needs_two_finite_items():
    for values in (np.ones((1, 1)), np.array([[1.0, np.nan]])):
        with pytest.raises(CollapseError, match="at least two finite items"):
            family.fit(
                Items.make(values, generation=0), config=family.Config(), weights=None, budget=None, init=None,
                validation=None, observer=None, rng=None,
            )  # fmt: skip


# closed forms: 2000 chains of N(0, 1)

FORMS = 12  # items of a generation
REPLACE = (("kind", "replace"),)


def c4(m):
    """E of the unbiased standard deviation of m standard normal values."""
    return sqrt(2 / (m - 1)) * np.exp(lgamma(m / 2) - lgamma((m - 1) / 2))


def test_replace_mean_drifts_as_n_over_m():
    mean, _ = big(REPLACE, size=FORMS, last=8)
    for n, values in enumerate(mean, 1):
        assert close(values, 0)
        assert close(values**2, n / FORMS)


def test_replace_variance_is_constant_or_decays_geometrically():
    _, unbiased = big(REPLACE, size=FORMS, last=8)
    _, likeliest = big(REPLACE, size=FORMS, last=8, ddof=0)
    for n in range(1, 9):
        assert close(unbiased[n - 1] ** 2, 1)
        assert close(likeliest[n - 1] ** 2, (1 - 1 / FORMS) ** n)


def test_replace_loses_log_sd_at_a_constant_rate():
    _, sd = big(REPLACE, size=FORMS, last=8)
    rate = 0.5 * (digamma((FORMS - 1) / 2) - log((FORMS - 1) / 2))
    for n, values in enumerate(sd, 1):
        assert close(np.log(values), n * rate)


def test_replace_risk():
    mean, sd = big(REPLACE, size=FORMS, last=8)
    for n in range(1, 9):
        assert close(mean[n - 1] ** 2 + (sd[n - 1] - 1) ** 2, n / FORMS + 2 * (1 - c4(FORMS) ** n))


def test_accumulate_mean_variance_is_bounded():
    """Leading order sum 1/i^2 / M; the exact moments, which follow a linear recursion, give the neglected term."""
    mean, sd = big((("kind", "accumulate"),), size=FORMS, last=8)
    total, drift, variance = 1.0 * FORMS, 1 / FORMS, 1.0
    for n in range(1, 9):
        if n > 1:
            total += FORMS * (variance + drift)
            drift += variance / (FORMS * n**2)
            variance = (total - n * FORMS * drift) / (n * FORMS - 1)
        leading = sum(1 / i**2 for i in range(1, n + 1)) / FORMS
        assert abs(drift - leading) <= 1 / FORMS**2
        assert close(mean[n - 1] ** 2, drift)
        assert close(sd[n - 1] ** 2, variance)
        assert leading < pi**2 / 6 / FORMS


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_fresh_real_items_hold_the_variance_at_a_fixed_point(share):
    mean, sd = big((("kind", "fresh_real"), ("share", share)), size=FORMS, last=20, ddof=0)
    d = 1 - share + share * FORMS * (2 - share)
    assert close(sd[-1] ** 2, 1 - 1 / d, slack=(1 - share) ** 20)
    assert close(mean[-1] ** 2, 1 / d, slack=(1 - share) ** 20)


@pytest.mark.parametrize(("weight", "limit"), [(None, (sqrt(5) - 1) / 2), (0.5, 2 / 3)])
def test_golden_ratio_has_its_limiting_variance(weight, limit):
    """w* sigma^2 / n, and 2/3 for naive pooling; the variance of the fit is 1 - O(1/n), a term of second order."""
    size = 40
    mean, _ = big((("kind", "golden_ratio"), ("weight", weight)), size=size, last=12)
    assert close(mean[-1] ** 2, limit / size, slack=1 / size**2)


def test_closed_form_of_the_divergence():
    truth = data_module.Config(mean=2.0, sd=3.0)
    x = np.linspace(-40, 40, 200_001)
    model = family.Model(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    p = np.exp(-0.5 * ((x - 2) / 3) ** 2) / (3 * sqrt(2 * pi))
    log_ratio = -0.5 * ((x - 2) / 3) ** 2 - log(3) + 0.5 * ((x - 1) / 2) ** 2 + log(2)
    found = family.evaluate(model, truth, None)["kl_divergence"]
    assert found == pytest.approx([np.trapezoid(p * log_ratio, x), 0], abs=1e-6)


def test_log_probabilities_of_samples():
    from scipy.stats import norm

    _, metrics, samples = chain("replace", range(3))[1]
    expected = norm.logpdf(samples.output, metrics["mean"][:, None], metrics["sd"][:, None])
    assert np.allclose(samples.logprob, expected, rtol=0, atol=1e-12)


def test_twins_never_meet():
    """Real items take the place of the synthetic ones of their number, other ones in each generation."""
    twins = {"kind": "real_fraction", "share": 0.3, "how": "twins"}
    replaced = []
    for n in (2, 3):
        items, _ = training(twins, n, seeds=(0, 1))
        for generation, index in zip(items.generation, items.index, strict=True):
            assert sorted(index) == list(range(SIZE))
            assert (generation == 0).sum() == 3
        replaced.append(
            [set(index[generation == 0]) for generation, index in zip(items.generation, items.index, strict=True)]
        )
    assert replaced[0] != replaced[1]
    assert replaced[0][0] != replaced[0][1]
    with pytest.raises(ConfigError, match="twins"):
        parse("policy", {"kind": "real_fraction", "how": "twins", "draw": "anchored"})
