"""The process as a schematic, and histograms of perplexity: drawn from what runs leave."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from collapse import histograms
from collapse.errors import ConfigError, DataError
from collapse.plotting import Inputs
from tests.drawing import same_files
from tests.finetuned import FACTS, A, B, N, details, script, tuned


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def inputs(scale="laptop", series=A, seeds=(0, 1, 2), generations=6, **more):
    rows = tuned([series], seeds=seeds, generations=generations)
    return Inputs(scale, rows, **{"details": details(rows), "facts": FACTS, **more})


# ----------------------------------------------------------------------------------------------------------- figure 1a


def test_figure_1a_is_the_same_each_time(tmp_path):
    same_files(script("figure_1a").draw, Inputs("laptop"), tmp_path)


def test_figure_1a_is_a_chain_of_its_own_draws():
    module = script("figure_1a")
    counts = module.chain(8, module.ITEMS, 0)
    assert all(count.sum() == module.ITEMS for count in counts)
    for before, after in pairwise(counts):
        assert (after[before == 0] == 0).all()  # what is lost stays lost
    table = module.draw(Inputs("laptop")).table
    assert table.groupby(["panel", "box"])["value"].sum().to_numpy() == pytest.approx(1)
    last = table[table["panel"] == "finite sampling"]["value"]
    assert last.to_numpy() == pytest.approx(counts[-1] / module.ITEMS)
    assert (last == 0).any()
    caption = module.draw(Inputs("laptop")).caption
    for fact in ("counts models from 0", "40 items", "seed 0", "Replace", "n = 1", "from scratch"):
        assert fact in caption


def test_figure_1a_says_how_the_most_probable_state_fares():
    module = script("figure_1a")
    assert "underestimated on the left (0.17, really 0.32)" in module.draw(Inputs("laptop")).caption
    law = module.law()
    high, low = np.eye(module.STATES)[0], np.eye(module.STATES)[1]
    said = module.first_statement(high, low, seed=3)
    assert f"overestimated on the left (1.00, really {law[0]:.2f}) and underestimated on the right (0.00" in said
    assert "not a chosen one" not in said
    ends = np.mean([module.chain(8, module.ITEMS, seed)[-1] for seed in range(400)], axis=0) / module.ITEMS
    assert ends == pytest.approx(law, abs=0.04)  # what the caption says of many chains


def test_the_nearest_geometric_law_has_the_mean_and_is_its_own_nearest():
    module = script("figure_1a")
    fitted, state = module.geometric(module.law()), np.arange(module.STATES)
    assert state @ fitted == pytest.approx(state @ module.law())
    assert np.diff(np.log(fitted)) == pytest.approx(np.log(fitted[1] / fitted[0]))
    assert module.geometric(fitted) == pytest.approx(fitted)
    assert module.geometric(fitted[::-1]) == pytest.approx(fitted[::-1])


# --------------------------------------------------------------------------------------------------- figures 1b and 1c


@pytest.mark.parametrize(("name", "series"), [("figure_1b", A), ("figure_1c", B)])
def test_histograms_are_the_same_each_time(tmp_path, name, series):
    same_files(script(name).draw, inputs(series=series), tmp_path)
    with pytest.raises(DataError):
        script(name).draw(Inputs("laptop"))


def test_histograms_hold_every_block_and_what_is_drawn_of_them():
    given = inputs()
    drawing = script("figure_1b").draw(given)
    table, blocks = drawing.table, given.details
    bars = table[table["panel"].isin(["histogram", "ridges"]) & table["mark"].isna()]
    assert bars.groupby(["panel", "generation"])["value"].sum().to_numpy() == pytest.approx(1)
    assert list(bars[bars["panel"] == "histogram"]["generation"].unique()) == [0, 1, 2, 3, 4, 6]
    assert list(bars[bars["panel"] == "ridges"]["generation"].unique()) == list(range(7))
    assert set(bars["n"]) == {3 * N}
    here = blocks[blocks["generation"] == 4]["perplexity"]
    for place in (5, -1):
        one = bars[(bars["panel"] == "histogram") & (bars["generation"] == 4)].iloc[place]
        assert one["value"] == pytest.approx(((here >= one["bin_low"]) & (here < one["bin_high"])).mean())
    marks = table[table["mark"].notna()].set_index(["generation", "mark"])["value"]
    assert marks[4, "median"] == pytest.approx(here.median())
    assert marks[0, "p99.9"] == pytest.approx(blocks[blocks["generation"] == 0]["perplexity"].quantile(0.999))
    histogram, ridges = drawing.figure.axes[:2]
    outlines = [patch for patch in histogram.patches if not patch.get_fill()]
    assert len(outlines) == 6
    drawn = {tuple(np.round(patch.get_data().values, 12)) for patch in outlines}
    of_table = bars[bars["panel"] == "histogram"].groupby("generation")["value"]
    assert drawn == {tuple(np.round(values, 12)) for _, values in of_table}
    assert [t.get_text() for t in ridges.get_yticklabels()] == ["real", *(f"n = {n}" for n in range(1, 7))]
    assert [t.get_text() for t in histogram.get_legend().texts][:2] == ["real", "n = 1"]


@pytest.mark.parametrize("metric", ["perplexity", "perplexity_sequences"])
def test_test_perplexity_has_all_runs_and_their_mean(metric):
    given = inputs()
    drawing = script("figure_1b").draw(given, metric=metric)
    table, rows = drawing.table[drawing.table["panel"] == "test perplexity"], given.rows
    runs, mean = table[table["seed"].notna()], table[table["seed"].isna()].set_index("generation")
    wanted = rows.set_index(["seed", "generation"])[metric]
    assert runs.set_index(["seed", "generation"])["value"].sort_index().to_numpy() == pytest.approx(wanted.to_numpy())
    at = rows[rows["generation"] == 5][metric]
    assert mean.loc[5, "value"] == pytest.approx(at.mean())
    assert (mean.loc[5, "low"], mean.loc[5, "high"]) == pytest.approx(
        stats.t.interval(0.95, 2, at.mean(), stats.sem(at))
    )
    facet = drawing.figure.axes[2]
    lines = {tuple(np.round(line.get_ydata().astype(float), 9)) for line in facet.lines}
    assert {tuple(np.round(run["value"], 9)) for _, run in runs.groupby("seed")} <= lines
    assert tuple(np.round(mean["value"], 9)) in lines
    assert histograms.AVERAGES[metric] in drawing.caption


def test_median_and_tail_are_those_of_the_rows_beside_the_level_of_real_blocks():
    given = inputs()
    table = script("figure_1b").draw(given).table
    for panel, column in (("median", "sample_first_perplexity_median"), ("tail", "sample_first_perplexity_tail")):
        mean = table[(table["panel"] == panel) & table["seed"].isna() & (table["generation"] == 3)]["value"]
        assert mean.item() == pytest.approx(given.rows[given.rows["generation"] == 3][column].mean())
    real = table[(table["panel"] == "median") & (table["generation"] == 0)]["value"].item()
    of_seeds = given.details[given.details["generation"] == 0].groupby("seed")["perplexity"].median()
    assert real == pytest.approx(of_seeds.mean())


def test_a_block_far_off_stretches_no_bins():
    given = inputs()
    found = given.details
    far = found.assign(perplexity=found["perplexity"].clip(upper=30))
    far.loc[far["generation"] == 5, "perplexity"] = far["perplexity"].where(far.index % 100 > 0, 1e5)
    drawing = script("figure_1b").draw(inputs(details=far))
    bars = drawing.table[(drawing.table["panel"] == "ridges") & drawing.table["mark"].isna()]
    last = bars.groupby("generation").tail(1).set_index("generation")
    assert last.loc[5, "value"] == pytest.approx(0.01)
    assert last["bin_high"].max() > 1e5
    assert bars.groupby("generation")["value"].sum().to_numpy() == pytest.approx(1)
    assert drawing.figure.axes[0].get_xlim()[1] < 100
    arrows = [line.get_ydata()[0] for line in drawing.figure.axes[1].lines if line.get_marker() == ">"]
    assert arrows == [-5]
    marks = drawing.table[drawing.table["mark"] == "p99.9"].set_index("generation")["value"]
    assert marks[5] == 1e5  # the csv keeps what the picture cuts
    assert "(6 in all, up to 100,100)" in drawing.caption
    assert "an arrow" in drawing.caption
    near = script("figure_1b").draw(inputs(details=found.assign(perplexity=found["perplexity"].clip(upper=30)))).caption
    assert "the last bin holds" not in near
    assert "an arrow" not in near


@pytest.mark.parametrize(("count", "share"), [(400, 0), (1000, 0), (2000, 1 / 2000)])
def test_the_share_beyond_real_blocks_is_that_of_real_blocks_themselves(count, share):
    rows = tuned([A])
    drawing = script("figure_1b").draw(Inputs("laptop", rows, details=details(rows, count)))
    table = drawing.table
    level = table[(table["panel"] == "tail") & (table["generation"] == 0)]["value"].item()
    assert level == pytest.approx(share)
    tail = drawing.figure.axes[4]
    assert any(np.allclose(line.get_ydata(), share) and line.get_linestyle() == "--" for line in tail.lines)
    assert min(tail.get_ylim()) >= 0
    assert max(tail.get_ylim()) <= 1
    at_most = f"above the largest of the {count:,} real blocks"
    assert (at_most in drawing.caption) == (share == 0)
    assert ("99.9th percentile of real blocks" in drawing.caption) == (share > 0)
    assert "those that model 1 itself was fitted on" in drawing.caption


def test_perplexity_without_the_mark_stands_beside_where_there_is_one():
    given = inputs()
    without = np.log(given.rows["perplexity"]) - 0.5
    rows = given.rows.assign(unmarked_cross_entropy=without)
    drawing = script("figure_1b").draw(Inputs("laptop", rows, details=given.details))
    found = drawing.table[drawing.table["panel"] == histograms.UNMARKED].set_index("generation")["value"]
    means = np.exp(without).groupby(given.rows["generation"]).mean()
    assert found.to_dict() == pytest.approx(means.to_dict())
    test = drawing.figure.axes[2]
    assert any(
        np.allclose(line.get_ydata().astype(float), means) for line in test.lines if line.get_linestyle() == "--"
    )
    assert test.get_legend().texts[0].get_text() == "without the mark that begins each line"
    assert "without the mark" in drawing.caption
    for rows in (given.rows, given.rows.assign(unmarked_cross_entropy=np.nan)):
        bare = script("figure_1b").draw(Inputs("laptop", rows, details=given.details))
        assert "without the mark" not in bare.caption
        assert bare.figure.axes[2].get_legend() is None


def test_captions_of_histograms_say_how_they_were_made():
    caption = script("figure_1b").draw(inputs()).caption
    for fact in (
        "OPT (0.20M), no real data kept", "figure 1b", "pre-trained weights (opt_xs)", "the weights of generation 1",
        "5 epochs each", "5-way beam search", "64 tokens", "600 blocks", "(n = 3)", "95 % t interval",
        "counts from 0", "Scale: laptop", "embedded article grammar",
    ):  # fmt: skip
        assert fact in caption, fact
    assert "10 % real data kept" in script("figure_1c").draw(inputs(series=B)).caption
    alone = script("figure_1b").draw(inputs(seeds=(0,)))
    assert "one run, so no bars" in alone.caption
    assert alone.table[alone.table["panel"] == "test perplexity"]["low"].isna().all()


def test_published_values_stand_beside_at_paper_scale_alone():
    assert "published" not in set(script("figure_1b").draw(inputs()).table["panel"])
    drawing = script("figure_1b").draw(inputs("paper"))
    known = drawing.table[drawing.table["panel"] == "published"].set_index("mark")
    assert known.loc["axis", ["low", "high"]].tolist() == [35, 60]
    assert known.loc["mean, text", "value"] == 34
    assert known.loc["other run"].set_index("generation")["value"].to_dict() == {
        n: v for n, v in script("figure_1b").PUBLISHED.other.items() if n <= 6
    }
    assert "35 to 60" in drawing.caption
    other = script("figure_1c").draw(inputs("paper", B))
    assert "32 to 42" in other.caption
    assert "Crosses" not in other.caption


def test_histograms_refuse_what_is_missing():
    draw, given = script("figure_1b").draw, inputs()
    rows, found = given.rows, given.details
    both = Inputs("laptop", tuned([A, B]), details=details(tuned([A, B])))
    with pytest.raises(DataError, match="shows one recipe"):
        draw(both)
    assert len(draw(both, recipe=A[0], policy=A[1]).table)
    for lost, message in (
        (None, r"ask for details\.parquet"),
        (found[found["generation"] != 0], "lack generation 0 of seed 0"),
        (found[(found["generation"] != 4) | (found["seed"] != 2)], "lack generation 4 of seed 2"),
        (found.drop(found.index[-1]), "different numbers of blocks"),
        (found.assign(perplexity=np.nan), "has no perplexity"),
    ):
        with pytest.raises(DataError, match=message):
            draw(Inputs("laptop", rows, details=lost))
    with pytest.raises(DataError, match="sample_first_perplexity_tail is missing"):
        draw(Inputs("laptop", rows.drop(columns="sample_first_perplexity_tail"), details=found))
    with pytest.raises(DataError, match="rows are missing"):
        draw(Inputs("laptop", rows.drop(rows.index[8]), details=found))
    with pytest.raises(DataError, match="its rows end at 6"):
        draw(given, generations=(7, 8))
    with pytest.raises(DataError, match="2 bins"):
        draw(given, bins=1)
    with pytest.raises(ConfigError, match="metric"):
        draw(given, metric="perplexities")
