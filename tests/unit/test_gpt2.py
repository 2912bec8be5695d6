"""GPT-2: equal to the reference implementation, and a training loop that counts and weighs what it says.

What it promises as Llama-2 does is in test_transformer.py.
"""

import subprocess
import sys
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.nn.functional import cross_entropy

from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import gpt2, language, matmul
from collapse.families.batches import IGNORED, ROUNDING, one_pass, padded
from collapse.families.decoding import Sampler
from collapse.families.training import learning_rate
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream

TINY = gpt2.Config(
    vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20, batch=8, warmup_steps=2, learning_rate=0.01
)


pytestmark = pytest.mark.usefixtures("one_thread")


def stories(count, *name, config=TINY, lengths=None):
    """Stories of a process that can be learned: each token follows the one before by 1 or 2, the end token left out."""
    rng = stream("stories", count, *name)
    tokens = [t for t in range(config.vocabulary) if t != config.end]
    lengths = rng.integers(0, config.positions, count) if lengths is None else lengths
    texts = [
        np.take(tokens, (rng.integers(len(tokens)) + rng.integers(1, 3, n).cumsum()) % len(tokens)) for n in lengths
    ]
    return Items.make(Ragged.of(texts), generation=0)


def fit(items, config=TINY, *, weights=None, budget=None, init=None, observer=None, seed=0):
    return gpt2.fit(
        items, config=config, weights=weights, budget=budget or Budget(steps=20), init=init, validation=None,
        observer=observer, rng=Streams(("fit",), (seed,)),
    )  # fmt: skip


def fresh(config, *name):
    """A model with weights large enough that logits, and the equality of two of them, mean something."""
    model = gpt2.GPT2(config).initialise(Streams(("weights", *name), (0,)).torch())
    noise = Streams(("noise", *name), (0,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=noise)
    return model


def parameters(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def same(a, b):
    """Whether two models are equal to the bit."""
    return torch.equal(parameters(a), parameters(b))


# the model ------------------------------------------------------------------------------------------------------------


def reference(config):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocabulary, n_positions=config.positions, n_embd=config.hidden, n_layer=config.layers,
            n_head=config.heads, bos_token_id=config.end, eos_token_id=config.end, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("length", [30, 160])  # dense scores, and the kernel that skips the masked half
@torch.no_grad()
def test_logits_equal_transformers(length):
    config = gpt2.Config(vocabulary=97, end=0, hidden=32, layers=3, heads=4, positions=160)
    ours, theirs = fresh(config, "ours"), reference(config)
    theirs.load_state_dict(gpt2.to_transformers(ours.state_dict()))
    tokens = torch.from_numpy(stream("tokens").integers(0, 97, (3, length)))
    logits = theirs(tokens).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(tokens), logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_weights_convert_both_ways():
    config = gpt2.Config(vocabulary=97, end=0, hidden=32, layers=2, heads=4, positions=40)
    theirs, ours = reference(config), fresh(config)
    ours.load_state_dict(gpt2.from_transformers(theirs.state_dict()))
    tokens = torch.from_numpy(stream("tokens").integers(0, 97, (2, 40)))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)
    back = gpt2.to_transformers(ours.state_dict())
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())
    untied = {**back, "lm_head.weight": back["lm_head.weight"] + 1}
    with pytest.raises(ConfigError, match="not tied"):
        gpt2.from_transformers(untied)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # the GPT-2 of Gerstgrasser et al. (arXiv 2404.01413)
        ({"vocabulary": 8000, "hidden": 256, "layers": 8, "heads": 8, "positions": 2048}, 8_890_880),
        ({"vocabulary": 512, "hidden": 64, "layers": 2, "heads": 4, "positions": 128}, 141_056),
    ],
)
def test_number_of_parameters(shape, expected):
    config = gpt2.Config(end=0, **shape)
    with torch.device("meta"):  # shapes without memory
        model = gpt2.GPT2(config)
    assert gpt2.parameters(config) == expected == sum(p.numel() for p in model.parameters())


