"""Tables of rows: parquet, written atomically, keys checked. A missing or doubled row is an error."""

from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd
from pyarrow import parquet

from collapse import store
from collapse.errors import DataError

KEY = ["dataset", "recipe", "policy", "sampler", "selector", "seed", "generation"]
GRID = ["d", "T", "sigma2", "design", "shape"]
"""Columns that belong to the key where a table has them (chains over a grid of settings)."""


def key(table: pd.DataFrame) -> list[str]:
    """Return the columns that name a row of ``table``."""
    return KEY + [c for c in GRID if c in table.columns]


def _name(columns: Iterable[str], values: Iterable) -> str:
    return ", ".join(f"{column} {value}" for column, value in zip(columns, values, strict=True))


def check(table: pd.DataFrame, what: str, generations: int | None = None) -> None:
    """Raise DataError on a missing key column, an empty table, a doubled row, or a generation that is missing."""
    missing = [c for c in KEY if c not in table.columns]
    if missing or table.empty:
        raise DataError(f"{what}: no {', '.join(missing) or 'rows'}: delete it and run again")
    names = key(table)
    doubled = table[table.duplicated(names)]
    if len(doubled):
        raise DataError(f"{what}: doubled row: {_name(names, doubled.iloc[0][names])}")
    series = [c for c in names if c != "generation"]
    found = table.groupby(series, dropna=False, sort=False)["generation"].agg(["min", "max", "count"])
    bad = found[(found["min"] != 1) | (found["max"] != found["count"])]
    if generations is not None and bad.empty:
        bad = found[found["count"] != generations]
    if len(bad):
        raise DataError(f"{what}: generations are missing from {_name(series, bad.index[0])}")


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as parquet, atomically. Raises DataError."""
    store.write(path, lambda part: table.to_parquet(part, index=False))


def read_tables(files: Iterable[str | Path], columns: Collection[str] | None = None) -> pd.DataFrame:
    """Read and join tables, or of each the columns that are asked for and there.

    Raises:
        DataError: a file is missing or broken; the message names it.
    """
    tables = []
    for path in files:
        try:
            there = None if columns is None else [c for c in parquet.read_schema(path).names if c in columns]
            tables.append(pd.read_parquet(path, columns=there))
        except (OSError, ValueError) as error:  # pyarrow reports a broken file as a ValueError
            raise DataError(f"cannot read {path}: {error}: delete it and run again") from error
    if not tables:
        raise DataError("no tables to read")
    return pd.concat(tables, ignore_index=True)
