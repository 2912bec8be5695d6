"""Tables that are drawn: stories side by side, and test losses of other settings."""

from itertools import combinations, product

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from collapse import plotting, published
from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import FACTS, PARAMETERS, N, fits, same_files, script


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def stories(names=("replace", "accumulate"), seeds=(0, 1), generations=3, recipe="gpt2_xs"):
    """Examples, several to a generation; generation 1 is shared."""
    return {
        ("stories", recipe, policy, "temp1.0", "all", f"seed{seed}"): {
            str(n): [
                {"text": f"{policy if n > 1 else 'real'} {seed} {n} story {i}", "grammatical": n < 3, "logprob": -30.0}
                for i in range(2)
            ]
            for n in range(1, generations + 1)
        }
        for policy, seed in product(names, seeds)
    }


def test_table_1_is_the_same_each_time(tmp_path):
    inputs = Inputs("laptop", fits(), examples=stories(), facts=FACTS)
    same_files(script("table_1").draw, inputs, tmp_path, generations=(1, 3))
    with pytest.raises(DataError):
        script("table_1").draw(Inputs("laptop"))


def test_table_1_shows_the_first_story_of_the_first_seed():
    drawing = script("table_1").draw(Inputs("laptop", fits(), examples=stories(), facts=FACTS), generations=(1, 3))
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
    assert texts.count("GPT-2 (0.15M)") == 1  # above the rows of the model
    assert [t for t in texts if t.startswith("n = ")] == ["n = 1\n(real data)", "n = 3"]
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
    assert any(t.endswith(("a …", "long …", "story …")) for t in texts)  # cut after a word
    assert any("$5, $6 \N{REPLACEMENT CHARACTER}" in t for t in texts)
    assert "within 700 characters" in drawing.caption
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


def test_table_1_sets_one_model_below_the_other():
    rows = pd.concat([fits(), fits(recipes=("llama2_xs",), seeds=(0,))])
    examples = {**stories(recipe="llama2_xs", seeds=(0,)), **stories()}
    recipes = ("gpt2_xs", "llama2_xs")
    drawing = script("table_1").draw(Inputs("laptop", rows, examples=examples), generations=(1, 3), recipes=recipes)
    assert drawing.table["recipe"].tolist() == ["gpt2_xs"] * 4 + ["llama2_xs"] * 4
    texts = [(t.get_position()[1], t.get_text()) for t in drawing.figure.axes[0].texts]
    order = [text for _, text in sorted(texts) if text.startswith(("GPT", "Llama", "n ="))]
    assert order == ["GPT-2 (0.15M)", "n = 1\n(real data)", "n = 3", "Llama-2 (0.10M)", "n = 1\n(real data)", "n = 3"]


# ------------------------------------------------------------------------------------------------------------- table 2


