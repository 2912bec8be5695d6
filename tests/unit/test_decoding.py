"""Decoding: the right distribution, the same stories whatever the batch, nothing lost when stories retire."""

import hashlib
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from collapse.commands.bench import LIBRARY
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import decoding, gpt2, llama2
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.seeding import Streams

CONFIG = gpt2.Config(vocabulary=11, end=4, hidden=16, layers=2, heads=2, positions=24)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_model(config=CONFIG, spread=0.3, seed=0):
    """A model whose weights are large enough for its predictions to depend on the whole story."""
    model = gpt2.GPT2(config).initialise(Streams(("weights",), (seed,)).torch())
    noise = Streams(("noise",), (seed,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += spread * torch.randn(p.shape, generator=noise)
        model.ln_f.bias += 1.5 * model.wte.weight[config.end]  # stories end, at many different lengths
    return model.eval()


def name(sampler):
    """The settings of a sampler that say something, for the name of a test."""
    return "-".join(f"{k}={v}" for k, v in vars(sampler).items() if v is not None and k not in ("kind", "max_tokens"))


def rng(*name):
    return Streams(("sample", *name), (0,))


def texts(items):
    return [tuple(items.output[i].tolist()) for i in range(len(items))]


def distribution(logits, sampler):
    """What the next token is drawn from, (V,) float64: sorted, cut and renormalised the plain way."""
    p = (logits.double() / sampler.temperature).softmax(-1).numpy()
    order = np.argsort(-p)[: sampler.top_k]
    if sampler.top_p is not None:
        share = np.cumsum(p[order]) / p[order].sum()
        order = order[: np.searchsorted(share, sampler.top_p) + 1]
    kept = np.zeros_like(p)
    kept[order] = p[order] / p[order].sum()
    return kept


@torch.no_grad()
def log_probability(model, story, sampler, given=0):
    """Log-probability of a story after its first ``given`` tokens, without a cache; a truncated one has no end."""
    end = model.config.end
    told = [end, *story, end][: sampler.max_tokens + 1]
    logits, total = model(torch.tensor([told[:-1]]))[0], 0.0
    with np.errstate(divide="ignore"):
        for t, token in enumerate(told[1:]):
            if t >= given:
                total += np.log(distribution(logits[t], sampler)[token])
    return total


@torch.no_grad()
def naive(model, uniforms, sampler, prefixes=None):
    """The same stories one by one, each token from the whole story so far."""
    end, out = model.config.end, []
    for i, row in enumerate(uniforms):
        story = [] if prefixes is None else list(prefixes[i])
        for u in row[len(story) :]:
            p = distribution(model(torch.tensor([[end, *story]]))[0, -1], sampler)
            token = int(np.searchsorted(np.cumsum(p), u, side="right"))
            if token == end:
                break
            story.append(token)
        out.append(tuple(story))
    return out


SAMPLERS = [
    Sampler(1.0, 20),
    Sampler(0.5, 20),
    Sampler(1.0, 20, top_k=6),
    Sampler(1.0, 20, top_p=0.7),
    Sampler(1.5, 20, top_k=6, top_p=0.9),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_sampling_equals_naive_recomputation(sampler):
    model = random_model()
    items = decoding.sample(model, 60, sampler, rng(), batch=25)
    uniforms = rng().alone.random((60, 20))
    assert texts(items) == naive(model, uniforms, sampler)
    lengths = items.output.lengths
    assert len(set(lengths)) > 7  # stories retired at many different times
    expected = [log_probability(model, story, sampler) for story in texts(items)]
    np.testing.assert_allclose(items.logprob[0], expected, atol=1e-4)


def test_samples_stay_what_they_were():
    """Equal seeds gave these stories: where this changes, so does every sample of every build."""
    items = decoding.sample(random_model(), 300, Sampler(1.0, 23), rng())
    told = items.output.values.astype("<u2").tobytes() + items.output.offsets.astype("<i8").tobytes()
    assert hashlib.sha256(told).hexdigest()[:16] == "1601f56cc2c9448f"


def pvalue(counts, exact):
    """Of the chi-square test; the cells of few expected draws are pooled into one."""
    few = exact < 5
    observed, expected = (np.append(values[~few], values[few].sum()) for values in (counts, exact))
    drawn = expected > 0
    return chisquare(observed[drawn], (expected * counts.sum() / exact.sum())[drawn]).pvalue


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(1.0, 3),
        Sampler(0.5, 3),
        Sampler(1.0, 3, top_k=4),
        Sampler(1.0, 3, top_p=0.9),
        Sampler(1.3, 3, top_k=4, top_p=0.95),
        Sampler(1.0, 3, start="first_token_inclusive"),
    ],
    ids=name,
)
def test_frequencies_match_exact_probabilities(sampler):
    config = gpt2.Config(vocabulary=5, end=2, hidden=8, layers=1, heads=2, positions=8)
    model, count = random_model(config, 0.3), 40_000
    given = int(sampler.start == "first_token_inclusive")
    others = [t for t in range(5) if t != config.end]
    every = [story for n in range(4) for story in product(others, repeat=n)]  # 1 + 4 + 16 + 64
    contexts = np.resize(others, (count, 1)) if given else count
    drawn = texts(decoding.sample(model, contexts, sampler, rng("chi"), batch=1000))
    counts = np.bincount([every.index(story) for story in drawn], minlength=len(every))

    def expected(sampler):
        share = 1 / len(others) if given else 1.0
        each = [np.exp(log_probability(model, s, sampler, given)) if len(s) >= given else 0.0 for s in every]
        return count * share * np.array(each)

    exact = expected(sampler)
    assert exact.sum() == pytest.approx(count, rel=1e-6)
    assert counts[exact == 0].sum() == 0  # what is cut off is never drawn
    assert (exact >= 5).sum() > 20
    assert pvalue(counts, exact) > 1e-3
    # and the test can fail: it tells a temperature 10 % higher apart
    assert pvalue(counts, expected(replace(sampler, temperature=1.1 * sampler.temperature))) < 1e-3


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
        ({"temperature": 0}, "temperature must be a positive number, got 0: its limit 0 is greedy decoding, `kind: gr"),
        ({"temperature": -1.0}, "temperature must be a positive number"),
        ({"temperature": np.inf}, "temperature must be a positive number"),
        ({"temperature": True}, "temperature must be a positive number"),
        ({"top_k": 0}, "top_k must be a whole number above 0, got 0"),
        ({"top_k": 2.0}, "top_k must be a whole number above 0"),
        ({"top_p": 0}, "top_p must be a number above 0, at most 1, got 0"),
        ({"top_p": 1.1}, "top_p must be a number above 0, at most 1"),
        ({"kind": "beem"}, "unknown kind of sampler 'beem': did you mean 'beam'"),
        ({"kind": ["beam"]}, "unknown kind of sampler"),
        ({"kind": "greedy"}, "temperature is an option of kind 'sample', this sampler is of kind 'greedy'"),
        ({"kind": "greedy", "temperature": None, "beams": 5}, "beams is an option of kind 'beam'"),
        ({"beams": 5}, "beams is an option of kind 'beam', this sampler is of kind 'sample'"),
        ({"kind": "beam", "temperature": None}, "beams must be a whole number above 1, got None"),
        ({"kind": "beam", "temperature": None, "beams": 1}, "above 1, got 1: one is `kind: greedy`"),
        ({"kind": "beam", "temperature": None, "beams": 2, "top_k": 3}, "top_k is an option of kind 'sample'"),
        ({"kind": "beam", "temperature": None, "beams": 2, "length_penalty": "1"}, "length_penalty must be a number"),
        ({"kind": "beam", "temperature": None, "beams": 2, "early_stopping": "never"}, "must be true or false"),
        ({"kind": "none", "temperature": None}, "max_tokens must be left out where the kind is 'none'"),
        ({"max_tokens": 0}, "max_tokens must be a whole number above 0"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number"),
        ({"max_tokens": None}, "max_tokens must be a whole number above 0, got None"),
        ({"start": "first_token"}, "unknown start of the sampler 'first_token': did you mean 'first_token_inclusive'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Sampler(**{"temperature": 1.0, "max_tokens": 5, **settings})


def test_options_take_the_defaults_of_their_kind():
    assert Sampler(max_tokens=5) == Sampler(1.0, 5, start="bos_fixed_length", kind="sample")
    greedy = Sampler(kind="greedy", max_tokens=5)
    assert (greedy.temperature, greedy.length_penalty, greedy.early_stopping) == (None, None, None)
    beam = Sampler(kind="beam", beams=2, max_tokens=5)
    assert (beam.temperature, beam.length_penalty, beam.early_stopping) == (None, 1.0, False)


def test_a_sampler_that_draws_nothing_is_refused():
    with pytest.raises(ConfigError, match="a sampler of kind 'none' draws nothing"):
        decoding.sample(random_model(), 2, Sampler(kind="none"), rng())


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


# what is cut off


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (2, None, [0, 0.4, 0, 0.3, 0]),
        (1, None, [0, 0.4, 0, 0, 0]),
        (9, None, [0.1, 0.4, 0.15, 0.3, 0.05]),
        (None, 0.39, [0, 0.4, 0, 0, 0]),
        (None, 0.41, [0, 0.4, 0, 0.3, 0]),
        (None, 0.84, [0, 0.4, 0.15, 0.3, 0]),
        (None, 1e-9, [0, 0.4, 0, 0, 0]),
        (None, 1.0, [0.1, 0.4, 0.15, 0.3, 0.05]),
        (3, 0.8, [0, 0.4, 0, 0.3, 0]),  # of 0.85, 0.7 is more than 80 %
        (3, 0.84, [0, 0.4, 0.15, 0.3, 0]),
    ],
)
def test_restrict(top_k, top_p, expected):
    p = torch.tensor([[0.1, 0.4, 0.15, 0.3, 0.05]])
    expected = np.array(expected) / sum(expected)
    np.testing.assert_allclose(decoding.restrict(p, top_k, top_p)[0], expected, atol=1e-7)


def test_ties_at_the_border_are_kept():
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.4, 0.2, 0.2, 0.2]])
    np.testing.assert_allclose(decoding.restrict(p, 2, None), p)
    np.testing.assert_allclose(decoding.restrict(p, None, 0.5), p)


