"""The claims of the recursion paper: each can come out either way, and its numbers are those of its sources."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from collapse import judging
from collapse.commands.simulate import simulate
from collapse.datasets import arithmetic, articles, images
from collapse.datasets.discrete import Config as Discrete
from collapse.judging.verdicts import NOT_JUDGED, judge
from collapse.metrics import arithmetic as arithmetic_metrics
from collapse.metrics import articles as article_metrics
from collapse.metrics import images as image_metrics
from collapse.seeding import stream
from collapse.theory import discrete, gaussian

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config/claims/recursion.yaml"
POLICIES = yaml.safe_load((ROOT / "config/policies.yaml").read_text())["policies"]
PUBLISHED_ALONE = {"C1.A_unmarked", "C2.band_A", "C2.band_B", "H.oracle_dose"}  # OPT-125m; two doses
FULL_SIZES = {"C7.10000_above_50000", "C7.50000_above_200000"}


def cells(size: str, epochs: str) -> dict:
    """Blocks of the language models, and the others that are not chains."""
    text = {"dataset": [size], "selector": ["all"], "seed": [0, 1, 2]}
    first, kept, of = "replace_first", "real_fraction_10_first", [f"{epochs}_e5"]
    pictures = {"dataset": ["digits"], "recipe": ["vae"], "selector": ["all"], "seed": [0, 1, 2], "generations": 6}
    sums = {"dataset": ["arithmetic"], "recipe": ["gpt2_arithmetic"], "seed": [0, 1, 2], "generations": 4}
    several = ["replace", "real_fraction_10", "oracle_30", *["oracle_10"] * (size != "articles")]
    blocks = {
        "settings": {
            "recipe": [*of, f"{epochs}_e10"],
            "policy": [first, kept],
            "sampler": ["beam5"],
            "generations": 10,
        },
        "settings_last": {
            "recipe": [f"{epochs}_e5_last", f"{epochs}_e10_last"],
            "sampler": ["beam5"],
            "generations": 3,
        },
        "penalty": {"sampler": ["beam5_penalty2", "beam5_penalty3"], "generations": 3},
        "decoders": {"sampler": ["greedy_next", "temp1.0_next"], "generations": 4},
        "prompts": {"sampler": ["beam5_synthetic"], "generations": 4},
    }
    return {
        **{name: {**text, "recipe": of, "policy": [first], **block} for name, block in blocks.items()},
        "vae": {**pictures, "policy": ["replace"], "sampler": ["prior_mean", "prior_bernoulli"]},
        "vae_stream": {**pictures, "policy": ["stream"], "sampler": ["prior_mean"]},
        "hybrid": {**sums, "policy": several, "sampler": ["written"], "selector": ["all"]},
        "hybrid_seeds": {
            **sums,
            "policy": ["replace"],
            "sampler": ["completed", "completed_synthetic"],
            "selector": ["all"],
        },
        "hybrid_checker": {**sums, "policy": ["replace"], "sampler": ["written"], "selector": ["valid"]},
    }


CHAINS = {
    "gaussian_replace": ("gaussian", ["gaussian_mle", "gaussian_unbiased"], "replace", 50, 1000),
    "gaussian_accumulate": ("gaussian", ["gaussian_mle"], "accumulate", 100, 100),
    "discrete_few": ("discrete_few", ["empirical"], "replace", 1000, 150),
    "mixtures": ("mixture", ["gmm_2"], "replace", 5, 2051),
    "mixtures_large": ("mixture_large", ["gmm_2"], "replace", 3, 2051),
}
PUBLISHED = {"mixtures_published": ("mixture_published", ["gmm_2"], "replace", 3, 2051)}
SIZES = {
    "gaussian": [100, 500, 1000, 10000],
    "discrete_few": [20],
    "mixture": [500, 1000],
    "mixture_large": [10000],
    "mixture_published": [500, 1000, 10000, 50000, 200000],
}


def grid(size="articles", epochs="opt_xs", chains=CHAINS) -> dict:
    keys = ("dataset", "recipe", "policy", "seeds", "generations")
    blocks = {name: dict(zip(keys, ([of[0]], of[1], [of[2]], *of[3:]), strict=True)) for name, of in chains.items()}
    return {"cells": cells(size, epochs), "chains": blocks}


LAPTOP, PAPER = grid(), grid("wikitext2", "opt_125m", {**CHAINS, **PUBLISHED})
P0 = np.array([60, 30, 20, 15, 12]) / 137  # 1 / i over its sum
LOSS = {  # what a policy, recipe or sampler adds to the cross-entropy of each later generation
    "real_fraction_10_first": -0.15,
    "opt_xs_e10": 0.05,
    "opt_125m_e10": 0.05,
    "opt_xs_e10_last": 0.05,
    "opt_125m_e10_last": 0.05,
    "beam5_penalty2": 0.6,
    "beam5_penalty3": 0.8,
    "temp1.0_next": -0.1,
    "beam5_synthetic": 0.2,
    "oracle_10": -0.1,
    "oracle_30": -0.2,
    "real_fraction_10": -0.15,
    "completed": -0.05,
}
PEAK = np.array([0, 0.5, 0.35, 0.3, 0.29, 0.28, 0.27, 0.26, 0.25, 0.25])
"""Rise of cross-entropy by generation: not monotone, as in runs of setting A."""


RATES = {  # per generation
    "sample_first_perplexity_tail": 0.01,
    "sample_vocabulary_coverage": -0.02,
    "sample_repetition": 0.02,
    "sample_tail_coverage": -0.05,
    "sample_alive_0": -0.05,
    "sample_alive_9": -0.01,
    "sample_coverage": -0.1,
}


def values(metric: str, need: dict, T: float, sign: int) -> np.ndarray:
    """Values of all seeds and generations of a need, (S, G): the paper's at ``sign`` 1, the opposite at -1."""
    names, n = tuple(need[k] for k in ("recipe", "policy", "sampler")), np.array(need["generations"])
    rng = stream("test", "recursion", metric, *map(str, names), str(T), sign)
    shape = len(need["seeds"]), len(n)
    noise = rng.normal(0, 1e-3, shape)
    if metric in ("cross_entropy", "unmarked_cross_entropy"):
        return 3.5 + sign * (PEAK[n - 1] + sum(LOSS.get(name, 0) for name in names)) * (n > 1) + noise
    if metric == "perplexity":
        return (80 if sign < 0 else 38 if "real_fraction_10_first" in names else 50) + noise
    if metric == "sample_first_perplexity_median":
        return np.exp(2 + sign * (0.2 if "temp1.0_next" in names else -0.2) * (n - 1) + noise)
    if metric == "sample_valid":
        return 0.8 - (sign < 0) * 0.1 * (n - 1) + noise
    if metric == "sample_latent_sd_all":
        return 0.7 - sign * (0.06 if need["policy"] == "replace" else 0.05) * (n - 1) + noise
    if metric in RATES:
        return 0.5 + sign * RATES[metric] * (n - 1) + noise
    if metric == "log_sigma":
        walk = gaussian.log_sigma(n[-1], T, 1)
        return sign * walk.mean[n - 1] + 0.1 * np.sqrt(walk.variance[n - 1]) * rng.normal(size=shape)
    if metric == "mean_error":
        kept = (need["policy"] == "accumulate") == (sign == 1)
        drift = (gaussian.accumulate if kept else gaussian.replace)(n[-1], T, 0).drift
        steps = rng.normal(size=(shape[0], n[-1])) * np.sqrt(np.diff(drift, prepend=0))
        return abs(steps.cumsum(axis=1)[:, n - 1])
    if metric == "l2":
        return np.exp(-sign * np.log(T) + 0.1 * rng.normal(size=shape))
    if metric == "absorbed":
        return (rng.random(shape) < (0.98 if sign == 1 else 0.5)).astype(float)
    assert metric == "top_state"
    return rng.choice(5, shape, p=P0 if sign == 1 else P0[::-1]).astype(float)


