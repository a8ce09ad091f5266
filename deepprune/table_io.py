"""Tables that people hand in, read row by row and refused in one line.

What is read was written by others: a file may be truncated, be no table at all, lack a column, or
hold a number where a text should be. Each of these ends in a `UserError` that names the file, the
row and the column. Rows come in batches, so memory stays flat however large a file is; only a JSON
array is read whole. Half a surrogate pair in a text, which no file can hold as UTF-8, becomes
U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError, reason
from deepprune.nested import listed, root_of, short, value_at
from deepprune.text_tables import SUFFIXES, Placed, suffix_of, text_rows

Kind = Literal["text", "answer", "integer", "number", "numbers", "value"]
"""What a column may hold, besides nulls.

An `answer` is a text, and a `value` a text or a number that is read as a text; a blank one is null.
"""

FORMATS = (
    "Parquet (.parquet), JSONL (.jsonl: one JSON object per line), JSON (.json: an array of "
    "objects) or CSV with a header (.csv), the last three also compressed (.gz)"
)
TEXT_SUFFIXES = (*SUFFIXES, ".gz")
"""The last suffixes of tables in text, whose rows come one by one; Parquet has row groups."""
BATCH_ROWS = 256
TABLE_ROWS = 1 << 17
BUFFER_BYTES = 1 << 20


def data_files(path: Path) -> list[Path]:
    """The files of a table: `path` itself, or the parts in a folder, in order of their names.

    Raises:
        UserError: there is no such path, or no table in it.
    """
    if path.is_dir():
        parts = sorted(
            file
            for file in path.iterdir()
            if (file.suffix == ".parquet" or suffix_of(file) in SUFFIXES)
            and not file.name.startswith(("_", "."))
        )
        if not parts:
            raise UserError(f"{path} holds no tables: expected {FORMATS}")
        return parts
    if not path.is_file():
        raise UserError(f"there is no file or folder {path}")
    return [path]


def read_rows(
    file: Path,
    columns: Mapping[str, Kind],
    required: Collection[str] = (),
    *,
    hint: str = "",
    limit: int | None = None,
    row_groups: Sequence[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows of a file, at most `limit`, with those of `columns` that it has.

    `required` columns must be there, if only to hold nulls; `hint` ends the message when they are
    not. `row_groups` chooses a part of a Parquet file, within which rows are then numbered.

    Raises:
        UserError: the file is damaged or foreign, or a value is not of its column's kind.
    """
    rows = placed_rows(file, columns, required, hint=hint, row_groups=row_groups)
    return (row for _, row in islice(rows, limit))


