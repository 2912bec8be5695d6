"""Every mixing policy at three budgets: each panel holds what its title says, and each name stands at its line."""

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt

from collapse import plotting
from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import FACTS, ROOT, fits, means, same_files, script, solid

SHOWN = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["cells"]["policies"]["policy"]
ALL_POLICIES = sorted(SHOWN)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_files_are_the_same_each_time(tmp_path):
    same_files(script("figure_policies").draw, Inputs("laptop", fits(ALL_POLICIES), facts=FACTS), tmp_path)
    with pytest.raises(DataError):
        script("figure_policies").draw(Inputs("laptop"))


def test_figure_policies_shows_in_each_panel_what_its_title_says():
    drawing = script("figure_policies").draw(Inputs("laptop", fits(ALL_POLICIES), facts=FACTS))
    panels = script("figure_policies").PANELS
    assert {v for names in panels.values() for v in names.values()} == set(SHOWN)
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


def test_figure_policies_draws_lines_of_different_lengths_to_their_ends():
    rows = pd.concat(
        [
            fits(["replace", "accumulate", "accumulate_subsample"], generations=5),
            fits(["replace_multiple"], generations=4),
            fits(["augment", "real_only"], seeds=(0,)),
        ]
    )
    drawing = script("figure_policies").draw(Inputs("laptop", rows))
    passes, table = drawing.figure.axes[0], drawing.table[drawing.table["panel"].str.contains("passes")]
    ends = table.groupby("label")["generation"].max()
    assert ends.to_dict() == {
        "Replace": 5, "Accumulate": 5, "Accumulate-Subsample": 5, "Replace-Multiple": 4, "Augment": 3, "Real only": 3
    }  # fmt: skip
    assert {t.get_text(): t.xy[0] for t in passes.texts} == ends.to_dict()
    assert all(list(axes.get_xticks()) == [1, 2, 3, 4, 5] for axes in drawing.figure.axes)
    # bands of the thick lines, bars of the thin ones; one seed has neither
    bars = [c.get_segments()[0] for c in passes.collections if hasattr(c, "get_segments")]
    assert len(passes.collections) - len(bars) == 2
    assert sorted(int(bar[0, 0]) for bar in bars) == [4, 5]
    assert "A line ends where its runs end." in drawing.caption
    assert "Lines of fewer seeds start at generation 1" in drawing.caption
    cut = script("figure_policies").draw(Inputs("laptop", rows), last=3)
    assert cut.table["generation"].max() == 3
    assert "A line ends" not in cut.caption
