"""Tables of rows: nothing missing, nothing doubled, written whole."""

import pandas as pd
import pytest

from collapse.commands.runs import runs
from collapse.errors import DataError
from collapse.table import GRID, KEY, check, key, read_tables, write_table

NAMES = {"dataset": "d", "recipe": "r", "policy": "p", "sampler": "s", "selector": "all"}


def rows(seeds=(0, 1), generations=(1, 2, 3), **more):
    return pd.DataFrame(
        [{**NAMES, "seed": s, "generation": g, "loss": g / 7, **more} for s in seeds for g in generations]
    )


def test_whole_tables_pass():
    check(rows(), "rows")
    check(rows(), "rows", 3)
    check(rows().sample(frac=1, random_state=0), "rows", 3)
    check(pd.concat([rows(), rows(generations=(1,)).assign(policy="q")]), "rows")


def test_settings_of_a_grid_belong_to_the_key():
    grid = pd.concat([rows(d=10, sigma2=s) for s in (0.1, 1.0)])
    assert key(grid) == [*KEY, "d", "sigma2"]
    check(grid, "rows", 3)
    with pytest.raises(DataError, match="doubled row"):
        check(grid.drop(columns="sigma2"), "rows")
    assert set(GRID).isdisjoint(KEY)


def test_rows_with_and_without_a_grid_live_in_one_table():
    both = pd.concat([rows(), rows(d=10).assign(dataset="linear")], ignore_index=True)
    assert both["d"].isna().any()
    check(both, "rows", 3)
    with pytest.raises(DataError, match="doubled row"):
        check(pd.concat([both, both.tail(1)]), "rows")
    with pytest.raises(DataError, match="doubled row"):
        check(pd.concat([both, both.head(1)]), "rows")
    with pytest.raises(DataError, match="generations are missing"):
        check(both.drop(index=1), "rows")


@pytest.mark.parametrize("column", KEY)
def test_a_key_column_that_is_missing_is_named(column):
    with pytest.raises(DataError, match=f"made.parquet: no {column}: delete it and run again"):
        check(rows().drop(columns=column), "made.parquet")


def test_no_rows_are_an_error():
    with pytest.raises(DataError, match="made: no rows"):
        check(rows().head(0), "made")


def test_a_doubled_row_is_named():
    with pytest.raises(DataError, match=r"made: doubled row: dataset d, recipe r, .* seed 1, generation 2$"):
        check(pd.concat([rows(), rows((1,), (2,))]), "made")


@pytest.mark.parametrize("left_out", [1, 2])
def test_a_missing_generation_is_named(left_out):
    table = rows()
    table = table[(table["seed"] != 1) | (table["generation"] != left_out)]
    with pytest.raises(DataError, match=r"made: generations are missing from dataset d, .* seed 1$"):
        check(table, "made")


def test_generations_count_from_1():
    for wrong in ((0, 2), (0, 1, 2), (2, 3)):
        with pytest.raises(DataError, match="generations are missing"):
            check(rows(generations=wrong), "made")


def test_a_series_that_ends_too_early_or_late():
    check(rows(), "made", 3)
    for wanted in (2, 4):
        with pytest.raises(DataError, match="generations are missing"):
            check(rows(), "made", wanted)


def test_tables_are_written_whole_and_come_back(tmp_path):
    write_table(tmp_path / "a.parquet", rows((0,)))
    write_table(tmp_path / "b.parquet", rows((1,)))
    pd.testing.assert_frame_equal(read_tables([tmp_path / "a.parquet", tmp_path / "b.parquet"]), rows())
    first = (tmp_path / "a.parquet").read_bytes()
    write_table(tmp_path / "a.parquet", rows((0,)))
    assert (tmp_path / "a.parquet").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"cannot write .*rows\.parquet"):
        write_table(tmp_path / "taken" / "rows.parquet", rows())


@pytest.mark.parametrize("content", [None, b"", b"not a table", "cut"])
def test_broken_tables_are_named(tmp_path, content):
    path = tmp_path / "rows.parquet"
    if content is not None:
        write_table(path, rows())
        path.write_bytes(path.read_bytes()[:-5] if content == "cut" else content)
    with pytest.raises(DataError, match=r"cannot read .*rows\.parquet.*delete it and run again"):
        read_tables([path])


def test_no_tables_to_read():
    with pytest.raises(DataError, match="no tables"):
        read_tables([])


def test_a_setting_may_be_a_number_in_one_table_and_a_name_in_another(tmp_path):
    for name, bandwidth in (("half", 0.5), ("scott", "scott"), ("none", None)):
        write_table(tmp_path / f"{name}.parquet", rows().assign(recipe=name, bandwidth=bandwidth))
    runs(tmp_path / "runs.parquet", sorted(tmp_path.glob("*.parquet")))
    joined = pd.read_parquet(tmp_path / "runs.parquet")
    assert {r: set(part.dropna()) for r, part in joined.groupby("recipe")["bandwidth"]} == {
        "half": {"0.5"},
        "scott": {"scott"},
        "none": set(),
    }
