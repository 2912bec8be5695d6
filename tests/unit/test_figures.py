"""Figures: what stands in the table and on the axes is what the rows hold, and the files are the same each time."""

import importlib.util
import inspect
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from scipy import stats

from collapse import plotting, policies
from collapse.commands.figure import figure
from collapse.errors import ConfigError, DataError
from collapse.plotting import Drawing, Inputs
from collapse.theory import linear

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures" / "accumulation"
POLICIES = {
    name: policies.parse(name, entry)
    for name, entry in yaml.safe_load((ROOT / "config" / "policies.yaml").read_text())["policies"].items()
}
FACTS = {"stories": {"source": "embedded story grammar", "source_entropy": 1.25}}
ALL_POLICIES = sorted(POLICIES)
N, BATCH = 1000, 16


@cache
def script(name):
    spec = importlib.util.spec_from_file_location(f"figure_script_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def value(policy, n, seed):
    """A test cross-entropy that tells policies, generations and seeds apart; generation 1 is shared."""
    return 1.5 + 0.01 * seed + (0 if n == 1 else 0.02 * n * (1 + sorted(POLICIES).index(policy)))


def fits(names=("replace", "accumulate"), recipes=("gpt2_xs",), seeds=(0, 1, 2), generations=3):
    """Rows of language models, as a run leaves them."""
    out = []
    for recipe, policy, seed, n in product(recipes, names, seeds, range(1, generations + 1)):
        items = sum(share.count for share in policies.plan(POLICIES[policy], n, N))
        items = min(items, N) if POLICIES[policy].budget == "items" else items
        passed = N if POLICIES[policy].budget == "steps" else items
        row = {
            "dataset": "stories", "recipe": recipe, "policy": policy, "sampler": "temp1.0", "selector": "all",
            "family": "gpt2", "seed": seed, "generation": n, "plan": policies.describe(POLICIES[policy], n, N),
            "items": items, "real_fraction": 1 / n, "fit_steps": 5 * -(-passed // BATCH),
            "cross_entropy": value(policy, n, seed), "sample_grammatical": 0.75,
        }  # fmt: skip
        out.append(row)
    return pd.DataFrame(out)


def points(rows, fractions=(0.1, 0.5, 1.0)):
    """Learning curves that end at the rows' values."""
    out = [
        {**row, "fraction": f, "step": int(f * row["fit_steps"]), "cross_entropy": row["cross_entropy"] + 1 / f - 1}
        for row, f in product(rows.to_dict("records"), fractions)
    ]
    return pd.DataFrame(out)


def regressions(
    names=("replace", "accumulate"), T=(100,), design=("shared",), sigma2=(0.1, 1.0, 10.0), ridge=(0.0,), n=12
):
    """Rows of linear regressions; seeds lie 10 % above and below theory."""
    out = []
    for policy, t, how, noise, penalty, seed, g in product(names, T, design, sigma2, ridge, (0, 1), range(1, n + 1)):
        error = noise * {"replace": g, "accumulate": 2 - 1 / g}.get(policy, np.sqrt(g)) * (0.9, 1.1)[seed] / t
        out.append(
            {
                "dataset": "linear_d32", "recipe": f"ridge_{penalty:g}", "policy": policy, "sampler": "exact",
                "selector": "all", "seed": seed, "generation": g, "d": 32, "T": t, "design": how, "sigma2": noise,
                "ridge": penalty, "test_error": error,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def stories(names=("replace", "accumulate"), seeds=(0, 1), generations=3):
    """Examples, several to a generation; generation 1 is shared."""
    return {
        ("stories", "gpt2_xs", policy, "temp1.0", "all", f"seed{seed}"): {
            str(n): [
                {"text": f"{policy if n > 1 else 'real'} {seed} {n} story {i}", "grammatical": n < 3, "logprob": -30.0}
                for i in range(2)
            ]
            for n in range(1, generations + 1)
        }
        for policy, seed in product(names, seeds)
    }


CASES = {
    "figure_1": (lambda: Inputs("laptop"), {}),
    "figure_2": (lambda: Inputs("laptop", fits(), facts=FACTS), {}),
    "figure_3": (lambda: Inputs("laptop", fits(), points(fits()), facts=FACTS), {}),
    "figure_7": (lambda: Inputs("laptop", regressions()), {}),
    "figure_linear_grid": (lambda: Inputs("laptop", regressions(ridge=(0.0, 0.1))), {}),
    "figure_policies": (lambda: Inputs("laptop", fits(ALL_POLICIES), facts=FACTS), {}),
    "table_1": (lambda: Inputs("laptop", fits(), examples=stories(), facts=FACTS), {"generations": (1, 3)}),
}


@cache
def drawn(name) -> Drawing:
    inputs, options = CASES[name]
    return script(name).draw(inputs(), **options)


def solid(axes):
    """Return the solid lines of an axes as a set of (x, y), rounded."""
    return {
        (tuple(a.get_xdata()), tuple(np.round(a.get_ydata(), 9)))
        for a in axes.lines
        if a.get_linestyle() == "-" and len(a.get_xdata())
    }


def means(table):
    """Return the curves of a table in the form of `solid`."""
    return {
        (tuple(t["generation"]), tuple(np.round(t["mean"], 9)))
        for _, t in table.groupby([c for c in ("policy", "recipe", "ridge", "T", "design", "sigma2") if c in table])
    }


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


def test_models_are_called_as_in_the_papers():
    names = [plotting.model_name(recipe) for recipe in ("gpt2_9m", "llama2_126m", "gpt2_xs", "ols")]
    assert names == ["GPT-2 (9M)", "Llama-2 (126M)", "gpt2_xs", "ols"]


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
    assert plotting.data_statement(Inputs("laptop", facts=FACTS)) == (
        "Scale: laptop. Data, the same for all seeds: stories: embedded story grammar."
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


def test_ridge_is_0_where_a_recipe_sets_none():
    rows = regressions(n=1)
    assert (plotting.with_ridge(rows.drop(columns="ridge"))["ridge"] == 0).all()
    assert (plotting.with_ridge(rows.assign(ridge=np.nan))["ridge"] == 0).all()


# --------------------------------------------------------------------------------------------------------- every figure


@pytest.mark.parametrize("name", CASES)
def test_files_are_the_same_each_time(name, tmp_path):
    inputs, options = CASES[name]
    for folder in ("a", "b"):
        plotting.save(script(name).draw(inputs(), **options), tmp_path / folder / name)
    for kind in ("pdf", "png", "csv", "txt"):
        first, second = ((tmp_path / folder / f"{name}.{kind}").read_bytes() for folder in ("a", "b"))
        assert first == second, kind
    for date in (b"CreationDate", b"ModDate"):
        assert date not in (tmp_path / "a" / f"{name}.pdf").read_bytes()
    assert len(pd.read_csv(tmp_path / "a" / f"{name}.csv")) == len(drawn(name).table)
    assert (tmp_path / "a" / f"{name}.txt").read_text() == " ".join(drawn(name).caption.split()) + "\n"


@pytest.mark.parametrize("name", [name for name in CASES if name != "figure_1"])
def test_captions_say_the_scale_and_a_figure_without_rows_is_an_error(name):
    assert "Scale: laptop." in drawn(name).caption
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop"), **CASES[name][1])


@pytest.mark.parametrize("scale", ["laptop", "smoke", "paper"])
def test_scripts_take_the_options_of_the_config(scale):
    entries = yaml.safe_load((ROOT / "config" / f"{scale}.yaml").read_text())["figures"]["accumulation"]
    assert set(entries) == {path.stem for path in FIGURES.glob("*.py")}
    for name, entry in entries.items():
        assert set(entry.get("options", {})) <= set(inspect.signature(script(name).draw).parameters) - {"inputs"}, name


def test_the_command_draws_a_figure(tmp_path):
    figure("accumulation", "figure_1", [], tmp_path / "laptop", {"generations": 2}, FIGURES.parent)
    assert (tmp_path / "laptop/figures/accumulation/figure_1.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ConfigError, match="did you mean 'figure_2'"):
        figure("accumulation", "figur_2", [], tmp_path, {}, FIGURES.parent)


# --------------------------------------------------------------------------------------------------------- each figure


def test_figure_1_shows_what_the_policies_plan():
    table = drawn("figure_1").table
    sets = table.groupby(["policy", "generation"])["source"].agg(list)
    assert sets["accumulate", 3] == ["real", "synthetic(1)", "synthetic(2)"]
    assert sets["replace", 3] == ["synthetic(2)"]
    assert sets["replace", 1] == sets["accumulate", 1] == ["real"]
    assert table.groupby(["policy", "generation"])["share"].sum().to_numpy() == pytest.approx(1)
    texts = [[t.get_text() for t in axes.texts] for axes in drawn("figure_1").figure.axes[:2]]
    assert [t.count("discarded") for t in texts] == [3, 0]
    assert all(t.count("Model 3") == 1 for t in texts)


def test_figure_2_draws_the_means_of_the_rows():
    drawing = drawn("figure_2")
    assert list(drawing.table["mean"]) == pytest.approx(
        [value(policy, n, 1) for policy in ("replace", "accumulate") for n in (1, 2, 3)]
    )
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate"), strict=True):
        assert solid(axes) == means(drawing.table[drawing.table["policy"] == policy])
        assert axes.get_title() == plotting.look(policy)[0]
        assert list(axes.get_xticks()) == [1, 2, 3]
        assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [1.25]
        assert len(axes.collections) == 1  # the band
    assert "nats per token" in drawing.figure.axes[0].get_ylabel()
    assert "n = 3 seeds" in drawing.caption
    assert drawing.table["published"].isna().all()


def test_figure_2_without_a_known_source_and_with_one_seed_has_no_dashed_line_and_no_band():
    facts = {"stories": {"source": "local file", "source_entropy": None}}
    drawing = script("figure_2").draw(Inputs("laptop", fits(seeds=(4,)), facts=facts))
    for axes in drawing.figure.axes:
        assert all(line.get_linestyle() != "--" for line in axes.lines)
        assert not axes.collections
    assert "One seed" in drawing.caption
    assert "Dashed" not in drawing.caption


def test_figure_2_puts_the_papers_values_beside_ours_at_paper_scale_alone():
    rows = fits(recipes=("gpt2_9m", "llama2_12m"))
    assert script("figure_2").draw(Inputs("laptop", rows)).table["published"].isna().all()
    drawing = script("figure_2").draw(Inputs("paper", rows))
    table = drawing.table.set_index(["recipe", "policy", "generation"])["published"]
    assert table["gpt2_9m", "replace", 3] == 2.270
    assert table["llama2_12m", "accumulate", 2] == 1.976
    assert [t.get_text() for t in drawing.figure.axes[0].get_legend().texts] == ["GPT-2 (9M)", "Llama-2 (12M)"]
    assert "one run each" in drawing.caption


@pytest.mark.parametrize("name", ["figure_2", "figure_3", "figure_policies"])
def test_two_cells_in_one_figure_are_an_error(name):
    rows = pd.concat([fits(), fits().assign(sampler="temp0.3")])
    with pytest.raises(DataError, match="one sampler"):
        script(name).draw(Inputs("laptop", rows, points(rows)))


def test_figure_2_and_3_lack_no_model_of_a_policy():
    rows = fits(recipes=("gpt2_9m", "llama2_12m"))
    rows = rows[(rows["policy"] != "accumulate") | (rows["recipe"] != "llama2_12m")]
    for name in ("figure_2", "figure_3"):
        with pytest.raises(DataError, match="recipe = llama2_12m"):
            script(name).draw(Inputs("laptop", rows, points(rows)))


def test_figure_3_draws_a_curve_per_generation_to_its_end():
    drawing = drawn("figure_3")
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert sorted(lines) == ["1", "2", "3"]
        for n in (1, 2, 3):
            end = value(policy, n, 1)
            assert list(lines[str(n)].get_xdata()) == [0.1, 0.5, 1.0]
            assert lines[str(n)].get_ydata() == pytest.approx([end + 9, end + 1, end])
    assert [t.get_text() for t in drawing.figure.legends[0].texts] == ["1", "2", "3"]
    assert "Replace 315; Accumulate 315 (generation 1) to 940 (last)" in drawing.caption
    lost = points(fits())
    for gone in (lost["generation"] == 3, (lost["fraction"] == 0.5) & (lost["seed"] == 0)):
        with pytest.raises(DataError, match="learning curves are missing"):
            script("figure_3").draw(Inputs("laptop", fits(), lost[~gone]))


def test_figure_7_draws_simulation_beside_theory_at_n_c():
    drawing = drawn("figure_7")
    c = 32 / (100 - 32 - 1)
    table = drawing.table.set_index(["policy", "sigma2", "generation"])
    assert table.loc[("replace", 10.0, 1), "theory"] == pytest.approx(10 * c)
    assert table.loc[("replace", 10.0, 10), "theory"] == pytest.approx(100 * c)
    assert table.loc[("accumulate", 1.0, 3), "theory"] == pytest.approx(c * (1 + 1 / 4 + 1 / 9))
    assert table.loc[("replace", 0.1, 10), "mean"] == pytest.approx(0.1 * 10 / 100)
    assert drawing.table["generation"].max() == 10  # rows have 12
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate") * 2, strict=True):
        here = drawing.table[drawing.table["policy"] == policy]
        assert solid(axes) == means(here)
        dashed = {tuple(a.get_ydata()) for a in axes.lines if a.get_linestyle() == "--"}
        assert dashed == {tuple(t["theory"]) for _, t in here.groupby("sigma2")}
    assert [axes.get_yscale() for axes in drawing.figure.axes] == ["linear", "linear", "log", "log"]
    assert "one generation too high" in drawing.caption
    for more, message in (
        ({"last": 13}, "end at 12"),
        ({"T": 316}, "T = 316"),
        ({"sigma2": [0.1, 7.0]}, "sigma2 = 7.0"),
    ):
        with pytest.raises(DataError, match=message):
            script("figure_7").draw(Inputs("laptop", regressions()), **more)


def test_figure_linear_grid_has_a_panel_per_policy_ridge_and_size():
    names = ("replace", "replace_multiple", "accumulate_subsample", "accumulate")
    grid = {"T": (100, 316), "design": ("shared", "fresh"), "sigma2": (0.1, 10.0), "n": 3}
    rows = pd.concat([regressions(names, **grid), regressions(("replace",), ridge=(0.1,), **grid)])
    drawing = script("figure_linear_grid").draw(Inputs("laptop", pd.concat([rows, rows.assign(d=10)])))
    panels = np.array(drawing.figure.axes).reshape(4, 4)  # rows policies; columns ridge 0 and 0.1, two T each
    for row, policy in zip(panels, names, strict=True):
        for axes, (ridge, T) in zip(row, product((0.0, 0.1), (100, 316)), strict=True):
            table = drawing.table
            here = table[(table["policy"] == policy) & (table["ridge"] == ridge) & (table["T"] == T)]
            shared = here[here["design"] == "shared"]
            assert solid(axes) == means(shared)
            low, high = axes.get_ylim()
            assert here.empty or low < here["mean"].min() <= here["mean"].max() < high
            assert [t.get_text() for t in axes.texts if t.get_text() == "not run"] == ["not run"] * here.empty
    assert set(drawing.table["d"]) == {32}
    theory = drawing.table.set_index(["policy", "ridge", "T", "design", "sigma2", "generation"])["theory"]
    c = 10 * 32 / (316 - 33)
    assert theory["replace", 0.0, 316, "fresh", 10.0, 3] == pytest.approx(3 * c)
    assert theory["replace_multiple", 0.0, 316, "shared", 10.0, 2] == pytest.approx(1.5 * c)
    fresh = linear.accumulate(3, 32, 316, 10.0, "fresh")
    assert theory["accumulate", 0.0, 316, "fresh", 10.0, 3] == pytest.approx(fresh[2])
    assert theory.loc["accumulate_subsample"].isna().all()
    assert np.isfinite(theory["replace", 0.1, 100, "shared", 0.1, 1])
    assert np.isnan(theory["replace", 0.1, 100, "fresh", 0.1, 1])
    lost = rows[(rows["sigma2"] != 10.0) | (rows["T"] != 316) | (rows["policy"] != "replace")]
    with pytest.raises(DataError, match="sigma2 = 10"):
        script("figure_linear_grid").draw(Inputs("laptop", lost))


def test_figure_policies_shows_in_each_panel_what_its_title_says():
    drawing, panels = drawn("figure_policies"), script("figure_policies").PANELS
    assert {v for names in panels.values() for v in names.values()} == set(POLICIES)
    for axes, (panel, names) in zip(drawing.figure.axes, panels.items(), strict=True):
        here = drawing.table[drawing.table["panel"] == panel]
        assert axes.get_title() == panel
        assert solid(axes) == means(here)
        assert sorted(here["label"].unique()) == sorted(plotting.look(name)[0] for name in names)
        texts = [t for t in axes.texts if t.get_text() != "true source"]
        assert sorted(t.get_text() for t in texts) == sorted(here["label"].unique())
        tops = sorted(t.xyann[1] * axes.get_window_extent().height * 72 / drawing.figure.dpi for t in texts)
        assert min(np.diff(tops)) >= 8.5  # points: the size of the font
        for t in texts:  # each name points to the end of its own curve
            assert t.xy == (3, here.loc[(here["label"] == t.get_text()) & (here["generation"] == 3), "mean"].item())
    table = drawing.table.set_index(["panel", "policy", "generation"])
    passes, items, steps = panels
    assert table.loc[(passes, "accumulate", 3), ["items", "fit_steps"]].tolist() == [3000, 940]
    assert table.loc[(items, "augment_items", 3), ["items", "fit_steps"]].tolist() == [1000, 315]
    assert table.loc[(steps, "accumulate_steps", 3), ["items", "fit_steps"]].tolist() == [3000, 315]


@pytest.mark.parametrize(
    ("policy", "column", "wrong", "panel"),
    [
        ("replace", "items", 1001, "equal items"),
        ("augment_items", "fit_steps", 320, "equal items"),
        ("accumulate_steps", "fit_steps", 316, "equal optimiser steps"),
        ("accumulate", "fit_steps", 315, "equal passes"),
    ],
)
def test_figure_policies_refuses_rows_that_break_a_panels_title(policy, column, wrong, panel):
    rows = fits(ALL_POLICIES, seeds=(0,))
    rows.loc[(rows["policy"] == policy) & (rows["generation"] == 3), column] = wrong
    with pytest.raises(DataError, match=f"{panel}.*generation 3 of {policy}"):
        script("figure_policies").draw(Inputs("laptop", rows))


def test_figure_policies_takes_some_policies_and_new_ones():
    draw = script("figure_policies").draw
    rows = fits(["replace", "accumulate_steps", "real_only"], seeds=(0,))
    rows.loc[rows["policy"] == "real_only", "policy"] = "my_new_policy"
    passes, items, steps = draw(Inputs("laptop", rows)).figure.axes
    assert [sorted(t.get_text() for t in axes.texts) for axes in (passes, items, steps)] == [
        ["Replace", "my new policy"],
        ["Replace"],
        ["Accumulate", "Replace"],
    ]
    assert set(draw(Inputs("laptop", rows), policies=["replace"]).table["policy"]) == {"replace"}
    with pytest.raises(DataError, match="policy = augment"):
        draw(Inputs("laptop", rows), policies=["replace", "augment"])


def test_table_1_shows_the_first_story_of_the_first_seed():
    drawing = drawn("table_1")
    assert drawing.table["text"].tolist() == [
        "real 0 1 story 0",
        "real 0 1 story 0",
        "replace 0 3 story 0",
        "accumulate 0 3 story 0",
    ]
    texts = [t.get_text() for t in drawing.figure.axes[0].texts]
    assert texts.count("real 0 1 story 0") == 1  # generation 1 is shared: one cell over both columns
    assert texts.count("✓ grammatical · 75% of this model's stories are") == 1
    assert texts.count("✗ not grammatical · 75% of this model's stories are") == 2
    assert "gpt2_xs\nn = 3" in texts
    assert "not a chosen one" in drawing.caption
    for lost in ({"generations": [1, 4]}, {"policies": ["replace", "real_only"]}, {"recipes": ["gpt2_9m"]}):
        with pytest.raises(DataError):
            script("table_1").draw(Inputs("laptop", fits(), examples=stories()), **{"generations": [1, 3], **lost})
    empty = {key: {"1": []} for key in stories()}
    with pytest.raises(DataError, match="generation 1 of"):
        script("table_1").draw(Inputs("laptop", fits(), examples=empty), generations=[1])


def test_table_1_writes_any_text_and_cuts_long_ones_in_the_picture_alone(tmp_path):
    long, odd = "a long story " * 100, "costs $5, $6 \x00 \u4f60 " + "w" * 500
    examples = stories()
    for policy, text in (("replace", long), ("accumulate", odd)):
        examples["stories", "gpt2_xs", policy, "temp1.0", "all", "seed0"]["3"][0] = {"text": text, "grammatical": None}
    drawing = script("table_1").draw(Inputs("laptop", fits(), examples=examples), generations=(3,))
    assert drawing.table["text"].tolist() == [long, odd]
    assert drawing.table["grammatical"].isna().all()
    plotting.save(drawing, tmp_path / "table_1")  # a missing glyph or broken mathematics would warn
    texts = [t.get_text() for t in drawing.figure.axes[0].texts]
    assert any(t.endswith("…") for t in texts)
    assert any("$5, $6 \N{REPLACEMENT CHARACTER}" in t for t in texts)
    assert "cut at 700 characters" in drawing.caption
    right = max(t.get_window_extent().x1 for t in drawing.figure.axes[0].texts)
    assert right <= drawing.figure.bbox.x1


def test_lines_of_a_story_fit_their_cell():
    wrap, text = script("table_1").wrap, "one two three four five six seven " + "x" * 200
    lines = wrap(text, 100)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines) > 5
    figure = plt.figure()
    extents = [figure.text(0, 0, line, fontsize=script("table_1").SIZE).get_window_extent() for line in lines]
    assert max(e.width for e in extents) * 72 / figure.dpi <= 101
    assert wrap("", 100) == ["(empty)"]
