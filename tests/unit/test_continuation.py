"""Continuing prompts, repetition penalty, and the settings of samplers that go with them: equal to transformers'."""

from itertools import product

import numpy as np
import pytest
import torch

from collapse.errors import ConfigError, DataError
from collapse.families import beam, decoding, gpt2, llama2, opt
from collapse.families.decoding import Sampler
from collapse.families.slots import penalised
from collapse.seeding import Streams, stream

SHAPE = {"vocabulary": 31, "end": 4, "hidden": 16, "layers": 2, "heads": 2, "positions": 40, "layout": "blocks"}
MODELS = {
    "gpt2": (gpt2, gpt2.GPT2(gpt2.Config(**SHAPE))),
    "llama2": (llama2, llama2.Llama2(llama2.Config(**SHAPE, intermediate=32))),
    "opt": (opt, opt.OPT(opt.Config(**SHAPE))),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def noisy(model, seed=0, spread=0.3):
    """Weights so large that predictions depend on the whole text."""
    model.initialise(Streams(("weights",), (seed,)).torch())
    noise = Streams(("noise",), (seed,)).torch()
    with torch.no_grad():
        for p in model.parameters():
            p += spread * torch.randn(p.shape, generator=noise)
    return model.eval()


def random_model(seed=0, **more):
    return noisy(opt.OPT(opt.Config(**{**SHAPE, **more})), seed)


@pytest.fixture(params=MODELS)
def pair(request):
    """A model and the same one of transformers, the end token likely to come."""
    from collapse.commands.bench import LIBRARY

    family, model = MODELS[request.param]
    noisy(model)
    theirs = LIBRARY[request.param](model.config).eval()
    theirs.load_state_dict(family.to_transformers(model.state_dict()))
    return model, theirs


def prompts(count=24, length=7, vocabulary=31):
    """Prompts that hold the end token too."""
    return stream("prompts").integers(0, vocabulary, (count, length))


def rng():
    return Streams(("sample",), (0,))


def rows(items):
    return items.output.values.reshape(len(items), -1).tolist()


def generate(theirs, given, count, **more):
    given = torch.from_numpy(given)
    out = theirs.generate(
        given, attention_mask=torch.ones_like(given), min_new_tokens=count, max_new_tokens=count, pad_token_id=4, **more
    )
    assert out.shape[1] == given.shape[1] + count
    return out[:, given.shape[1] :].tolist()


@torch.no_grad()
def log_probability(model, given, told):
    """Of a continuation, under the model itself, without a cache."""
    text = torch.tensor([[*given, *told]])
    each = model(text[:, :-1])[0].double().log_softmax(-1).gather(1, text[0, 1:, None])[:, 0]
    return each[len(given) - 1 :].sum().item()


# equal to the library -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1.0, 2.0])
def test_greedy_equals_generate(pair, penalty):
    model, theirs = pair
    sampler = Sampler(kind="greedy", max_tokens=16, start="continuation", repetition_penalty=penalty)
    items = decoding.sample(model, prompts(), sampler, rng(), batch=10)
    expected = generate(theirs, prompts(), 16, do_sample=False, repetition_penalty=penalty)
    assert rows(items) == expected
    assert len({tuple(row) for row in expected}) > 12
    likelihood = [log_probability(model, g, t) for g, t in zip(prompts().tolist(), expected, strict=True)]
    np.testing.assert_allclose(items.logprob[0], likelihood, atol=1e-3)  # of the model, without the penalty


@pytest.mark.parametrize("penalty", [1.0, 2.0])
def test_beam_search_equals_generate(pair, penalty):
    model, theirs = pair
    sampler = Sampler(kind="beam", beams=5, max_tokens=33, start="continuation", repetition_penalty=penalty)
    items = decoding.sample(model, prompts(), sampler, rng(), batch=10)
    expected = generate(theirs, prompts(), 33, do_sample=False, num_beams=5, repetition_penalty=penalty)
    assert rows(items) == expected
    likelihood = [log_probability(model, g, t) for g, t in zip(prompts().tolist(), expected, strict=True)]
    np.testing.assert_allclose(items.logprob[0], likelihood, atol=1e-3)


@pytest.mark.parametrize("penalty", [1.0, 2.0])
def test_long_beam_search_equals_generate(penalty):
    """As the papers' protocol has it: 64 tokens that follow 64, five beams."""
    from collapse.commands.bench import LIBRARY

    model = noisy(opt.OPT(opt.Config(**{**SHAPE, "vocabulary": 300, "positions": 128, "heads": 4})), spread=0.25)
    theirs = LIBRARY["opt"](model.config).eval()
    theirs.load_state_dict(opt.to_transformers(model.state_dict()))
    given = prompts(6, 64, 300)
    sampler = Sampler(kind="beam", beams=5, max_tokens=64, start="continuation", repetition_penalty=penalty)
    found = beam.search(model, given, sampler)
    expected = generate(theirs, given, 64, do_sample=False, num_beams=5, repetition_penalty=penalty)
    assert found.tokens[:, 0].tolist() == expected


@pytest.mark.parametrize("settings", [{"length_penalty": 2.0}, {"beams": 2}, {"early_stopping": True}], ids=str)
def test_all_hypotheses_equal_generate(settings):
    """With the library's scores; of one length all, they have one length penalty."""
    from collapse.commands.bench import LIBRARY

    model = random_model(1)
    theirs = LIBRARY["opt"](model.config).eval()
    theirs.load_state_dict(opt.to_transformers(model.state_dict()))
    sampler = Sampler(**{"kind": "beam", "beams": 4, "max_tokens": 12, "start": "continuation", **settings})
    given, b = torch.from_numpy(prompts(8)), sampler.beams
    out = theirs.generate(
        given, attention_mask=torch.ones_like(given), num_beams=b, do_sample=False, min_new_tokens=12,
        max_new_tokens=12, length_penalty=sampler.length_penalty, early_stopping=sampler.early_stopping,
        num_return_sequences=b, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    found = beam.search(model, prompts(8), sampler)
    assert torch.equal(found.tokens, out.sequences.view(8, b, -1)[:, :, 7:])
    torch.testing.assert_close(found.scores, out.sequences_scores.view(8, b), atol=1e-5, rtol=1e-5)
    assert (found.lengths == 12).all()


@pytest.mark.parametrize("kind", ["gpt2", "llama2"])
@pytest.mark.parametrize("settings", [{"kind": "greedy"}, {"kind": "beam", "beams": 4}], ids=str)
def test_stories_with_a_penalty_equal_generate(kind, settings):
    """Stories end by themselves; the end token in front counts as said before."""
    from collapse.commands.bench import LIBRARY

    family, model = MODELS[kind]
    config = type(model.config)(**{**vars(model.config), "layout": "stories"})
    model = noisy(type(model)(config), 3)
    if kind == "gpt2":  # the penalty is on the end token too: it would never come
        with torch.no_grad():
            model.ln_f.bias += 2.0 * model.wte.weight[4]
    theirs = LIBRARY[kind](config).eval()
    theirs.load_state_dict(family.to_transformers(model.state_dict()))
    contexts = np.array(list(product([1, 2, 3, 5, 6], [7, 8, 9])))
    told = torch.from_numpy(np.insert(contexts, 0, 4, axis=1))
    out = theirs.generate(
        told, attention_mask=torch.ones_like(told), do_sample=False, max_length=25, repetition_penalty=1.3,
        num_beams=settings.get("beams", 1),
    )[:, 1:].tolist()  # fmt: skip
    expected = [row[: row.index(4)] if 4 in row else row for row in out]
    sampler = Sampler(max_tokens=24, start="first_token_inclusive", repetition_penalty=1.3, **settings)
    items = decoding.sample(model, contexts, sampler, rng(), batch=8)
    assert [items.output[i].tolist() for i in range(15)] == expected
    assert len({len(row) for row in expected}) > 2


# drawing --------------------------------------------------------------------------------------------------------------


def shaped(logits, text, sampler):
    """What the next token is drawn from, by the library's processors in the library's order: (V,) probabilities."""
    from transformers.generation import logits_process as library

    ids, scores = torch.tensor([text]), logits[None].float()
    scores = library.RepetitionPenaltyLogitsProcessor(float(sampler.repetition_penalty))(ids, scores)
    if sampler.start == "continuation":
        scores = library.MinNewTokensLengthLogitsProcessor(0, 10**6, 4)(ids, scores)
    scores = library.TemperatureLogitsWarper(float(sampler.temperature))(ids, scores)
    if sampler.top_p is not None:
        scores = library.TopPLogitsWarper(sampler.top_p)(ids, scores)
    return scores[0].double().softmax(-1).numpy()


@pytest.mark.parametrize(
    ("layout", "sampler"),
    [
        ("blocks", Sampler(1.0, 12, start="continuation")),
        ("blocks", Sampler(0.7, 12, start="continuation", top_p=0.9, repetition_penalty=1.5)),
        ("stories", Sampler(1.0, 12, start="continuation", repetition_penalty=2.0)),
        ("stories", Sampler(1.2, 12, start="first_token_inclusive", repetition_penalty=1.5)),
        ("stories", Sampler(1.0, 12, repetition_penalty=0.8)),
    ],
    ids=str,
)
@torch.no_grad()
def test_drawn_tokens_equal_naive_recomputation(layout, sampler):
    model, contexts = random_model(layout=layout), prompts(30, 3)
    contexts[contexts == 4] = 5
    items = decoding.sample(model, contexts, sampler, rng(), batch=13)
    uniforms = rng().alone.random((30, 12))
    for i, row in enumerate(contexts.tolist()):
        given = [] if sampler.start == "bos_fixed_length" else row
        begin = [*([4] if layout == "stories" else []), *given]
        text, told, logprob = list(begin), given if sampler.start == "first_token_inclusive" else [], 0.0
        for u in uniforms[i, len(told) :]:
            p = shaped(model(torch.tensor([text]))[0, -1], text, sampler)
            token = int(np.searchsorted(np.cumsum(p), u * p.sum(), side="right"))
            logprob += np.log(p[token])
            if token == 4:
                break
            text, told = [*text, token], [*told, token]
        assert items.output[i].tolist() == told
        assert items.logprob[0, i] == pytest.approx(logprob, abs=1e-4)


def test_a_penalty_divides_what_speaks_for_and_multiplies_what_speaks_against():
    scores = torch.tensor([[2.0, -3.0, 0.5, -1.0]])
    found = penalised(scores, torch.tensor([[0, 1, 1, 0]]), 2.0)  # said twice counts once
    assert found.tolist() == [[1.0, -6.0, 0.5, -1.0]]
    assert scores.tolist() == [[2.0, -3.0, 0.5, -1.0]]


@pytest.mark.parametrize("kind", [{"temperature": 1.0}, {"kind": "greedy"}, {"kind": "beam", "beams": 3}], ids=str)
def test_what_is_told_is_the_continuation_alone_and_never_ends(kind):
    model = random_model()
    with torch.no_grad():
        model.norm.bias += 2.0 * model.embedding.weight[4]  # it would rather end
    sampler, contexts = Sampler(max_tokens=15, start="continuation", **kind), prompts(20, 25)  # all 40 positions
    items = decoding.sample(model, contexts, sampler, rng())
    assert (items.output.lengths == 15).all()
    assert 4 not in items.output.values
    assert (contexts == 4).any()
    alone = decoding.sample(model, contexts[3:4], sampler, Streams(("other",), (0,)))
    if "temperature" not in kind:  # nothing is drawn: neighbours do not matter
        assert rows(alone)[0] == rows(items)[3]
    twice = opt.sample(model, contexts[:2], sampler, rng(), k=2)
    assert len(twice) == 4


def test_draws_do_not_depend_on_batch_or_count():
    model, sampler = random_model(), Sampler(1.0, 12, start="continuation", repetition_penalty=1.2)
    base = decoding.sample(model, prompts(60), sampler, rng(), batch=60)
    for count, batch in ((60, 7), (20, 64)):
        other = decoding.sample(model, prompts(60)[:count], sampler, rng(), batch=batch)
        assert rows(other) == rows(base)[:count]
        np.testing.assert_allclose(other.logprob[0], base.logprob[0, :count], atol=1e-4)


def test_one_token_is_the_most_likely_one_that_does_not_end():
    model = random_model()
    with torch.no_grad():
        logits = model(torch.from_numpy(prompts()))[:, -1]
    logits[:, 4] = -torch.inf
    for kind in ({"kind": "greedy"}, {"kind": "beam", "beams": 5}):
        items = decoding.sample(model, prompts(), Sampler(max_tokens=1, start="continuation", **kind), rng())
        assert items.output.values.tolist() == logits.argmax(-1).tolist()


# what does not fit ----------------------------------------------------------------------------------------------------

NEXT = Sampler(1.0, 12, start="continuation")


@pytest.mark.parametrize(
    ("contexts", "error", "message"),
    [
        (5, ConfigError, "`start: continuation` needs contexts: integers \\(N, P\\), prompts"),
        (np.zeros((5, 0), int), ConfigError, "needs contexts"),
        (np.zeros((5, 3)), ConfigError, "needs contexts"),
        (np.zeros((5, 29), int), ConfigError, "prompts of 29 tokens and max_tokens = 12 need 41 positions, .* has 40"),
        (np.array([[3, 31]]), DataError, "contexts hold tokens 3 to 31, the model knows 31"),
    ],
)
def test_wrong_prompts_are_named(contexts, error, message):
    with pytest.raises(error, match=message):
        decoding.sample(random_model(), contexts, NEXT, rng())


def test_a_model_of_blocks_continues_and_nothing_else():
    for start in ("bos_fixed_length", "first_token_inclusive"):
        with pytest.raises(
            ConfigError, match=f"continues others: set `start: continuation` of the sampler, not {start}"
        ):
            decoding.sample(random_model(), prompts(), Sampler(1.0, 12, start=start), rng())


def test_prompts_of_a_model_of_stories_follow_the_end_token():
    model = random_model(layout="stories")
    with pytest.raises(ConfigError, match="prompts of 28 tokens and max_tokens = 12 need 41 positions"):
        decoding.sample(model, np.zeros((5, 28), int), NEXT, rng())
    with pytest.raises(DataError, match="a context holds the end token 4"):
        decoding.sample(model, np.full((5, 3), 4), NEXT, rng())
    greedy = Sampler(kind="greedy", max_tokens=12, start="continuation")
    blocks = random_model()
    contexts = prompts(10, 3) % 4
    found = rows(decoding.sample(model, contexts, greedy, rng()))
    assert found == rows(decoding.sample(blocks, np.insert(contexts, 0, 4, axis=1), greedy, rng()))
    assert found != rows(decoding.sample(blocks, contexts, greedy, rng()))


BEAM = {"kind": "beam", "beams": 5, "max_tokens": 9}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_tokens": 9, "start": "continue"},
            "unknown start of the sampler 'continue': did you mean 'continuation'",
        ),
        ({"max_tokens": 9, "prompts": "both"}, "unknown prompts of the sampler 'both': valid: real, synthetic"),
        ({"max_tokens": 9, "prompts": "synthetic"}, "prompts: synthetic needs a start that takes contexts"),
        ({"max_tokens": 9, "repetition_penalty": 0}, "repetition_penalty must be a positive number, got 0"),
        ({**BEAM, "repetition_penalty": -1.0}, "repetition_penalty must be a positive number, got -1.0"),
        ({**BEAM, "repetition_penalty": np.inf}, "repetition_penalty must be a positive number"),
        ({**BEAM, "repetition_penalty": True}, "repetition_penalty must be a positive number"),
        ({**BEAM, "noise": "mean"}, "noise is an option of kind 'prior', this sampler is of kind 'beam'"),
        (
            {"kind": "prior", "repetition_penalty": 1.0},
            "repetition_penalty is an option of kinds 'sample', 'greedy' and 'beam', this sampler is of kind 'prior'",
        ),
        ({"kind": "prior", "temperature": 1.0}, "temperature is an option of kind 'sample', this sampler"),
        ({"kind": "prior", "max_tokens": 9}, "max_tokens must be left out where the kind is 'prior'"),
        ({"kind": "prior", "start": "continuation"}, "start and prompts are options of samplers of text"),
        ({"kind": "none", "start": "continuation"}, "start and prompts are options of samplers of text"),
        ({"kind": "prior", "noise": "bernouli"}, "unknown noise of the sampler 'bernouli': did you mean 'bernoulli'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Sampler(**settings)


def test_options_take_the_defaults_of_their_kind():
    assert Sampler(kind="prior") == Sampler(kind="prior", noise="mean")
    assert Sampler(kind="prior", noise="bernoulli").repetition_penalty is None
    for sampler in (Sampler(max_tokens=9), Sampler(kind="greedy", max_tokens=9), Sampler(**BEAM)):
        assert (sampler.repetition_penalty, sampler.prompts, sampler.noise) == (1.0, "real", None)
    for start in ("continuation", "first_token_inclusive"):
        assert Sampler(**BEAM, start=start, prompts="synthetic").prompts == "synthetic"


def test_a_sampler_of_priors_decodes_no_text():
    with pytest.raises(ConfigError, match="a sampler of kind 'prior' draws nothing"):
        decoding.sample(random_model(), prompts(), Sampler(kind="prior"), rng())