def test_restrict_equals_the_warpers_of_transformers():
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = 3 * torch.randn(200, 50, generator=rng("warpers").torch())
    for top_k, top_p in ((7, None), (None, 0.8), (20, 0.6)):
        theirs = logits
        if top_k is not None:
            theirs = TopKLogitsWarper(top_k)(None, theirs)
        if top_p is not None:
            theirs = TopPLogitsWarper(top_p)(None, theirs)
        torch.testing.assert_close(decoding.restrict(logits.softmax(-1), top_k, top_p), theirs.softmax(-1))


def test_restrict_runs_where_numpy_cannot():
    assert decoding.restrict(torch.zeros(2, 5, device="meta"), 3, 0.9).shape == (2, 5)


# greedy


@torch.no_grad()
def test_greedy_takes_the_most_likely_token():
    model, sampler = random_model(), Sampler(kind="greedy", max_tokens=20, start="first_token_inclusive")
    contexts = np.array([[t] for t in range(11) if t != CONFIG.end] * 3, dtype=np.uint16)
    items = decoding.sample(model, contexts, sampler, rng(), batch=8)
    expected = []
    for first in contexts[:, 0].tolist():
        story = [first]
        while len(story) < 20 and (token := int(model(torch.tensor([[CONFIG.end, *story]]))[0, -1].argmax())) != 4:
            story.append(token)
        expected.append(tuple(story))
    assert texts(items) == expected
    assert len({len(story) for story in expected}) > 2
    likelihood = [log_probability(model, story, Sampler(1.0, 20), given=1) for story in expected]
    np.testing.assert_allclose(items.logprob[0], likelihood, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama2"])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_generate(seed, kind):
    if kind == "gpt2":
        model, family = random_model(seed=seed), gpt2
    else:
        config = llama2.Config(vocabulary=11, end=4, hidden=16, layers=2, heads=2, intermediate=32, positions=24)
        model, family = llama2.Llama2(config).initialise(rng("weights", seed).torch()).eval(), llama2
        with torch.no_grad():
            for p in model.parameters():
                p += 0.4 * torch.randn(p.shape, generator=rng("noise", seed, *p.shape).torch())
    theirs = LIBRARY[kind](model.config).eval()
    theirs.load_state_dict(family.to_transformers(model.state_dict()))
    contexts = np.array(list(product([0, 1, 2, 3, 5, 6], [7, 8, 9, 10])))
    prompts = torch.from_numpy(np.insert(contexts, 0, CONFIG.end, axis=1))
    out = theirs.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_length=21)
    rows = [row[1:] for row in out.tolist()]  # filled up with ends
    expected = [tuple(row[: row.index(CONFIG.end)] if CONFIG.end in row else row) for row in rows]
    sampler = Sampler(kind="greedy", max_tokens=20, start="first_token_inclusive")
    assert texts(decoding.sample(model, contexts, sampler, rng(), batch=10)) == expected
    assert len(set(expected)) > 10