def world(claims, config: dict, sign: int) -> pd.DataFrame:
    """Rows that the claims need at a scale, each with the metrics that some claim reads."""
    found = {}
    for claim in judging.split(claims, config):
        needs = judging.resolve(claim, config).needs
        for need, arm in zip(needs, claim.rows.arms, strict=False):
            metric = arm.metric or claim.statistic.metric
            cell = tuple(need[k] or "none" for k in ("dataset", "recipe", "policy", "sampler", "selector"))
            index = pd.MultiIndex.from_product([need["seeds"], need["generations"]], names=["seed", "generation"])
            for T in SIZES.get(need["dataset"], [np.nan]):
                frame = pd.DataFrame({metric: values(metric, need, T, sign).ravel()}, index)
                found[*cell, T] = found[*cell, T].combine_first(frame) if (*cell, T) in found else frame
    names = ["dataset", "recipe", "policy", "sampler", "selector", "T"]
    return pd.concat(
        [frame.reset_index().assign(**dict(zip(names, cell, strict=True))) for cell, frame in found.items()]
    )


@pytest.mark.parametrize(("sign", "expected"), [(1, "replicated"), (-1, "contradicted")])
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_claim_can_come_out_either_way(scale, sign, expected):
    alone = PUBLISHED_ALONE | FULL_SIZES
    config, claims = (LAPTOP if scale == "laptop" else PAPER), judging.parse(SHIPPED)
    if scale == "paper":
        claims = [claim for claim in claims if claim.id in alone]
    records = judge(claims, world(claims, config, sign), config)
    absent = alone if scale == "laptop" else set()
    assert {r["claim"]: r["verdict"] for r in records} == {
        claim.id: NOT_JUDGED if claim.id in absent else expected for claim in claims
    }
    whole = [r["statistic"]["generations"] for r in records if r["claim"] == "C1.A"]
    assert whole == ([[1, 10]] if scale == "laptop" else [])


