"""OPT: equal to the reference implementation, read from its files, and trained on blocks, of which the best is kept.

What it promises as other language models do is in test_transformer.py; what it draws in test_continuation.py.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from collapse.checkpoint import Checkpoint, StoppedError
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import gpt2, language, opt
from collapse.families.batches import padded
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream

SMALL = opt.Config(vocabulary=97, end=2, hidden=32, layers=3, heads=4, positions=160)
TINY = opt.Config(
    vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20, batch=8, warmup_steps=2, learning_rate=0.01
)


pytestmark = pytest.mark.usefixtures("one_thread")


def blocks(count, *name, length=12, config=TINY):
    """Blocks of a process that can be learned: each token follows the one before by 1 or 2, the end token too."""
    rng = stream("blocks", count, *name)
    steps = rng.integers(1, 3, (count, length)).cumsum(1)
    return Items.make(
        Ragged.of((rng.integers(config.vocabulary, size=(count, 1)) + steps) % config.vocabulary), generation=0
    )


def fit(items, config=TINY, *, weights=None, steps=20, init=None, validation=None, observer=None, checkpoint=None):
    return opt.fit(
        items, config=config, weights=weights, budget=Budget(steps=steps), init=init,
        validation=blocks(10, "validation") if validation is None else validation, observer=observer,
        rng=Streams(("fit",), (0,)), checkpoint=checkpoint,
    )  # fmt: skip


def fresh(config, *name):
    """A model with weights large enough that logits, and the equality of two of them, mean something."""
    model = opt.OPT(config).initialise(Streams(("weights", *name), (0,)).torch())
    noise = Streams(("noise", *name), (0,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=noise)
    return model


def reference(config, **more):
    from transformers import OPTConfig, OPTForCausalLM

    settings = {
        "vocab_size": config.vocabulary, "hidden_size": config.hidden, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "ffn_dim": 4 * config.hidden, "eos_token_id": config.end,
        "max_position_embeddings": config.positions, "dropout": 0.0,
    }  # fmt: skip
    return OPTForCausalLM(OPTConfig(**{**settings, **more})).eval()


def tokens(config, *shape):
    return torch.from_numpy(stream("tokens").integers(0, config.vocabulary, shape))


def bits(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy().tobytes()


# the model ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [30, 160])  # dense scores, and the kernel that skips the masked half
@torch.no_grad()
def test_logits_equal_transformers(length):
    ours, theirs = fresh(SMALL), reference(SMALL)
    theirs.load_state_dict(opt.to_transformers(ours.state_dict()))
    text = tokens(SMALL, 3, length)
    logits = theirs(text).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(text), logits, atol=1e-4, rtol=0)
    first = ours.places.weight[:2].clone()
    ours.places.weight[:2] = torch.nan  # rows that no position has
    torch.testing.assert_close(ours(text), logits, atol=1e-4, rtol=0)
    ours.places.weight[:2] = first


@torch.no_grad()
def test_weights_convert_both_ways():
    theirs, ours = reference(SMALL), fresh(SMALL)
    for p in theirs.parameters():
        p += 0.2 * torch.randn(p.shape, generator=Streams(("theirs", *p.shape), (0,)).torch())
    ours.load_state_dict(opt.from_transformers(theirs.state_dict()))
    text = tokens(SMALL, 2, 40)
    logits = theirs(text).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(text), logits, atol=1e-4, rtol=0)
    back = opt.to_transformers(ours.state_dict())
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


def test_published_files_name_weights_in_two_ways_and_in_half_precision():
    state = fresh(SMALL).state_dict()
    theirs = opt.to_transformers(state)
    bare = {name.removeprefix("model."): value.half() for name, value in theirs.items() if name != "lm_head.weight"}
    found = opt.from_transformers(bare)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value.half().float()) for name, value in state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"lm_head.weight": s["lm_head.weight"] + 1}, "not tied"),
        (lambda s: s | {"model.decoder.project_in.weight": torch.zeros(2)}, "another model: model.decoder.project_in"),
        (lambda s: {k: v for k, v in s.items() if "2.fc2.bias" not in k}, r"layers\.2\.fc2\.bias is missing"),
        (lambda s: {"transformer.wte.weight": torch.zeros(2)}, "of another model"),
    ],
)
def test_weights_of_another_model_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        opt.from_transformers(change(opt.to_transformers(fresh(SMALL).state_dict())))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # facebook/opt-125m
        ({"vocabulary": 50272, "hidden": 768, "layers": 12, "heads": 12, "positions": 2048}, 125_239_296),
        ({"vocabulary": 768, "hidden": 64, "layers": 2, "heads": 4, "positions": 128}, 157_568),
    ],
)
def test_number_of_parameters(shape, expected):
    config = opt.Config(end=2, dropout=0.1, **shape)
    with torch.device("meta"):  # shapes without memory
        model = opt.OPT(config)
    assert opt.parameters(config) == expected == sum(p.numel() for p in model.parameters())
    assert reference(SMALL).num_parameters() == opt.parameters(SMALL)


def test_fresh_weights():
    config = opt.Config(vocabulary=512, end=0, hidden=64, layers=2, heads=4, positions=126, init_sd=0.05)
    state = opt.OPT(config).initialise(Streams(("weights",), (0,)).torch()).state_dict()
    for name, value in state.items():
        if value.ndim == 2:
            sd = 0.05 / 2 if name.endswith(("attn.out.weight", "fc2.weight")) else 0.05  # / sqrt(2 L)
            assert value.std().item() == pytest.approx(sd, rel=0.04), name
        else:
            assert (value == (0 if name.endswith("bias") else 1)).all(), name
    assert sum(value.ndim == 2 for value in state.values()) == 2 + 4 * config.layers


@torch.no_grad()
def test_dropout_is_of_what_attention_and_mlp_add():
    """One block whose mlp adds nothing: of what attention adds, elements are gone or scaled up; no more changes."""
    config = replace(SMALL, layers=1, dropout=0.5)
    model, text = fresh(config), tokens(SMALL, 5, 20)
    model.layers[0].fc2.weight.zero_()
    model.layers[0].fc2.bias.zero_()
    before = model.embedding(text) + model.places.weight[2:22]
    added, dropped = (model.trunk(text, noise) - before for noise in (None, Streams(("noise",), (0,)).torch()))
    kept = dropped.abs() > 1e-6
    torch.testing.assert_close(dropped[kept], 2 * added[kept], atol=1e-5, rtol=0)
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert model.causal(160, Streams(("noise",), (0,)).torch()) is None  # torch's kernel, in training too


# files of transformers ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A model as transformers saves it, with weights that mean something."""
    theirs = reference(SMALL, dropout=0.1)
    theirs.load_state_dict(opt.to_transformers(fresh(SMALL).state_dict()))
    theirs.half().save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_of_transformers_is_read(folder):
    from transformers import OPTForCausalLM

    model, text = opt.load_pretrained(folder), tokens(SMALL, 2, 40)
    theirs = OPTForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.testing.assert_close(model(text), theirs(text).logits, atol=1e-4, rtol=0)
    assert not model.training
    assert model.config == replace(SMALL, dropout=0.1)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    config = replace(SMALL, batch=3)
    assert opt.load_pretrained(str(folder), config).config == config
    opt.save(model, folder / "ours")  # and a fit starts from it
    items, config = blocks(20, config=SMALL), replace(SMALL, keep="last", warmup_steps=0, batch=20)
    again = fit(items, config, init=opt.load(folder / "ours"), steps=2)
    assert again.facts["first_loss"] == pytest.approx(opt.block_losses(model, items).mean(), rel=1e-5)


