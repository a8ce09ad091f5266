"""Tables that people hand in, Parquet or JSONL, read row by row and refused in one line.

What is read was written by others: a file may be truncated, be no table at all, lack a column, or
hold a number where a text should be. Each of these ends in a `UserError` that names the file, the
row and the column. Rows come in batches, so memory stays flat however large a file is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError

Kind = Literal["text", "integer", "numbers", "value"]
"""What a column may hold, besides nulls; a `value` is a text or a number, and is read as a text."""

FORMATS = "Parquet (.parquet) or JSONL (.jsonl: one JSON object per line)"
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")
BATCH_ROWS = 256
BUFFER_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 28


def data_files(path: Path) -> list[Path]:
    """The files of a table: `path` itself, or the parts in a folder, in order of their names.

    Raises:
        UserError: there is no such path, or no table in it.
    """
    if path.is_dir():
        suffixes = (".parquet", *JSONL_SUFFIXES)
        parts = sorted(
            file
            for file in path.iterdir()
            if file.suffix in suffixes and not file.name.startswith(("_", "."))
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
    is_jsonl = file.suffix in JSONL_SUFFIXES
    rows = (
        _jsonl_rows(file) if is_jsonl else _parquet_rows(file, columns, required, hint, row_groups)
    )
    for number, row in enumerate(rows, start=1):
        if limit is not None and number > limit:
            return
        where = f"{file}, {'line' if is_jsonl else 'row'} {number}"
        if is_jsonl:
            _refuse_missing(where, row, required, hint)
        yield {
            name: _checked(row[name], kind, where, name)
            for name, kind in columns.items()
            if name in row
        }


def _parquet_rows(
    file: Path,
    columns: Collection[str],
    required: Collection[str],
    hint: str,
    row_groups: Sequence[int] | None,
) -> Iterator[dict[str, Any]]:
    try:
        # Without a buffer, a row group's column is read whole, however large it is.
        with pq.ParquetFile(file, buffer_size=BUFFER_BYTES) as table:
            names = table.schema_arrow.names
            _refuse_missing(str(file), names, required, hint)
            wanted = [name for name in names if name in columns]
            for batch in table.iter_batches(BATCH_ROWS, row_groups, columns=wanted):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file} cannot be read as Parquet: {reason}") from None


def _jsonl_rows(file: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with file.open("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                number += 1
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not a JSON object")
                yield row
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise UserError(
            f"{file}, line {number}: expected one JSON object per line ({reason})"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def _refuse_missing(
    where: str, present: Collection[str], required: Collection[str], hint: str
) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        found = ", ".join(sorted(present)[:12]) or "nothing"
        column = "column" if len(missing) == 1 else "columns"
        raise UserError(
            f"{where}: no {column} {', '.join(missing)} (found {found})" + (hint and f"; {hint}")
        )


def _checked(value: Any, kind: Kind, where: str, column: str) -> Any:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "text":
            fine = isinstance(value, str)
        case "integer":
            fine = number and int(value) == value if _is_finite(value) else False
        case "numbers":
            fine = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        case "value":
            fine = number or isinstance(value, str)
    if not fine:
        shown = {"integer": "a whole number", "numbers": "a list of numbers"}.get(kind, "a text")
        raise UserError(f"{where}: {column} holds {_short(value)}, where {shown} should be")
    if kind == "integer":
        return int(value)
    return str(value) if kind == "value" else value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and abs(value) < float("inf"))


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text[:40]}..." if len(text) > 43 else text
