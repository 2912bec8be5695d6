"""Quality gates: what they read, and that a failed one keeps claims from being judged."""

import json

import pandas as pd
import pytest

from collapse.commands.judge import gates, judge
from collapse.errors import DataError

BLOCK = {"dataset": ["stories"], "policy": ["replace"], "sampler": ["temp1.0"], "selector": ["all"], "seed": [0, 1]}
CELLS = {
    "main": {**BLOCK, "recipe": ["xs"], "generations": 2},
    "longer": {**BLOCK, "recipe": ["xs_longer"], "generations": 1},
}
GATE = {"statement": "", "block": "main", "metric": "loss", "against": None, "recipe": None, "at_least": None}


def rows(**columns):
    """Generation 1 of two seeds: loss 2.0 and 2.2; one more epoch gains 5 %."""
    table = pd.DataFrame({"dataset": "stories", "policy": "replace", "sampler": "temp1.0", "selector": "all"}, range(4))
    table["recipe"], table["seed"], table["generation"] = ["xs", "xs", "xs_longer", "xs_longer"], [0, 1, 0, 1], 1
    return table.assign(loss=[2.0, 2.2, 1.9, 2.09], **columns)


def config(**gate):
    return {"cells": CELLS, "chains": {}, "gates": {"g": {**GATE, "at_most": None, **gate}}}


@pytest.mark.parametrize(("bound", "passed"), [({"at_most": 2.1 + 1e-9}, True), ({"at_most": 2.0}, False),
                                               ({"at_least": 2.0}, True), ({"at_least": 2.2}, False)])  # fmt: skip
def test_the_mean_over_seeds_is_bounded(bound, passed):
    (found,) = gates(config(**bound), rows())
    assert found["value"] == pytest.approx(2.1)
    assert found["passed"] is passed


def test_a_gain_over_another_recipe():
    (found,) = gates(config(against="longer", at_most=0.02), rows())
    assert found["value"] == pytest.approx(0.05)
    assert found["passed"] is False


def test_a_metric_that_the_data_do_not_have_is_not_applicable():
    """Real stories have no known source: no excess over it."""
    for table in (rows(), rows(excess=float("nan"))):
        (found,) = gates(config(metric="excess", at_most=0.1), table)
        assert found["passed"] is None
        assert found["value"] is None


def test_a_missing_seed_is_an_error():
    with pytest.raises(DataError, match="for every seed"):
        gates(config(at_most=3), rows().drop(index=1))


def test_claims_on_a_recipe_that_fails_a_gate_are_not_judged(tmp_path):
    (tmp_path / "claims").mkdir()
    claim = tmp_path / "claims/paper.yaml"
    claim.write_text(
        "- id: C\n  figure: f\n  statement: It rises.\n  rows: {block: main, policy: replace, recipe: xs}\n"
        "  statistic: {name: minimum_step, metric: loss, first: 1, last: 2}\n"
        "  test: {kind: t, direction: greater, than: 0}\n"
    )
    first = rows()
    table = pd.concat([first, first[first["recipe"] == "xs"].assign(generation=2, loss=[3.0, 3.3])])
    table.to_parquet(tmp_path / "rows.parquet")
    for bound, verdict in ((3.0, None), (1.0, "not judged at this scale")):
        text = judge([claim, tmp_path / "rows.parquet"], tmp_path, config(at_most=bound))
        (record,) = json.loads((tmp_path / "verdicts/verdicts.json").read_text())
        assert (record["verdict"] == "not judged at this scale") is (verdict is not None)
        assert ("FAILED" in text) is (verdict is not None)
