"""What all figures share: sums over rows, names and looks, captions, files, and the command."""

import inspect

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from scipy import stats

from collapse import plotting
from collapse.commands.figure import figure
from collapse.errors import ConfigError, DataError
from collapse.plotting import Inputs
from tests.drawing import FACTS, FIGURES, POLICIES, ROOT, fits, script
from tests.finetuned import script as tuned_script


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


# ---------------------------------------------------------------------------------------------- what all figures share


def test_summary_gives_the_mean_and_the_t_interval():
    rows = pd.DataFrame({"policy": ["b"] * 4 + ["a"], "loss": [1.0, 2.0, 4.0, 9.0, 5.0]})
    table = plotting.summary(rows, ["policy"], "loss")
    assert list(table["policy"]) == ["b", "a"]
    assert list(table["n"]) == [4, 1]
    assert list(table["mean"]) == [4.0, 5.0]
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem([1.0, 2.0, 4.0, 9.0]))
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([low, high])
    assert table.loc[1, ["low", "high"]].isna().all()
    with pytest.raises(DataError, match="not finite"):
        plotting.summary(rows.assign(loss=np.nan), ["policy"], "loss")
    with pytest.raises(DataError, match="missing"):
        plotting.summary(rows, ["policy"], "other")


def test_a_missing_generation_or_seed_is_an_error():
    rows = fits().sample(frac=1, random_state=0)
    table = plotting.over_generations(rows, ["policy"], "cross_entropy")
    assert table.groupby("policy")["generation"].agg(list).tolist() == [[1, 2, 3], [1, 2, 3]]
    for lost in (
        rows["generation"] == 2,
        (rows["generation"] == 3) & (rows["seed"] == 1) & (rows["policy"] == "replace"),
    ):
        with pytest.raises(DataError, match="rows are missing"):
            plotting.over_generations(rows[~lost], ["policy"], "cross_entropy")


def test_rows_are_picked_or_missed():
    rows = fits()
    assert set(plotting.pick(rows, policy="replace", seed=[0, 2])["seed"]) == {0, 2}
    assert plotting.only(rows, "recipe") == "gpt2_xs"
    with pytest.raises(DataError, match="policy = real_only"):
        plotting.pick(rows, policy=["replace", "real_only"])
    with pytest.raises(DataError, match="needs rows"):
        plotting.pick(None)
    with pytest.raises(DataError, match="T = 100"):
        plotting.pick(rows, T=100)
    with pytest.raises(DataError, match="one policy, its rows hold replace, accumulate"):
        plotting.only(rows, "policy")


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_labels_are_spread_in_order_and_as_little_as_possible(wanted, gap):
    places = plotting.spread(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= gap - 1e-9).all()
    assert places.mean() == pytest.approx(np.mean(wanted))
    if (np.diff(np.sort(wanted)) >= gap).all():
        assert places == pytest.approx(wanted)


def test_each_policy_of_the_config_is_known_by_one_look():
    looks = {name: plotting.look(name) for name in POLICIES}
    assert len({label for label, _, _ in looks.values()}) == len(POLICIES)
    assert looks["accumulate_steps"] == ("Accumulate, equal optimiser steps", *looks["accumulate"][1:])
    assert len({colour for _, colour, _ in plotting.LOOKS.values()}) == len(plotting.LOOKS)
    assert plotting.look("my_new_policy")[0] == "my new policy"


def test_models_are_called_as_in_the_papers_or_by_their_size():
    names = [plotting.model_name(recipe) for recipe in ("gpt2_9m", "llama2_126m", "gpt2_xs", "ols")]
    assert names == ["GPT-2 (9M)", "Llama-2 (126M)", "gpt2_xs", "ols"]
    rows = fits(recipes=("llama2_xs", "gpt2_xs", "gpt2_9m"))
    assert plotting.model_names(rows) == {
        "llama2_xs": "Llama-2 (0.10M)", "gpt2_xs": "GPT-2 (0.15M)", "gpt2_9m": "GPT-2 (9M)"
    }  # fmt: skip
    assert plotting.model_names(rows.drop(columns="fit_parameters"))["gpt2_xs"] == "gpt2_xs"
    twice = plotting.model_names(fits(recipes=("gpt2_xs", "gpt2_xs_more")))
    assert list(twice.values()) == ["GPT-2 (0.15M), gpt2_xs", "GPT-2 (0.15M), gpt2_xs_more"]


