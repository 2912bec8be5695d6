"""What all language models promise alike: the contract of a family, its settings, its files, its devices."""

from dataclasses import fields, replace
from inspect import get_annotations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from collapse.checkpoint import Checkpoint
from collapse.errors import ConfigError, DataError
from collapse.families import decoding, gpt2, language, llama2, matmul, opt, transformer
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream
from collapse.store import load_arrays, save_arrays

COMMON = {
    "vocabulary": 13, "end": 3, "hidden": 16, "layers": 2, "heads": 2, "positions": 20, "batch": 8, "warmup_steps": 2,
    "learning_rate": 0.01,
}  # fmt: skip


def _family(module, model, **more):
    return SimpleNamespace(module=module, model=model, config=module.Config(**COMMON, **more))


FAMILIES = {
    "gpt2": _family(gpt2, gpt2.GPT2),
    "llama2": _family(llama2, llama2.Llama2, intermediate=24),
    "opt": _family(opt, opt.OPT, layout="stories", keep="last"),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


pytestmark = pytest.mark.usefixtures("one_thread")


def stories(count, *name, config=FAMILIES["gpt2"].config):
    """Stories of a process that can be learned: each token follows the one before by 1 or 2, the end token left out."""
    rng = stream("stories", count, *name)
    tokens = [t for t in range(config.vocabulary) if t != config.end]
    texts = [
        np.take(tokens, (rng.integers(len(tokens)) + rng.integers(1, 3, n).cumsum()) % len(tokens))
        for n in rng.integers(0, config.positions, count)
    ]
    return Items.make(Ragged.of(texts), generation=0)


def fit(family, items, config=None, *, init=None, observer=None, checkpoint=None, steps=20):
    return family.module.fit(
        items, config=config or family.config, weights=None, budget=Budget(steps=steps), init=init, validation=None,
        observer=observer, rng=Streams(("fit",), (0,)), checkpoint=checkpoint,
    )  # fmt: skip


def fresh(family, config=None, *name):
    """A model with weights large enough that the equality of logits means something."""
    model = family.model(config or family.config).initialise(Streams(("weights", *name), (0,)).torch())
    noise = Streams(("noise", *name), (0,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=noise)
    return model


def tokens(config, *shape):
    return torch.from_numpy(stream("tokens").integers(0, config.vocabulary, shape))


def noise(name="noise"):
    return Streams((name,), (0,)).torch()


def same(a, b):
    """Whether two models are equal to the bit."""
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# the model ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [20, transformer.SHORT + 7])  # dense scores, and torch's kernel
@torch.no_grad()
def test_step_by_step_equals_the_whole(family, positions):
    config = replace(family.config, positions=positions)
    model, text = fresh(family, config), tokens(config, 4, positions)
    whole = model(text)
    assert whole.std() > 0.5
    cache = model.cache(6, positions)[:, :, :4]  # a part of a larger cache
    assert cache.shape == (2, 2, 4, 2, positions, 8)
    cache.fill_(torch.nan)  # nothing is read before it is written
    steps = torch.stack([model.step(text[:, t], t, cache) for t in range(positions)], dim=1)
    torch.testing.assert_close(steps, whole, atol=2e-5, rtol=0)
    filled = model.cache(4, positions).fill_(torch.nan)  # all at once
    half = positions // 2
    torch.testing.assert_close(model.prefill(text[:, :half], filled), whole[:, half - 1], atol=2e-5, rtol=0)
    torch.testing.assert_close(filled[..., :half, :], cache[..., :half, :], atol=2e-5, rtol=0)
    torch.testing.assert_close(model.step(text[:, half], half, filled), whole[:, half], atol=2e-5, rtol=0)
    part = model(text[:, : positions // 2])  # no position looks ahead
    torch.testing.assert_close(part, whole[:, : positions // 2], atol=2e-5, rtol=0)


@torch.no_grad()
def test_hypotheses_beside_each_other_are_as_if_alone(family):
    """Three ways in which each of two texts goes on, whose common columns are read by all; garbage is by none."""
    model, text = fresh(family), tokens(family.config, 2, 5)
    cache, more = model.cache(2, 12).fill_(torch.nan), tokens(family.config, 2, 3, 2)  # (2 texts, 3 hypotheses, 2)
    model.prefill(text, cache)
    cache[..., 5:, :] = 1e3
    ancestors = torch.zeros(2, 3, 5)
    own = torch.full((3, 3), -torch.inf).fill_diagonal_(0).expand(2, 3, 3)
    for t in (0, 1):
        ancestors = torch.cat([ancestors, own], 2)
        found = model.step(more[:, :, t].flatten(), 5 + t, cache, ancestors).view(2, 3, -1)
        for i, j in ((i, j) for i in range(2) for j in range(3)):
            alone = model(torch.cat([text[i], more[i, j, : t + 1]])[None])[0, -1]
            torch.testing.assert_close(found[i, j], alone, atol=2e-5, rtol=0)


@torch.no_grad()
def test_both_ways_to_attend_are_equal():
    q, k, v = torch.randn(3, 2, 4, 30, 8, generator=noise())
    mask = torch.full((30, 30), -torch.inf).triu(1)
    dense, kernel = (transformer.attend(q, k, v, m, 0.0, None) for m in (mask, None))
    assert dense.shape == (2, 30, 32)
    torch.testing.assert_close(dense, kernel, atol=1e-5, rtol=0)
    torch.testing.assert_close(dense[:, 0], v[:, :, 0].flatten(1))  # the first position sees itself alone


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    x = torch.ones(100_000)
    dropped = transformer.drop(x, 0.2, noise())
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert transformer.drop(x, 0.2, None) is x
    assert transformer.drop(x, 0.0, noise()) is x


def test_gradients_reach_all_weights(family):
    for config in (family.config, replace(family.config, dropout=0.2)):
        model = fresh(family, config)
        logits = model.head(model.trunk(tokens(config, 3, 20), noise() if config.dropout else None))
        logits.logsumexp(-1).sum().backward()
        for name, p in model.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name
            assert torch.isfinite(p.grad).all(), name


@pytest.mark.parametrize("length", [20, 140])
def test_dropout_is_reproducible_and_leaves_the_global_generator(family, length):
    config = replace(family.config, dropout=0.2, positions=150)
    model, text, state = fresh(family, config), tokens(config, 2, length), torch.random.get_rng_state()
    one, again, other = (model.trunk(text, noise(name)) for name in "aab")
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(model.trunk(text), model.trunk(text))  # without a generator there is none
    assert torch.equal(torch.random.get_rng_state(), state)
    items = stories(40)
    a, b = fit(family, items, config), fit(family, items, config)
    assert same(a, b)
    assert not same(a, fit(family, items, replace(config, dropout=0.0)))
    assert torch.equal(torch.random.get_rng_state(), state)


@torch.inference_mode()
def test_nothing_stays_on_the_cpu_by_mistake(family):
    """On the device "meta", which computes shapes only, an operation on two devices fails as it would on a GPU."""
    for config in (replace(family.config, dropout=0.1), replace(family.config, positions=300)):
        model = family.model(config).to("meta")
        text = torch.zeros(2, config.positions, dtype=torch.int64, device="meta")
        assert model(text).shape == (2, config.positions, config.vocabulary)
        cache = model.cache(2, 6)
        assert cache.device.type == "meta"
        assert model.step(text[:, 0], 0, cache).device.type == "meta"
        assert model.prefill(text[:, :3], cache).device.type == "meta"
        ancestors = torch.zeros(2, 1, 5, device="meta")
        assert model.step(text[:, 0], 4, cache, ancestors).device.type == "meta"


def test_half_precision_is_near(family):
    """Under autocast, as a GPU trains: products in bfloat16, logits near, gradients for the float32 weights."""
    model, text = fresh(family), tokens(family.config, 3, 20)
    whole = model(text)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.head(model.trunk(text))
    assert not torch.equal(logits.float(), whole)
    assert (logits.float() - whole).abs().mean() < 0.05 * whole.std()
    logits.float().logsumexp(-1).sum().backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in model.parameters())


def test_without_dropout_the_model_is_one_program(family, monkeypatch):
    """torch.compile takes it whole, and once for all lengths."""
    monkeypatch.setattr(matmul, "AVAILABLE", False)  # as on a GPU
    config = replace(family.config, positions=64)
    model, programs = fresh(family, config), []

    def backend(graph, inputs):
        programs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda text: model.head(model.trunk(text)), backend=backend, dynamic=True, fullgraph=True)
    for stories_, length in ((4, 24), (7, 40), (5, 64)):
        text = tokens(config, stories_, length)
        torch.testing.assert_close(compiled(text), model(text), atol=1e-5, rtol=0)
    assert len(programs) == 1


# fit and sample -------------------------------------------------------------------------------------------------------


def test_learns(family):
    model = fit(family, stories(200), steps=100)
    assert model.facts["last_loss"] < 0.6 * model.facts["first_loss"]
    assert model.facts["steps"] == 100
    assert not model.training


def test_init_copies_the_weights(family):
    items = stories(60)
    first = fit(family, items)
    before = fresh(family)
    before.load_state_dict(first.state_dict())
    again = fit(family, stories(60, "more"), init=first, steps=3)
    assert again.facts["first_loss"] < 0.9 * first.facts["first_loss"]
    assert same(first, before)
    assert not same(first, again)
    with pytest.raises(ConfigError, match="init has hidden 16, the recipe 32"):
        fit(family, items, replace(family.config, hidden=32), init=first)
    other = next(f for f in FAMILIES.values() if f is not family)
    with pytest.raises(ConfigError, match=f"init is a {other.model.__name__}, the recipe a {family.model.__name__}"):
        fit(family, items, init=fresh(other))


def test_an_interrupted_fit_goes_on(family, tmp_path):
    """Killed after a checkpoint, then run again: the bits of a fit that was left alone."""
    items, config = stories(60), replace(family.config, dropout=0.1, evaluations=(0.5, 1.0))
    whole, calls = fit(family, items, config), []

    def place():
        return Checkpoint(tmp_path / "checkpoint", {"fit": "this one"}, minutes=0)

    def killed(model, progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(family, items, config, observer=killed, checkpoint=place())
    resumed = fit(family, items, config, observer=lambda m, p: calls.append(p["step"]), checkpoint=place())
    assert calls[-1] == 20
    assert min(calls) >= 10  # not from the beginning
    assert same(resumed, whole)
    assert resumed.facts == whole.facts
    assert family.module.RESUMES is True


def test_contexts_are_repeated(family, monkeypatch):
    seen = []
    monkeypatch.setattr(decoding, "sample", lambda model, contexts, sampler, rng: seen.append(contexts))
    beginnings = np.array([[4, 5], [6, 7]])
    for contexts, k in ((5, 1), (5, 3), (beginnings, 1), (beginnings, 2)):
        family.module.sample(None, contexts, None, None, k=k)
    assert seen[:2] == [5, 15]
    np.testing.assert_array_equal(seen[2], beginnings)
    np.testing.assert_array_equal(seen[3], [[4, 5], [4, 5], [6, 7], [6, 7]])


def test_samples_are_drawn(family):
    model = fit(family, stories(60))
    sampler = Sampler(temperature=1.0, max_tokens=19)
    drawn, again = (family.module.sample(model, 20, sampler, Streams(("sample",), (0,)), k=2) for _ in range(2))
    assert len(drawn) == 40
    assert drawn.sha256() == again.sha256()
    logs = family.module.log_probabilities(model, drawn)
    ended = drawn.output.lengths < 19
    assert ended.any()
    np.testing.assert_allclose(drawn.logprob[0][ended], logs[ended], rtol=1e-4)


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"end": 13}, "end must be a token of the vocabulary, got 13"),
        ({"first_epochs": 0}, "first_epochs must be positive, or null for `epochs`, got 0"),
        ({"stop": 0.0}, "stop must be a fraction above 0, at most 1"),
        ({"stop": 1.5}, "stop must be a fraction above 0, at most 1"),
        ({"checkpoint_minutes": -1}, "checkpoint_minutes must be 0 or more"),
        ({"checkpoint_minutes": float("inf")}, "checkpoint_minutes must be 0 or more"),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"precision": "bf16"}, "unknown precision 'bf16'"),
        ({"precision": "bfloat16"}, "set `device: cuda` or `precision: float32`"),
        ({"compile": True}, "compile needs a GPU: set `device: cuda` or `compile: false`"),
        ({"device": "gpu"}, "device must be cpu or cuda"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
    ],
)
def test_wrong_settings_are_named(family, setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(family.config, **setting)


def test_settings_of_a_gpu_are_taken_with_one(family):
    config = replace(family.config, device="cuda", precision="bfloat16", compile=True, first_epochs=0.25, stop=0.1)
    assert (config.precision, config.compile) == ("bfloat16", True)


def test_a_misspelt_setting_is_an_error(family):
    with pytest.raises(TypeError, match="lerning_rate"):
        replace(family.config, lerning_rate=0.1)


def test_settings_are_shared_and_explained(family):
    """Each is in the docstring, and no model has one that is not."""
    for cls in type(family.config).__mro__[:2]:
        own = set(get_annotations(cls))
        assert all(f"\n        {name}: " in cls.__doc__ for name in own)
    shared = {f.name for f in fields(transformer.Settings)}
    own = {"llama2": {"intermediate"}, "opt": {"shift"}}.get(family.module.__name__.split(".")[-1], set())
    assert {f.name for f in fields(family.config)} - shared == own


# files and devices ----------------------------------------------------------------------------------------------------


def test_saved_and_loaded_models_are_equal(family, tmp_path):
    model = fit(family, stories(40), replace(family.config, evaluations=(0.5, 1.0), first_epochs=0.5))
    family.module.save(model, tmp_path / "model")
    again = family.module.load(tmp_path / "model")
    text = tokens(family.config, 3, 20)
    assert torch.equal(model(text), again(text))
    assert (again.config, again.facts, again.training) == (model.config, model.facts, False)
    family.module.save(again, tmp_path / "again")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_file_of_another_model_is_refused(family, tmp_path):
    path, name = tmp_path / "model", family.model.__name__
    save_arrays(path, {"w": np.zeros(3)})
    with pytest.raises(DataError, match=f"model does not hold a {name}: 'config'"):
        family.module.load(path)
    for other in FAMILIES.values():
        if other is not family:
            other.module.save(fresh(other), path)
            with pytest.raises(DataError, match=f"model does not hold a {name}: .*(intermediate|shift|Missing key)"):
                family.module.load(path)
    wider = fresh(family, replace(family.config, hidden=32))
    wider.config = family.config
    family.module.save(wider, path)
    with pytest.raises(DataError, match=rf"model does not hold a {name}: [\s\S]*size mismatch"):
        family.module.load(path)
    family.module.save(fresh(family), path)
    arrays = load_arrays(path)
    del arrays[max(arrays)]
    save_arrays(path, arrays)
    with pytest.raises(DataError, match=f"does not hold a {name}"):
        family.module.load(path)


def test_a_gpu_that_is_not_there_is_an_error_not_a_cpu(family, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = replace(family.config, device="cuda")
    with pytest.raises(ConfigError, match=r"`device: cuda` is asked for and torch finds no GPU: set `device: cpu`"):
        fit(family, stories(20), config)
    model = fresh(family)
    model.config = config
    language.save(model, tmp_path / "model")
    with pytest.raises(ConfigError, match="finds no GPU"):
        family.module.load(tmp_path / "model")
