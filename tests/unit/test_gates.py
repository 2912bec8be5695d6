"""Quality gates: what they read, and that a failed one keeps claims from being judged."""

import json

import pandas as pd
import pytest
import yaml

from collapse.commands.judge import as_text, gates, judge
from collapse.errors import ConfigError, DataError
from collapse.judging.verdicts import NOT_JUDGED

BLOCK = {"dataset": ["stories"], "policy": ["replace"], "sampler": ["temp1.0"], "selector": ["all"], "seed": [0, 1]}
CELLS = {
    "main": {**BLOCK, "recipe": ["xs"], "generations": 2},
    "longer": {**BLOCK, "recipe": ["xs_longer"], "generations": 1},
}
GATE = {"statement": "it is good", "block": "main", "metric": "loss", "against": None, "recipe": None, "at_least": None}


def rows(**columns):
    """Generation 1 of two seeds: loss 2.0 and 2.2; one more epoch gains 5 %."""
    table = pd.DataFrame({"dataset": "stories", "policy": "replace", "sampler": "temp1.0", "selector": "all"}, range(4))
    table["recipe"], table["seed"], table["generation"] = ["xs", "xs", "xs_longer", "xs_longer"], [0, 1, 0, 1], 1
    return table.assign(loss=[2.0, 2.2, 1.9, 2.09], **columns)


def config(cells=CELLS, **gate):
    return {"cells": cells, "chains": {}, "gates": {"g": {**GATE, "at_most": None, **gate}}}


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


def test_of_several_recipes_the_gate_names_the_two_that_it_compares():
    """Never the gain of one model over another that happens to come first."""
    cells = {name: {**block, "recipe": ["s", "s_longer", *block["recipe"]]} for name, block in CELLS.items()}
    first = rows()
    both = pd.concat([first, first.assign(recipe=["s", "s", "s_longer", "s_longer"], loss=[4.0, 4.0, 2.0, 2.0])])
    for model, gain in (("xs", 0.05), ("s", 0.5)):
        names = {"recipe": model, "against": "longer", "against_recipe": f"{model}_longer"}
        (found,) = gates(config(cells, **names, at_most=0.02), both)
        assert (found["recipe"], found["value"]) == (model, pytest.approx(gain))
    with pytest.raises(
        ConfigError, match="block 'longer' has the recipes s, s_longer, xs_longer: set 'against_recipe'"
    ):
        gates(config(cells, recipe="xs", against="longer", at_most=0.02), both)
    with pytest.raises(ConfigError, match="block 'main' has the recipes s, s_longer, xs: set 'recipe'"):
        gates(config(cells, against="longer", against_recipe="xs_longer", at_most=0.02), both)
    with pytest.raises(ConfigError, match=r"unknown against_recipe of block 'longer' .*did you mean 'xs_longer'"):
        gates(config(cells, recipe="xs", against="longer", against_recipe="xs_longr", at_most=0.02), both)
    assert [g["recipe"] for g in gates(config(cells, at_most=5), both)] == ["s", "s_longer", "xs"]


def test_a_metric_that_the_data_do_not_have_is_not_applicable():
    """Real stories have no known source: no excess over it."""
    for table in (rows(), rows(excess=float("nan"))):
        (found,) = gates(config(metric="excess", at_most=0.1), table)
        assert found["passed"] is None
        assert found["value"] is None


def test_a_missing_seed_is_an_error():
    with pytest.raises(DataError, match="for every seed"):
        gates(config(at_most=3), rows().drop(index=1))


RISES = {
    "id": "C",
    "figure": "f",
    "statement": "It rises.",
    "rows": {"block": "main", "policy": "replace", "recipe": "xs"},
    "statistic": {"name": "minimum_step", "metric": "loss", "first": 1, "last": 2},
    "test": {"kind": "t", "direction": "greater", "than": 0},
}


def judged(folder, table, settings, *entries):
    """The text, and claim -> record, of judging ``entries`` on ``table``."""
    claims, file = folder / "paper.yaml", folder / "rows.parquet"
    claims.write_text(yaml.safe_dump(list(entries)))
    table.to_parquet(file)
    text = judge([claims, file], folder, settings)
    records = json.loads((folder / "verdicts/verdicts.json").read_text())
    return text, {record["claim"]: record for record in records}


def test_claims_on_a_recipe_that_fails_a_gate_are_not_judged(tmp_path):
    first = rows()
    table = pd.concat([first, first[first["recipe"] == "xs"].assign(generation=2, loss=[3.0, 3.3])])
    for bound, fails in ((3.0, False), (1.0, True)):
        text, records = judged(tmp_path, table, config(at_most=bound), RISES)
        assert (records["C"]["verdict"] == NOT_JUDGED) is fails
        assert ("FAILED" in text) is fails
        reason = "generation 1 of xs failed the quality gate 'g': 2.1"
        assert records["C"]["reason"] == (reason if fails else None)
        assert (reason in text) is fails