def test_recipes_of_one_model_share_its_first():
    rows = fits(recipes=("gpt2_xs", "llama2_xs", "gpt2_xs_more"))
    assert plotting.base_recipes(rows) == {"gpt2_xs": "gpt2_xs", "llama2_xs": "llama2_xs", "gpt2_xs_more": "gpt2_xs"}
    alone = plotting.base_recipes(rows.drop(columns="fit_parameters"))
    assert alone == {recipe: recipe for recipe in ("gpt2_xs", "llama2_xs", "gpt2_xs_more")}


def test_a_model_has_one_colour_wherever_it_is_shown():
    colours = plotting.model_colours(["llama2_xs", "gpt2_xs", "my_model", "other"])
    assert colours["llama2_xs"] == plotting.model_colours(["llama2_xs"])["llama2_xs"]
    assert len(set(colours.values())) == 4


def test_settings_are_those_that_the_rows_were_made_with():
    rows = pd.concat([fits(), fits(recipes=("gpt2_xs_more",), epochs=15)])
    assert plotting.settings(rows, "recipe", "gpt2_xs_more")["epochs"] == 15
    assert plotting.settings(rows, "sampler", "temp1.0") == {"temperature": 1.0}
    with pytest.raises(DataError, match="2 different settings of recipe 'gpt2_xs'"):
        plotting.settings(pd.concat([rows, fits(epochs=6)]), "recipe", "gpt2_xs")
    with pytest.raises(DataError, match="`settings`"):
        plotting.settings(rows.drop(columns="settings"), "recipe", "gpt2_xs")


def test_a_figure_may_end_before_its_rows_do():
    rows = pd.concat([fits(["replace"], generations=5), fits(["accumulate"])])
    assert plotting.until(rows, None) is rows
    assert plotting.until(rows, 4).groupby("policy")["generation"].max().to_dict() == {"replace": 4, "accumulate": 3}
    with pytest.raises(DataError, match="shows 6 generations, its rows end at 5"):
        plotting.until(rows, 6)


def test_seeds_may_end_before_others_where_a_figure_says_so():
    rows = pd.concat([fits(["replace"], seeds=(0,), generations=5), fits(["replace"], seeds=(1, 2))])
    with pytest.raises(DataError, match="3 of generation 3, 1 of generation 4"):
        plotting.over_generations(rows, ["policy"], "cross_entropy")
    table = plotting.over_generations(rows, ["policy"], "cross_entropy", ragged=True)
    assert table["n"].tolist() == [3, 3, 3, 1, 1]
    assert table["low"].notna().tolist() == [True] * 3 + [False] * 2
    late = rows[(rows["seed"] != 2) | (rows["generation"] > 1)]
    with pytest.raises(DataError, match="2 of generation 1, 3 of generation 2"):
        plotting.over_generations(late, ["policy"], "cross_entropy", ragged=True)


def test_a_line_has_its_band_where_there_are_several_seeds():
    _, axes = plt.subplots()
    table = pd.DataFrame(
        {"x": [1, 2, 3], "mean": [1.0, 2.0, 3.0], "low": [0.5, 1.5, np.nan], "high": [1.5, 2.5, np.nan]}
    )
    plotting.line(axes, table, "x")
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().bounds == (1, 0.5, 1, 2)
    plotting.line(axes, table.assign(low=np.nan, high=np.nan), "x")
    assert len(axes.collections) == 1


def test_captions_say_what_the_plans_say():
    rows = fits(["replace", "accumulate_steps"])
    text = "Every generation starts from scratch; budget: equal passes over each training set, equal optimiser steps."
    assert plotting.training_statement(rows) == text
    rows["plan"] = rows["plan"].str.replace("scratch", "first")
    assert plotting.training_statement(rows).startswith("Initial weights: first;")
    with pytest.raises(DataError, match="plan"):
        plotting.training_statement(rows.drop(columns="plan"))
    assert plotting.seeds_statement(pd.DataFrame({"n": [1, 3]})).startswith("Lines: mean over n = 1 to 3 seeds")
    assert plotting.seeds_statement(pd.DataFrame({"n": [1]})) == "One seed, so no bands."
    several = pd.DataFrame({"recipe": ["a", "a", "b", "b", "c"], "n": [3, 3, 3, 1, 1]})
    assert plotting.seeds_statement(several, {"a": "A", "b": "B", "c": "C"}) == (
        "Lines: mean over seeds: n = 3 for A; n = 3, later 1, for B; n = 1 for C. "
        "Bands: 95 % t interval of the mean, none where n = 1."
    )
    assert plotting.not_run(rows, {"gpt2_xs": "GPT"}) == ""
    assert plotting.data_statement(Inputs("laptop", facts=FACTS)) == (
        "Scale: laptop. Data, the same for all seeds: stories: embedded story grammar."
    )


