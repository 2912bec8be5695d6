"""Measures of drawn statements: correctness and diversity, each blind to the other, and real data at level 1."""

import numpy as np
import pytest

from collapse.datasets import arithmetic
from collapse.datasets.statements import LEFT, encode
from collapse.items import Items
from collapse.metrics import arithmetic as metrics
from collapse.seeding import stream

CORRECTNESS = ("parsed", "correct", "valid", "formed", "truncated")
DIVERSITY = (
    "distinct", "coverage", "rare_mass", "entropy", "entropy_ratio", "total_variation", "real_total_variation",
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    config = arithmetic.Config(train=1500, shards=2, validation=10, test=50, digits="12340", exponent=1.5)
    return arithmetic.load(config, *arithmetic.prepare(config))


def measured(data, texts, limit=11):
    return metrics.measure(Items.make(encode(texts), generation=1), metrics.reference(data), data, limit)


def test_real_statements_are_at_the_level_of_real_data(data):
    found = [measured(data, data.law.draw(1500, stream("test", "level", i))) for i in range(60)]
    assert set(found[0]) == {*CORRECTNESS, *DIVERSITY}
    mean = {name: np.mean([f[name] for f in found]) for name in found[0]}
    error = {name: np.std([f[name] for f in found], ddof=1) / 60**0.5 for name in found[0]}
    assert [mean[name] for name in CORRECTNESS] == [1, 1, 1, 1, 0]
    for name in ("distinct", "coverage", "rare_mass"):
        assert abs(mean[name] - 1) < 4 * error[name] < 0.05
    assert mean["total_variation"] == pytest.approx(mean["real_total_variation"], abs=4 * error["total_variation"])
    assert mean["entropy_ratio"] == pytest.approx(1, abs=0.005)
    assert mean["entropy"] == pytest.approx(data.law.entropy, abs=0.03)


def test_correctness_counts_what_it_says(data):
    texts = ["1+2*3=7", "1+2*3=8", "12+3=15", "1+2*3=+", "1+2", "--2=2", "1+2*3=777777", "1-1-0=-0"]
    found = measured(data, texts, limit=12)
    assert found["parsed"] == pytest.approx(5 / 8)  # 7, 8, 15, --2 and 777777
    assert found["correct"] == pytest.approx(3 / 5)
    assert found["valid"] == pytest.approx(1 / 8)
    assert found["formed"] == pytest.approx(5 / 8)
    assert found["truncated"] == pytest.approx(1 / 8)


def test_false_results_move_no_measure_of_diversity(data):
    texts = data.law.draw(400, stream("test", "wrong"))
    right, wrong = measured(data, texts), measured(data, [text[:LEFT] + "99" for text in texts])
    assert (right["valid"], wrong["valid"], wrong["correct"], wrong["formed"]) == (1, 0, 0, 1)
    assert [right[name] for name in DIVERSITY] == [wrong[name] for name in DIVERSITY]


def test_few_left_hand_sides_move_no_measure_of_correctness(data):
    common = data.law.text(int(data.law.p.argmax()))
    found = measured(data, [common] * 1500)
    assert [found[name] for name in CORRECTNESS] == [1, 1, 1, 1, 0]
    assert found["distinct"] == pytest.approx(1 / data.law.expected_distinct(1500).sum())
    assert found["coverage"] == found["rare_mass"] == 0
    assert found["entropy"] == 0
    assert found["total_variation"] > 0.3 > 20 * found["real_total_variation"]


def test_a_lost_tail_is_seen_in_coverage(data):
    real = data.law.draw(1500, stream("test", "tail"))
    kept = [text for text in real if not data.law.rare[data.law.place[text[:LEFT]]]]
    found, whole = measured(data, kept), measured(data, real)
    assert found["coverage"] == found["rare_mass"] == 0
    assert found["distinct"] < 0.8 < whole["distinct"]
    only = measured(data, [text for text in real if text not in set(kept)])
    assert only["rare_mass"] == pytest.approx(1 / data.law.p[data.law.rare].sum())
    assert only["coverage"] > 1


def test_levels_are_those_of_as_many_left_hand_sides(data):
    """A set half of which is broken is compared with half as many real ones: breaking is no loss of diversity."""
    texts = data.law.draw(800, stream("test", "half"))
    half = measured(data, texts[:400] + ["+" + text for text in texts[400:]])
    assert half["formed"] == 0.5
    alone = measured(data, texts[:400])
    assert [half[name] for name in DIVERSITY] == [alone[name] for name in DIVERSITY]


def test_without_a_left_hand_side_every_measure_is_a_number_by_rule(data):
    found = measured(data, ["", "1+1=2", "===", "9+9+9=27"])
    assert all(np.isfinite(value) for value in found.values())
    assert (found["parsed"], found["correct"], found["valid"], found["formed"]) == (0.5, 1.0, 0, 0)
    assert [found[name] for name in DIVERSITY] == [0, 0, 0, 0, 0, 1, 1]
    assert measured(data, ["=", "+"])["correct"] == 0
