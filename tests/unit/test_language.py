"""The training loop of language models beyond its mathematics, which is tested with GPT-2: length, precision, speed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from collapse.errors import TrainingError
from collapse.families import gpt2, language, matmul, training
from collapse.families.batches import Passes
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream

TINY = gpt2.Config(
    vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20, batch=8, warmup_steps=2, learning_rate=0.01
)


pytestmark = pytest.mark.usefixtures("one_thread")


def stories(count, *name):
    """Random stories of up to 19 tokens, without the end token."""
    rng = stream("stories", count, *name)
    tokens = [t for t in range(TINY.vocabulary) if t != TINY.end]
    return Items.make(Ragged.of([rng.choice(tokens, n) for n in rng.integers(0, 20, count)]), generation=0)


def fit(config=TINY, *, count=60, steps=20, weights=None, observer=None):
    return gpt2.fit(
        stories(count), config=config, weights=weights, budget=Budget(steps=steps), init=None, validation=None,
        observer=observer, rng=Streams(("fit",), (0,)),
    )  # fmt: skip


def forced(config, **settings):
    """Settings that are refused without a GPU, on a CPU."""
    config = replace(config)
    for name, value in settings.items():
        object.__setattr__(config, name, value)
    return config


def bits(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy().tobytes()


# how long ------------------------------------------------------------------------------------------------------------


def test_generation_1_may_train_for_a_time_of_its_own():
    config = replace(TINY, epochs=3, first_epochs=0.5)
    assert language.budget(config, 100, equal_steps=False, first=True) == Budget(passes=0.5)
    assert language.budget(config, 100, equal_steps=False) == Budget(passes=3)
    # the steps that others are held to are those of full passes
    assert language.budget(config, 100, equal_steps=True) == Budget(steps=39)
    for first in (True, False):
        assert language.budget(replace(TINY, epochs=3), 100, equal_steps=False, first=first) == Budget(passes=3)


@pytest.mark.parametrize(
    ("stop", "calls"),
    [(0.25, [(2, 0.1), (5, 0.25)]), (0.5, [(2, 0.1), (10, 0.5)]), (0.01, [(1, 0.01)]), (1.0, [(2, 0.1), (10, 0.5)])],
)
def test_a_stopped_training_is_the_beginning_of_a_whole_one(stop, calls):
    config, found, whole = replace(TINY, evaluations=(0.1, 0.5)), [], {}
    stopped = fit(replace(config, stop=stop), observer=lambda m, p: found.append((p["step"], p["fraction"])))
    expected = calls if stop < 1 else [*calls, (20, 1.0)]
    assert found == expected
    assert stopped.facts["steps"] == expected[-1][0]
    fit(
        replace(config, evaluations=tuple(n / 20 for n in range(1, 21))),
        observer=lambda m, p: whole.update({p["step"]: bits(m)}),
    )
    assert bits(stopped) == whole[stopped.facts["steps"]]


def test_a_position_in_the_passes_can_be_gone_back_to():
    lengths = stream("lengths").integers(0, 30, 21)  # three batches a pass

    def take(passes, count):
        return [index.tolist() for index, _ in zip(passes, range(count), strict=False)]

    for before in range(8):
        passes = Passes(lengths, 8, stream("pass"))
        for _, _ in zip(range(before), passes, strict=False):  # not one more than it asks for
            pass
        position = passes.position
        rest = Passes(lengths, 8, stream("another"))
        rest.position = position
        assert take(rest, 7) == take(Passes(lengths, 8, stream("pass")), before + 7)[before:]


# what a GPU does otherwise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [7, 1000])
def test_losses_fetched_together_are_the_same(monkeypatch, every):
    config = replace(TINY, evaluations=(0.05, 0.3, 0.5), clip=0.5)
    found = []
    for steps in (1, every):
        monkeypatch.setitem(training.FETCH, "cpu", steps)
        points = []
        model = fit(config, observer=lambda m, p, points=points: points.append(p))
        found.append((bits(model), model.facts, points))
    assert found[0] == found[1]
    assert len(found[0][2]) == 4


def test_a_divergence_that_is_fetched_late_names_its_step(monkeypatch):
    config, messages = replace(TINY, learning_rate=1e20, warmup_steps=0, schedule="constant", clip=None), []
    for every in (1, 7):
        monkeypatch.setitem(training.FETCH, "cpu", every)
        with pytest.raises(TrainingError, match=r"at step \d of 20 with learning rate 1e\+20") as caught:
            fit(config)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_half_precision_is_of_products_in_training_alone():
    """Autocast on a CPU, whose own products stay as they are: attention and embeddings show that it is on."""
    matmul_, full = forced(TINY, precision="bfloat16"), fit()
    half = fit(matmul_)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert half.facts["first_loss"] != full.facts["first_loss"]
    assert half.facts["first_loss"] == pytest.approx(full.facts["first_loss"], rel=0.01)
    assert half.facts["last_loss"] == pytest.approx(full.facts["last_loss"], rel=0.05)
    measured = []
    for config in (matmul_, TINY):
        half.config = config
        measured.append(language.evaluate(half, stories(50, "test"), None)["cross_entropy"])
    assert measured[0] == measured[1]


def test_a_compiled_training_is_the_same(monkeypatch):
    """Traced and run by torch's interpreter: what is traced is what is trained."""
    monkeypatch.setattr(matmul, "AVAILABLE", False)  # as on a GPU
    config, compiled, original = replace(TINY, layers=1), [], torch.compile

    def compile_(function, **options):
        compiled.append(options)
        return original(function, backend="eager", **options)

    plain = fit(config, steps=6)
    monkeypatch.setattr(torch, "compile", compile_)
    fit(config, steps=6)
    assert compiled == []
    model = gpt2.GPT2(forced(config, compile=True)).initialise(Streams(("fit",), (0,)).torch("weights"))
    language.train(model, stories(60), weights=None, budget=Budget(steps=6), observer=None, rng=Streams(("fit",), (0,)))
    assert compiled == [{"dynamic": True}]
    assert bits(model) == bits(plain)


def test_pace_is_of_this_process_and_not_saved(tmp_path):
    model = fit(steps=5)
    assert model.pace["train_steps"] == 5
    assert model.pace["train_seconds"] > 0
    assert model.pace["train_tokens_per_second"] > 0
    assert not set(model.pace) & set(model.facts)
    gpt2.save(model, tmp_path / "model")
    assert gpt2.load(tmp_path / "model").facts == model.facts


# evaluation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [4096, 50])
def test_losses_of_each_token_type(monkeypatch, tokens):
    monkeypatch.setattr(language, "EVALUATION_TOKENS", tokens)
    items, model = stories(40), fit()
    loss, count = np.zeros(13), np.zeros(13)
    with torch.no_grad():
        for i in range(40):
            text = torch.tensor([TINY.end, *items.output[i].tolist(), TINY.end])
            each = cross_entropy(model(text[None, :-1])[0], text[1:], reduction="none").numpy()
            np.add.at(loss, text[1:].numpy(), each)
            np.add.at(count, text[1:].numpy(), 1)
    found = language.evaluate(model, items, None)
    assert found["token_loss"].dtype == found["token_count"].dtype == np.float64
    assert found["token_loss"].shape == (1, 13)
    np.testing.assert_allclose(found["token_loss"][0], loss, rtol=1e-5)
    np.testing.assert_array_equal(found["token_count"][0], count)
    assert found["token_count"].sum() == found["tokens"][0]
    assert found["token_loss"].sum() / found["tokens"][0] == pytest.approx(found["cross_entropy"][0], rel=1e-12)