def rewrite(folder, **more):
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in {**told, **more}.items() if v is not None}))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model_type": "gpt2"}, ConfigError, "has model_type 'gpt2', this family 'opt'"),
        ({"do_layer_norm_before": False}, ConfigError, "do_layer_norm_before False, this family True"),
        ({"word_embed_proj_dim": 16}, ConfigError, "word_embed_proj_dim 16, this family 32"),
        ({"ffn_dim": 100}, ConfigError, "ffn_dim 100, this family 128"),
        ({"activation_function": "gelu"}, ConfigError, "activation_function 'gelu', this family 'relu'"),
        ({"vocab_size": None}, DataError, "does not say vocab_size"),
        ({"vocab_size": 96}, DataError, "not of the shape that config.json says: .*size mismatch"),
        ({"num_attention_heads": 5}, ConfigError, "multiple of heads"),
    ],
)
def test_folders_of_other_models_are_refused(folder, settings, error, message):
    rewrite(folder, **settings)
    with pytest.raises(error, match=message):
        opt.load_pretrained(folder)


def test_another_shape_than_the_recipe_names_both_numbers(folder):
    with pytest.raises(ConfigError, match="has vocabulary 97, the recipe 96"):
        opt.load_pretrained(folder, replace(SMALL, vocabulary=96))
    with pytest.raises(ConfigError, match="has positions 160, the recipe 64"):
        opt.load_pretrained(folder, replace(SMALL, positions=64))


