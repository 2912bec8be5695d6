"""Figures of language models: lines are means of the rows, published values stand beside them at paper scale alone."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse import plotting, published
from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import FACTS, fits, legend, means, points, same_files, script, solid, value


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def cold(**more):
    """Rows at temperature 0.3, of another level."""
    rows = fits(sampler="temp0.3", **more)
    return rows.assign(cross_entropy=rows["cross_entropy"] * rows["generation"])


def candidates(rates=(3e-5, 1e-4), recipe="gpt2_9m", fractions=(0.01, 0.02, 0.1), off=0.1, **more):
    """Rows and curves of candidates for a learning rate; those of rate r lie ``off`` * log10(r / 1e-4) off."""
    rows, curves = [], []
    for rate in rates:
        row = fits(["real_only"], (f"{recipe}_lr{rate:g}",), (0,), 1, sampler="none", learning_rate=rate, **more)
        curve = points(row, fractions)
        values = curve["fraction"].map(published.LEARNING.of["gpt2_9m"]).fillna(3.0)
        rows.append(row)
        curves.append(curve.assign(cross_entropy=values + off * np.log10(rate / 1e-4)))
    return pd.concat(rows, ignore_index=True), pd.concat(curves, ignore_index=True)


CASES = {
    "figure_2": lambda: Inputs("laptop", fits(), facts=FACTS),
    "figure_3": lambda: Inputs("laptop", fits(), points(fits()), facts=FACTS),
    "figure_8": lambda: Inputs("laptop", pd.concat([fits(), cold()]), facts=FACTS),
    "figure_long": lambda: Inputs("laptop", fits(("replace", "accumulate_subsample", "accumulate")), facts=FACTS),
    "figure_calibration": lambda: Inputs("laptop", *candidates(), facts=FACTS),
}


@pytest.mark.parametrize("name", CASES)
def test_files_are_the_same_each_time(name, tmp_path):
    same_files(script(name).draw, CASES[name](), tmp_path)
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop"))


def test_figure_2_draws_the_means_of_the_rows():
    drawing = script("figure_2").draw(CASES["figure_2"]())
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
    assert legend(drawing) == ["GPT-2 (9M)", "Llama-2 (12M)", "published"]
    assert "one run each" in drawing.caption
    dotted = {tuple(a.get_ydata()) for a in drawing.figure.axes[1].lines if a.get_linestyle() == ":"}
    assert dotted == {(1.816, 1.763, 1.748), (2.057, 1.976, 1.950)}


@pytest.mark.parametrize("name", ["figure_2", "figure_3", "figure_policies"])
def test_two_cells_in_one_figure_are_an_error(name):
    rows = pd.concat([fits(), fits().assign(sampler="temp0.3")])
    with pytest.raises(DataError, match="one sampler"):
        script(name).draw(Inputs("laptop", rows, points(rows)))


def test_figure_2_and_3_say_which_model_lacks_a_policy():
    rows = fits(recipes=("gpt2_9m", "llama2_12m"))
    rows = rows[(rows["policy"] != "accumulate") | (rows["recipe"] != "llama2_12m")]
    drawing = script("figure_2").draw(Inputs("laptop", rows))
    assert [len(axes.lines) for axes in drawing.figure.axes] == [2, 1]
    assert "Not run: Accumulate, Llama-2 (12M)." in drawing.caption
    curves = script("figure_3").draw(Inputs("laptop", rows, points(rows))).figure.axes
    assert [t.get_text() for axes in curves for t in axes.texts] == ["not run"]
    with pytest.raises(DataError, match="policy = real_only"):
        script("figure_2").draw(Inputs("laptop", rows), policies=["replace", "real_only"])


def test_figure_2_shows_models_of_different_seeds_and_ends_where_it_is_told():
    rows = pd.concat([fits(generations=5), fits(recipes=("llama2_xs",), seeds=(7,), generations=4)])
    drawing = script("figure_2").draw(Inputs("laptop", rows), policies=["accumulate", "replace"], last=4)
    assert [axes.get_title() for axes in drawing.figure.axes] == ["Accumulate", "Replace"]
    assert legend(drawing) == ["GPT-2 (0.15M)", "Llama-2 (0.10M)"]
    assert "n = 3 for GPT-2 (0.15M); n = 1 for Llama-2 (0.10M). Bands: 95 % t interval" in drawing.caption
    assert drawing.table.groupby("recipe")["generation"].max().to_dict() == {"gpt2_xs": 4, "llama2_xs": 4}
    for axes in drawing.figure.axes:
        assert len(axes.collections) == 1
    with pytest.raises(DataError, match="its rows end at 5"):
        script("figure_2").draw(Inputs("laptop", rows), last=6)


def test_figure_3_draws_a_curve_per_generation_to_its_end():
    drawing = script("figure_3").draw(CASES["figure_3"]())
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


def test_figure_3_has_a_column_per_model_and_the_published_points_of_generation_1():
    rows = pd.concat([fits(recipes=("gpt2_9m",)), fits(recipes=("llama2_12m",), seeds=(0,))])
    drawing = script("figure_3").draw(Inputs("paper", rows, points(rows)), last=2)
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == [f"{p}, {m}" for p in ("Replace", "Accumulate") for m in ("GPT-2 (9M)", "Llama-2 (12M)")]
    assert legend(drawing) == ["1", "2"]
    assert "n = 3 for GPT-2 (9M); n = 1 for Llama-2 (12M), no bands" in drawing.caption
    for axes, known in zip(drawing.figure.axes, [(2.660, 1.939, 1.815), (3.038, 2.198, 2.057)] * 2, strict=True):
        assert [tuple(a.get_ydata()) for a in axes.lines if a.get_linestyle() == ":"] == [known]
    assert drawing.table.loc[drawing.table["generation"] == 2, "published"].isna().all()
    plain = script("figure_3").draw(Inputs("laptop", rows, points(rows)))
    assert plain.table["published"].isna().all()


def test_figure_8_shows_one_sampler_and_another_one_behind_it():
    warm = pd.concat([fits(seeds=(0, 1, 2, 3), generations=5), fits(recipes=("llama2_xs",), seeds=(0,))])
    drawing = script("figure_8").draw(Inputs("laptop", pd.concat([warm, cold()]), facts=FACTS))
    own = drawing.table[drawing.table["sampler"] == "temp0.3"]
    behind = drawing.table[drawing.table["sampler"] == "temp1.0"]
    assert set(behind["recipe"]) == {"gpt2_xs"}  # the other model was not run at 0.3
    assert behind["generation"].max() == 3
    assert set(behind["n"]) == {3}  # the seeds of 0.3 alone
    for axes, policy in zip(drawing.figure.axes, ("replace", "accumulate"), strict=True):
        assert solid(axes) == means(own[own["policy"] == policy])
        pale = [list(a.get_ydata()) for a in axes.lines if a.get_linestyle() == "-."]
        assert pale == [behind.loc[behind["policy"] == policy, "mean"].tolist()]
        assert axes.get_yscale() == "log"
    assert legend(drawing) == ["GPT-2 (0.15M)", "temp1.0"]
    colours = [
        script(name).draw(Inputs("laptop", rows)).figure.axes[0].lines[0].get_color()
        for name, rows in (("figure_2", fits(recipes=("gpt2_xs", "llama2_xs"))), ("figure_8", cold()))
    ]
    assert colours[0] == colours[1]
    alone = script("figure_8").draw(Inputs("laptop", cold()), last=2)
    assert set(alone.table["sampler"]) == {"temp0.3"}
    assert "pale" not in alone.caption
    with pytest.raises(DataError, match=r"sampler = temp0\.3"):
        script("figure_8").draw(Inputs("laptop", fits()))
    with pytest.raises(DataError, match=r"one sampler, its rows hold temp1\.0, temp0\.7"):
        script("figure_8").draw(Inputs("laptop", pd.concat([cold(), fits(), fits(sampler="temp0.7")])))


def test_figure_long_shows_one_sampler():
    names = ("replace", "accumulate_subsample", "accumulate")
    with pytest.raises(DataError, match="one sampler"):
        script("figure_long").draw(Inputs("laptop", pd.concat([fits(names), fits(names, sampler="temp0.3")])))
    with pytest.raises(DataError, match="policy = accumulate_subsample"):
        script("figure_long").draw(Inputs("laptop", fits()))


def test_figure_long_draws_each_line_as_far_as_it_ran():
    names = ("replace", "accumulate_subsample", "accumulate")
    rows = pd.concat([fits(names, ("gpt2_9m",), (0,), 13), fits(names[:2], ("llama2_12m",), (0, 1), 5)])
    rows = pd.concat([rows, fits(names, ("gpt2_9m",), (1, 2), 4)])
    drawing = script("figure_long").draw(Inputs("paper", rows))
    assert [axes.get_title() for axes in drawing.figure.axes] == ["Replace", "Accumulate-Subsample", "Accumulate"]
    run = drawing.table[drawing.table["n"] > 0]
    for axes, policy in zip(drawing.figure.axes, names, strict=True):
        assert axes.get_yscale() == "log"
        assert solid(axes) == means(run[run["policy"] == policy])
        for recipe in ("gpt2_9m", "llama2_12m") if policy != "accumulate" else ("gpt2_9m",):
            known = {n: v for n, v in published.LONG.of[recipe, policy].items() if n <= 13}
            assert list(known.values()) in [list(a.get_ydata()) for a in axes.lines if a.get_linestyle() == ":"]
    beyond = drawing.table[drawing.table["n"] == 0]  # llama2_12m ended at 5: the published value of 10 stands alone
    assert beyond[["recipe", "generation"]].drop_duplicates().values.tolist() == [["llama2_12m", 10]]
    assert beyond["mean"].isna().all()
    assert "n = 3, later 1, for GPT-2 (9M); n = 2 for Llama-2 (12M)" in drawing.caption
    assert "Not run: Accumulate, Llama-2 (12M)." in drawing.caption
    assert script("figure_long").draw(Inputs("laptop", rows), last=5).table["generation"].max() == 5


def test_calibration_measures_the_distance_from_the_published_curve():
    rows, curves = candidates(rates=(1e-4, 3e-5, 1e-3))
    curves = curves[(curves["recipe"] != "gpt2_9m_lr0.001") | (curves["fraction"] < 0.1)]  # stopped earlier
    drawing = script("figure_calibration").draw(Inputs("paper", rows, curves, facts=FACTS))
    found = drawing.table.dropna(subset="recipe").drop_duplicates("recipe").set_index("learning_rate")
    assert list(found.index) == [3e-5, 1e-4, 1e-3]
    assert found["rms"].tolist() == pytest.approx([0.1 * np.log10(1 / 0.3), 0, 0.1])
    assert set(found["points"]) == {2}  # those that all have reached
    assert "GPT-2 (9M): 0.0001 (0.000 nats, 2 points)" in drawing.caption
    (axes,) = drawing.figure.axes
    assert axes.get_title() == "GPT-2 (9M)"
    assert sorted(t.get_text() for t in axes.get_legend().texts) == ["0.0001: 0.000", "0.001: 0.100", "3e-05: 0.052"]
    heavy = max(axes.lines, key=lambda line: line.get_linewidth())
    assert heavy.get_label() == "0.0001: 0.000"
    (theirs,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert dict(zip(theirs.get_xdata(), theirs.get_ydata(), strict=True)) == published.LEARNING.of["gpt2_9m"]
    shown = drawing.table.dropna(subset="published")
    assert set(shown["fraction"]) == set(published.LEARNING.of["gpt2_9m"])  # the csv has all that is drawn
    edge = script("figure_calibration").draw(Inputs("paper", *candidates(rates=(1e-4, 1e-3))))
    assert "at the end of the range" in edge.caption


def test_calibration_of_several_models_has_a_facet_each():
    parts = [candidates(recipe=model) for model in ("gpt2_9m", "llama2_12m")]
    drawing = script("figure_calibration").draw(Inputs("paper", *(pd.concat(p) for p in zip(*parts, strict=True))))
    assert [axes.get_title() for axes in drawing.figure.axes] == ["GPT-2 (9M)", "Llama-2 (12M)"]
    of_second = drawing.table[(drawing.table["model"] == "Llama-2 (12M)") & drawing.table["rms"].notna()]
    assert set(of_second["points"]) == {2}  # 0.01 and 0.1 are published


def test_calibration_without_published_values_says_so():
    for scale, recipe in (("laptop", "gpt2_9m"), ("paper", "gpt2_xs")):
        drawing = script("figure_calibration").draw(Inputs(scale, *candidates(recipe=recipe)))
        assert "there is nothing to compare with" in drawing.caption
        assert drawing.table["rms"].isna().all()
        assert len(drawing.figure.axes[0].lines) == 2
    assert drawing.figure.axes[0].get_title() == "GPT-2 (0.15M)"


def test_calibration_refuses_curves_that_are_missing():
    rows, curves = candidates()
    with pytest.raises(DataError, match=r"gpt2_9m_lr3e-05"):
        script("figure_calibration").draw(Inputs("paper", rows, curves[curves["recipe"] != "gpt2_9m_lr3e-05"]))
    more = pd.concat([rows, rows.assign(seed=1)])
    with pytest.raises(DataError, match="learning curves are missing: gpt2_9m_lr3e-05 was fitted on 2 seeds"):
        script("figure_calibration").draw(Inputs("paper", more, curves))


# ---------------------------------------------------------------------------------------------------- published values


def test_published_values_agree_with_each_other():
    """Two sources of one value agree to the precision that they claim, but for the 42M model (1.900 and 1.863)."""
    models = ("gpt2_9m", "llama2_12m", "llama2_126m")
    for model in models:
        assert published.LEARNING.of[model][1.0] == pytest.approx(published.LONG.of[model, "replace"][1], abs=0.002)
        assert published.FIGURE_2.of[model, "replace"][1] == pytest.approx(
            published.LONG.of[model, "replace"][1], abs=0.005
        )
    for (model, policy), values in published.FIGURE_2.of.items():
        assert values.keys() == {1, 2, 3, 4, 5}
        assert values[1] == published.FIGURE_2.of[model, "replace"][1]  # generation 1 is shared
        cells = published.TABLE_2.of[model, "base"]
        assert (cells["first"], cells[policy]) == (
            pytest.approx(values[1], abs=0.01),
            pytest.approx(values[4], abs=0.01),
        )
    for (_, policy), values in published.LONG.of.items():
        ordered = list(values.values())
        assert policy != "replace" or ordered == sorted(ordered)
    for curve in published.LEARNING.of.values():
        assert list(curve.values()) == sorted(curve.values(), reverse=True)
        assert list(curve) == sorted(curve)
    assert published.LONG.of["gpt2_9m", "accumulate"][13] == 1.803
    assert 20 not in published.LONG.of["gpt2_9m", "accumulate"]
    assert published.LONG.of["llama2_126m", "accumulate"].keys() == {1, 2, 3, 4, 5, 10}


def test_published_values_are_shown_at_paper_scale_alone():
    assert published.shown(published.LONG, "paper") == published.LONG.of
    assert published.shown(published.LONG, "laptop") == {}