def settings_rows(base="gpt2_9m", other="llama2_12m"):
    """Rows of the settings of table 2, as the blocks of the config leave them."""
    three, more = (0, 1, 2), f"{base}_more"
    return pd.concat(
        [
            fits(["replace", "accumulate", "accumulate_steps"], (base,), three, 5),
            fits(["replace", "accumulate"], (other,), (0,), 5),
            fits(["replace"], (base,), (3,), 10),
            fits(["replace_multiple", "replace_multiple_steps"], (base,), three, 4),
            fits(["replace", "accumulate"], (base,), three, 4, sampler="temp0.3"),
            fits(["replace", "accumulate"], (base,), three, 4, dataset="fifth", size=N // 5),
            fits(["replace", "accumulate"], (more,), three, 4, dataset="fifth", size=N // 5, epochs=15),
            fits(["replace", "accumulate"], (f"{base}_first25",), three, 3, first_epochs=1.25).assign(
                fit_parameters=PARAMETERS[base]
            ),
        ],
        ignore_index=True,
    )


def test_table_2_is_the_same_each_time(tmp_path):
    same_files(script("table_2").draw, Inputs("paper", settings_rows()), tmp_path)
    with pytest.raises(DataError):
        script("table_2").draw(Inputs("laptop"))


def test_table_2_holds_the_means_of_each_setting():
    table = script("table_2").draw(Inputs("paper", settings_rows())).table
    assert table[["model", "setting"]].drop_duplicates().values.tolist() == [
        ["GPT-2 (9M)", "base"],
        ["GPT-2 (9M)", "equal optimiser steps"],
        ["GPT-2 (9M)", "temperature 0.3"],
        ["GPT-2 (9M)", "1/5 of the data"],
        ["GPT-2 (9M)", "1/5 of the data, 3 × the passes"],
        ["GPT-2 (9M)", "generation 1: 0.25 × the steps"],
        ["Llama-2 (12M)", "base"],
    ]
    cells = table[table["model"] == "GPT-2 (9M)"].set_index(["setting", "column"])
    rows = settings_rows()
    for setting, column, policy, generation, n in (
        ("base", "first", "real", 1, 4),
        ("base", "accumulate", "accumulate", 4, 3),
        ("base", "replace", "replace", 4, 4),
        ("base", "late", "replace", 10, 1),
        ("base", "multiple", "replace_multiple", 4, 3),
        ("equal optimiser steps", "accumulate", "accumulate_steps", 4, 3),
        ("equal optimiser steps", "multiple", "replace_multiple_steps", 4, 3),
        ("temperature 0.3", "replace", "replace", 4, 3),
        ("1/5 of the data, 3 × the passes", "accumulate", "accumulate", 4, 3),
        ("generation 1: 0.25 × the steps", "replace", "replace", 3, 3),  # it ends there
    ):
        cell = cells.loc[(setting, column)]
        assert (cell["policy"], cell["generation"], cell["n"]) == (policy, generation, n)
        here = rows[(rows["dataset"] == cell["dataset"]) & (rows["recipe"] == cell["recipe"])]
        here = here[(here["sampler"] == cell["sampler"]) & (here["generation"] == generation)]
        here = here.drop_duplicates("seed") if policy == "real" else here[here["policy"] == policy]
        losses = here["cross_entropy"]
        assert cell["mean"] == pytest.approx(losses.mean())
        if n > 1:
            interval = stats.t.interval(0.95, n - 1, losses.mean(), stats.sem(losses))
            assert (cell["low"], cell["high"]) == pytest.approx(interval)
        else:
            assert cell[["low", "high"]].isna().all()
    empty = cells[cells["mean"].isna()].index.tolist()
    assert ("temperature 0.3", "late") in empty
    assert ("temperature 0.3", "multiple") in empty
    assert ("equal optimiser steps", "replace") in empty  # the runs of the row above


def test_table_2_puts_recollected_values_beside_ours_at_paper_scale_alone():
    drawing = script("table_2").draw(Inputs("paper", settings_rows()))
    cells = drawing.table.set_index(["model", "setting", "column"])
    known = cells.dropna(subset="published")
    assert known["published"].to_dict() == {
        (model, setting, column): published.TABLE_2.of[recipe, setting][column]
        for model, recipe in (("GPT-2 (9M)", "gpt2_9m"), ("Llama-2 (12M)", "llama2_12m"))
        for name, setting in published.TABLE_2.of
        if name == recipe
        for column in published.TABLE_2.of[recipe, setting]
    }
    assert set(known["published_is"]) == {"recollected"}
    assert cells.loc[cells["published"].isna(), "published_is"].isna().all()
    texts = [t.get_text() for t in drawing.figure.axes[0].texts]
    assert texts.count("≈ 9.85 recollected") == 1  # also where the cell was not run here
    assert texts.count("t = 3") == 2
    assert texts.count("as above") == 3
    assert "recollected, not read from the paper" in drawing.caption
    for inputs, options in ((Inputs("laptop", settings_rows()), {}), (Inputs("paper", settings_rows()), {"t": 3})):
        assert script("table_2").draw(inputs, **options).table["published"].isna().all()


def test_table_2_keeps_inside_its_columns():
    drawing = script("table_2").draw(Inputs("paper", settings_rows()))
    drawing.figure.draw_without_rendering()
    spans = [t.get_window_extent() for t in drawing.figure.axes[0].texts if t.get_text()]
    assert max(box.x1 for box in spans) <= drawing.figure.bbox.x1
    for one, other in combinations(spans, 2):
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
        assert apart, (one, other)


def test_table_2_names_what_a_recipe_changes():
    changes = script("table_2").changes
    base = {"family": "gpt2", "epochs": 4, "learning_rate": 1e-3, "evaluations": [1.0]}
    assert changes({**base, "evaluations": [0.5]}, base) == []
    assert changes({**base, "epochs": 2}, base) == ["0.5 × the passes"]
    assert changes({**base, "first_epochs": 1}, base) == ["generation 1: 0.25 × the steps"]
    assert changes({**base, "dropout": 0.1, "learning_rate": 2e-3}, base) == ["dropout 0.1", "learning_rate 0.002"]


def test_table_2_needs_generations_in_order_and_rows_of_its_policies():
    draw = script("table_2").draw
    assert draw(Inputs("smoke", fits(generations=3)), t=2, last=3).table["generation"].max() == 3
    with pytest.raises(DataError, match="1 < t < last, got t = 4 and last = 4"):
        draw(Inputs("smoke", fits()), last=4)
    rows = fits()
    with pytest.raises(DataError, match="`settings`"):
        draw(Inputs("smoke", pd.concat([rows, fits(sampler="temp0.3")]).drop(columns="settings")))