@pytest.mark.parametrize("key", ["recipe", "dataset"])
@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
def test_a_claim_is_not_judged_if_any_pair_that_it_compares_fails(tmp_path, key, order):
    """Whichever comes first: a difference is as bad as the worse of the two."""
    names = {"recipe": ["xs"], "dataset": ["stories"], key: ["good", "bad", "other"]}
    cells = {"main": {**BLOCK, **names, "generations": 1}}
    template = rows().iloc[:2].drop(columns="loss").assign(recipe="xs")
    levels = {"good": [2.0, 2.2], "bad": [9.0, 9.4], "other": [2.5, 2.701]}
    table = pd.concat([template.assign(loss=loss, **{key: name}) for name, loss in levels.items()])
    statistic = {"name": "difference", "metric": "loss", "generation": 1}

    def claim(name, *compared):
        at = {"block": "main", "policy": "replace", "compare": key, key: list(compared)}
        return {**RISES, "id": name, "rows": at, "statistic": statistic}

    entries = claim("hit", *order), claim("apart", "good", "other")
    text, records = judged(tmp_path, table, config(cells, at_most=5), *entries)
    hit, apart = records["hit"], records["apart"]
    assert (hit["verdict"], hit["p_adjusted"], hit[key]) == (NOT_JUDGED, None, ", ".join(order))
    assert "failed the quality gate 'g': 9.2" in hit["reason"]
    assert hit["estimate"] == pytest.approx(-7.1 if order[0] == "good" else 7.1)  # measured, not judged
    assert apart["verdict"] != NOT_JUDGED
    assert apart["p_adjusted"] == apart["p"]  # what is not judged does not count in Holm's correction
    assert ("xs on bad" if key == "dataset" else "bad on stories") in text
    _, open_gate = judged(tmp_path, table, config(cells, at_most=10), *entries)
    assert open_gate["hit"]["verdict"] != NOT_JUDGED
    assert open_gate["apart"]["p_adjusted"] == pytest.approx(2 * apart["p"])


def test_a_gate_closes_the_pair_whichever_block_it_names(tmp_path):
    """Two policies from two blocks are one pair of data set and recipe."""
    cells = {**CELLS, "more": {**BLOCK, "policy": ["accumulate"], "recipe": ["xs"], "generations": 1}}
    first = rows()
    table = pd.concat([first, first[first["recipe"] == "xs"].assign(policy="accumulate", loss=[2.0, 2.2])])
    at = {"block": ["more", "main"], "policy": ["accumulate", "replace"], "recipe": "xs"}
    entry = {**RISES, "rows": at, "statistic": {"name": "difference", "metric": "loss", "generation": 1}}
    for block in ("more", "main"):
        _, records = judged(tmp_path, table, config(cells, block=block, at_most=1.0), entry)
        assert records["C"]["verdict"] == NOT_JUDGED


def test_two_failed_gates_are_both_named(tmp_path):
    settings = config(at_most=1.0)
    settings["gates"]["h"] = {**settings["gates"]["g"], "at_most": 1.5}
    first = rows()
    table = pd.concat([first, first[first["recipe"] == "xs"].assign(generation=2)])
    _, records = judged(tmp_path, table, settings, RISES)
    assert records["C"]["reason"].count("failed the quality gate") == 2


def test_the_text_is_a_table_with_columns_that_line_up():
    record = {"estimate": 0.123456, "low": -1.0, "high": 2.0, "n": 3, "verdict": "replicated", "reason": None}
    short = {**record, "claim": "P1.xs", "statement": "It rises."}
    long = {
        **record,
        "claim": "P9.subsample_below_replace.gpt2_9m",
        "statement": "It falls.",
        "verdict": "inconclusive",
    }
    absent = {**short, "claim": "P2", "estimate": None, "verdict": NOT_JUDGED, "reason": "1 seed(s)"}
    gate = {"gate": "plateau", "recipe": "xs", "dataset": "stories", "statement": "flat", "value": 0.5, "passed": True}
    lines = as_text([short, long, absent], [gate, {**gate, "gate": "g", "value": None, "passed": None}]).splitlines()
    assert lines[:2] == [
        "gate plateau  xs on stories  0.5 ok                          flat",
        "gate g        xs on stories  not applicable: no such metric  flat",
    ]
    assert [line.split() for line in lines[2:4]] == [
        ["P1.xs", "replicated", "0.1235", "[-1,", "2]", "n=3", "It", "rises."],
        ["P9.subsample_below_replace.gpt2_9m", "inconclusive", "0.1235", "[-1,", "2]", "n=3", "It", "falls."],
    ]
    assert len({line.index(end) for line, end in zip(lines[2:], ("It", "It", "1 seed"), strict=True)}) == 1
    assert as_text([], []) == ""


def test_a_scale_without_claims_and_gates_judges_nothing(tmp_path):
    assert judge([], tmp_path, {"cells": {}, "chains": {}, "gates": {}}) == ""
    assert (tmp_path / "verdicts/verdicts.csv").read_text().startswith("claim,paper,figure")
    assert json.loads((tmp_path / "verdicts/verdicts.json").read_text()) == []