# what stories start from


@pytest.mark.parametrize("width", [1, 3])
def test_prefixes_begin_the_stories(width):
    model, sampler = random_model(), Sampler(0.8, 12, start="first_token_inclusive")
    contexts = np.array(list(product([0, 1, 2, 3, 5], repeat=3)))[:, :width]
    items = decoding.sample(model, contexts, sampler, rng(), batch=50)
    assert [story[:width] for story in texts(items)] == [tuple(row) for row in contexts.tolist()]
    assert texts(items) == naive(model, rng().alone.random((125, 12)), sampler, contexts.tolist())
    expected = [log_probability(model, story, sampler, given=width) for story in texts(items)]
    np.testing.assert_allclose(items.logprob[0], expected, atol=1e-4)
    assert items.output.lengths.max() == 12  # a prefix counts
    assert decoding.truncated(items, sampler) == (items.output.lengths == 12).sum()


def test_of_contexts_only_the_number_counts_from_the_end_token():
    model, sampler = random_model(), Sampler(1.0, 12)
    alone = decoding.sample(model, 30, sampler, rng())
    for contexts in (np.full((30, 1), 3), np.zeros((30, 0), int), np.int64(30)):
        assert decoding.sample(model, contexts, sampler, rng()).sha256() == alone.sha256()


