"""The figure of diversity: its panels, lines and levels are those of the rows."""

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse import plotting
from collapse.errors import ConfigError, DataError
from collapse.plotting import Inputs
from collapse.seeding import stream

PATH = Path(__file__).parents[2] / "figures" / "accumulation" / "figure_diversity.py"
FACTS = {"stories": {"source": "embedded story grammar", "source_entropy": 1.25}}
POLICIES = ("replace", "accumulate", "accumulate_steps", "accumulate_subsample")
# column -> (generation 1, change in each generation under replace, and under the others)
SHAPES = {
    "sample_distinct_2": (0.148, 0.009, 0.001),
    "sample_self_bleu": (0.835, -0.014, 0.001),
    "sample_c2st_accuracy": (0.515, 0.05, 0.012),
    "sample_vocabulary_coverage": (0.97, -0.04, -0.006),
    "sample_rare_mass_ratio": (0.62, -0.15, -0.03),
    "rare_cross_entropy": (4.1, 0.5, 0.05),
    "sample_grammatical": (0.45, -0.09, -0.01),
    "sample_truth_excess": (0.3, -0.4, 0.2),
    "sample_length_mean": (35.8, -0.3, -0.05),
}
LEVELS = {
    "sample_real_distinct_2": 0.134,
    "sample_real_self_bleu": 0.851,
    "sample_real_c2st_accuracy": 0.506,
    "sample_real_vocabulary_coverage": 0.993,
    "sample_real_length_mean": 36.05,
}
KNOWN_LEVELS = {"mass of rare words": 1.0, "grammatical": 1.0, "too typical (nats)": 0.0}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("figure_script_diversity", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def fits(policies=POLICIES, recipes=("gpt2_xs",), seeds=(0, 1, 2), generations=5):
    """Rows as a run leaves them; generation 1 is shared by the policies."""
    out = []
    for recipe, policy, seed, n in product(recipes, policies, seeds, range(1, generations + 1)):
        row = {
            "dataset": "stories", "recipe": recipe, "policy": policy, "sampler": "temp1.0", "selector": "all",
            "family": "gpt2", "seed": seed, "generation": n, "fit_parameters": 155_392,
            "plan": f"1000 of real | {'steps' if policy.endswith('steps') else 'epochs'}, scratch",
        }  # fmt: skip
        noise = stream("test", "diversity", recipe, "" if n == 1 else policy, seed, n).normal(size=len(SHAPES))
        for (column, (first, fall, rest)), shift in zip(SHAPES.items(), noise, strict=True):
            row[column] = first + (fall if policy == "replace" else rest) * (n - 1) + abs(fall) * shift / 4
        out.append(row | LEVELS)
    return pd.DataFrame(out)


def panels(drawing):
    """Return title -> axes, of the panels that are seen."""
    return {axes.get_title(loc="left"): axes for axes in drawing.figure.axes if axes.get_visible()}


def test_each_panel_draws_the_means_of_its_column(script):
    rows = fits()
    drawing = script.draw(Inputs("laptop", rows, facts=FACTS))
    found = panels(drawing)
    assert [script.MEASURES[title].column for title in found] == [m.column for m in script.MEASURES.values()]
    assert {m.column for m in script.MEASURES.values()} == set(SHAPES)
    for title, axes in found.items():
        column = script.MEASURES[title].column
        expected = rows.groupby(["policy", "generation"])[column].mean()
        lines = {
            (line.get_color(), line.get_linestyle()): line for line in axes.lines if len(line.get_xdata()) == 5
        }  # the dashed level has two points
        assert len(lines) == len(POLICIES)
        for policy in POLICIES:
            line = lines[plotting.look(policy)[1], ":" if policy == "accumulate_steps" else "-"]
            assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
            assert line.get_ydata() == pytest.approx(expected[policy].to_numpy())
        assert len(axes.collections) == len(POLICIES)  # bands
        here = drawing.table[drawing.table["measure"] == title].set_index(["policy", "generation"])
        assert here["mean"].to_dict() == pytest.approx(expected.to_dict())
        assert set(here["n"]) == {3}


def test_real_texts_are_dashed_where_they_do_not_squeeze_the_curves(script):
    rows = fits()
    drawing = script.draw(Inputs("laptop", rows, facts=FACTS))
    table = drawing.table.groupby("measure")["level"].first()
    for title, axes in panels(drawing).items():
        column = script.MEASURES[title].level
        value = LEVELS[column] if isinstance(column, str) else KNOWN_LEVELS.get(title)
        drawn = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert drawn == ([] if value is None else [value]), title
        assert np.isnan(table[title]) if value is None else table[title] == pytest.approx(value)
        low, high = axes.get_ylim()
        assert low < min(drawn, default=high) <= max(drawn, default=low) < high or not drawn
    assert "Dashed: real texts" in drawing.caption
    assert "off the axis" not in drawing.caption
    assert drawing.figure.legends[0].texts[-1].get_text() == "real texts"
    far = script.draw(Inputs("laptop", rows.assign(sample_real_length_mean=60.0), facts=FACTS))
    axes = panels(far)["text length (words)"]
    assert (
        axes.get_ylim()
        == panels(script.draw(Inputs("laptop", rows.drop(columns="sample_real_length_mean"))))[
            "text length (words)"
        ].get_ylim()
    )
    assert "Real texts off the axis: text length (words) 60." in far.caption


def test_a_measure_that_rows_lack_is_left_out_and_the_caption_says_so(script):
    rows = fits().drop(columns=["sample_grammatical", "sample_real_self_bleu"])
    rows.loc[3, "sample_truth_excess"] = np.nan
    drawing = script.draw(Inputs("paper", rows))
    assert {"grammatical"} == set(script.MEASURES) - set(panels(drawing))
    assert "Left out, not known for these data: grammatical." in drawing.caption
    assert "Where no text is grammatical, there is no value of: too typical (nats)." in drawing.caption
    left = drawing.table[drawing.table["measure"] == "too typical (nats)"]
    assert left["n"].sum() == len(rows) - 1  # the others of that generation are still there
    assert "grammar of the source" not in drawing.caption
    axes = panels(drawing)["self-BLEU"]
    assert all(line.get_linestyle() != "--" for line in axes.lines)
    assert drawing.table.loc[drawing.table["measure"] == "self-BLEU", "level"].isna().all()
    with pytest.raises(DataError, match="none of sample_distinct_2"):
        script.draw(Inputs("laptop", rows.drop(columns=[c for c in SHAPES if c in rows])))


def test_models_are_columns(script):
    rows, titles = fits(recipes=("gpt2_9m", "llama2_12m"), seeds=(0,)), ["self-BLEU", "rare-token loss (nats)"]
    drawing = script.draw(Inputs("paper", rows), measures=titles)
    axes = np.array(drawing.figure.axes).reshape(2, 2)
    assert [facet.get_title() for facet in axes.flat] == ["GPT-2 (9M)", "Llama-2 (12M)", "", ""]
    assert [facet.get_ylabel().split("\n")[0] for facet in axes[:, 0]] == titles
    for row, title in zip(axes, titles, strict=True):
        assert row[0].get_ylim() == row[1].get_ylim()
        for facet, recipe in zip(row, ("gpt2_9m", "llama2_12m"), strict=True):
            here = rows[(rows["recipe"] == recipe) & (rows["policy"] == "replace")]
            assert tuple(here[script.MEASURES[title].column]) in {tuple(line.get_ydata()) for line in facet.lines}
            assert not facet.collections
    assert "One seed, so no bands." in drawing.caption


def test_it_takes_some_policies_measures_and_generations(script):
    rows = fits()
    drawing = script.draw(Inputs("laptop", rows), policies=["accumulate", "replace"], measures=["self-BLEU"], last=3)
    assert list(panels(drawing)) == ["self-BLEU"]
    assert list(drawing.table["policy"].unique()) == ["replace", "accumulate"]
    assert drawing.table["generation"].max() == 3
    assert [t.get_text() for t in drawing.figure.legends[0].texts] == ["Accumulate", "Replace", "real texts"]
    with pytest.raises(ConfigError, match="did you mean 'self-BLEU'"):
        script.draw(Inputs("laptop", rows), measures=["self_BLEU"])
    with pytest.raises(DataError, match="policy = growing"):
        script.draw(Inputs("laptop", rows), policies=["growing"])
    with pytest.raises(DataError, match="rows are missing"):
        script.draw(Inputs("laptop", rows.drop(index=7)))
    with pytest.raises(DataError, match="one sampler"):
        script.draw(Inputs("laptop", pd.concat([rows, rows.assign(sampler="temp0.3")])))
    with pytest.raises(DataError, match="needs rows"):
        script.draw(Inputs("laptop"))


def test_the_caption_says_seeds_data_and_training(script):
    text = script.draw(Inputs("laptop", fits(), facts=FACTS)).caption
    for part in (
        "n = 3 seeds", "95 % t interval", "Scale: laptop.", "embedded story grammar", "sampler temp1.0",
        "GPT-2 (0.16M)", "which way is bad", "equal passes over each training set, equal optimiser steps",
        "0.5 is by chance", "one other sample of as many",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("recipes", [("gpt2_xs",), ("gpt2_xs", "llama2_xs")])
def test_nothing_overlaps(script, recipes):
    figure = script.draw(Inputs("laptop", fits(recipes=recipes))).figure
    figure.draw_without_rendering()
    boxes = [figure.legends[0].get_window_extent()]
    for axes in figure.axes:
        titles = [axes.title, axes._left_title, axes._right_title]  # matplotlib has no public way to them
        texts = [*titles, axes.xaxis.label, axes.yaxis.label]
        boxes += [axes.get_window_extent(), *(t.get_window_extent() for t in texts if t.get_text())]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_files_are_the_same_each_time(script, tmp_path):
    for folder in ("a", "b"):
        drawing = script.draw(Inputs("laptop", fits(), facts=FACTS), measures=["self-BLEU", "distinct-2"])
        plotting.save(drawing, tmp_path / folder / "figure_diversity")
    for kind in ("pdf", "png", "csv", "txt"):
        first, second = ((tmp_path / folder / f"figure_diversity.{kind}").read_bytes() for folder in ("a", "b"))
        assert first == second, kind
    assert len(pd.read_csv(tmp_path / "a" / "figure_diversity.csv")) == len(drawing.table)