def test_captions_name_what_was_not_run_and_each_source_once():
    table = pd.DataFrame({"policy": ["replace", "replace", "accumulate"], "recipe": ["a", "b", "b"]})
    assert plotting.not_run(table, {"a": "A", "b": "B"}) == " Not run: Accumulate, A."
    facts = {"small": FACTS["stories"], **FACTS, "other": {"source": "elsewhere"}}
    assert plotting.data_statement(Inputs("smoke", facts=facts)) == (
        "Scale: smoke. Data, the same for all seeds: other: elsewhere; small, stories: embedded story grammar."
    )


def test_the_true_source_is_drawn_where_it_does_not_squeeze_the_curves():
    _, axes = plt.subplots(1, 2, sharey=True)
    axes[0].set_ylim(2, 3)
    assert plotting.floor(axes, None) == ""
    assert plotting.floor(axes, 0.4).startswith(" Below the axis: the true source itself has 0.400")
    assert axes[1].get_ylim() == (2, 3)
    assert plotting.floor(axes, 0.6).startswith(" Dashed: ")
    assert axes[1].get_ylim()[0] < 0.6
    assert [line.get_ydata()[0] for facet in axes for line in facet.lines] == [0.6, 0.6]
    _, axes = plt.subplots(1, 2, sharey=True)
    axes[0].set(yscale="log", ylim=(1, 10))
    assert plotting.floor(axes, 0.02).startswith(" Below the axis")
    assert plotting.floor(axes, 0.1).startswith(" Dashed: ")  # 1 to 10 is half of 0.1 to 10
    low, high = axes[1].get_ylim()
    assert 0.05 < low < 0.1
    assert high == 10


def test_the_theme_is_seaborns():
    import seaborn as sns

    with plt.rc_context():
        sns.set_theme(context="paper", style="whitegrid", font="DejaVu Sans")
        theirs = {name: plt.rcParams[name] for name in plotting.THEME}
    with plt.rc_context(plotting.THEME):
        ours = {name: plt.rcParams[name] for name in plotting.THEME}
    colours = [[to_hex(c) for c in theme.pop("axes.prop_cycle").by_key()["color"]] for theme in (ours, theirs)]
    assert colours[0] == colours[1]
    assert {k: pytest.approx(v) if isinstance(v, float) else v for k, v in ours.items()} == theirs


# --------------------------------------------------------------------------------------------------------- every figure


@pytest.mark.parametrize("scale", ["laptop", "smoke", "paper"])
def test_scripts_take_the_options_of_the_config(scale):
    entries = yaml.safe_load((ROOT / "config" / f"{scale}.yaml").read_text())["figures"]["accumulation"]
    # candidates for a learning rate are compared with published curves, which a laptop's models have none of
    left_out = {"figure_calibration"} if scale == "laptop" else set()
    assert {path.stem for path in FIGURES.glob("*.py")} - left_out <= set(entries)
    for name, entry in entries.items():
        assert set(entry.get("options", {})) <= set(inspect.signature(script(name).draw).parameters) - {"inputs"}, name


@pytest.mark.parametrize("scale", ["laptop", "smoke", "paper"])
def test_scripts_of_recursion_take_the_options_of_the_config(scale):
    entries = yaml.safe_load((ROOT / "config" / f"{scale}.yaml").read_text())["figures"]["recursion"]
    for name, entry in entries.items():
        taken = inspect.signature(tuned_script(entry.get("script", name)).draw).parameters
        assert set(entry.get("options", {})) <= set(taken) - {"inputs"}, name


def test_the_command_draws_a_figure(tmp_path):
    figure("accumulation", "figure_1", [], tmp_path / "laptop", {"generations": 2}, FIGURES.parent)
    assert (tmp_path / "laptop/figures/accumulation/figure_1.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ConfigError, match="did you mean 'figure_2'"):
        figure("accumulation", "figur_2", [], tmp_path, {}, FIGURES.parent)