def test_pickles_and_broken_files_are_refused(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"model\.safetensors is truncated or not safetensors .*fetch it anew"):
        opt.load_pretrained(folder)
    weights.unlink()
    with pytest.raises(DataError, match=r"has neither model\.safetensors nor pytorch_model\.bin; transformers writes"):
        opt.load_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(
        DataError, match=r"pytorch_model\.bin is broken, or holds more than tensors, and was not loaded"
    ):
        opt.load_pretrained(folder)

    class Malicious:
        def __reduce__(self):
            return (Path.touch, (folder / "made by a pickle",))

    torch.save({"weight": Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds more than tensors, and was not loaded"):
        opt.load_pretrained(folder)
    assert not (folder / "made by a pickle").exists()
    torch.save([torch.zeros(3)], folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds no weights by name"):
        opt.load_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json is not JSON"):
        opt.load_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*config\.json: No such file"):
        opt.load_pretrained(folder)


def test_weights_in_a_pickle_of_tensors_are_the_same(folder):
    expected = opt.load_pretrained(folder)
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = opt.load_pretrained(folder)
    for (name, a), b in zip(expected.state_dict().items(), found.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_shifted_blocks_train_all_positions(folder):
    config = replace(TINY, positions=12, shift=True, learning_rate=1e-2, keep="last")
    model = opt.OPT(config).initialise(torch.Generator().manual_seed(0))
    assert {model.start(step, 4) for step in range(60)} == set(range(9))
    assert opt.OPT(replace(config, shift=False)).start(7, 4) == 0
    items = Items.make(Ragged.of(np.arange(40).reshape(10, 4) % 9), generation=0)
    trained = {
        shift: opt.fit(
            items, config=replace(config, shift=shift, epochs=30), weights=None, budget=Budget(steps=40), init=model,
            validation=items, observer=None, rng=Streams(("shift",), (0,)),
        ).places.weight
        for shift in (True, False)
    }  # fmt: skip
    moved = {shift: (w - model.places.weight).abs().sum(1) > 0 for shift, w in trained.items()}
    assert moved[True][opt.OFFSET : opt.OFFSET + 11].all()  # a block's last token predicts nothing
    assert not moved[False][opt.OFFSET + 3 :].any()


def test_a_shifted_trunk_is_that_of_a_longer_text(folder):
    """Positions count from ``start``: the table's rows are shifted, nothing else."""
    model = opt.OPT(replace(TINY, positions=12)).initialise(torch.Generator().manual_seed(0))
    tokens = torch.arange(5)[None]
    moved = opt.OPT(replace(TINY, positions=12)).initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        moved.places.weight[opt.OFFSET : opt.OFFSET + 5] = model.places.weight[opt.OFFSET + 7 : opt.OFFSET + 12]
        assert torch.equal(model.trunk(tokens, start=7), moved.trunk(tokens))


# blocks ---------------------------------------------------------------------------------------------------------------


def test_blocks_are_fed_as_they_are():
    rows = Ragged.of([[5, 3, 7, 7], [3, 3, 3, 3], [1, 2, 3, 4]])
    inputs, targets = padded(rows, np.array([2, 0]), TINY)
    assert inputs.tolist() == [[1, 2, 3], [5, 3, 7]]
    assert targets.tolist() == [[2, 3, 4], [3, 7, 7]]
    assert inputs.dtype == targets.dtype == torch.int64


def test_facts_count_predicted_tokens_and_no_padding():
    model = fit(blocks(20), steps=6)  # two passes of three batches, the last of four blocks
    assert model.facts["tokens"] == 2 * 20 * 11
    assert model.facts["padding"] == 0
    assert opt.steps(20, TINY, Budget(passes=2)) == 6


def plain_losses(model, items):
    """Losses of each block, token by token, by the model's forward pass alone: (N, T - 1)."""
    rows = torch.from_numpy(items.output.values.reshape(len(items), -1).astype(np.int64))
    with torch.no_grad():
        logits = model(rows[:, :-1])
    return cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").double().numpy()


@pytest.mark.parametrize("tokens", [4096, 50])
def test_evaluation_gives_three_perplexities(monkeypatch, tokens):
    monkeypatch.setattr(language, "EVALUATION_TOKENS", tokens)
    items, model = blocks(21), fresh(replace(TINY, batch=4))
    losses, found = plain_losses(model, items), opt.evaluate(model, items, None)
    batches = [losses[i : i + 4].mean() for i in range(0, 21, 4)]
    assert len(batches) == 6
    expected = {
        "cross_entropy": losses.mean(), "tokens": 21 * 11, "perplexity": np.exp(losses.mean()),
        "perplexity_batches": np.exp(batches).mean(), "perplexity_sequences": np.exp(losses.mean(1)).mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name].shape == (1,), name
        assert found[name][0] == pytest.approx(value, rel=1e-5), name
    assert found["perplexity"] < found["perplexity_sequences"]  # Jensen
    np.testing.assert_allclose(opt.block_losses(model, items), losses.mean(1), rtol=1e-5)
    np.testing.assert_allclose(opt.log_probabilities(model, items), -losses.sum(1), rtol=1e-5)
    targets = items.output.values.reshape(21, -1)[:, 1:]
    np.testing.assert_array_equal(found["token_count"][0], np.bincount(targets.ravel(), minlength=13))
    assert found["token_count"][0, TINY.end] > 0  # the end token is one like the others
    assert found["token_loss"].sum() == pytest.approx(losses.sum(), rel=1e-5)


def test_stories_have_no_perplexity_of_batches():
    items = Items.make(Ragged.of([[1, 2], [4]]), generation=0)
    model = fresh(replace(TINY, layout="stories"))
    assert opt.evaluate(model, items, None).keys() == {"cross_entropy", "tokens", "token_loss", "token_count"}
    assert opt.block_losses(model, items).shape == (2,)
    np.testing.assert_allclose(opt.block_losses(model, items) * [3, 2], -opt.log_probabilities(model, items))


def test_a_perplexity_too_large_to_write_down_is_infinite():
    model = fresh(TINY)
    with torch.no_grad():
        model.norm.weight.fill_(1e4)
    found = opt.evaluate(model, blocks(5), None)
    assert np.isfinite(found["cross_entropy"]).all()
    assert np.isinf(found["perplexity"]).all()


def test_training_lowers_the_loss_as_autograd_and_adamw_do():
    """Full-batch steps equal those of transformers' model with its own loss under torch's AdamW."""
    config = replace(SMALL, batch=4, warmup_steps=0, schedule="constant", learning_rate=1e-3, clip=None, keep="last")
    items, start, theirs = blocks(4, length=24, config=config), fresh(config), reference(config)
    theirs.load_state_dict(opt.to_transformers(start.state_dict()))
    model = fit(items, config, init=start, steps=5)
    text = torch.from_numpy(items.output.values.reshape(4, -1).astype(np.int64))
    # the library leaves the row of its padding token, 1, out of the embedding's gradient, not of the head's
    theirs.model.decoder.embed_tokens.padding_idx = None
    optimiser, losses = torch.optim.AdamW(theirs.parameters(), lr=1e-3, betas=config.betas, weight_decay=0.0), []
    for _ in range(5):
        optimiser.zero_grad()
        loss = theirs(text, labels=text).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert model.facts["first_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert model.facts["last_loss"] == pytest.approx(losses[-1], rel=1e-4)
    assert losses[-1] < 0.95 * losses[0]
    ours = opt.to_transformers(model.state_dict())
    for name, value in theirs.state_dict().items():
        if not name.endswith("k_proj.bias"):  # shifts all scores alike: its gradient is rounding, which Adam scales up
            torch.testing.assert_close(ours[name], value, atol=2e-4, rtol=0, msg=name)


def test_weights_are_of_blocks():
    """Junk of weight 0 does not count, whatever else there is."""
    good, junk = blocks(60, "good"), blocks(60, "junk")
    junk = replace(junk, output=Ragged(stream("junk").permutation(junk.output.values), junk.output.offsets))
    weights, both = np.repeat([[1.0, 0.0]], 60, axis=1), Items.concat([good, junk])
    on_good, on_both = (fit(both, weights=w, steps=90, init=None) for w in (weights, None))
    assert opt.block_losses(on_good, good).mean() < opt.block_losses(on_both, good).mean() - 0.05


def test_other_families_train_on_blocks_too():
    config = gpt2.Config(
        vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20, batch=8, warmup_steps=2, learning_rate=0.01,
        layout="blocks", keep="best",
    )  # fmt: skip
    model = gpt2.fit(
        blocks(60), config=config, weights=None, budget=Budget(passes=4), init=None, validation=blocks(10, "v"),
        observer=None, rng=Streams(("fit",), (0,)),
    )  # fmt: skip
    assert model.facts["padding"] == 0
    assert model.facts["last_loss"] < 0.9 * model.facts["first_loss"]
    assert gpt2.evaluate(model, blocks(10, "v"), None)["cross_entropy"][0] == model.facts["validation_loss"]
    assert "perplexity_batches" in gpt2.evaluate(model, blocks(10), None)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([[1] * 21] * 2, "blocks have 21 tokens, the model 20 positions: raise `positions`"),
        ([[1] * 5, [1] * 6], "blocks have 5 to 6 tokens: all must be of one length"),
        ([[1], [2]], "blocks have 1 token: 2 or more"),
        ([[1, 13]], "the blocks hold token 13, the model knows 13: another tokenizer"),
        ([], "no blocks"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(texts, message):
    items = Items.make(Ragged.of(texts), generation=0)
    with pytest.raises(DataError, match=message):
        fit(items)
    with pytest.raises(DataError, match=message):
        opt.evaluate(fresh(TINY), items, None)
    if texts:
        with pytest.raises(DataError, match=message):  # before the first step
            fit(blocks(8), validation=items, observer=lambda m, p: pytest.fail("trained"))


def test_init_of_another_shape_names_both():
    with pytest.raises(ConfigError, match="init has vocabulary 97, the recipe 13"):
        fit(blocks(20), init=fresh(SMALL))
    with pytest.raises(ConfigError, match="init is a GPT2, the recipe a OPT"):
        fit(blocks(20), init=gpt2.GPT2(gpt2.Config(vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20)))


# the best weights -----------------------------------------------------------------------------------------------------

PASS = 3
"""Batches of a pass over the few blocks that the following tests overfit."""

OVERFIT = replace(TINY, learning_rate=0.03, warmup_steps=0, schedule="constant", dropout=0.1)


def few():
    """Blocks so few that training on them soon does harm."""
    rng = stream("few")
    return Items.make(Ragged.of(rng.integers(0, 13, (8 * PASS - 2, 12))), generation=0)


def every_pass(config, steps):
    """Weights and validation losses after each pass and at the end, of a training that keeps the last ones."""
    points, passes = [], sorted({*range(PASS, steps + 1, PASS), steps})
    fractions = tuple(step / steps for step in passes)

    def observe(model, progress):
        loss = opt.evaluate(model, blocks(10, "validation"), None)["cross_entropy"][0]
        points.append((progress["step"], loss, bits(model)))

    fit(few(), replace(config, keep="last", evaluations=fractions), steps=steps, observer=observe)
    assert [p[0] for p in points] == passes
    return points


@pytest.mark.parametrize("steps", [PASS, 8 * PASS, 8 * PASS + 1])
def test_the_best_weights_are_kept(steps):
    points = every_pass(OVERFIT, steps)
    step, loss, best = min(points, key=lambda p: p[1])
    model = fit(few(), OVERFIT, steps=steps)
    assert bits(model) == best
    assert model.facts["kept_pass"] == step / PASS
    assert model.facts["validation_losses"] == [p[1] for p in points]
    assert model.facts["validation_loss"] == loss
    if steps > PASS:
        assert PASS <= step < steps  # the last ones are others
        assert model.facts["validation_losses"][-1] > loss + 0.01
    assert not model.training


def test_looking_changes_nothing_else():
    """The last weights are those of a training without looks; where the last are the best, so are all facts."""
    config = replace(OVERFIT, learning_rate=1e-3, evaluations=(0.3, 1.0))
    found = []
    for keep in ("best", "last"):
        points = []
        model = fit(
            blocks(30), replace(config, keep=keep), steps=12, observer=lambda m, p, to=points: to.append((p, bits(m)))
        )
        found.append((points, model.facts))
    assert found[0][0] == found[1][0]
    (_, best), (_, last) = found
    assert best["kept_pass"] == 3
    assert {k: v for k, v in best.items() if k in last} == last
    assert set(best) - set(last) == {"validation_losses", "validation_loss", "kept_pass"}


class Stops(Checkpoint):
    """Is asked to stop after some steps of this process."""

    def __init__(self, path, after):
        super().__init__(path, {"fit": "this one"}, 1e9)
        self.after = after

    def due(self):
        self.after -= 1
        if self.after == 0:
            import signal

            self._stop = signal.SIGTERM
        return super().due()


@pytest.mark.parametrize("after", [1, PASS, PASS + 1, 3 * PASS, 8 * PASS])
def test_a_resumed_fit_keeps_the_same_weights(tmp_path, after):
    """The best pass may lie before the interruption, or after it: the bytes of the file are the same."""
    steps, path = 8 * PASS, tmp_path / "checkpoint.safetensors"
    whole = fit(few(), OVERFIT, steps=steps)
    opt.save(whole, tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(few(), OVERFIT, steps=steps, checkpoint=Stops(path, after))
    resumed = fit(few(), OVERFIT, steps=steps, checkpoint=Checkpoint(path, {"fit": "this one"}, 1e9))
    opt.save(resumed, tmp_path / "resumed")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert resumed.facts == whole.facts
    assert resumed.pace["train_steps"] == steps - after
    assert opt.load(tmp_path / "resumed").facts == whole.facts


@pytest.mark.parametrize("validation", [None, Items.make(Ragged.of([]), generation=0)])
def test_the_best_needs_a_validation_set(validation):
    settings = {"weights": None, "budget": Budget(steps=5), "init": None, "observer": None}
    rng = Streams(("fit",), (0,))
    with pytest.raises(ConfigError, match="`keep: best` needs a validation set"):
        opt.fit(blocks(8), config=TINY, validation=validation, rng=rng, **settings)
    last = replace(TINY, keep="last")
    assert "kept_pass" not in opt.fit(blocks(8), config=last, validation=validation, rng=rng, **settings).facts


def test_what_is_wrong_with_a_training_is_told(monkeypatch):
    with pytest.raises(TrainingError, match="did not move in 20 steps"):
        fit(blocks(40), replace(TINY, learning_rate=1e-30))
    with pytest.raises(TrainingError, match=r"at step \d+ of 20 with learning rate 1e\+20"):
        fit(blocks(40), replace(TINY, learning_rate=1e20, warmup_steps=0, schedule="constant", clip=None))
    monkeypatch.setattr(language, "cross_entropy", lambda logits, *a, **k: logits[:, 0] * torch.nan)
    with pytest.raises(TrainingError, match="loss on the validation set is nan after step 5"):
        fit(blocks(40))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"layout": "block"}, "unknown layout 'block': did you mean 'blocks'"),
        ({"keep": "lowest"}, "unknown keep 'lowest': did you mean 'last'"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **setting)