@pytest.mark.parametrize(
    ("contexts", "error", "message"),
    [
        (5, ConfigError, "`start: first_token_inclusive` needs contexts: integers \\(N, P\\)"),
        (np.zeros((5, 0), int), ConfigError, "needs contexts"),
        (np.zeros(5, int), ConfigError, "needs contexts"),
        (np.zeros((5, 1)), ConfigError, "needs contexts"),
        (np.zeros((5, 12), int), ConfigError, "contexts of 12 tokens leave none of max_tokens = 12"),
        (np.array([[3], [11]]), DataError, "contexts hold tokens 3 to 11, the model knows 11"),
        (np.array([[-1]]), DataError, "contexts hold tokens -1"),
        (np.array([[3, 4]]), DataError, "a context holds the end token 4"),
    ],
)
def test_wrong_contexts_are_named(contexts, error, message):
    with pytest.raises(error, match=message):
        decoding.sample(random_model(), contexts, Sampler(1.0, 12, start="first_token_inclusive"), rng())


@torch.inference_mode()
def test_looking_seldom_at_which_stories_ended_changes_none():
    """As on a GPU, where a look is dear."""
    model, sampler = random_model(), Sampler(1.0, 20)
    uniform = torch.from_numpy(rng().alone.random((100, 20)))
    prompts = torch.full((100, 1), CONFIG.end)
    found = [
        decoding.decode(model, prompts, uniform, sampler, model.cache(100, 20), pick=decoding.choose, patience=patience)
        for patience in (1, 8, 50)
    ]
    told = torch.arange(20) < found[0][1][:, None]
    for tokens, lengths, logprob in found[1:]:
        assert torch.equal(lengths, found[0][1])
        assert torch.equal(tokens[told], found[0][0][told])
        torch.testing.assert_close(logprob, found[0][2], atol=1e-5, rtol=0)
