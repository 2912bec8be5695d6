"""The figures of VAEs draw the images and the latents that runs kept."""

import importlib.util
import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from collapse import departures
from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import same_files

FOLDER = Path(__file__).parents[2] / "figures" / "recursion"
FACTS = {"digits": {"source": "real handwritten digits", "shape": [1, 3, 2]}}
POLICIES = ("replace", "stream")
RECIPE = {"family": "vae", "channels": [16, 32], "kl_weight": 0.35, "batch": 256}
NOISE = {"prior_bernoulli": "bernoulli"}
NAMES = {"dataset": "digits", "recipe": "vae_xs", "sampler": "prior_mean", "selector": "all", "family": "vae"}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def script(name):
    spec = importlib.util.spec_from_file_location(f"recursion_script_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def latents(policy, seed, generation, items=9):
    """Latents of which the spread falls with the generation."""
    rng = np.random.default_rng([POLICIES.index(policy) if generation > 1 else 2, seed, generation])
    return (0.8**generation * rng.standard_normal((items, 4)) + 0.1 * seed).astype(np.float32)


def details(policies=POLICIES, seeds=(0, 1), last=3, planes=1, items=9, **names):
    out = []
    for policy, seed, generation in product(policies, seeds, range(last + 1)):
        values = latents(policy, seed, generation, items)
        for i in range(items):
            pixels = (np.arange(6 * planes) + 10 * i + 60 * generation) % 256
            row = {**NAMES, **names, "policy": policy, "seed": seed, "generation": generation}
            out.append({**row, "pixels": pixels.astype(np.uint8), "latent": values[i]})
    return pd.DataFrame(out)


def rows(policies=POLICIES, seeds=(0, 1, 2), last=5, recipe_=None, **names):
    recipe = recipe_ or {}
    out = []
    for policy, seed, generation in product(policies, seeds, range(1, last + 1)):
        values = latents(policy, seed, generation)
        row = {
            **NAMES,
            **names,
            "policy": policy,
            "seed": seed,
            "generation": generation,
            "plan": "x | epochs, scratch",
        }
        entries = {"recipe": RECIPE | recipe, "sampler": {"kind": "prior", "noise": NOISE.get(row["sampler"], "mean")}}
        row["settings"] = json.dumps(entries)
        out.append({**row, "sample_latent_mean": float(values.mean()), "sample_latent_sd": float(values.std())})
    return pd.DataFrame(out)


def inputs(scale="laptop", table=None, facts=FACTS):
    return Inputs(scale, rows(), facts=facts, details=details() if table is None else table)


def draw(name, given=None, **options):
    return script(name).draw(inputs() if given is None else given, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [("figure_s8", {"generations": [0, 1, 3], "side": 3}), ("figure_s9", {}), ("figure_s9_latents", {})],
)
def test_files_are_the_same_each_time(name, options, tmp_path):
    same_files(script(name).draw, inputs(), tmp_path, **options)
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop", facts=FACTS), **options)


# figure s8


def test_figure_s8_draws_the_first_images_in_rows():
    drawing = draw("figure_s8", generations=[0, 3], side=2, seed=1)
    axes = np.array(drawing.figure.axes).reshape(2, 2)
    assert [a.get_title() for a in axes[0]] == ["real data", "n = 3"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["Replace", "Endless stream"]
    picture = np.asarray(axes[1, 1].images[0].get_array())
    assert picture.shape == (2 * 4 + 1, 2 * 3 + 1)
    assert (axes[1, 1].images[0].norm.vmin, axes[1, 1].images[0].norm.vmax) == (0, 1)
    for i, (down, right) in enumerate(product(range(2), range(2))):
        here = picture[1 + 4 * down : 4 + 4 * down, 1 + 3 * right : 3 + 3 * right]
        np.testing.assert_allclose(here, (np.arange(6) + 10 * i + 180).reshape(3, 2) / 255)
    gaps = np.ones_like(picture, bool)
    for down, right in product(range(2), range(2)):
        gaps[1 + 4 * down : 4 + 4 * down, 1 + 3 * right : 3 + 3 * right] = False
    assert (picture[gaps] == script("figure_s8").GAP).all()
    table = drawing.table.set_index(["policy", "generation", "image"])["pixels"]
    assert len(table) == 2 * 2 * 4
    assert table["stream", 3, 2] == " ".join(map(str, np.arange(6) + 10 + 180))
    assert "counts generations from 0" in drawing.caption
    assert "decoder means" in drawing.caption


def test_figure_s8_draws_colour():
    facts = {"digits": {"source": "faces", "shape": [3, 3, 2]}}
    given = inputs(table=details(planes=3), facts=facts)
    drawing = draw("figure_s8", given, generations=[1], side=2, policies=["replace"])
    picture = np.asarray(drawing.figure.axes[0].images[0].get_array())
    assert picture.shape == (9, 7, 3)
    np.testing.assert_allclose(picture[1:4, 1:3, 2], (np.arange(12, 18) + 60).reshape(3, 2) / 255)


def test_figure_s8_refuses_what_is_not_there():
    for options, message in (
        ({"generations": [1, 9]}, "generation = 9"),
        ({"generations": [1], "side": 4}, r"generation 1: 9 images are kept, 16 are to be drawn"),
        ({"generations": [1], "side": 2, "policies": ["accumulate"]}, "policy = accumulate"),
        ({"generations": [1], "side": 2, "recipe": "other"}, "recipe = other"),
        ({"generations": [1], "side": 2, "seed": 7}, "seed = 7"),
    ):
        with pytest.raises(DataError, match=message):
            draw("figure_s8", **options)
    short = pd.concat([details(["replace"]), details(["stream"], last=1)])
    with pytest.raises(DataError, match="stream, generation 3: 0 images"):
        draw("figure_s8", inputs(table=short), generations=[1, 3], side=2, policies=["replace", "stream"])
    two = pd.concat([details(), details(recipe="vae_other")])
    with pytest.raises(DataError, match="one recipe, its rows hold vae_xs, vae_other"):
        draw("figure_s8", inputs(table=two), generations=[1], side=2)
    assert len(draw("figure_s8", inputs(table=two), generations=[1], side=2, recipe="vae_xs").table) == 8
    with pytest.raises(DataError, match="no shape"):
        draw("figure_s8", inputs(facts={}), generations=[1], side=2)
    with pytest.raises(DataError, match="images of 6 values, 'digits' has 1x8x8"):
        draw("figure_s8", inputs(facts={"digits": {**FACTS["digits"], "shape": [1, 8, 8]}}), generations=[1], side=2)


# figure s9


def test_figure_s9_draws_the_density_of_all_latents():
    drawing = draw("figure_s9", seed=1, points=61)
    table = drawing.table.set_index(["policy", "generation"])
    for policy, generation in product(POLICIES, range(4)):
        here, values = table.loc[(policy, generation)], latents(policy, 1, generation)
        np.testing.assert_allclose(here["x"], np.linspace(-3, 3, 61))
        np.testing.assert_allclose(here["density"], stats.gaussian_kde(values.ravel().astype(float))(here["x"]))
        assert here["sd"].iloc[0] == pytest.approx(values.std())
    for facet, policy in zip(drawing.figure.axes, POLICIES, strict=True):
        assert [a.get_linestyle() for a in facet.lines] == ["--", "-", "-", "-"]
        for generation, drawn in enumerate(facet.lines):
            np.testing.assert_allclose(drawn.get_ydata(), table.loc[(policy, generation)]["density"])
    assert [t.get_text() for t in drawing.figure.legends[0].texts] == ["real", "n = 1", "n = 2", "n = 3"]
    assert "9 images x 4 dimensions" in drawing.caption
    assert "peak" not in drawing.caption
    assert "peak at 0.61 in the first and 1.15 in the fifth" in draw("figure_s9", inputs("paper")).caption
    assert set(draw("figure_s9", last=1, policies=["stream"]).table["generation"]) == {0, 1}


def test_figure_s9_needs_latents_with_a_spread():
    table = details()
    table["latent"] = [np.zeros(4, np.float32)] * len(table)
    with pytest.raises(DataError, match="all the same"):
        draw("figure_s9", inputs(table=table))


# figure s9 latents


def test_figure_s9_latents_draws_all_runs_and_their_mean():
    drawing = draw("figure_s9_latents")
    table = drawing.table.set_index(["metric", "policy", "generation"])
    found = rows().set_index(["policy", "seed", "generation"])
    mean, sd = drawing.figure.axes
    for axes, metric in ((mean, "sample_latent_mean"), (sd, "sample_latent_sd")):
        lines = {tuple(np.round(a.get_ydata(), 9)) for a in axes.lines}
        for policy in POLICIES:
            runs = [[found.loc[(policy, s, g), metric] for g in range(1, 6)] for s in range(3)]
            assert {tuple(np.round(run, 9)) for run in runs} <= lines
            np.testing.assert_allclose(
                [table.loc[(metric, policy, g), "mean"] for g in range(1, 6)], np.mean(runs, axis=0)
            )
            assert tuple(np.round(np.mean(runs, axis=0), 9)) in lines
    assert sd.get_ylim()[0] == 0
    assert "published" not in drawing.table
    assert "n = 3" in drawing.caption
    assert "official" not in drawing.caption.partition("Thin")[2]
    assert set(draw("figure_s9_latents", last=2, policies=["replace"]).table["generation"]) == {1, 2}


def test_figure_s9_latents_shows_published_runs_at_paper_scale_alone():
    drawing = draw("figure_s9_latents", inputs("paper"))
    sd = drawing.figure.axes[1]
    dotted = {tuple(a.get_ydata()) for a in sd.lines if a.get_linestyle() == ":"}
    published = script("figure_s9_latents").PUBLISHED
    assert dotted == set(published.values())
    assert all(list(a.get_xdata()) == [1, 2, 3, 4, 5] for a in sd.lines if a.get_linestyle() == ":")
    table = drawing.table.set_index(["metric", "policy", "generation"])["published"]
    assert table["sample_latent_sd", "replace", 1] == pytest.approx(np.mean([run[0] for run in published.values()]))
    assert table["sample_latent_mean"].isna().all()
    assert "five runs of the official code" in drawing.caption
    # the claim of the paper: about a tenth less from each generation to the next
    assert np.diff(np.log(list(published.values()))).mean() == pytest.approx(np.log(0.89), abs=0.02)


def test_figure_s9_latents_tells_recipes_and_samplers_apart():
    joined = pd.concat([rows(), rows(recipe="vae_kl1"), rows(sampler="prior_bernoulli")], ignore_index=True)
    drawing = draw("figure_s9_latents", Inputs("laptop", joined, facts=FACTS))
    titles = [axes.get_title() for axes in drawing.figure.axes[:3]]
    assert titles == ["vae_xs, decoder means", "vae_kl1, decoder means", "vae_xs, Bernoulli pixels"]
    assert len(drawing.table) == 3 * 2 * 2 * 5
    assert "Bernoulli pixels: the same with pixels drawn from the decoder, p(x | z)" in drawing.caption
    assert "pixels drawn" not in draw("figure_s9_latents").caption
    with pytest.raises(DataError, match="sample_latent_sd is missing"):
        draw("figure_s9_latents", Inputs("laptop", rows().drop(columns="sample_latent_sd"), facts=FACTS))


def test_figure_s9_latents_has_the_stream_beside_the_finite_sample():
    table = draw("figure_s9_latents").table
    spread = table[(table["metric"] == "sample_latent_sd") & (table["sampler"] == "prior_mean")]
    assert spread.groupby("policy")["generation"].agg(list).to_dict() == {
        policy: [1, 2, 3, 4, 5] for policy in POLICIES
    }


# settings


@pytest.mark.parametrize("name", ["figure_s8", "figure_s9", "figure_s9_latents"])
def test_captions_say_which_settings_are_not_the_published_ones(name):
    options = {"generations": [1], "side": 2} if name == "figure_s8" else {}
    said = "vae_xs differs from the published settings in channels 16 and 32 (published: 64 and 128), kl_weight 0.35"
    caption = draw(name, **options).caption
    assert f"{said} (published: 1)." in caption
    published = {"channels": [64, 128], "kl_weight": 1.0}
    given = Inputs("paper", rows(recipe_=published), facts=FACTS, details=details())
    assert "All settings of the model are the published ones." in draw(name, given, **options).caption
    with pytest.raises(DataError, match="no column `settings`"):
        draw(name, Inputs("laptop", rows().drop(columns="settings"), facts=FACTS, details=details()), **options)


def test_defaults_are_read_without_loading_the_family():
    from dataclasses import fields

    from collapse.families import vae

    found = departures.defaults("vae")
    assert found == {f.name: f.default for f in fields(vae.Config) if f.name != "shape"}
    with pytest.raises(DataError, match="'no_such' has no settings"):
        departures.defaults("no_such")