def test_no_more_than_forty_claims_are_judged_on_a_laptop():
    """Holm's correction is over all of them: each makes the others harder."""
    judged = [c for c in judging.split(judging.parse(SHIPPED), LAPTOP) if judging.resolve(c, LAPTOP).needs]
    assert len(judged) == 40


def test_claims_are_one_statement_each_with_a_source():
    claims = judging.parse(SHIPPED)
    assert len({claim.statement for claim in claims}) == len(claims)
    assert all(claim.source and claim.paper == "recursion" for claim in claims)
    judging.check(claims, {"policy": POLICIES})
    monotone = [
        c.id for c in claims if c.statistic.name == "minimum_step" and "cross_entropy" in (c.statistic.metric or "")
    ]
    assert not monotone


def test_names_are_those_of_the_scales_that_judge_them():
    scales = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("laptop", "paper")]
    if not any("recursion" in scale["claims"] for scale in scales):
        pytest.skip("no scale judges these claims yet")

    def names(*keys):
        return [name for scale in scales for key in keys for name in scale[key]]

    vocabulary = {key: names(f"{key}s") for key in ("dataset", "recipe", "sampler")}
    judging.check(judging.parse(SHIPPED), {**vocabulary, "block": names("cells", "chains")})
    for scale in scales:
        if "recursion" in scale["claims"]:
            drawn = set(scale["figures"]["recursion"])
            assert {c.figure for c in judging.parse(SHIPPED)} <= drawn


# ------------------------------------------------------------------------------------------------------- columns


def metrics_of(block: str) -> set[str]:
    """Metrics that claims read from a block."""
    claims = judging.parse(SHIPPED)
    return {arm.metric or c.statistic.metric for c in claims for arm in c.rows.arms if block in arm.block}


@pytest.mark.parametrize(
    ("block", "dataset", "recipe"),
    [
        ("gaussian_replace", {"kind": "gaussian", "T": [10, 20]}, {"family": "gaussian", "ddof": 1}),
        ("gaussian_accumulate", {"kind": "gaussian", "T": [10, 20]}, {"family": "gaussian", "ddof": 0}),
        ("discrete_few", {"kind": "discrete", "states": 5, "law": "zipf", "T": [20]}, {"family": "discrete"}),
        ("mixtures", {"kind": "mixture", "shape": ["blob"], "T": [30], "test": 10}, {"family": "mixture"}),
    ],
)
def test_chains_have_the_columns_that_claims_read(tmp_path, block, dataset, recipe):
    settings = {"dataset": dataset, "recipe": recipe, "policy": {"kind": "replace"}, "seeds": 2, "generations": 2}
    simulate(tmp_path, "data", "model", "replace", settings)
    (table,) = tmp_path.rglob("*.parquet")
    columns = pd.read_parquet(table).columns
    assert metrics_of(block)
    assert metrics_of(block) | {"T"} <= set(columns)


def test_samples_of_articles_have_the_columns_that_claims_read():
    config = articles.Config(train=60, validation=20, test=20, block=32)
    data = articles.load(config, *articles.prepare(config))
    family = SimpleNamespace(block_losses=lambda model, items: np.linspace(1, 2, len(items)))
    first = SimpleNamespace(family=family, model=None, real={})
    found = article_metrics.measure(data.real(), article_metrics.reference(data), data, 32)
    found |= article_metrics.details(data.real(), first, data, 1)[1]
    read = {name for block in ("settings", "penalty", "decoders", "prompts") for name in metrics_of(block)}
    assert len(read) == 10
    assert read - {"cross_entropy", "perplexity", "unmarked_cross_entropy"} <= {f"sample_{name}" for name in found}


