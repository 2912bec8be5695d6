"""One prompt continued, and what figures of fine-tuned language models share: names, looks, captions."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from collapse import plotting
from collapse.errors import DataError
from collapse.finetuned import decoding, log_x, seeds_differ, series_looks, series_names, start_statement
from collapse.looks import SAMPLERS, look, sampler_look
from collapse.plotting import Inputs
from collapse.typeset import cut, wrap
from tests.drawing import same_files
from tests.finetuned import BEAM, FACTS, A, B, script, texts, tuned
from tests.finetuned import SAMPLERS as ENTRIES


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


# ------------------------------------------------------------------------------------------------------------- table 1


def table_inputs(series=(A, B), **more):
    rows = tuned(series)
    return Inputs("laptop", rows, **{"examples": texts(rows), "facts": FACTS, **more})


def test_table_1_is_the_same_each_time(tmp_path):
    same_files(script("table_1").draw, table_inputs(), tmp_path)
    with pytest.raises(DataError):
        script("table_1").draw(Inputs("laptop"))


def test_table_1_continues_one_prompt():
    given = table_inputs()
    drawing = script("table_1").draw(given, generations=(1, 2, 6), item=1)
    table = drawing.table
    assert table["generation"].tolist() == [1, 1, 2, 2, 6, 6]
    assert set(table["prompt"]) == {"the prompt 1"}
    assert table["text"].iloc[-1] == "opt_xs_e10 real_fraction_10_first seed 0 model 6 item 1"
    here = given.rows[(given.rows["recipe"] == A[0]) & (given.rows["generation"] == 6)]
    cell = table[(table["recipe"] == A[0]) & (table["generation"] == 6)].iloc[0]
    assert cell["vocabulary_coverage"] == pytest.approx(here["sample_vocabulary_coverage"].mean())
    half = stats.t.ppf(0.975, 2) * stats.sem(here["sample_repetition"])
    assert cell["repetition_half"] == pytest.approx(half)
    shown = [t.get_text() for t in drawing.figure.axes[0].texts]
    assert f"{100 * cell['vocabulary_coverage']:.1f} ±" in " ".join(shown)
    assert f"rep-4 {cell['repetition']:.3f} ± {half:.3f}" in " ".join(shown)
    assert shown.count("the prompt 1") == 1
    assert [t for t in shown if t.startswith(("n =", "(paper"))] == [
        "n = 1", "(paper: 0)", "n = 2", "(paper: 1)", "n = 6", "(paper: 5)"
    ]  # fmt: skip
    for fact in ("counts models from 0", "seed 0", "n = 3 seeds", "5-way beam search", "is generated", "not a chosen"):
        assert fact in drawing.caption


def test_table_1_keeps_inside_its_columns_and_cuts_in_the_picture_alone(tmp_path):
    given = table_inputs()
    long = "a long article " * 100
    for key in given.examples:
        given.examples[key]["2"][0]["text"] = f"{long}$5 $6 {'w' * 300}"
    drawing = script("table_1").draw(given)
    assert long in drawing.table["text"].iloc[2]
    assert "within 700 characters" in drawing.caption
    drawing.figure.draw_without_rendering()
    assert max(t.get_window_extent().x1 for t in drawing.figure.axes[0].texts) <= drawing.figure.bbox.x1
    plotting.save(drawing, tmp_path / "table_1")


def test_table_1_refuses_texts_that_are_missing_or_of_another_prompt():
    draw, key = script("table_1").draw, ("articles", *A, "beam5", "all", "seed0")
    with pytest.raises(DataError, match=r"ask for examples\.json"):
        draw(table_inputs(examples={}))
    with pytest.raises(DataError, match="shows number 2"):
        draw(table_inputs(), item=2)
    with pytest.raises(DataError, match="its rows end at 6"):
        draw(table_inputs(), generations=(7,))
    other, bare = table_inputs(), table_inputs()
    other.examples[key]["2"][0]["prompt"] = "another"
    with pytest.raises(DataError, match="different prompts"):
        draw(other)
    del bare.examples[key]["6"][0]["prompt"]
    with pytest.raises(DataError, match="without their prompts"):
        draw(bare)


# --------------------------------------------------------------------------------------------- what these figures share


def test_lines_of_text_fit_their_width():
    text = "one two three four five six seven " + "x" * 200
    lines = wrap(text, 100, 8)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    figure = plt.figure()
    extents = [figure.text(0, 0, line, fontsize=8).get_window_extent() for line in lines]
    assert max(e.width for e in extents) * 72 / figure.dpi <= 101
    assert wrap(" ", 100, 8) == ["(empty)"]
    assert wrap("a\x00b", 100, 8) == ["a\N{REPLACEMENT CHARACTER}b"]
    assert (cut("one two", 7), cut("one two", 6), cut("onetwo", 3)) == ("one two", "one …", "one …")


def test_series_are_named_by_what_differs_and_told_apart():
    rows = pd.concat([tuned([A, B]), tuned([A], ["greedy_next"])], ignore_index=True)
    names = series_names(rows)
    assert list(names.values()) == [
        "5 epochs, no real data kept, beam 5",
        "10 epochs, 10 % real data kept, beam 5",
        "5 epochs, no real data kept, greedy",
    ]
    assert list(series_names(tuned([A])).values()) == ["beam 5"]
    assert list(series_names(tuned([A], ["beam5", "greedy_next"])).values()) == ["beam 5", "greedy"]
    looks = list(series_looks(rows).values())
    assert [x["color"] for x in looks] == [look(A[1])[1], look(B[1])[1], sampler_look("greedy_next")[1]]
    assert [("linestyle" in x) for x in looks] == [False, True, False]
    same = tuned([A]).assign(recipe="opt_other_e5")
    with pytest.raises(DataError, match="cannot be told apart"):
        series_names(pd.concat([tuned([A]), same]))


def test_each_sampler_has_a_look_and_words():
    assert len({label for label, _, _ in SAMPLERS.values()}) == len(SAMPLERS)
    assert set(ENTRIES) < set(SAMPLERS)
    assert sampler_look("my_sampler")[0] == "my sampler"
    assert decoding({**BEAM, "repetition_penalty": 2.0}) == "5-way beam search, repetition penalty 2"
    assert decoding({"temperature": 0.5, "top_k": 7}) == "sampling at temperature 0.5, top-k 7"
    assert decoding({"kind": "greedy"}) == "greedy"


def test_the_start_is_said_as_the_plans_record_it():
    rows = tuned([A])
    later = rows["generation"] > 1
    for init, says in (("previous", "from those of the one before"), ("scratch", "from the same pre-trained weights")):
        plans = rows["plan"].where(~later, rows["plan"].str.replace(", first", f", {init}"))
        assert says in start_statement(rows.assign(plan=plans))
    fresh = rows.assign(settings=rows["settings"].str.replace('"start": "opt_xs"', '"x": 1'))
    assert start_statement(fresh).startswith("Generation 1 starts from fresh weights")
    assert start_statement(rows[~later]).startswith("Generation 1 is fine-tuned from pre-trained weights (opt_xs); 5")
    with pytest.raises(DataError, match="`plan`"):
        start_statement(rows.drop(columns="plan"))


def test_the_kept_pass_is_said_where_rows_hold_it():
    rows = tuned([A])
    assert "is kept" not in start_statement(rows)
    passes = rows.assign(fit_kept_pass=np.where(rows["generation"] == 1, 2.34, 1.0))
    says = "5 epochs each, of which the pass best on real validation data is kept"
    assert f"{says} (generation 1: 2.3, later: 1.0 on average)." in start_statement(passes)
    assert f"{says} (generation 1: 2.3 on average)." in start_statement(passes[passes["generation"] == 1])
    some = passes.assign(fit_kept_pass=passes["fit_kept_pass"].where(passes["seed"] > 0))
    assert f"{says} in part of the runs (" in start_statement(some)


def test_what_seeds_vary_is_read_from_the_settings():
    rows = tuned([A])
    same = "the data and the weights to start from are the same."
    assert seeds_differ(rows) == f" Seeds differ in the order of the training blocks alone: {same}"
    assert seeds_differ(rows) in start_statement(rows)
    assert seeds_differ(rows[rows["seed"] == 0]) == ""
    dropped = rows.assign(settings=rows["settings"].str.replace('"family": "opt"', '"family": "opt", "dropout": 0.1'))
    assert "the training blocks and dropout:" in seeds_differ(dropped)
    assert "blocks and the draws of the sampler:" in seeds_differ(tuned([A], ["temp1.0_next"]))
    assert "draws of the sampler, where it draws:" in seeds_differ(tuned([A], ["beam5", "temp1.0_next"]))
    redrawn = tuned([B]).assign(plan="real 20 redrawn + synthetic(1) 180 first")
    assert "and which real blocks are kept:" in seeds_differ(redrawn)
    fresh = rows.assign(settings=rows["settings"].str.replace('"start": "opt_xs"', '"x": 1'))
    assert "blocks and the weights to start from: the data are the same" in seeds_differ(fresh)


def test_a_logarithmic_x_axis_has_plain_ticks():
    for low, high in ((10, 30), (1, 200), (1, 1e6)):
        _, facet = plt.subplots()
        facet.plot([low, high], [0, 1])
        log_x(facet)
        ticks = [t for t in facet.get_xticks() if low <= t <= high]
        assert 2 <= len(ticks) <= 9
        assert "e" not in facet.xaxis.get_major_formatter()(ticks[0])
