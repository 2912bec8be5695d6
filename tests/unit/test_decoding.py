"""Sampling: the right distribution, the same stories whatever the batch, nothing lost when stories retire."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from collapse.errors import ConfigError, TrainingError
from collapse.families import decoding, gpt2
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.seeding import Streams

CONFIG = gpt2.Config(vocabulary=11, end=4, hidden=16, layers=2, heads=2, positions=24)


@pytest.fixture(autouse=True)
def one_thread():
    """Results are compared to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(config=CONFIG, spread=0.3):
    """A model whose weights are large enough for its predictions to depend on the whole story."""
    model = gpt2.GPT2(config).initialise(Streams(("weights",), (0,)).torch())
    noise = Streams(("noise",), (0,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += spread * torch.randn(p.shape, generator=noise)
        model.ln_f.bias += 1.5 * model.wte.weight[config.end]  # stories end, at many different lengths
    return model.eval()


def rng(*name):
    return Streams(("sample", *name), (0,))


def texts(items):
    return [tuple(items.output[i].tolist()) for i in range(len(items))]


@torch.no_grad()
def log_probability(model, story, sampler):
    """Log-probability of a story under the tempered model, without a cache; a truncated one has no end."""
    end = model.config.end
    told = [end, *story, end][: sampler.max_tokens + 1]
    logits = model(torch.tensor([told[:-1]]))[0].double() / sampler.temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(told[1:])[:, None]).sum().item()


@torch.no_grad()
def naive(model, uniforms, sampler):
    """The same stories one by one, each token from the whole story so far."""
    end, out = model.config.end, []
    for row in uniforms:
        story = []
        for u in row:
            p = (model(torch.tensor([[end, *story]]))[0, -1] / sampler.temperature).softmax(-1).double()
            token = int(torch.searchsorted(p.cumsum(0), u * p.sum(), right=True))
            if token == end:
                break
            story.append(token)
        out.append(tuple(story))
    return out


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampling_equals_naive_recomputation(temperature):
    model, sampler = random_model(), Sampler(temperature, 20)
    items = decoding.sample(model, 60, sampler, rng(), batch=25)
    uniforms = rng().alone.random((60, 20))
    assert texts(items) == naive(model, uniforms, sampler)
    lengths = items.output.lengths
    assert len(set(lengths)) > 10  # stories retired at many different times
    expected = [log_probability(model, story, sampler) for story in texts(items)]
    np.testing.assert_allclose(items.logprob[0], expected, atol=1e-4)


def pooled(values, few):
    """Counts per cell, the cells of few expected draws pooled into one."""
    return np.append(values[~few], values[few].sum())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_match_exact_probabilities(temperature):
    config = gpt2.Config(vocabulary=5, end=2, hidden=8, layers=1, heads=2, positions=8)
    model, sampler, count = random_model(config, 0.3), Sampler(temperature, 3), 40_000
    others = [t for t in range(5) if t != config.end]
    every = [story for n in range(4) for story in product(others, repeat=n)]  # 1 + 4 + 16 + 64
    drawn = texts(decoding.sample(model, count, sampler, rng("chi"), batch=1000))
    counts = np.bincount([every.index(story) for story in drawn], minlength=len(every))

    def expected(temperature):
        return count * np.exp([log_probability(model, story, Sampler(temperature, 3)) for story in every])

    exact = expected(temperature)
    assert exact.sum() == pytest.approx(count, rel=1e-6)
    few = exact < 5
    assert (~few).sum() > 20
    exact *= count / exact.sum()
    assert chisquare(pooled(counts, few), pooled(exact, few)).pvalue > 1e-3
    # and the test can fail: it tells a temperature 10 % higher apart
    wrong = expected(1.1 * temperature)
    assert chisquare(pooled(counts, few), pooled(wrong * count / wrong.sum(), few)).pvalue < 1e-3


def test_stories_do_not_depend_on_batch_or_count():
    model, sampler = random_model(), Sampler(1.0, 23)
    base = decoding.sample(model, 300, sampler, rng(), batch=300)
    for count, batch in ((300, 64), (300, 7), (100, 64)):
        other = decoding.sample(model, count, sampler, rng(), batch=batch)
        assert texts(other) == texts(base)[:count]
        np.testing.assert_allclose(other.logprob[0], base.logprob[0, :count], atol=1e-4)
    assert texts(decoding.sample(model, 300, sampler, rng("other"))) != texts(base)


def test_equal_calls_give_equal_bits():
    model, sampler = random_model(), Sampler(1.0, 23)
    a, b = (decoding.sample(model, 300, sampler, rng()) for _ in range(2))
    assert a.sha256() == b.sha256()
    assert a.logprob.tobytes() == b.logprob.tobytes()


def test_shape_and_content_of_samples():
    model, sampler = random_model(), Sampler(1.0, 23)
    items = gpt2.sample(model, 40, sampler, rng(), k=2)
    assert len(items) == 80
    assert items.chains == 1
    assert items.logprob.shape == (1, 80)
    assert items.logprob.dtype == np.float64
    assert items.output.values.dtype == np.uint16
    assert CONFIG.end not in items.output.values
    assert (items.logprob < 0).all()


def test_truncated_stories_have_no_end():
    model, sampler = random_model(), Sampler(1.0, 4)
    items = decoding.sample(model, 200, sampler, rng())
    cut = items.output.lengths == 4
    assert items.output.lengths.max() == 4
    assert decoding.truncated(items, sampler) == cut.sum()
    assert 0 < cut.sum() < 200
    expected = [log_probability(model, story, sampler) for story in texts(items)]
    np.testing.assert_allclose(items.logprob[0], expected, atol=1e-4)


def test_a_model_that_ends_at_once_gives_empty_stories():
    model = random_model()
    with torch.no_grad():
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(100 * model.wte.weight[CONFIG.end])
    items = decoding.sample(model, 10, Sampler(0.1, 5), rng())
    assert (items.output.lengths == 0).all()
    np.testing.assert_allclose(items.logprob, 0, atol=1e-6)
    assert len(decoding.sample(model, 0, Sampler(1.0, 5), rng())) == 0


def test_rare_tokens_are_drawn_as_often_as_they_should():
    """Many tokens of a probability far below float32 resolution of the distribution function near 1."""
    logits = torch.zeros(1, 1001)
    logits[0, 0] = 24.0  # the other 1000 share 3.8e-8
    share = 1000 / (1000 + np.exp(24.0))
    edge = torch.tensor([1 - 1.5 * share, 1 - 0.5 * share, 1 - 0.0011 * share], dtype=torch.float64)
    token, logprob = decoding.choose(logits.expand(3, -1), edge, Sampler(1.0, 5))
    assert token[0] == 0
    assert abs(int(token[1]) - 500) <= 2
    assert token[2] >= 998
    np.testing.assert_allclose(logprob.numpy()[1:], np.log(share / 1000), rtol=1e-6)


def test_impossible_tokens_are_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    uniform = torch.tensor([0.0, 0.25, 0.5, 0.75, np.nextafter(1, 0)], dtype=torch.float64)
    token, logprob = decoding.choose(logits.expand(5, -1), uniform, Sampler(1.0, 5))
    assert token.tolist() == [1, 1, 3, 3, 3]
    np.testing.assert_allclose(logprob.numpy(), np.log(0.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be positive, got 0: its limit 0 is greedy decoding"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"temperature": np.inf}, "temperature must be positive"),
        ({"max_tokens": 0}, "max_tokens must be a whole number above 0"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number"),
        ({"start": "boss"}, "did you mean 'bos'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Sampler(**{"temperature": 1.0, "max_tokens": 5, **settings})


def test_samples_must_fit_the_model_that_trains_on_them():
    with pytest.raises(ConfigError, match="max_tokens is 24, but the model's 24 positions take 23"):
        decoding.sample(random_model(), 2, Sampler(1.0, 24), rng())
    items = decoding.sample(random_model(), 50, Sampler(1.0, 23), rng())
    assert gpt2.log_probabilities(random_model(), items).shape == (50,)


def test_log_probability_agrees_with_the_likelihood():
    """At temperature 1, what sampling reports is what evaluation computes, for stories that ended."""
    model, sampler = random_model(), Sampler(1.0, 23)
    items = decoding.sample(model, 100, sampler, rng())
    ended = items.output.lengths < 23
    assert ended.sum() > 0
    np.testing.assert_allclose(gpt2.log_probabilities(model, items)[ended], items.logprob[0, ended], atol=1e-4)


def test_a_broken_model_is_an_error():
    model = random_model()
    with torch.no_grad():
        model.ln_f.bias[0] = torch.nan
    with pytest.raises(TrainingError, match="not finite"):
        decoding.sample(model, 5, Sampler(1.0, 5), rng())


def test_nothing_to_concatenate_is_not_lost():
    """Stories of several batches stay in order."""
    model, sampler = random_model(), Sampler(1.0, 10)
    whole = decoding.sample(model, 20, sampler, rng(), batch=20)
    parts = decoding.sample(model, 20, sampler, rng(), batch=6)
    assert isinstance(parts, Items)
    assert isinstance(parts.output, Ragged)
    np.testing.assert_array_equal(parts.index, whole.index)
    np.testing.assert_array_equal(parts.output.offsets, whole.output.offsets)
