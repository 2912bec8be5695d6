"""Llama-2: equal to the reference implementation, of the published sizes, and able to learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from collapse.errors import ConfigError
from collapse.families import llama2
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream

SMALL = llama2.Config(vocabulary=97, end=0, hidden=32, layers=3, heads=4, positions=160, intermediate=72)


pytestmark = pytest.mark.usefixtures("one_thread")


def fresh(config, *name):
    """A model with weights large enough that logits, and the equality of two of them, mean something."""
    model = llama2.Llama2(config).initialise(Streams(("weights", *name), (0,)).torch())
    noise = Streams(("noise", *name), (0,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=noise)
    return model


def reference(config, **more):
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": config.vocabulary, "hidden_size": config.hidden, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "intermediate_size": config.intermediate, "rms_norm_eps": 1e-5,
        "max_position_embeddings": config.positions, "bos_token_id": config.end, "eos_token_id": config.end,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**settings, **more)).eval()


def tokens(config, *shape):
    return torch.from_numpy(stream("tokens").integers(0, config.vocabulary, shape))


@pytest.mark.parametrize("length", [30, 160])  # dense scores, and the kernel that skips the masked half
@torch.no_grad()
def test_logits_equal_transformers(length):
    ours, theirs = fresh(SMALL, "ours"), reference(SMALL)
    theirs.load_state_dict(llama2.to_transformers(ours.state_dict()))
    text = tokens(SMALL, 3, length)
    logits = theirs(text).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(text), logits, atol=1e-4, rtol=0)
    turned = ours.rotation.roll(1, dims=1)  # positions matter: others give other logits
    assert (ours(text) - _with(ours, turned)(text)).abs().max() > 0.01


def _with(model, rotation):
    other = llama2.Llama2(model.config)
    other.load_state_dict(model.state_dict())
    other.rotation = rotation
    return other


@torch.no_grad()
def test_weights_convert_both_ways():
    theirs, ours = reference(SMALL), fresh(SMALL)
    for p in theirs.parameters():  # transformers' own first weights give logits near 0
        p += 0.2 * torch.randn(p.shape, generator=Streams(("theirs", *p.shape), (0,)).torch())
    ours.load_state_dict(llama2.from_transformers(theirs.state_dict()))
    text = tokens(SMALL, 2, 40)
    logits = theirs(text).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(text), logits, atol=1e-4, rtol=0)
    back = llama2.to_transformers(ours.state_dict())
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_key_value_heads": 2}, "share keys and values"),
        ({"attention_bias": True}, r"another model: model.layers.0.self_attn.k_proj.bias"),
    ],
)
def test_weights_of_another_model_are_refused(more, message):
    with pytest.raises(ConfigError, match=message):
        llama2.from_transformers(reference(SMALL, **more).state_dict())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # the models of Gerstgrasser et al. (arXiv 2404.01413)
        ({"vocabulary": 8000, "hidden": 256, "layers": 8, "heads": 8, "intermediate": 1024}, 12_488_960),
        ({"vocabulary": 8000, "hidden": 512, "layers": 8, "heads": 8, "intermediate": 2048}, 41_755_136),
        ({"vocabulary": 8000, "hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072}, 125_553_408),
        ({"vocabulary": 97, "hidden": 32, "layers": 3, "heads": 4, "intermediate": 72}, 39_456),
    ],
)
def test_number_of_parameters(shape, expected):
    config = llama2.Config(end=0, positions=2048, **shape)
    with torch.device("meta"):  # shapes without memory
        model = llama2.Llama2(config)
    assert llama2.parameters(config) == expected == sum(p.numel() for p in model.parameters())


def test_fresh_weights():
    """All matrices alike, the maps back into the residual stream too: as transformers draws them."""
    config = llama2.Config(
        vocabulary=512, end=0, hidden=64, layers=2, heads=4, positions=32, intermediate=256, init_sd=0.05
    )
    state = llama2.Llama2(config).initialise(Streams(("weights",), (0,)).torch()).state_dict()
    for name, value in state.items():
        if value.ndim == 1:
            assert (value == 1).all(), name
        else:
            assert value.std().item() == pytest.approx(0.05, rel=0.04), name
            assert abs(value.mean().item()) < 5 * 0.05 / value.numel() ** 0.5, name
    assert sum(value.ndim == 2 for value in state.values()) == 2 + 4 * config.layers


def test_a_rotation_keeps_lengths_and_makes_products_depend_on_distance():
    rotation = llama2.rotations(50, 8)
    q, k = torch.randn(2, 8, generator=Streams(("qk",), (0,)).torch())
    turned_q, turned_k = (llama2.rotate(x.expand(50, 8), rotation) for x in (q, k))  # (50, 8)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(50))
    products = turned_q @ turned_k.t()
    for apart in (0, 1, 7, -20):
        line = products.diagonal(apart)
        torch.testing.assert_close(line, line[:1].expand_as(line), atol=1e-4, rtol=0)
    assert (products[:, 0] - products[0, 0]).abs().max() > 0.1
    # the first pair turns by one radian a position
    one = llama2.rotate(torch.eye(8)[0], rotation[:, 3])
    torch.testing.assert_close(one[[0, 4]], torch.tensor([np.cos(3.0), np.sin(3.0)], dtype=torch.float32))


def test_dropout_is_of_attention_weights_alone():
    """A story of one token has one attention weight: what is left of it is 0 or the whole, scaled up."""
    config = replace(SMALL, dropout=0.5)
    model, first = fresh(config), torch.zeros(64, 1, dtype=torch.int64)
    with torch.no_grad():
        dropped = model.trunk(first, Streams(("noise",), (0,)).torch())[:, 0]  # (64, C)
        whole = fresh(replace(SMALL, dropout=0.0)).trunk(first)[:, 0]
    assert len(torch.unique(dropped.round(decimals=3), dim=0)) > 10
    assert len(torch.unique(whole.round(decimals=3), dim=0)) == 1
    torch.testing.assert_close(model(first)[:, 0], fresh(replace(SMALL, dropout=0.0))(first)[:, 0])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"intermediate": 0}, "intermediate must be a whole number above 0"),
        ({"intermediate": 2.5}, "intermediate must be a whole number above 0"),
        ({"hidden": 12}, "hidden must be an even number for each head"),
        ({"heads": 5}, "multiple of heads"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **setting)


def test_init_of_another_width_is_refused():
    items = Items.make(Ragged.of([[1, 2], [3]]), generation=0)
    with pytest.raises(ConfigError, match="init has intermediate 72, the recipe 64"):
        llama2.fit(
            items, config=replace(SMALL, intermediate=64), weights=None, budget=Budget(steps=20), init=fresh(SMALL),
            validation=None, observer=None, rng=Streams(("fit",), (0,)),
        )  # fmt: skip


def test_training_lowers_the_loss_as_autograd_and_adamw_do():
    """Full-batch steps equal those of transformers' model under torch's AdamW."""
    config = replace(SMALL, batch=4, warmup_steps=0, schedule="constant", learning_rate=1e-3, clip=None)
    rows = [stream("story", i).integers(1, 97, 23) for i in range(4)]  # with the end 24 positions: no padding
    start, theirs = fresh(config), reference(config)
    theirs.load_state_dict(llama2.to_transformers(start.state_dict()))
    model = llama2.fit(
        Items.make(Ragged.of(rows), generation=0), config=config, weights=None, budget=Budget(steps=5), init=start,
        validation=None, observer=None, rng=Streams(("fit",), (0,)),
    )  # fmt: skip
    text = torch.from_numpy(np.pad(np.stack(rows), ((0, 0), (1, 1))))  # end, story, end
    optimiser, losses = torch.optim.AdamW(theirs.parameters(), lr=1e-3, betas=config.betas, weight_decay=0.0), []
    for _ in range(5):
        optimiser.zero_grad()
        loss = functional.cross_entropy(theirs(text[:, :-1]).logits.flatten(0, 1), text[:, 1:].flatten())
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert model.facts["first_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert model.facts["last_loss"] == pytest.approx(losses[-1], rel=1e-4)
    assert losses[-1] < 0.95 * losses[0]
    ours = llama2.to_transformers(model.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], value, atol=2e-4, rtol=0)
