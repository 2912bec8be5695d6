"""Beam search: equal to the library's hypothesis by hypothesis, the same whatever the batch, exact where it can be."""

from itertools import product

import numpy as np
import pytest
import torch

from collapse.commands.bench import LIBRARY
from collapse.errors import ConfigError, DataError, TrainingError
from collapse.families import beam, decoding, gpt2, llama2
from collapse.families.decoding import Sampler
from collapse.items import Items, Ragged
from collapse.seeding import Streams

SHAPE = {"vocabulary": 13, "end": 4, "hidden": 16, "layers": 2, "heads": 2, "positions": 24}
CONFIG, LLAMA = gpt2.Config(**SHAPE), llama2.Config(**SHAPE, intermediate=32)
OTHERS = [t for t in range(CONFIG.vocabulary) if t != CONFIG.end]


pytestmark = pytest.mark.usefixtures("one_thread")


def noisy(model, seed):
    """Weights so large that predictions depend on the whole story."""
    model.initialise(Streams(("weights",), (seed,)).torch())
    noise = Streams(("noise",), (seed,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn(p.shape, generator=noise)
    return model.eval()


def random_model(seed=0, ending=1.5):
    """A GPT-2; the larger ``ending``, the sooner stories end."""
    model = noisy(gpt2.GPT2(CONFIG), seed)
    with torch.no_grad():
        model.ln_f.bias += ending * model.wte.weight[CONFIG.end]
    return model


def library(model):
    """The same model of transformers."""
    family = {gpt2.GPT2: "gpt2", llama2.Llama2: "llama2"}[type(model)]
    theirs = LIBRARY[family](model.config)
    theirs.load_state_dict({"gpt2": gpt2, "llama2": llama2}[family].to_transformers(model.state_dict()))
    return theirs.eval()


def generate(model, contexts, sampler):
    """Tokens (N, b, M) filled up with ends, and scores (N, b), of transformers."""
    prompts = torch.from_numpy(np.insert(contexts, 0, CONFIG.end, axis=1))
    b, M = sampler.beams, sampler.max_tokens
    out = library(model).generate(
        prompts, attention_mask=torch.ones_like(prompts), num_beams=b, do_sample=False, max_length=M + 1,
        length_penalty=sampler.length_penalty, early_stopping=sampler.early_stopping, num_return_sequences=b,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    tokens = torch.full((len(prompts), b, M), CONFIG.end)
    tokens[:, :, : out.sequences.shape[1] - 1] = out.sequences.view(len(prompts), b, -1)[:, :, 1:]
    return tokens, out.sequences_scores.view(len(prompts), b)


def filled(found):
    """The tokens of hypotheses, filled up with ends."""
    told = torch.arange(found.tokens.shape[2]) < found.lengths[..., None]
    assert ((found.tokens == -1) == ~told).all()
    return torch.where(told, found.tokens, CONFIG.end)


def sampler(beams=5, max_tokens=18, **more):
    return Sampler(kind="beam", beams=beams, max_tokens=max_tokens, start="first_token_inclusive", **more)


def prefixes(width):
    return np.array(list(product(OTHERS, repeat=2))[:40])[:, :width]


SETTINGS = [
    {},
    {"early_stopping": True},
    {"length_penalty": 0.0},
    {"length_penalty": 2.0},
    {"length_penalty": -0.5, "early_stopping": True},
    {"beams": 2},
    {"beams": 6, "max_tokens": 6},
    {"beams": 3, "max_tokens": 3},
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_all_hypotheses_equal_generate(settings, seed):
    model, settings = random_model(seed, ending=seed), sampler(**settings)
    contexts = prefixes(1 + seed % 2)
    tokens, scores = generate(model, contexts, settings)
    found = beam.search(model, contexts, settings, batch=16)
    assert torch.equal(filled(found), tokens)
    torch.testing.assert_close(found.scores, scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_all_hypotheses_of_llama_equal_generate(seed):
    model, settings = noisy(llama2.Llama2(LLAMA), seed), sampler(max_tokens=12, length_penalty=0.5)
    tokens, scores = generate(model, prefixes(2), settings)
    found = beam.search(model, prefixes(2), settings, batch=16)
    assert torch.equal(filled(found), tokens)
    torch.testing.assert_close(found.scores, scores, atol=1e-5, rtol=1e-5)
    assert len(set(found.lengths.flatten().tolist())) > 2


def test_from_the_end_token_alone():
    settings = Sampler(kind="beam", beams=5, max_tokens=18)
    tokens, scores = generate(random_model(), np.zeros((2, 0), np.int64), settings)
    found = beam.search(random_model(), 2, settings)
    assert torch.equal(filled(found), tokens)
    torch.testing.assert_close(found.scores, scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("early", [True, False])
def test_stories_do_not_depend_on_the_batch(early):
    model, settings = random_model(ending=2.5), sampler(early_stopping=early)
    alone = [beam.search(model, prefixes(2)[i : i + 1], settings) for i in range(40)]
    together = beam.search(model, prefixes(2), settings, batch=40)
    assert torch.equal(torch.cat([a.tokens for a in alone]), together.tokens)
    torch.testing.assert_close(torch.cat([a.logprob for a in alone]), together.logprob, atol=1e-4, rtol=0)
    assert len(set(together.lengths[:, 0].tolist())) > 4  # stories were done at different times


@torch.no_grad()
def log_probability(model, story, sampler, given):
    told = torch.tensor([CONFIG.end, *story, CONFIG.end][: sampler.max_tokens + 1])
    each = model(told[None, :-1])[0].double().log_softmax(-1).gather(1, told[1:, None])[:, 0]
    return each[given:].sum().item()


def test_log_probabilities_and_scores_are_those_of_the_model():
    model, settings = random_model(2, ending=0.5), sampler(length_penalty=0.5)
    found = beam.search(model, prefixes(1), settings)
    for i, j in product(range(40), range(5)):
        n = int(found.lengths[i, j])
        story = found.tokens[i, j, :n].tolist()
        assert CONFIG.end not in story
        expected = log_probability(model, story, settings, given=1)
        assert found.logprob[i, j].item() == pytest.approx(expected, abs=1e-4)
        drawn = n if n < settings.max_tokens else n - 1  # without the prefix, with the end where it was
        assert found.scores[i, j].item() == pytest.approx(expected / drawn**0.5, abs=1e-4)
    assert (found.scores.diff(dim=1) <= 0).all()  # best first
    assert (found.lengths == settings.max_tokens).any()
    assert (found.lengths < settings.max_tokens).any()


@pytest.mark.parametrize("seed", range(4))
def test_stories_of_one_token_are_the_most_likely_ones(seed):
    """One step leaves nothing to chance: the b best of all V stories, the empty one among them."""
    model, settings = random_model(seed), Sampler(kind="beam", beams=6, max_tokens=1)
    every = [(), *((token,) for token in OTHERS)]
    likely = np.array([log_probability(model, story, settings, given=0) for story in every])
    assert np.exp(likely).sum() == pytest.approx(1)
    found = beam.search(model, 1, settings)
    told = [tuple(found.tokens[0, j, : found.lengths[0, j]].tolist()) for j in range(6)]
    assert told == [every[i] for i in np.argsort(-likely)[:6]]
    np.testing.assert_allclose(found.logprob[0], np.sort(likely)[::-1][:6], atol=1e-5)


def test_the_sampler_keeps_the_best_hypothesis():
    model, settings = random_model(), sampler()
    items = decoding.sample(model, prefixes(2), settings, Streams(("none",), (0,)), batch=7)
    found = beam.search(model, prefixes(2), settings)
    assert isinstance(items, Items)
    assert isinstance(items.output, Ragged)
    for i in range(len(items)):
        assert items.output[i].tolist() == found.tokens[i, 0, : found.lengths[i, 0]].tolist()
    np.testing.assert_allclose(items.logprob[0], found.logprob[:, 0], atol=1e-4)
    assert decoding.truncated(items, settings) == (found.lengths[:, 0] == settings.max_tokens).sum()


def test_no_generator_is_touched():
    """The search draws nothing: several chains side by side, of which none could be asked, do not matter."""
    items = decoding.sample(random_model(), prefixes(1), sampler(), Streams(("none",), (0, 1)))
    assert len(items) == 40


def test_columns_that_none_follows_from_are_dropped():
    """Columns that some hypothesis of some text reads stay, in their order; what they hold goes with them."""
    no = -torch.inf
    ancestors = torch.tensor(
        [
            [[0, 0, 0, no, no, 0, no, no], [0, 0, no, no, 0, no, no, 0]],  # columns 3 and 6 are read by none
            [[0, 0, 0, no, no, no, no, no], [0, 0, 0, no, no, no, no, no]],  # all but 2
        ]
    )
    cache = torch.arange(8.0)[:, None].expand(3, 2, 2, 2, 8, 1).clone()  # (L, 2, A, H, M, D): each its number
    cache[:, :, 1] += 10
    found = beam._prune(cache, ancestors, 2)
    expected = [[[0, 0, 0, no, 0, no], [0, 0, no, 0, no, 0]], [[0, 0, 0, no, no, no], [0, 0, 0, no, no, no]]]
    assert torch.equal(found, torch.tensor(expected))
    assert (cache[:, :, 0, :, :6, 0] == torch.tensor([0.0, 1, 2, 4, 5, 7])).all()
    assert (cache[:, :, 1, :, :3, 0] == torch.tensor([10.0, 11, 12])).all()
    assert torch.equal(beam._prune(cache, found, 2), found)  # nothing is left to drop


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_hypotheses_do_not_depend_on_when_columns_are_dropped(monkeypatch, every):
    model, settings = random_model(ending=0.5), sampler()
    expected = beam.search(model, prefixes(2), settings)
    monkeypatch.setattr(beam, "PRUNING", every)
    found = beam.search(model, prefixes(2), settings)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


def test_wrong_use_is_told():
    model = random_model()
    with pytest.raises(ConfigError, match="beams is 7, but the vocabulary has 13 tokens"):
        beam.search(model, prefixes(1), sampler(beams=7))
    with pytest.raises(ConfigError, match="needs a sampler of kind 'beam', this one is of kind 'sample'"):
        beam.search(model, 2, Sampler(1.0, 5))
    with pytest.raises(ConfigError, match="max_tokens is 24, but the model's 24 positions take 23"):
        beam.search(model, prefixes(1), sampler(max_tokens=24))
    with pytest.raises(DataError, match="a context holds the end token"):
        beam.search(model, np.array([[4]]), sampler())
    with pytest.raises(DataError, match="no stories"):
        beam.search(model, 0, Sampler(kind="beam", beams=2, max_tokens=5))
    with torch.no_grad():
        model.ln_f.bias[0] = torch.nan
    with pytest.raises(TrainingError, match="not finite"):
        beam.search(model, prefixes(1), sampler())
