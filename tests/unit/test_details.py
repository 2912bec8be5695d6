"""Measures of single items: what the data set's metrics are told, the table that they become, and who reads it."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from collapse import table
from collapse.commands.figure import figure
from collapse.commands.measure import measure
from collapse.datasets import gaussian as data_module
from collapse.families import gaussian as family
from collapse.metrics import gaussian as metrics
from tests.chains import SIZE, Folder

NAMES = ["dataset", "recipe", "policy", "sampler", "selector", "family", "seed", "generation"]


@pytest.fixture
def asked(monkeypatch):
    """The calls of a stand-in for ``details`` of the Gaussian data set's metrics."""
    found = []

    def details(items, first, data, n):
        scale = first.real.setdefault("sd", [items.output.std()])[0]
        found.append(SimpleNamespace(items=items, first=first, data=data, n=n))
        standard = (items.output[0] - first.model.mean) / scale
        columns = {"standard": standard, "path": [[float(v), float(n)] for v in items.output[0]]}
        return columns, {"first_standard_mean": float(standard.mean())}

    monkeypatch.setattr(metrics, "details", details, raising=False)
    return found


def measured(root, policy="replace", last=3, **options):
    folder = Folder(root, policy, seed=2, last=last, **options).run()
    measure(folder.whole(generations=last))
    return folder


def read(folder, name="details.parquet"):
    return pd.read_parquet(folder.tables() / name)


def test_details_have_a_row_for_each_item(tmp_path, asked):
    folder = measured(tmp_path)
    found, data = read(folder), folder.whole().data
    assert list(found.columns) == [*NAMES, "standard", "path"]
    series = {"dataset": "normal", "recipe": "moments", "family": "gaussian", "seed": 2, **folder.names}
    assert {name: found[name].unique().tolist() for name in series} == {k: [v] for k, v in series.items()}
    assert found["generation"].tolist() == [n for n in range(4) for _ in range(SIZE)]
    model = family.load(folder.path(1) / "model.safetensors")
    for n in range(4):
        items = data.real() if n == 0 else folder.whole().samples(n, SIZE)
        rows = found[found["generation"] == n]
        assert rows["standard"].tolist() == ((items.output[0] - model.mean) / data.real().output.std()).tolist()
        assert [path.tolist() for path in rows["path"]] == [[v, n] for v in items.output[0]]


def test_numbers_of_details_are_columns_of_the_rows(tmp_path, asked):
    folder = measured(tmp_path)
    rows, found = read(folder, "rows.parquet"), read(folder)
    means = found.groupby("generation")["standard"].mean()
    assert rows["sample_first_standard_mean"].tolist() == pytest.approx([means[n] for n in (1, 2, 3)])
    assert rows["generation"].tolist() == [1, 2, 3]  # generation 0 has no row: it has no model
    assert {"sample_mean", "sample_sd"} <= set(rows)
    table.check(rows, "rows", 3)


def test_what_measures_of_items_are_told(tmp_path, asked):
    folder = measured(tmp_path, "replace_multiple")
    assert [call.n for call in asked] == [0, 1, 2, 3]
    assert [len(call.items) for call in asked] == [SIZE] * 4  # however many were drawn
    assert [call.items.generation[0, 0] for call in asked] == [0, 1, 2, 3]
    assert asked[0].items.sha256() == folder.whole().data.real().sha256()
    first = asked[0].first
    assert all(call.first is first for call in asked)  # one for the series, and what is kept in it
    assert first.real == {"sd": [asked[0].items.output.std()]}
    assert first.family is family
    assert first.model is first.model
    assert (first.model.mean, first.model.sd) == tuple(vars(family.load(folder.path(1) / "model.safetensors")).values())
    assert {type(call.data) for call in asked} == {data_module.Gaussian}


def test_another_series_keeps_nothing_of_this_one(tmp_path, asked):
    measured(tmp_path / "a", last=1)
    measured(tmp_path / "b", last=1)
    assert asked[0].first is not asked[2].first
    assert asked[0].first.real is not asked[2].first.real


