"""Settings, penalties, decoders, extinction and debt of fine-tuned language models: lines are what the rows say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import same_files
from tests.finetuned import FACTS, A, B, script, tuned

FOUR = [(recipe, policy) for recipe in (A[0], B[0]) for policy in (A[1], B[1])]
DECODERS = ("greedy_next", "temp1.0_next", "top_p0.9_next")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def given(*parts, scale="laptop"):
    return Inputs(scale, pd.concat(parts, ignore_index=True), facts=FACTS)


def four():
    return given(tuned(FOUR))


def penalties(generations=3, scale="laptop"):
    return given(tuned([A]), tuned([A], ["beam5_penalty2", "beam5_penalty3"], generations=generations), scale=scale)


def decoders():
    return given(tuned([A]), tuned([A], DECODERS, generations=4), tuned([A], ["beam5_synthetic"], generations=4))


def many():
    return given(tuned(FOUR), tuned([A], DECODERS, generations=4))


INPUTS = {
    "figure_settings": four, "figure_repetition": penalties, "figure_decoders": decoders, "figure_extinction": many,
    "figure_debt": many,
}  # fmt: skip


def lines(facet):
    """Return the solid and dashed lines of a facet as a set of (x, y), rounded."""
    return {
        (tuple(np.asarray(a.get_xdata(), float)), tuple(np.round(np.asarray(a.get_ydata(), float), 9)))
        for a in facet.lines
    }


def curves(table, by):
    return {
        (tuple(t["generation"].astype(float)), tuple(np.round(t["mean"], 9))) for _, t in table.groupby(by, sort=False)
    }


@pytest.mark.parametrize("name", INPUTS)
def test_files_are_the_same_each_time(tmp_path, name):
    same_files(script(name).draw, INPUTS[name](), tmp_path)


@pytest.mark.parametrize("name", INPUTS)
def test_captions_say_how_it_was_made(name):
    caption = script(name).draw(INPUTS[name]()).caption
    facts = ["OPT (0.20M)", "opt_xs", "the weights of generation 1", "epochs each", "5-way beam search", "64 tokens"]
    facts += ["n = 3 seeds", "95 % t interval", "fitted on real data, is n = 1 here", "Scale: laptop", "Nature 631"]
    for fact in [*facts, "embedded article grammar"]:
        assert fact in caption, fact


@pytest.mark.parametrize("name", INPUTS)
def test_missing_rows_are_an_error(name):
    draw, whole = script(name).draw, INPUTS[name]()
    with pytest.raises(DataError):
        draw(Inputs("laptop"))
    with pytest.raises(DataError, match=r"missing|has no generation"):
        draw(given(whole.rows.drop(whole.rows.index[4])))
    column = {"figure_extinction": "sample_alive_3", "figure_debt": "sample_tail_coverage"}.get(name, "perplexity")
    with pytest.raises(DataError, match=f"{column} is missing"):
        draw(given(whole.rows.drop(columns=column)))
    other = whole.rows.assign(dataset="others")
    with pytest.raises(DataError, match="one dataset"):
        draw(given(whole.rows, other))
    ends = script(name).draw(whole, last=2).table["generation"]
    assert ends.max() == 2


# ------------------------------------------------------------------------------------------------------------ settings


def test_settings_are_ratios_to_generation_1_of_the_same_run():
    whole = four()
    drawing = script("figure_settings").draw(whole)
    ratio = drawing.table[drawing.table["panel"] == "ratio"]
    assert len(ratio) == 24
    rows = whole.rows[(whole.rows["recipe"] == B[0]) & (whole.rows["policy"] == A[1])]
    first, last = (rows[rows["generation"] == n]["perplexity"].to_numpy() for n in (1, 6))
    cell = ratio[(ratio["epochs"] == 10) & (ratio["kept"] == 0) & (ratio["generation"] == 6)].iloc[0]
    assert cell["mean"] == pytest.approx((last / first).mean())
    assert curves(ratio, ["epochs", "kept"]) <= lines(drawing.figure.axes[0])
    texts = [t.get_text() for t in drawing.figure.axes[0].get_legend().texts]
    assert texts == [
        "A: 5 epochs, no real data kept", "5 epochs, 10 % real data kept", "10 epochs, no real data kept",
        "B: 10 epochs, 10 % real data kept",
    ]  # fmt: skip


def last_weights(**more):
    """Return rows of fits whose last weights are kept, beside `four`, whose kept pass is known."""
    out = tuned([A, (B[0], A[1])], generations=3, **more)
    entries = out["settings"].str.replace('"family": "opt"', '"family": "opt", "keep": "last"')
    return out.assign(
        recipe=out["recipe"] + "_last", settings=entries, perplexity=out["perplexity"] * out["generation"]
    )


def test_settings_show_last_weights_beside_where_they_were_run():
    draw, main = script("figure_settings").draw, tuned(FOUR)
    main["fit_kept_pass"] = np.where(main["generation"] == 1, 2.5, 1.0) + (main["seed"] - 1) * 0.2
    extra = last_weights()
    drawing = draw(given(main, extra))
    table = drawing.table
    last = table[table["panel"] == "last weights"]
    assert last.groupby("epochs")["generation"].max().to_dict() == {5: 3, 10: 3}
    here = extra[extra["recipe"] == f"{B[0]}_last"].pivot(index="seed", columns="generation", values="perplexity")
    cell = last[(last["epochs"] == 10) & (last["generation"] == 3)]["mean"].item()
    assert cell == pytest.approx((here[3] / here[1]).mean())
    middle = drawing.figure.axes[1]
    assert curves(last, ["epochs"]) <= lines(middle)
    assert "no selection on real data" in middle.get_title()
    assert middle.get_legend().texts[0].get_text() == "5 epochs, no real data kept"
    assert last["fit_kept_pass"].isna().all()
    ratio = table[table["panel"] == "ratio"].set_index(["epochs", "kept", "generation"])
    assert ratio.loc[(5, 0, 1), "fit_kept_pass"] == pytest.approx(2.5)
    assert ratio.loc[(10, 0.1, 4), "fit_kept_pass"] == pytest.approx(1)
    assert "best on real validation data is kept (generation 1: 2.5, later: 1.0 on average)" in drawing.caption
    assert "Middle: 5 or 10 epochs" in drawing.caption
    bare = draw(given(main))
    assert len(bare.figure.axes) == 2
    assert "Middle" not in bare.caption
    same = ["panel", "generation", "mean", "low", "high"]
    without = table[table["panel"] != "last weights"][same].reset_index(drop=True)
    pd.testing.assert_frame_equal(bare.table[same].reset_index(drop=True), without)


def test_settings_whose_recipes_all_keep_the_last_weights_are_the_figure():
    rows = tuned(FOUR)
    rows["settings"] = rows["settings"].str.replace('"family": "opt"', '"family": "opt", "keep": "last"')
    drawing = script("figure_settings").draw(given(rows))
    assert set(drawing.table["panel"]) == {"ratio", "changes"}


def test_changes_are_paired_by_seed_and_add_up():
    whole = four()
    table = script("figure_settings").draw(whole).table
    changes = table[table["panel"] == "changes"].set_index("change")
    at = whole.rows.pivot(index="seed", columns=["recipe", "policy", "generation"], values="perplexity")
    ratio = {key: at[(*key, 6)] / at[(*key, 1)] for key in FOUR}
    logs = np.log(ratio[B[0], A[1]] / ratio[A])
    cell = changes.loc["10 instead of 5 epochs (no real data kept)"]
    interval = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert cell["mean"] == pytest.approx(100 * np.expm1(logs.mean()))
    assert (cell["low"], cell["high"]) == pytest.approx(tuple(100 * np.expm1(interval)))
    both, steps = changes.loc["both: B instead of A", "mean"], np.log1p(changes["mean"] / 100)
    bare = "10 instead of 5 epochs (no real data kept)"
    assert steps[bare] + steps["10 % real data kept (10 epochs)"] == pytest.approx(np.log1p(both / 100))
    alone = script("figure_settings").draw(given(tuned(FOUR, seeds=(0,))))
    assert alone.table["low"].isna().all()


def test_settings_need_all_four_of_the_same_seeds():
    draw = script("figure_settings").draw
    with pytest.raises(DataError, match="2 numbers of epochs x 2 shares"):
        draw(given(tuned(FOUR[:3])))
    with pytest.raises(DataError, match="paired by seed"):
        draw(given(tuned(FOUR[:3]), tuned(FOUR[3:], seeds=(0, 1))))
    with pytest.raises(DataError, match="more of them"):
        draw(given(tuned(FOUR, generations=1)))
    steps = tuned(FOUR).assign(settings=tuned(FOUR)["settings"].str.replace("epochs", "steps"))
    with pytest.raises(DataError, match="not given in epochs"):
        draw(given(steps))


# ---------------------------------------------------------------------------------------------------------- repetition


def test_each_penalty_has_its_lines():
    drawing = script("figure_repetition").draw(penalties())
    table = drawing.table
    assert table.groupby("penalty")["generation"].max().to_dict() == {1: 6, 2: 3, 3: 3}
    for facet, measure in zip(drawing.figure.axes, ("test perplexity", "rep-4", "distinct-3"), strict=True):
        assert curves(table[table["measure"] == measure], "sampler") <= lines(facet)
        assert facet.get_title(loc="left") == measure
    first = table[(table["measure"] == "test perplexity") & (table["generation"] == 1)]["mean"].iloc[0]
    assert (2 * first) == pytest.approx(table["twice_generation_1"].dropna().unique().item())
    assert any(np.allclose(line.get_ydata(), 2 * first) for line in drawing.figure.axes[0].lines)
    assert drawing.figure.axes[0].get_ylim()[1] > 2 * first
    assert "Lines end" in drawing.caption


def test_penalties_have_another_replication_beside_them_at_paper_scale_alone():
    assert "other_run" not in script("figure_repetition").draw(penalties()).table
    drawing = script("figure_repetition").draw(penalties(scale="paper"))
    other = drawing.table.dropna(subset="other_run")
    found = other.set_index(["measure", "penalty", "generation"])["other_run"]
    assert found["test perplexity", 3, 2] == 78.22
    assert found["distinct-3", 1, 6] == 0.398
    assert set(other["penalty"]) == {1, 3}
    assert set(other["measure"]) == {"test perplexity", "distinct-3"}
    assert "one run each" in drawing.caption


def test_penalties_differ_in_nothing_else():
    draw = script("figure_repetition").draw
    with pytest.raises(DataError, match="more than the repetition penalty"):
        draw(given(tuned([A]), tuned([A], ["greedy_next"])))
    with pytest.raises(DataError, match="compares repetition penalties"):
        draw(given(tuned([A])))
    with pytest.raises(DataError, match="one recipe"):
        draw(given(tuned([A, B]), tuned([A], ["beam5_penalty2"])))


# ------------------------------------------------------------------------------------------------------------ decoders


def test_decoders_and_prompts_have_rows_of_their_own():
    drawing = script("figure_decoders").draw(decoders())
    table = drawing.table
    shown = table.groupby("panel", sort=False)["sampler"].unique().map(list).to_dict()
    assert shown == {"decoders, real prompts": ["beam5", *DECODERS], "prompts": ["beam5", "beam5_synthetic"]}
    axes = np.reshape(drawing.figure.axes, (2, 4))
    for row, panel in zip(axes, shown, strict=True):
        here = table[table["panel"] == panel]
        for facet, measure in zip(row, table["measure"].unique(), strict=True):
            assert lines(facet) == curves(here[here["measure"] == measure], "sampler")
    assert [t.get_text() for t in axes[1, -1].get_legend().texts] == [
        "beam 5, real prompts", "beam 5, synthetic prompts"
    ]  # fmt: skip
    assert "blocks that it was fitted on" in drawing.caption
    alone = script("figure_decoders").draw(given(tuned([A], ["beam5", "temp1.0_next"])))
    assert len(alone.figure.axes) == 4
    assert "Below" not in alone.caption


def test_decoders_need_something_to_compare_with():
    draw = script("figure_decoders").draw
    with pytest.raises(DataError, match="beam5_synthetic has no counterpart"):
        draw(given(tuned([A], ["greedy_next", "temp1.0_next", "beam5_synthetic"])))
    with pytest.raises(DataError, match="compares decoders"):
        draw(given(tuned([A])))


def test_temperature_1_is_the_model_itself_but_for_a_mark_that_is_never_drawn():
    whole = decoders()
    says = "drawn from the model itself, but for the mark"
    assert says not in script("figure_decoders").draw(whole).caption
    marked = whole.rows.assign(unmarked_cross_entropy=3.0)
    assert says in script("figure_decoders").draw(given(marked)).caption


# ------------------------------------------------------------------------------------------------- extinction and debt


@pytest.mark.parametrize("name", ["figure_debt", "figure_decoders", "figure_repetition"])
def test_shares_are_drawn_inside_0_and_1_and_kept_as_computed(name):
    rows = INPUTS[name]().rows
    shares = ["sample_valid", "sample_tail_coverage", "sample_vocabulary_coverage", "sample_repetition"]
    for column in shares:  # one seed far below the others: intervals reach beyond both ends
        rows[column] = np.where(rows["seed"] == 0, 0.05, 0.95)
    drawing = script(name).draw(given(rows))
    here = drawing.table[drawing.table["measure"].isin(["valid", "tail coverage", "vocabulary coverage", "rep-4"])]
    assert (here["low"] < 0).all()
    assert (here["high"] > 1).all()
    facets = [f for f in drawing.figure.axes if f.get_title(loc="left") in set(here["measure"])]
    assert facets
    for facet in facets:
        bands = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in facet.collections])
        assert (bands.min(), bands.max()) == (0, 1)
        assert facet.get_ylim() == (0, 1)
    assert "Bands of shares are drawn inside 0 and 1" in drawing.caption
    assert "Bands of shares" not in script(name).draw(given(rows[rows["seed"] == 0])).caption


def test_extinction_starts_with_all_types_and_holds_each_decile():
    whole = many()
    drawing = script("figure_extinction").draw(whole)
    table = drawing.table
    assert (table[table["generation"] == 0]["mean"] == 1).all()
    assert set(table["decile"]) == set(range(10))
    rows = whole.rows[(whole.rows["sampler"] == "greedy_next") & (whole.rows["generation"] == 3)]
    cell = table[(table["sampler"] == "greedy_next") & (table["generation"] == 3) & (table["decile"] == 7)]
    assert cell["mean"].item() == pytest.approx(rows["sample_alive_7"].mean())
    first = table[(table["recipe"] == A[0]) & (table["policy"] == A[1]) & (table["sampler"] == "beam5")]
    assert lines(drawing.figure.axes[0]) == curves(first, "decile")
    titles = [facet.get_title() for facet in drawing.figure.axes]
    assert titles[0] == "5 epochs, no real data kept\nbeam 5"
    assert len(titles) == 7
    assert drawing.figure.legends[0].texts[0].get_text() == "rarest tenth"
    assert {len(facet.collections) for facet in drawing.figure.axes} == {1}  # the band of the rarest tenth
    assert "may come back" in drawing.caption


def test_debt_sets_scores_against_the_tail():
    drawing = script("figure_debt").draw(many())
    table, axes = drawing.table, np.reshape(drawing.figure.axes, (2, 3))
    names = table["measure"].unique()
    assert list(names) == ["median perplexity", "valid", "tail coverage"]
    for facet, measure in zip(axes[0], names, strict=True):
        assert lines(facet) == curves(table[table["measure"] == measure], ["recipe", "policy", "sampler"])
    wide = table.pivot(index=["series", "generation"], columns="measure", values="mean")
    for facet, score in zip(axes[1], names[:2], strict=False):
        paths = {(tuple(np.round(x, 9)), y) for x, y in lines(facet)}
        for _, path in wide.groupby("series"):
            assert (tuple(np.round(path[score], 9)), tuple(np.round(path["tail coverage"], 9))) in paths
    low, high = axes[1, 0].get_xlim()
    assert low > high  # to the right: more typical
    assert len(axes[1, 2].get_legend().texts) == 7


def test_debt_without_a_known_source_has_one_score():
    whole = many()
    drawing = script("figure_debt").draw(given(whole.rows.drop(columns="sample_valid")))
    assert list(drawing.table["measure"].unique()) == ["median perplexity", "tail coverage"]
    assert "valid" not in drawing.caption
