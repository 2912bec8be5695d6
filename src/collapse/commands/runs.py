"""`collapse runs`: every row of a scale in one table, a row per fit."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collapse import store, table
from collapse.errors import DataError


def runs(out: Path, files: list[Path]) -> None:
    """Join tables of rows into ``out``; columns that a table lacks are null.

    Raises:
        DataError: a table is missing or broken, or a row is missing or doubled.
    """
    parts = []
    for path in files:
        try:
            part = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {path}: {error}: delete it and run again") from error
        # within a file; files have different names in their path, so rows of two files cannot be the same
        table.check(part.select([c for c in part.column_names if c in table.KEY + table.GRID]).to_pandas(), str(path))
        parts.append(part)
    joined = pa.concat_tables(_aligned(parts), promote_options="permissive")
    store.write(out, lambda part: pq.write_table(joined, part))


def _aligned(parts: list[pa.Table]) -> list[pa.Table]:
    """Return the tables with text where a column holds text in one of them and numbers in another.

    A setting may be a number or a rule's name, as the bandwidth of a kernel.
    """
    texts = {
        f.name for part in parts for f in part.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    }

    def cast(part: pa.Table) -> pa.Table:
        kinds = [pa.field(f.name, pa.large_string() if f.name in texts else f.type) for f in part.schema]
        return part.cast(pa.schema(kinds))

    return [cast(part) for part in parts]