def test_without_measures_of_items_the_table_has_no_rows(tmp_path):
    assert not hasattr(metrics, "details")
    folder = measured(tmp_path, last=2)
    found = read(folder)
    assert list(found.columns) == NAMES
    assert len(found) == 0
    assert [c for c in read(folder, "rows.parquet") if c.startswith("sample_")] == ["sample_mean", "sample_sd"]


def test_a_chain_that_draws_nothing_has_no_details(tmp_path, asked):
    folder = Folder(tmp_path, "replace", seed=2, last=1, sampler={"kind": "none"}).run()
    measure(folder.whole(generations=1))
    assert asked == []
    assert len(read(folder)) == 0
    assert not [column for column in read(folder, "rows.parquet") if column.startswith("sample_")]


def test_items_that_are_no_text_have_no_examples(tmp_path, monkeypatch):
    monkeypatch.delattr(data_module.Gaussian, "decode")
    folder = measured(tmp_path, last=2)
    assert json.loads((folder.tables() / "examples.json").read_text()) == {"1": [], "2": []}


# figures

SCRIPT = """
from collapse.plotting import Drawing
from matplotlib import pyplot as plt


def draw(inputs):
    seen = {name: getattr(inputs, name) for name in ("rows", "curves", "details")}
    counts = {name: [-1 if found is None else len(found)] for name, found in seen.items()}
    import pandas as pd
    table = pd.DataFrame(counts) if inputs.details is None else inputs.details.assign(path=None)
    return Drawing(plt.figure(), table, " ".join(f"{k} {v[0]}" for k, v in counts.items()))
"""


@pytest.fixture
def drawn(tmp_path):
    """Draw a figure from tables of series: its caption, which counts them, and its table."""
    (tmp_path / "scripts/paper").mkdir(parents=True)
    (tmp_path / "scripts/paper/counts.py").write_text(SCRIPT)

    def draw(*files):
        root = tmp_path / "results"
        figure("paper", "counts", list(files), root, {}, scripts=tmp_path / "scripts")
        out = root / "figures/paper/counts"
        return out.with_suffix(".txt").read_text().strip(), pd.read_csv(out.with_suffix(".csv"))

    return draw


def files(folder, *names):
    return [folder.tables() / f"{name}.parquet" for name in names]


def test_figures_read_details_beside_rows(tmp_path, asked, drawn):
    folder, other = measured(tmp_path / "a"), measured(tmp_path / "b", "accumulate", last=2)
    caption, found = drawn(*files(folder, "rows", "details"), *files(other, "rows", "details"))
    assert caption == f"rows 5 curves -1 details {7 * SIZE}"
    assert np.allclose(found["standard"], pd.concat([read(folder), read(other)])["standard"])
    assert found.groupby("policy")["generation"].max().to_dict() == {"replace": 3, "accumulate": 2}
    assert drawn(*files(folder, "rows"))[0] == "rows 3 curves -1 details -1"
    assert drawn(*files(folder, "details"))[0] == f"rows -1 curves -1 details {4 * SIZE}"


def test_series_without_details_stand_beside_others(tmp_path, asked, drawn, monkeypatch):
    folder = measured(tmp_path / "a")
    monkeypatch.delattr(metrics, "details")
    empty = measured(tmp_path / "b", "accumulate", last=2)
    for order in ((folder, empty), (empty, folder)):
        caption, found = drawn(*(file for each in order for file in files(each, "rows", "details")))
        assert caption == f"rows 5 curves -1 details {4 * SIZE}"
        assert found["generation"].tolist() == read(folder)["generation"].tolist()
        assert found["standard"].tolist() == pytest.approx(read(folder)["standard"].tolist())
    assert drawn(*files(empty, "rows", "details"))[0] == "rows 2 curves -1 details 0"