def test_fresh_weights():
    config = gpt2.Config(vocabulary=512, end=0, hidden=64, layers=2, heads=4, positions=128, init_sd=0.05)
    state = gpt2.GPT2(config).initialise(Streams(("weights",), (0,)).torch()).state_dict()
    for name, value in state.items():
        if value.ndim == 2:
            sd = 0.05 / 2 if name.endswith("c_proj.weight") else 0.05  # back into the residual stream: / sqrt(2 L)
            assert value.std().item() == pytest.approx(sd, rel=0.04), name
            assert abs(value.mean().item()) < 5 * sd / value.numel() ** 0.5, name
        else:
            assert (value == (0 if name.endswith("bias") else 1)).all(), name
    assert sum(value.ndim == 2 for value in state.values()) == 2 + 4 * config.layers


@pytest.mark.skipif(not matmul.AVAILABLE, reason="torch has no oneDNN here")
@pytest.mark.parametrize(("rows", "width", "out"), [(5, 4, 12), (24, 16, 4), (1, 7, 7)])
@pytest.mark.parametrize("biased", [False, True])
def test_products_equal_torch(rows, width, out, biased):
    rng = Streams(("products",), (0,)).torch()
    shapes = [(rows, 2, width), (out, width), (out,)][: 2 + biased]
    a = [torch.randn(s, generator=rng).requires_grad_() for s in shapes]
    b = [x.detach().clone().requires_grad_() for x in a]
    weights = torch.randn(rows, 2, out, generator=rng)
    ours, theirs = matmul.linear(*a), functional.linear(*b)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(matmul.linear(*a), ours)


def test_products_without_onednn_train_the_same_model(monkeypatch):
    items = stories(40)
    ours = fit(items)
    monkeypatch.setattr(matmul, "AVAILABLE", False)
    theirs = fit(items)
    assert ours.facts["last_loss"] == pytest.approx(theirs.facts["last_loss"], rel=1e-3)


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"end": 13}, "end must be a token of the vocabulary, got 13"),
        ({"vocabulary": 70000}, "at most 65536"),
        ({"positions": 1}, "positions must be a whole number above 1"),
        ({"layers": 0}, "layers must be a whole number above 0"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"epochs": -1}, "epochs must be positive"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"clip": 0}, "clip must be positive"),
        ({"betas": (0.9, 1.0)}, "betas must be"),
        ({"evaluations": (0.5, 1.5)}, "evaluations must be"),
        ({"warmup_steps": -1}, "warmup_steps must be"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **setting)


def test_lists_of_a_config_file_become_tuples():
    assert replace(TINY, evaluations=[0.5, 1.0], betas=[0.9, 0.95]).evaluations == (0.5, 1.0)


@pytest.mark.parametrize(
    ("count", "budget", "expected"),
    [
        (80, Budget(passes=1), 10),
        (81, Budget(passes=1), 11),
        (80, Budget(passes=2.5), 25),
        (80, Budget(passes=0.01), 1),
        (3, Budget(passes=4), 4),
        (81, Budget(steps=7), 7),
    ],
)
def test_number_of_steps(count, budget, expected):
    assert gpt2.steps(count, TINY, budget) == expected
    model = fit(stories(count), replace(TINY, warmup_steps=0), budget=budget)
    assert model.facts["steps"] == expected


def test_equal_steps_do_not_depend_on_the_set():
    config = replace(TINY, epochs=3)
    assert gpt2.budget(config, 100, equal_steps=False) == Budget(passes=3)
    assert gpt2.budget(config, 100, equal_steps=True) == Budget(steps=39)


def test_learning_rate_rises_and_falls_to_zero():
    config = replace(TINY, learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(s, 14, config) for s in range(14)]
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
    np.testing.assert_allclose(rates[4:], np.linspace(1, 0.1, 10))
    assert learning_rate(13, 14, replace(config, schedule="constant")) == 1.0
    with pytest.raises(ConfigError, match="warmup_steps is 20, but training has 20 steps"):
        fit(stories(8), replace(TINY, warmup_steps=20))


# batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 8, 1000, 3001])
def test_a_pass_visits_every_item_once(count):
    lengths = stream("lengths", count).integers(0, 100, count)
    batches = list(one_pass(lengths, 8, stream("pass")))
    assert len(batches) == ceil(count / 8)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert sorted(len(b) for b in batches)[1:] == [8] * (len(batches) - 1)  # one holds the rest


def test_passes_differ_and_follow_the_generator():
    lengths = stream("lengths").integers(0, 100, 200)
    one, two, again = (list(one_pass(lengths, 8, stream("pass", name))) for name in "aba")
    assert not np.array_equal(np.concatenate(one), np.concatenate(two))
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(again))
    rng = stream("pass", "a")
    first, second = (np.concatenate(list(one_pass(lengths, 8, rng))) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("size", [16, 32])
def test_little_padding(size):
    rng = stream("lengths", "realistic")
    lengths = np.exp(rng.normal(np.log(190), 0.45, 5000)).astype(int).clip(20, 1000)  # stories: skewed, 20 to 1000
    padding = []
    for _ in range(3):
        batches = list(one_pass(lengths, size, rng))
        rounding = ROUNDING
        fed = sum(-(-(lengths[b].max() + 1) // rounding) * rounding * len(b) for b in batches)
        padding.append(1 - (lengths + 1).sum() / fed)
    assert max(padding) < 0.05
    shuffled = sum((lengths[i : i + size].max() + 1) * size for i in range(0, 4992, size))
    assert 1 - (lengths[:4992] + 1).sum() / shuffled > 0.3  # what plain batches waste


def test_order_of_batches_is_not_by_length():
    lengths = stream("lengths").integers(0, 100, 512)
    means = np.array([lengths[b].mean() for b in one_pass(lengths, 8, stream("pass"))])
    assert abs(np.corrcoef(means, np.arange(64))[0, 1]) < 0.3
    assert np.mean([np.ptp(lengths[b]) for b in one_pass(lengths, 8, stream("pass"))]) < 10


def test_layout_of_a_batch():
    texts, no = Ragged.of([[5, 6, 7], [], [8]]), IGNORED
    inputs, targets = padded(texts, np.array([2, 0, 1]), TINY)
    np.testing.assert_array_equal(inputs[:, :4], [[3, 8, 3, 3], [3, 5, 6, 7], [3, 3, 3, 3]])
    np.testing.assert_array_equal(targets[:, :4], [[8, 3, no, no], [5, 6, 7, 3], [3, no, no, no]])
    assert inputs.shape == targets.shape == (3, 8)
    assert (targets[:, 4:] == no).all()
    longest = Ragged.of([[5] * (TINY.positions - 1)])
    assert padded(longest, np.array([0]), TINY)[0].shape == (1, TINY.positions)


# training -------------------------------------------------------------------------------------------------------------


def plain_loss(model, items, weights=None):
    """Cross-entropy story by story, weighted by story, per predicted token."""
    weights = np.ones(len(items)) if weights is None else weights
    total = count = 0.0
    for i, w in enumerate(weights):
        text = torch.tensor([TINY.end, *items.output[i].tolist(), TINY.end])
        total = total + w * cross_entropy(model(text[None, :-1])[0], text[1:], reduction="sum")
        count += w * (len(text) - 1)
    return total / count


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_adamw_on_the_mean_over_tokens(weighted):
    """Full-batch steps equal autograd on story-by-story losses and torch's AdamW with its two groups."""
    items = stories(6, "step")
    weights = stream("w").random((1, 6)) if weighted else None
    config = replace(TINY, weight_decay=0.1, warmup_steps=1, clip=0.01)
    start, expected = fresh(config), fresh(config)
    model = fit(items, config, weights=weights, budget=Budget(steps=5), init=start)
    groups = [
        {"params": [p for p in expected.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in expected.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser, losses = torch.optim.AdamW(groups, betas=config.betas), []
    for step in range(5):
        optimiser.zero_grad()
        loss = plain_loss(expected, items, None if weights is None else weights[0])
        loss.backward()
        assert torch.nn.utils.clip_grad_norm_(expected.parameters(), 0.01) > 0.01
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 if step == 0 else (5 - step) / 4)
        optimiser.step()
        losses.append(loss.item())
    # where a gradient is tiny, Adam's step depends on its rounding
    torch.testing.assert_close(parameters(model), parameters(expected), atol=1e-4, rtol=0)
    assert model.facts["first_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert model.facts["last_loss"] == pytest.approx(losses[-1], rel=1e-5)
    assert losses[-1] < 0.95 * losses[0]
    assert model.facts["weight_change"] == pytest.approx(
        (parameters(model) - parameters(start)).norm().item(), rel=1e-4
    )


def test_equal_weights_are_no_weights():
    items = stories(40)
    assert same(fit(items, weights=np.full((1, 40), 3.0)), fit(items))
    assert not same(fit(items, weights=1 + stream("w").random((1, 40))), fit(items))


def test_items_of_weight_zero_do_not_count():
    """Junk of weight 0 changes the order of batches, not what is learned."""
    good, junk = stories(100, "good"), stories(100, "junk")
    junk = replace(junk, output=Ragged(stream("junk").permutation(junk.output.values), junk.output.offsets))
    weights = np.repeat([[1.0, 0.0]], 100, axis=1)
    models = [fit(Items.concat([good, junk]), weights=w, budget=Budget(passes=8)) for w in (weights, 1 - weights, None)]
    on_good, on_junk, on_both = (gpt2.evaluate(m, good, None)["cross_entropy"][0] for m in models)
    assert on_good < on_both - 0.1
    assert on_both < on_junk - 0.1


@pytest.mark.parametrize("weights", [np.zeros((1, 8)), np.full((1, 8), -1.0), np.full((1, 8), np.nan), np.ones((1, 7))])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(DataError, match="loss weights"):
        fit(stories(8), weights=weights)


def test_learns_a_process():
    """Each token leaves two choices, so a story of n tokens has log 12 + n log 2 nats and its length."""
    lengths = np.full(400, 19)
    model = fit(stories(400, lengths=lengths), budget=Budget(passes=6))
    got = gpt2.evaluate(model, stories(200, "test", lengths=lengths), None)["cross_entropy"][0]
    floor = (np.log(12) + 18 * np.log(2)) / 20
    assert floor < got < 1.1 * floor
    assert model.facts["last_loss"] < 0.5 * model.facts["first_loss"]
    assert model.facts["tokens"] == 6 * 400 * 20


def test_facts_count_tokens_and_padding():
    items = stories(50)
    model = fit(items, budget=Budget(passes=2))
    assert model.facts["tokens"] == 2 * (items.output.offsets[-1] + 50)
    fed = model.facts["tokens"] / (1 - model.facts["padding"])
    assert fed == pytest.approx(round(fed))
    assert 0 < model.facts["padding"] < 0.4  # short stories, rounded up


def test_observer_is_called_at_the_fractions():
    calls = []

    def observe(model, progress):
        assert not model.training
        calls.append((progress, gpt2.evaluate(model, items, None)["cross_entropy"][0]))

    items = stories(60)
    model = fit(items, replace(TINY, evaluations=(0.1, 0.5)), budget=Budget(steps=15), observer=observe)
    assert [(p["step"], p["fraction"]) for p, _ in calls] == [(2, 0.1), (8, 0.5), (15, 1.0)]
    assert calls[0][0]["loss"] > calls[1][0]["loss"] > calls[2][0]["loss"]
    assert calls[2][1] == gpt2.evaluate(model, items, None)["cross_entropy"][0]
    assert not model.training
    assert same(model, fit(items, budget=Budget(steps=15)))  # watching changes nothing


def test_a_model_can_be_trained_on():
    """The weights of a trained model are views of one buffer: copying it again must still work."""
    model = fit(stories(30))
    assert not same(fit(stories(30), init=model, budget=Budget(steps=3)), model)


def test_divergence_names_step_and_rate():
    with pytest.raises(TrainingError, match=r"at step \d+ of 20 with learning rate 1e\+20"):
        fit(stories(40), replace(TINY, learning_rate=1e20, warmup_steps=0, schedule="constant", clip=None))


def test_weights_that_do_not_move_are_an_error():
    with pytest.raises(TrainingError, match="did not move in 20 steps"):
        fit(stories(40), replace(TINY, learning_rate=1e-30))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([[1], [1] * 20], "story 1 has 20 tokens.*20 positions take 19"),
        ([[13]], "token 13, the model knows 13"),
        ([[1, 3, 1]], "end token 3 inside"),
        ([], "no stories"),
    ],
)
def test_stories_that_do_not_fit_are_refused(texts, message):
    items, model = Items.make(Ragged.of(texts), generation=0), fresh(TINY)
    with pytest.raises(DataError, match=message):
        fit(items)
    with pytest.raises(DataError, match=message):
        gpt2.evaluate(model, items, None)


def test_the_longest_story_fits():
    items = stories(4, lengths=np.full(4, TINY.positions - 1))
    assert np.isfinite(gpt2.evaluate(fit(items), items, None)["cross_entropy"]).all()


# evaluation, files, determinism ---------------------------------------------------------------------------------------


def test_evaluation_is_the_mean_over_all_tokens(monkeypatch):
    items, model = stories(50), fresh(TINY)
    with torch.no_grad():
        expected = plain_loss(model, items).item()
        alone = [plain_loss(model, items.take(np.array([[i]]))).item() for i in range(50)]
    for tokens in (language.EVALUATION_TOKENS, 100, 1):  # whatever the batches
        monkeypatch.setattr(language, "EVALUATION_TOKENS", tokens)
        got = gpt2.evaluate(model, items, None)
        assert got["cross_entropy"].shape == got["tokens"].shape == (1,)
        assert got["cross_entropy"][0] == pytest.approx(expected, rel=1e-5)
        assert got["tokens"][0] == items.output.offsets[-1] + 50
        logs = gpt2.log_probabilities(model, items)
        np.testing.assert_allclose(-logs / (items.output.lengths + 1), alone, rtol=1e-5)


def test_fit_and_sample_twice_give_equal_bytes(tmp_path):
    bytes_ = []
    for name in ("a", "b"):
        model = fit(stories(40))
        gpt2.save(model, tmp_path / name)
        items = gpt2.sample(model, 50, Sampler(1.0, 19), Streams(("sample",), (0,)))
        bytes_.append(((tmp_path / name).read_bytes(), items.sha256(), items.logprob.tobytes()))
    assert bytes_[0] == bytes_[1]
    assert not same(fit(stories(40), seed=1), fit(stories(40)))


def test_training_imports_no_compiler(tmp_path):
    """torch._dynamo costs more than a second of each process; transformers is for tests."""
    code = f"""
import sys
import numpy as np
from collapse.families import gpt2, llama2, opt
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams
rng = Streams(("x",), (0,))
common = dict(vocabulary=5, end=0, hidden=8, layers=1, heads=2, positions=8, warmup_steps=0, dropout=0.1)
items = Items.make(Ragged.of([[1, 2], [3]]), generation=0)
configs = (
    (llama2, llama2.Config(**common, intermediate=8)),
    (opt, opt.Config(**common, layout="stories")),
    (gpt2, gpt2.Config(**common)),
)
for family, config in configs:
    model = family.fit(items, config=config, weights=None, budget=Budget(steps=2), init=None, validation=items,
                       observer=None, rng=rng)
gpt2.sample(model, 3, Sampler(1.0, 5), rng)
gpt2.evaluate(model, items, rng)
gpt2.save(model, {str(tmp_path / "m")!r})
gpt2.load({str(tmp_path / "m")!r})
print([m for m in ("torch._dynamo", "transformers", "pandas", "scipy", "snakemake") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
