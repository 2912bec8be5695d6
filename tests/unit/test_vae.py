"""The variational autoencoder: its layers, losses and optimiser against torch's own, fits, samples, chains, files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions, nn

from collapse import policies, selection
from collapse.datasets import images
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import vae
from collapse.items import Endless, Items
from collapse.loop import Budget, Cell, run_chain
from collapse.samplers import Sampler
from collapse.seeding import Streams, stream
from collapse.store import load_arrays, save_arrays

pytestmark = pytest.mark.usefixtures("one_thread")

MEAN, BERNOULLI = Sampler(kind="prior"), Sampler(kind="prior", noise="bernoulli")
SMALL = vae.Config(shape=(1, 8, 8), channels=(8, 16), latent=4, batch=50, epochs=10, learning_rate=5e-3)
FACES = {
    "shape": (3, 64, 64), "channels": (32, 64, 128, 256, 512), "kernel": 3, "latent": 128, "batch_norm": True,
    "activation": "leaky_relu", "head": "refined", "output": "tanh", "reconstruction": "gaussian",
}  # fmt: skip
ODD = {"shape": (2, 9, 7), "channels": (3, 5), "latent": 2}


@pytest.fixture(scope="module")
def data():
    config = images.Config(train=300, validation=20, test=100)
    return images.load(config, *images.prepare(config, "digits"))


@pytest.fixture(scope="module")
def model(data):
    return fit(data.real(), replace(SMALL, epochs=40, kl_weight=0.25))


def rng(*name, seed=0):
    return Streams(("test", *name), (seed,))


def fit(items, config=SMALL, *, weights=None, steps=None, init=None, observer=None, name="fit", seed=0):
    budget = Budget(steps=steps) if steps else vae.budget(config, len(items), equal_steps=False)
    return vae.fit(
        items, config=config, weights=weights, budget=budget, init=init, validation=None, observer=observer,
        rng=rng(name, seed=seed),
    )  # fmt: skip


def fresh(config, seed=0):
    return vae.VAE(config).initialise(rng("weights", seed=seed).torch()).eval()


def random_items(config, count=6, seed=0):
    values = stream("test", "random", seed).random((1, count, *config.shape))
    return Items.make(values.astype(np.float16), generation=0)


def vector(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def same(a, b):
    return torch.equal(vector(a), vector(b))


# layers


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"shape": (1, 28, 28)}, 647_081),  # Shumailov et al.: the official code
        (FACES, 3_937_635),  # Gerstgrasser et al.: PyTorch-VAE's
        ({"shape": (1, 8, 8), "channels": (16, 32), "latent": 8}, 20_177),
        ({"shape": (1, 28, 28), "batch_norm": True}, 647_081 + 2 * (64 + 128 + 64)),
        ({**ODD, "kernel": 3}, 57 + 140 + 2 * 2 * 31 + 3 * 30 + 138 + 56),
        ({**ODD, "head": "refined"}, 99 + 245 + 2 * 2 * 11 + 3 * 10 + 243 + 147 + 56),
    ],
)
def test_number_of_parameters(settings, expected):
    config = vae.Config(**settings)
    assert vae.parameters(config) == expected == sum(p.numel() for p in vae.VAE(config).parameters())


def test_the_published_network_layer_by_layer():
    ours = fresh(vae.Config(shape=(1, 28, 28)))
    encoder = nn.Sequential(nn.Conv2d(1, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(), nn.Flatten())
    mean, logvar, lift = nn.Linear(128 * 7 * 7, 20), nn.Linear(128 * 7 * 7, 20), nn.Linear(20, 128 * 7 * 7)
    decoder = nn.Sequential(
        nn.Unflatten(1, (128, 7, 7)), nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip
    state = ours.state_dict()
    for layer, name in ((encoder[0], "down.0"), (encoder[2], "down.1"), (lift, "lift"), (decoder[1], "up.0"),
                        (decoder[3], "head")):  # fmt: skip
        layer.load_state_dict({kind: state[f"{name}.{kind}"] for kind in ("weight", "bias")})
    for half, layer in enumerate((mean, logvar)):
        layer.load_state_dict({k: state[f"posterior.{k}"].chunk(2)[half] for k in ("weight", "bias")})
    x = torch.from_numpy(stream("x").random((3, 1, 28, 28), dtype=np.float32))
    with torch.no_grad():
        mu, lv = ours.encode(x)
        torch.testing.assert_close(mu, mean(encoder(x)))
        torch.testing.assert_close(lv, logvar(encoder(x)))
        torch.testing.assert_close(ours.mean(ours.decode(mu)), decoder(lift(mu)))


@pytest.mark.parametrize("settings", [FACES, ODD, {**ODD, "kernel": 3}, {**ODD, "head": "refined"}])
def test_shapes_go_down_and_come_back(settings):
    config = vae.Config(**settings)
    ours = fresh(config)
    x = torch.rand((2, *config.shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mu, logvar = ours.encode(x)
        assert mu.shape == logvar.shape == (2, config.latent)
        assert ours.decode(mu).shape == x.shape
    if settings is FACES:
        assert config.sides == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
        assert config.flat == 2048


def test_fresh_weights_have_torch_s_bounds():
    ours, state = fresh(vae.Config(shape=(1, 28, 28), batch_norm=True)), torch.random.get_rng_state()
    for name, layer in ours.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        bound = 1 / (nn.init._calculate_fan_in_and_fan_out(layer.weight)[0] ** 0.5)
        for p in (layer.weight, layer.bias):
            assert p.abs().max() <= bound, name
        if layer.weight.numel() > 1000:
            assert layer.weight.abs().max() > 0.99 * bound, name
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
    assert all((n.weight == 1).all() and (n.bias == 0).all() for n in ours.down_norm)
    assert not same(ours, fresh(ours.config, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())  # nothing comes from the global generator


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shape": (8, 8)}, "shape must be planes, height and width"),
        ({"channels": ()}, "channels must be whole numbers"),
        ({"channels": (8, 0)}, "channels must be whole numbers"),
        ({"channels": (4, 4, 4, 4)}, "too small for 4 convolutions"),
        ({"kernel": 5}, "kernel must be 3 or 4"),
        ({"latent": 0}, "latent must be"),
        ({"batch": 1.5}, "batch must be"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"first_epochs": -1}, "first_epochs must be positive, or null"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"kl_weight": -1}, "kl_weight must be 0 or more"),
        ({"weight_decay": float("inf")}, "weight_decay must be 0 or more"),
        ({"decay": 1.1}, "decay must be above 0"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"evaluations": (0,)}, "evaluations must be fractions"),
        ({"batch_norm": 1}, "batch_norm must be true or false"),
        ({"activation": "gelu"}, "unknown activation"),
        ({"reconstruction": "bernouli"}, "did you mean 'bernoulli'"),
        ({"output": "tanh"}, "set `output: sigmoid`"),
        ({"device": "tpu"}, "unknown device"),
    ],
)
def test_settings_that_cannot_be(more, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **more)


# losses


@pytest.mark.parametrize("reconstruction", ["bernoulli", "gaussian"])
def test_losses_are_those_of_torch_distributions(reconstruction):
    config = replace(SMALL, reconstruction=reconstruction, variance=0.3)
    ours, items = fresh(config), random_items(config)
    x, noise = torch.from_numpy(items.output[0]).float(), torch.from_numpy(stream("n").standard_normal((6, 4))).float()
    with torch.no_grad():
        nats, kl = ours.losses(x, noise)
        mu, logvar = ours.encode(x)
        logits = ours.decode(mu + torch.exp(logvar / 2) * noise)
        if reconstruction == "bernoulli":
            of = distributions.Bernoulli(logits=logits, validate_args=False)  # for grey pixels, the cross-entropy
        else:
            of = distributions.Normal(torch.sigmoid(logits), 0.3**0.5)
        torch.testing.assert_close(nats, -of.log_prob(x).sum((1, 2, 3)))
        posterior = distributions.Normal(mu, torch.exp(logvar / 2))
        expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(kl, expected)


def test_evaluation_is_the_mean_over_images_of_one_draw_each(monkeypatch):
    config = replace(SMALL, reconstruction="gaussian", variance=0.3, kl_weight=0.1)
    ours, items = fresh(config), random_items(config, 7)
    noise = rng("draw").alone.standard_normal((7, 4), dtype=np.float32)
    found = vae.evaluate(ours, items, rng("draw"))
    x = torch.from_numpy(items.output[0]).float()
    with torch.no_grad():
        nats, kl = ours.losses(x, torch.from_numpy(noise))
        mu, logvar = ours.encode(x)
        mean = torch.sigmoid(ours.decode(mu + torch.exp(logvar / 2) * torch.from_numpy(noise)))
    assert found["reconstruction"] == pytest.approx(nats.mean().item(), rel=1e-5)
    assert found["kl"] == pytest.approx(kl.mean().item(), rel=1e-4)
    assert found["cross_entropy"] == found["reconstruction"] + found["kl"]  # the weight is of training alone
    assert found["squared_error"] == pytest.approx((mean - x).square().mean().item(), rel=1e-4)
    assert all(value.shape == (1,) for value in found.values())
    monkeypatch.setattr(vae, "AT_ONCE", 3)
    assert vae.evaluate(ours, items, rng("draw"))["kl"] == pytest.approx(found["kl"], rel=1e-5)
    bernoulli = vae.evaluate(fresh(SMALL), items, rng("draw"))
    assert set(bernoulli) == {"cross_entropy", "reconstruction", "kl"}


def test_encode_gives_the_posterior(monkeypatch):
    ours, items = fresh(SMALL), random_items(SMALL, 7)
    with torch.no_grad():
        expected = ours.encode(torch.from_numpy(items.output[0]).float())
    monkeypatch.setattr(vae, "AT_ONCE", 3)
    for found, wanted in zip(vae.encode(ours, items), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


# fits


def test_a_fit_takes_the_steps_of_torch_s_adam():
    config = replace(SMALL, batch=4, weight_decay=0.5, decay=0.5, kl_weight=0.7)
    items, name = random_items(config, 6), "adam"
    trained = fit(items, config, steps=4, name=name)
    expected = vae.VAE(config).initialise(rng(name).torch("weights"))
    optimiser = torch.optim.Adam(expected.parameters(), lr=config.learning_rate, weight_decay=0.5)
    order, noise = rng(name).alone, rng(name).torch("posterior")
    x, losses = torch.from_numpy(items.output[0]).float(), []
    for passed in range(2):
        optimiser.param_groups[0]["lr"] = config.learning_rate * 0.5**passed
        index = order.permutation(6)
        for part in (index[:4], index[4:]):
            nats, kl = expected.losses(x[part], torch.empty((len(part), 4)).normal_(generator=noise))
            loss = (nats + 0.7 * kl).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item() / len(part))
    torch.testing.assert_close(vector(trained), vector(expected), atol=1e-6, rtol=1e-5)
    assert trained.facts["first_loss"] == pytest.approx(losses[0])
    assert trained.facts["last_loss"] == pytest.approx(losses[-1])
    assert (trained.facts["steps"], trained.facts["images"]) == (4, 12)
    assert trained.facts["parameters"] == vae.parameters(config)
    begun = vae.VAE(config).initialise(rng(name).torch("weights"))
    assert trained.facts["weight_change"] == pytest.approx((vector(trained) - vector(begun)).norm().item(), rel=1e-4)


def test_a_fit_depends_on_its_stream_alone(data):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = fit(data.real(), steps=5)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert same(one, fit(data.real(), steps=5))
    assert not same(one, fit(data.real(), steps=5, seed=1))
    assert not one.training
    assert all(p.grad is None for p in one.parameters())


def test_a_fit_learns_more_than_the_mean_image(data, model):
    x = data.real().output[0].astype(float)
    mean, test = x.mean(axis=0).clip(0.01, 0.99), data.test.output[0].astype(float)
    trivial = -(test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(axis=(1, 2, 3)).mean()
    least = -(test * np.log(test.clip(1e-9)) + (1 - test) * np.log((1 - test).clip(1e-9))).sum(axis=(1, 2, 3)).mean()
    found = vae.evaluate(model, data.test, rng("evaluate"))
    assert least < found["reconstruction"].item() < trivial - 4
    assert (found["reconstruction"] + 0.25 * found["kl"]).item() < trivial - 2
    assert model.facts["last_loss"] < model.facts["first_loss"]


def test_the_observer_is_called_at_its_fractions(data):
    calls = []

    def observe(seen, progress):
        assert not seen.training
        calls.append((progress["step"], progress["fraction"], progress["loss"]))

    config = replace(SMALL, evaluations=(0.1, 0.5), batch_norm=True)
    watched = fit(data.real(), config, steps=20, observer=observe)
    assert [call[:2] for call in calls] == [(2, 0.1), (10, 0.5), (20, 1.0)]
    assert calls[-1][2] == watched.facts["last_loss"]
    assert same(watched, fit(data.real(), config, steps=20))  # whoever watches changes nothing


def test_budgets():
    config = replace(SMALL, epochs=3, first_epochs=1.5, batch=100)
    assert vae.budget(config, 250, equal_steps=False) == Budget(passes=3)
    assert vae.budget(config, 250, equal_steps=False, first=True) == Budget(passes=1.5)
    assert vae.budget(config, 250, equal_steps=True) == Budget(steps=9)
    assert vae.steps(500, config, Budget(passes=1.5)) == 8


def test_loss_weights(data):
    real = data.real()
    white = Items.make(np.ones_like(real.output), generation=1)
    both = Items.concat([real, white])
    weights = np.concatenate([np.full((1, 300), 3.0), np.zeros((1, 300))], axis=1)
    dark = vae.sample(fit(both, weights=weights), 200, MEAN, rng("s")).output.mean(dtype=float)
    grey = vae.sample(fit(both), 200, MEAN, rng("s")).output.mean(dtype=float)
    assert dark == pytest.approx(real.output.mean(dtype=float), abs=0.03)
    assert grey > dark + 0.15
    assert same(fit(real, weights=np.full((1, 300), 7.0), steps=5), fit(real, steps=5))
    for bad in (np.zeros((1, 300)), np.ones((1, 299)), -np.ones((1, 300)), np.full((1, 300), np.nan)):
        with pytest.raises(DataError, match="one number of 0 or more for each image"):
            fit(real, weights=bad, steps=1)


def test_first_weights_are_copied_or_refused(data, model):
    again = fit(data.real(), replace(SMALL, learning_rate=1e-8), init=model, steps=1)
    torch.testing.assert_close(vector(again), vector(model), atol=2e-7, rtol=0)
    assert not same(again, model)
    with pytest.raises(ConfigError, match="init has latent 4, the recipe 5"):
        fit(data.real(), replace(SMALL, latent=5), init=model, steps=1)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_fit_that_diverges_or_stands_still(data, batch_norm):
    with pytest.raises(TrainingError, match=r"diverged: loss (nan|inf) at step \d+: lower `learning_rate`, now 1e\+25"):
        fit(data.real(), replace(SMALL, learning_rate=1e25, batch_norm=batch_norm))
    with pytest.raises(TrainingError, match=r"the weights changed by 0\.0 in 3 steps"):
        fit(data.real(), replace(SMALL, learning_rate=1e-30, batch_norm=batch_norm), steps=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 4, 8, 8)), r"images of one chain, \(1, N, 1, 8, 8\), got \(1, 4, 8, 8\)"),
        (np.zeros((2, 4, 1, 8, 8)), "images of one chain"),
        (np.zeros((1, 0, 1, 8, 8)), "no images"),
        (np.full((1, 4, 1, 8, 8), np.nan), r"not in \[0, 1\]"),
        (np.full((1, 4, 1, 8, 8), 255.0), r"not in \[0, 1\]"),
    ],
)
def test_images_that_do_not_fit(values, message):
    items, ours = Items.make(values, generation=0), fresh(SMALL)
    calls = [lambda: vae.evaluate(ours, items, rng("e")), lambda: vae.encode(ours, items)]
    for call in [*calls, *([lambda: fit(items, steps=1)] if values.shape[1] else [])]:
        with pytest.raises(DataError, match=message):
            call()


# streams


class Counted:
    """A stream that keeps what it gave."""

    def __init__(self, model, size):
        self.size, self.given = size, []
        self._stream = Endless(lambda n: vae.sample(model, size, MEAN, rng("part", n)), size, model)

    def __len__(self):
        return self.size

    def batch(self, count):
        self.given.append(self._stream.batch(count))
        return self.given[-1]


def test_a_fit_on_a_stream_sees_new_images_at_every_step(model):
    source = Counted(model, 120)
    config = replace(SMALL, epochs=2.5)
    trained = fit(source, config)
    assert [len(items) for items in source.given] == [50] * 8  # 2.5 passes of 3 batches, begun ones whole
    rows = np.concatenate([items.output[0] for items in source.given]).reshape(400, -1)
    assert len(np.unique(rows, axis=0)) == 400
    assert trained.facts["steps"] == 8
    assert trained.facts["images"] == 400
    assert same(trained, fit(Counted(model, 120), config))
    with pytest.raises(ConfigError, match="takes no loss weights"):
        fit(Counted(model, 120), weights=np.ones((1, 120)), steps=1)


# samples


def test_samples_are_decoded_draws_from_the_prior(model):
    drawn = vae.sample(model, 700, MEAN, rng("sample"))
    assert drawn.output.shape == (1, 700, 1, 8, 8)
    assert drawn.output.dtype == np.float16
    assert (drawn.generation == 1).all()
    generator = rng("sample").alone
    z = np.concatenate([generator.standard_normal((n, 4), dtype=np.float32) for n in (500, 200)])
    with torch.no_grad():
        expected = torch.sigmoid(model.decode(torch.from_numpy(z))).numpy()
    np.testing.assert_allclose(drawn.output[0], expected, atol=3e-4)  # half precision: 2.5e-4
    assert drawn.sha256() == vae.sample(model, 700, MEAN, rng("sample")).sha256()
    assert drawn.sha256() != vae.sample(model, 700, MEAN, rng("sample", seed=1)).sha256()
    assert drawn.sha256() == vae.sample(model, 350, MEAN, rng("sample"), k=2).sha256()
    on = rng("sample")
    parts = [vae.sample(model, n, MEAN, on) for n in (500, 200)]  # a second call goes on
    np.testing.assert_array_equal(Items.concat(parts).output, drawn.output)


def test_bernoulli_samples_are_black_and_white_with_the_same_mean(model):
    mean = vae.sample(model, 4000, MEAN, rng("mean")).output.astype(float).mean(axis=(0, 1))
    drawn = vae.sample(model, 4000, BERNOULLI, rng("draw")).output
    assert set(np.unique(drawn)) == {0, 1}
    error = drawn.astype(float).mean(axis=(0, 1)) - mean
    assert abs(error).max() < 5 * np.sqrt(2 * 0.25 / 4000)


def test_samplers_that_do_not_fit(model):
    with pytest.raises(ConfigError, match="sampled by `kind: prior`, the sampler is of kind 'greedy'"):
        vae.sample(model, 5, Sampler(kind="greedy", max_tokens=5), rng("x"))
    with pytest.raises(ConfigError, match="noise of the sampler is 'bernoulli', the model's 'gaussian'"):
        vae.sample(fresh(replace(SMALL, reconstruction="gaussian")), 5, BERNOULLI, rng("x"))
    broken = fresh(SMALL)
    with torch.no_grad():
        broken.lift.bias.fill_(torch.nan)
    with pytest.raises(TrainingError, match="not finite"):
        vae.sample(broken, 5, MEAN, rng("x"))


# files


@pytest.mark.parametrize("batch_norm", [False, True])
def test_saved_models_give_equal_outputs(data, tmp_path, batch_norm):
    config = replace(SMALL, batch_norm=batch_norm, evaluations=(0.5, 1.0))
    before = fit(data.real(), config, steps=30)
    vae.save(before, tmp_path / "model.safetensors")
    after = vae.load(tmp_path / "model.safetensors")
    assert after.config == config
    assert after.facts == before.facts
    assert same(before, after)
    assert vae.sample(before, 9, MEAN, rng("s")).sha256() == vae.sample(after, 9, MEAN, rng("s")).sha256()
    assert vae.evaluate(before, data.test, rng("e")) == vae.evaluate(after, data.test, rng("e"))
    if batch_norm:
        assert not torch.equal(after.down_norm[0].running_mean, torch.zeros(8))
    vae.save(after, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_files_of_other_models_are_refused(model, tmp_path):
    path = tmp_path / "model.safetensors"
    vae.save(model, path)
    arrays = load_arrays(path)
    save_arrays(path, {name: array for name, array in arrays.items() if name != "lift.bias"})
    with pytest.raises(DataError, match=r"does not hold a VAE: .*lift\.bias"):
        vae.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="truncated or not safetensors"):
        vae.load(path)


# chains


@pytest.mark.parametrize("policy", ["replace", "stream", "accumulate"])
def test_chains_run_through_the_loop_and_replacing_narrows_them(data, policy):
    cell = Cell("digits", "vae", policy, "prior_mean", "all")
    config = replace(SMALL, epochs=15, kl_weight=0.25)
    found = list(
        run_chain(
            cell, data.size, 4, policy=policies.Policy(policy), family=vae, config=config, data=data, sampler=MEAN,
            selector=selection.parse("all", {"kind": "all"}), seeds=(0,),
        )
    )  # fmt: skip
    first = found[0][0].model
    assert not same(first, found[1][0].model)
    spread = [vae.encode(first, drawn)[0].std() for _, _, drawn in found]
    narrower = {"replace": 0.75, "stream": 0.75}.get(policy)
    if narrower is not None:
        assert spread[3] < narrower * spread[0]
        assert [turn.facts["real_fraction"] for turn, _, _ in found] == [[1.0], [0.0], [0.0], [0.0]]
    else:
        assert spread[3] > 0.8 * spread[0]
    steps = [turn.model.facts["steps"] for turn, _, _ in found]
    assert steps == [90 * (n if policy == "accumulate" else 1) for n in (1, 2, 3, 4)]
    assert all(np.isfinite(metrics["cross_entropy"]).all() for _, metrics, _ in found)