def test_samples_of_statements_have_the_columns_that_claims_read():
    config = arithmetic.Config(train=40, validation=5, test=20)
    data = arithmetic.load(config, *arithmetic.prepare(config))
    found = arithmetic_metrics.measure(data.real(), arithmetic_metrics.reference(data), data, 11)
    read = {name for block in ("hybrid", "hybrid_seeds", "hybrid_checker") for name in metrics_of(block)}
    assert read - {"cross_entropy"} == {"sample_valid", "sample_coverage"}
    assert read - {"cross_entropy"} <= {f"sample_{name}" for name in found}


def test_samples_of_images_have_the_columns_that_claims_read():
    config = images.Config(train=60, validation=10, test=20)
    data = images.load(config, *images.prepare(config))
    family = SimpleNamespace(encode=lambda model, items: (np.zeros((len(items), 2)), None))
    _, scalars = image_metrics.details(data.real(), SimpleNamespace(family=family, model=None), data, 0)
    assert metrics_of("vae") == metrics_of("vae_stream") <= {f"sample_{name}" for name in scalars}


# ------------------------------------------------------------------------------------------ numbers of the sources


def by_id():
    return {claim.id: claim for claim in judging.parse(SHIPPED)}


def test_bounds_and_published_values_are_those_of_theory():
    claims = by_id()
    walk = {T: gaussian.log_sigma(1000, T, 1) for T in (100, 1000)}
    expected = walk[100].mean[-1] - walk[100].mean[0]
    theory = claims["C5.theory"]
    assert theory.published == pytest.approx(expected, abs=1e-3)
    assert (theory.test.low, theory.test.high) == pytest.approx((1.3 * expected, 0.7 * expected), abs=1e-3)
    error = np.sqrt((walk[100].variance[-1] - walk[100].variance[0]) / 50)
    assert 0.3 * abs(expected) > 4 * error
    other = gaussian.log_sigma(1000, 100, 0)
    assert abs(other.mean[-1] - other.mean[0]) > abs(theory.test.low)  # the estimator with bias lies outside
    assert claims["C5.slower"].published == pytest.approx(walk[1000].mean[-1] - walk[100].mean[-1], abs=0.01)

    bound = np.pi**2 / 6
    flat, grows = claims["C6.flat"], claims["C6.grows"]
    assert flat.published == pytest.approx(bound, abs=1e-4)
    assert flat.test.low == pytest.approx(1.3 * bound, abs=1e-3)
    assert grows.test.low == pytest.approx(10 * bound, abs=1e-3)
    for T in SIZES["gaussian"]:
        assert T * gaussian.accumulate(100, T, 0).drift.max() < bound
        assert T * gaussian.replace(100, T, 0).drift[-1] > 3 * grows.test.low


def test_the_few_states_are_those_of_the_data_set():
    claims, p = by_id(), Discrete(states=5, law="zipf", exponent=1.0, T=20).probabilities
    np.testing.assert_allclose(claims["C9.where"].statistic.options["p"], p, atol=1e-6)
    fixed = discrete.fates(p, 20, 150).fixed.sum(axis=1)
    assert fixed[[99, 149]] == pytest.approx([0.988, 0.999], abs=5e-4)
    assert fixed[99] > claims["C9.absorbed"].test.low + 4 * np.sqrt(0.1 * 0.9 / 1000)
    assert claims["C9.where"].test.low > 5 * np.sqrt(p * (1 - p) / 1000).max()


def test_published_values_are_the_statistics_of_published_numbers():
    claims = by_id()
    runs = """.6995 .6013 .5541 .4893 .4665  .6953 .5937 .5296 .4843 .4310  .6923 .6091 .5336 .4892 .4583
              .6784 .6050 .5235 .4830 .4280  .6736 .6076 .5273 .4681 .4329"""
    spread = np.array(runs.split(), float).reshape(5, 1, 5)
    steps = claims["C8.stream"].statistic.function(spread, np.arange(1, 6))
    assert claims["C8.stream"].published == pytest.approx(steps.mean(), abs=5e-4)
    assert spread[:, 0, 0].mean() == pytest.approx(0.69, abs=0.005)
    assert spread[:, 0, -1].mean() == pytest.approx(0.44, abs=0.005)
    last = {500: 7e2, 1000: 2e2, 10000: 4e-1, 50000: 1e-3, 200000: 5e-4}
    sizes = list(last)
    for small, large in pairwise(sizes):
        claim = claims[f"C7.{small}_above_{large}"]
        assert [arm.grid["T"] for arm in claim.rows.arms] == [(small,), (large,)]
        assert claim.published == pytest.approx(np.log(last[small] / last[large]), abs=0.05)
    assert claims["C4.penalty2"].published == pytest.approx(np.log(2), abs=5e-3)
    assert f"{np.log(103.61 / 48.85):.2f}" in claims["C4.penalty3"].source