def placed_rows(
    file: Path,
    columns: Mapping[str, Kind],
    required: Collection[str] = (),
    *,
    lists: Collection[str] = (),
    hint: str = "",
    row_groups: Sequence[int] | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `read_rows`, each row with the file and the line or row that a message names.

    A column may be a path (`deepprune.nested`). Those in `lists` may hold a list of their kind.

    Raises:
        UserError: as `read_rows`, or a path leads to nothing.
    """
    if _is_parquet(file):
        rows = _parquet_rows(file, columns, required, hint, row_groups)
    else:
        rows = text_rows(file)
    is_csv = suffix_of(file) == ".csv"
    for place, row in rows:
        where = f"{file}, {place}"
        _refuse_missing(where, row, required, hint)
        found = {}
        for name, kind in columns.items():
            root = root_of(name, row)
            if root is not None:
                value = value_at(row, name, root, where)
                if is_csv and kind in ("integer", "number", "numbers"):
                    value = _parsed(value)
                many = name in lists and isinstance(value, list)
                found[name] = (
                    [_checked(one, kind, where, name) for one in value]
                    if many
                    else _checked(value, kind, where, name)
                )
        yield where, found


def read_tables(
    file: Path, columns: Mapping[str, pa.DataType], optional: Collection[str]
) -> Iterator[pa.Table]:
    """The rows of a file as tables of many rows, cast to the types of `columns`: for large files.

    `optional` columns may be missing, or hold nulls.

    Raises:
        UserError: the file is damaged or foreign, lacks a column or holds a value of another type.
    """
    required = [name for name in columns if name not in optional]
    for rows in _arrow_tables(file, columns, required):
        table = {}
        for name, kind in columns.items():
            if name not in rows.column_names:
                table[name] = pa.nulls(rows.num_rows, kind)
                continue
            try:
                table[name] = rows[name].cast(kind)
            except pa.ArrowException as error:
                raise UserError(f"{file}: column {name}: {reason(error)}") from None
            if name in required and table[name].null_count:
                raise UserError(f"{file}: column {name} holds nulls, where values should be")
        yield pa.table(table)


def _arrow_tables(
    file: Path, columns: Collection[str], required: Collection[str]
) -> Iterator[pa.Table]:
    if not _is_parquet(file):
        rows = text_rows(file)
        while batch := [row for _, row in islice(rows, TABLE_ROWS)]:
            for row in batch:
                _refuse_missing(str(file), row, required, "")
            try:
                yield pa.Table.from_pylist(batch)
            except pa.ArrowException as error:
                raise UserError(f"{file}: {reason(error)}") from None
        return
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            _refuse_missing(str(file), names, required, "")
            wanted = [name for name in names if name in columns]
            for read in table.iter_batches(TABLE_ROWS, columns=wanted):
                yield pa.Table.from_batches([read])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet: {reason(error)}") from None


def _is_parquet(file: Path) -> bool:
    if file.suffix == ".parquet":
        return True
    if suffix_of(file) in SUFFIXES:
        return False
    try:
        with file.open("rb") as opened:
            if opened.read(4) == b"PAR1":
                return True
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    raise UserError(f"{file} is in no format that can be read: give {FORMATS}")


def _parquet_rows(
    file: Path,
    columns: Collection[str],
    required: Collection[str],
    hint: str,
    row_groups: Sequence[int] | None,
) -> Placed:
    number = 0
    try:
        # Without a buffer, a row group's column is read whole, however large it is.
        with pq.ParquetFile(file, buffer_size=BUFFER_BYTES) as table:
            names = table.schema_arrow.names
            _refuse_missing(str(file), names, required, hint)
            roots = {root_of(column, names) for column in columns}
            wanted = [name for name in names if name in roots]
            for batch in table.iter_batches(BATCH_ROWS, row_groups, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as Parquet: {reason(error)}") from None


def _refuse_missing(
    where: str, present: Collection[str], required: Collection[str], hint: str
) -> None:
    missing = [name for name in required if root_of(name, present) is None]
    if missing:
        column = "column" if len(missing) == 1 else "columns"
        raise UserError(
            f"{where}: no {column} {', '.join(missing)} (found {listed(present)})"
            + (hint and f"; {hint}")
        )


def _parsed(cell: Any) -> Any:
    """The number or list of numbers that a cell of CSV spells, or else the cell."""
    try:
        return cell and json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _checked(value: Any, kind: Kind, where: str, column: str) -> Any:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "text" | "answer":
            fine = isinstance(value, str)
        case "integer":
            fine = number and int(value) == value if _is_finite(value) else False
        case "number":
            fine = number
        case "numbers":
            fine = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        case "value":
            fine = number or isinstance(value, str)
    if not fine:
        shown = {
            "integer": "a whole number",
            "number": "a number",
            "numbers": "a list of numbers",
        }.get(kind, "a text")
        raise UserError(f"{where}: {column} holds {short(value)}, where {shown} should be")
    if isinstance(value, str):
        return _encodable(value) if kind == "text" or value.strip() else None
    return int(value) if kind == "integer" else str(value) if kind == "value" else value


def _encodable(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair; two halves that meet are a pair."""
    if text.isascii():  # known without a look at the text
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and abs(value) < float("inf"))
