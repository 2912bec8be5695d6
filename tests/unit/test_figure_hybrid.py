"""Figure of hybrid data: bits are counted as its docstring says, and what is drawn is what the rows hold."""

import importlib.util
import json
from itertools import product
from math import log, log2
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from collapse import policies
from collapse.errors import DataError
from collapse.plotting import Inputs
from tests.drawing import same_files

PATH = Path(__file__).parents[2] / "figures" / "recursion" / "figure_hybrid.py"
H, R, N = 8.0, 3.0, 1000
FACTS = {
    "arithmetic": {
        "source": "arithmetic of a known law", "statement_entropy": H * log(2), "result_entropy": R * log(2)
    }
}  # fmt: skip
POLICIES = {
    "replace": {"kind": "replace"},
    "oracle_10": {"kind": "oracle", "share": 0.1},
    "real_fraction_10": {"kind": "real_fraction", "share": 0.1},
    "fresh_real_50": {"kind": "fresh_real", "share": 0.5},
}
SAMPLERS = {
    "written": {"max_tokens": 11},
    "completed": {"max_tokens": 11, "start": "first_token_inclusive"},
    "completed_synthetic": {"max_tokens": 11, "start": "first_token_inclusive", "prompts": "synthetic"},
}
SELECTORS = {"all": {"kind": "all"}, "valid": {"kind": "valid", "keep": 0.4}}
ARMS = {
    ("replace", "written", "all"): "Replace",
    ("replace", "completed", "all"): "Real left-hand sides (D_1)",
    ("replace", "completed_synthetic", "all"): "Synthetic left-hand sides",
    ("oracle_10", "written", "all"): "Oracle corrects 10 %",
    ("replace", "written", "valid"): "Formal checker",
    ("real_fraction_10", "written", "all"): "10 % real",
    ("fresh_real_50", "written", "all"): "50 % fresh real",
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("recursion_figure_hybrid", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def fits(arms=tuple(ARMS), seeds=(0, 1, 2), generations=4, **dataset):
    """Rows whose values tell arms, generations and seeds apart."""
    out = []
    for (place, arm), seed, n in product(enumerate(arms), seeds, range(1, generations + 1)):
        policy, sampler, selector = arm
        entry = {
            "dataset": {"kind": "arithmetic", "train": N, **dataset}, "recipe": {"family": "gpt2"},
            "policy": POLICIES[policy], "sampler": SAMPLERS[sampler], "selector": SELECTORS[selector],
        }  # fmt: skip
        lost = (n - 1) * (1 + place) / 100 + seed / 200
        row = {
            "dataset": "arithmetic", "recipe": "gpt2_arithmetic", "policy": policy, "sampler": sampler,
            "selector": selector, "seed": seed, "generation": n, "plan": f"{N} of something | epochs, scratch",
            "family": "gpt2", "fit_parameters": 58_000, "settings": json.dumps(entry, sort_keys=True),
            "excess": 0.1 + lost, "sample_valid": 0.7 - lost, "sample_formed": 0.95, "sample_distinct": 0.95 - lost,
            "sample_coverage": 0.9 - 2 * lost,
        }  # fmt: skip
        out.append(row)
    return pd.DataFrame(out)


def drawn(script, rows=None, **options):
    return script.draw(Inputs("laptop", fits() if rows is None else rows, facts=FACTS), **options)


# bits


def bits(script, policy, n=3, size=N, valid=0.5, formed=0.8, **loop):
    rule = policies.parse("policy", policy)
    shares = dict.fromkeys(range(1, n), (valid, formed))
    return script.information(rule, n, size, script.Loop(H, R, **loop), shares)


def test_generation_1_is_all_new(script):
    for policy in POLICIES.values():
        assert bits(script, policy, n=1) == (H, 0)


def test_replace_gets_nothing_and_real_data_their_entropy(script):
    assert bits(script, {"kind": "replace"}) == (0, 0)
    assert bits(script, {"kind": "real_only"}) == (0, H)
    assert bits(script, {"kind": "real_fraction", "share": 0.1}) == pytest.approx((0, 0.1 * H))
    assert bits(script, {"kind": "real_fraction", "share": 0.1, "how": "add"}) == pytest.approx((0, H / 11))
    assert bits(script, {"kind": "fresh_real", "share": 0.3}) == pytest.approx((0.3 * H, 0))
    assert bits(script, {"kind": "accumulate"}, n=4) == pytest.approx((0, H / 4))
    assert bits(script, {"kind": "accumulate_subsample"}, n=4) == pytest.approx((0, H / 4))
    # at generation 3 of the accumulating loop: D_1, fresh(2) and S_1 halves, fresh(3) and S_2 halves
    assert bits(script, {"kind": "fresh_real", "pool": "all"}) == pytest.approx((H / 6, H * 1.5 / 3))


def test_real_prompts_anchor_and_are_not_new(script):
    replace = {"kind": "replace"}
    assert bits(script, replace, prompts="real") == (0, H)
    assert bits(script, replace, n=2, prompts="synthetic") == (0, H)  # S_1 begins with those of D_1
    assert bits(script, replace, n=3, prompts="synthetic") == (0, 0)
    assert bits(script, {"kind": "fresh_real", "share": 0.5}, prompts="real") == pytest.approx((H / 2, H / 2))


def test_the_checker_tells_the_surprise_of_its_yes(script):
    replace = {"kind": "replace"}
    assert bits(script, replace, valid=0.5, keep=0.4) == pytest.approx((1, 0))
    assert bits(script, replace, valid=0.25, keep=0.25) == pytest.approx((2, 0))
    assert bits(script, replace, valid=0.25, keep=0.5) == pytest.approx((1, 0))  # each is taken twice
    assert bits(script, replace, valid=1.0, keep=0.4) == (0, 0)
    # what it told of older samples is not new
    assert bits(script, {"kind": "accumulate"}, valid=0.5, keep=0.4) == pytest.approx((1 / 3, (H + 1) / 3))
    with pytest.raises(DataError, match="no statement"):
        bits(script, replace, valid=0.0, keep=0.4)


def test_the_oracle_tells_what_is_wrong_and_what_is_right(script):
    oracle = {"kind": "oracle", "share": 0.2}
    expected = -0.5 * log2(0.5) - 0.3 * log2(0.3) - 0.2 * log2(0.2) + 0.3 * R + 0.2 * H
    assert bits(script, oracle) == pytest.approx((0.2 * expected, 0))
    assert bits(script, oracle, valid=1.0, formed=1.0) == (0, 0)  # all is right and known to be
    assert bits(script, oracle, valid=0.0, formed=1.0) == pytest.approx((0.2 * R, 0))
    assert bits(script, oracle, valid=0.0, formed=0.0) == pytest.approx((0.2 * H, 0))
    assert bits(script, oracle, keep=0.4) == pytest.approx((1, 0))  # what the checker let through is right


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_an_expert_who_rewrites_tells_as_much_as_fresh_data(script, share):
    expert = bits(script, {"kind": "oracle", "share": share}, correction="replace")
    assert expert == pytest.approx(bits(script, {"kind": "fresh_real", "share": share}))


# the drawing


def test_files_are_the_same_each_time(script, tmp_path):
    same_files(script.draw, Inputs("laptop", fits(), facts=FACTS), tmp_path)
    with pytest.raises(DataError):
        script.draw(Inputs("laptop"))


def test_arms_are_drawn_at_their_values_and_bits(script):
    rows, drawing = fits(), drawn(script)
    above, below = np.array(drawing.figure.axes).reshape(2, 4)
    table = drawing.table
    for measure, up, down in zip(script.MEASURES, above, below, strict=True):
        groups = rows.groupby(["policy", "sampler", "selector"], sort=False)
        mean = {arm: part.groupby("generation")[measure].mean().tolist() for arm, part in groups}
        lines = [line for line in up.lines if len(line.get_xdata()) == 4]
        assert len(lines) == len(ARMS)
        for line, arm in zip(lines, ARMS, strict=True):
            assert list(line.get_ydata()) == pytest.approx(mean[arm])
            assert np.round(line.get_xdata()).tolist() == [1, 2, 3, 4]
        here = table[(table["measure"] == measure) & (table["panel"] == "information")].set_index("arm")
        assert list(here.index) == list(ARMS.values())
        points = [line for line in down.lines if line.get_markersize() == 7]
        for (arm, name), point in zip(ARMS.items(), points, strict=True):
            end = here.loc[name]
            assert end["mean"] == pytest.approx(mean[arm][-1])
            assert point.get_ydata()[0] == end["mean"]
            assert point.get_xdata()[0] == pytest.approx(end["new"], abs=0.05 if end["new"] == 0 else 1e-9)
        opened = [line for line in down.lines if line.get_markersize() == 6.5]
        anchored = here[here["reused"] > 0]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in opened] == [
            (row.new + row.reused, row.mean) for row in anchored.itertuples()
        ]
    assert [t.get_text() for t in drawing.figure.legends[0].texts] == [*ARMS.values(), "real data"]


def test_bits_are_means_over_the_synthetic_generations(script):
    table = drawn(script).table
    ends = table[(table["panel"] == "information") & (table["measure"] == "excess")].set_index("arm")
    assert ends.loc["Replace", ["new", "reused"]].tolist() == [0, 0]
    assert ends.loc["Real left-hand sides (D_1)", ["new", "reused"]].tolist() == [0, H]
    assert ends.loc["Synthetic left-hand sides", ["new", "reused"]].tolist() == pytest.approx([0, H / 3])
    assert ends.loc["10 % real", ["new", "reused"]].tolist() == pytest.approx([0, 0.1 * H])
    assert ends.loc["50 % fresh real", ["new", "reused"]].tolist() == pytest.approx([0.5 * H, 0])
    rows = fits([("replace", "written", "valid")])
    valid = rows[rows["generation"] < 4]["sample_valid"]  # the rate at which S_1 to S_3 were accepted
    checker = drawn(script, rows).table
    checker = checker[checker["panel"] == "information"]
    assert checker["new"].tolist() == pytest.approx([-np.log2(valid).mean()] * len(script.MEASURES))
    first = table[(table["panel"] == "generations") & (table["generation"] == 1)]
    assert (first["new"] == H).all()
    assert (first["reused"] == 0).all()


def test_the_correction_is_that_of_the_data_set(script):
    arm = [("oracle_10", "written", "all")]
    found = {how: drawn(script, fits(arm, correction=how)).table["new"].iloc[-1] for how in ("repair", "replace")}
    assert found["replace"] == pytest.approx(0.1 * H)
    assert 0 < found["repair"] < found["replace"]


def test_what_helps_beside_another_policy_is_named_with_it(script):
    assert script.called("replace", None, False)[0] == "Replace"
    assert script.called("oracle_10", None, False)[0] == "Oracle corrects 10 %"
    both = script.called("real_fraction_10", "real", True)[0]
    assert both == "10 % real + Real left-hand sides (D_1) + Formal checker"
    assert script.called("replace", "real", True)[0] == "Real left-hand sides (D_1) + Formal checker"


def test_generations_can_be_cut_and_one_seed_has_no_whiskers(script):
    drawing = drawn(script, fits(seeds=(0,)), last=3)
    assert drawing.table["generation"].max() == 3
    assert "One seed, so no whiskers." in drawing.caption
    assert "y: generation 3" in drawing.figure.axes[4].get_xlabel()
    drawing.figure.draw_without_rendering()


def test_whiskers_end_where_a_measure_does(script):
    rows = fits()
    wide = {"sample_valid": 0.5 + 0.5 * (rows["seed"] % 2), "sample_coverage": 0.1 * (rows["seed"] % 2)}
    wide["sample_formed"] = 1.0
    drawing = drawn(script, rows.assign(**wide))
    valid = drawing.table[drawing.table["measure"] == "sample_valid"]
    assert (valid["high"] > 1).any()  # the csv has the intervals as they are
    for axes in np.array(drawing.figure.axes).reshape(2, 4)[:, [1, 3]].T:
        for facet, highest in zip(axes, (1, 1), strict=True):
            ends = np.concatenate([c.get_segments() for c in facet.collections])[..., 1]
            assert ends.min() >= 0
            assert ends.max() <= highest or "rare" in facet.get_ylabel()
    assert f"up to {0.05 * (len(ARMS) - 1) / 2:.2g} generations off" in " ".join(drawing.caption.split())


def test_the_caption_says_that_it_is_no_papers_and_how_bits_are_counted(script):
    caption = drawn(script).caption
    for part in (
        "not in any paper", "8.0 bits", "3.0 bits, an upper bound", "n = 3 seeds", "95 % t interval", "GPT-2 (0.06M)",
        "not new", "Scale: laptop.", "arithmetic of a known law", "starts from scratch",
    ):  # fmt: skip
        assert part in caption


def test_wrong_rows_are_refused(script):
    rows = fits()
    with pytest.raises(DataError, match="rows are missing"):
        drawn(script, rows[(rows["generation"] != 2) | (rows["seed"] != 1)])
    with pytest.raises(DataError, match="not finite"):
        drawn(script, rows.assign(sample_coverage=rows["sample_coverage"].where(rows.index > 0)))
    with pytest.raises(DataError, match="no column sample_formed"):
        drawn(script, rows.drop(columns="sample_formed"))
    with pytest.raises(DataError, match="lack result_entropy"):
        script.draw(Inputs("laptop", rows, facts={"arithmetic": {"source": "?", "statement_entropy": 1.0}}))
    with pytest.raises(DataError, match="end at different generations"):
        drawn(script, pd.concat([fits(list(ARMS)[:2]), fits(list(ARMS)[2:], generations=3)]))
    with pytest.raises(DataError, match="two generations"):
        drawn(script, fits(generations=1))
    with pytest.raises(DataError, match="two arms"):
        drawn(script, pd.concat([rows, fits([("replace", "written", "all")]).assign(selector="other")]))
    with pytest.raises(DataError, match="one recipe"):
        drawn(script, pd.concat([rows, rows.assign(recipe="larger")]))


def test_nothing_overlaps(script):
    figure = drawn(script).figure
    figure.draw_without_rendering()
    boxes = [figure.legends[0].get_window_extent()]
    for axes in figure.axes:
        texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
        boxes += [axes.get_window_extent(), *(t.get_window_extent() for t in texts if t.get_text())]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
