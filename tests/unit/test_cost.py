"""The ledger: every job of every scale has a price, and dearer work costs more."""

import csv
from pathlib import Path

import pytest

from collapse import config as configs
from collapse import grid
from collapse.commands import cost

CONFIGS = Path(__file__).parent.parent.parent / "config"
NAMES = {"dataset": "stories", "recipe": "gpt2_xs", "sampler": "temp1.0", "selector": "all", "seed": 0}


@pytest.fixture
def laptop():
    return configs.load(CONFIGS / "laptop.yaml")


@pytest.mark.parametrize("scale", ["laptop", "smoke", "paper"])
def test_every_job_has_a_price(scale, monkeypatch, tmp_path):
    config = configs.load(CONFIGS / f"{scale}.yaml")
    monkeypatch.chdir(tmp_path)  # nothing is prepared or recorded here
    for rule, wildcards in grid.jobs(config):
        assert 0 < cost.weigh(config, rule, wildcards) < 1e9, (rule, wildcards)
    table = cost.cost(CONFIGS / f"{scale}.yaml").splitlines()
    assert int(next(line for line in table if line.startswith("all")).split()[1]) == len(grid.jobs(config))


def test_more_items_cost_more_and_equal_steps_do_not(laptop, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    price = {
        (policy, n): cost.weigh(laptop, "fit", {**NAMES, "policy": policy, "n": n})
        for policy in ("replace", "accumulate", "accumulate_steps")
        for n in (2, 5)
    }
    start, unit = cost.START["fit"], price["replace", 2]
    assert price["replace", 5] == unit
    assert price["accumulate_steps", 5] == pytest.approx(unit)
    assert 2 * (unit - start) < price["accumulate", 5] - start < 5 * (unit - start)


def test_wildcards_may_be_text_and_unknown_jobs_have_no_price(monkeypatch, tmp_path):
    weigh = cost.weigher(CONFIGS / "laptop.yaml")
    monkeypatch.chdir(tmp_path)
    text = {k: str(v) for k, v in NAMES.items()}
    assert weigh("fit", {**text, "policy": "replace", "n": "2"}) > 0
    assert weigh("fit", {**text, "policy": "replaced", "n": "2"}) is None
    assert weigh("all", {}) == 1.0


def test_records_are_added_up(laptop, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for path, seconds, peak in (("fit/a/gen2", "1.5", "10"), ("fit/b/gen2", "2.5", "30"), ("chains/x", "4", "-")):
        file = tmp_path / "results/laptop/benchmarks" / f"{path}.tsv"
        file.parent.mkdir(parents=True)
        with file.open("w", newline="") as out:
            csv.writer(out, delimiter="\t").writerows([["s", "max_rss"], [seconds, peak]])
    assert cost.recorded(laptop) == {"fit": (2, 4.0, 30.0), "simulate": (1, 4.0, 0.0)}
