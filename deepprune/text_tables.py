"""Rows of JSONL, JSON and CSV files, compressed with gzip or not.

Each row comes with its place in the file, such as "line 3", counted as editors do. A JSON array is
loaded into memory; the other formats are streamed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepprune.errors import UserError

MAX_LINE_BYTES = 1 << 28

Placed = Iterator[tuple[str, dict[str, Any]]]
"""Places and rows."""


def suffix_of(file: Path) -> str:
    """The suffix that names the format: `.csv` of `rows.csv.gz`."""
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix


def text_rows(file: Path) -> Placed:
    """Read a file whose `suffix_of` is in `SUFFIXES`. Cells of CSV are texts or None.

    Raises:
        UserError: the file is damaged or has another format.
    """
    try:
        with _opened(file) as opened:
            yield from _READERS[suffix_of(file)](file, opened)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {file}: {reason}") from None


def _opened(file: Path) -> io.BufferedReader:
    return io.BufferedReader(gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def _jsonl_rows(file: Path, lines: io.BufferedReader) -> Placed:
    number = 0
    try:
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if line.isspace():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            yield f"line {number}", row
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise UserError(
            f"{file}, line {number}: expected one JSON object per line ({reason})"
        ) from None


def _json_rows(file: Path, opened: io.BufferedReader) -> Placed:
    start = opened.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    opened.seek(0)
    if not start.startswith(b"["):
        yield from _jsonl_rows(file, opened)
        return
    try:
        rows = json.loads(opened.read())
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise UserError(f"{file}: expected a JSON array of objects ({reason})") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{file}, row {number}: expected a JSON array of objects")
        yield f"row {number}", row


def _csv_rows(file: Path, opened: io.BufferedReader) -> Placed:
    """Read CSV. An empty cell is None, because most programs write both alike."""
    csv.field_size_limit(MAX_LINE_BYTES)  # of the process; by default a field has 128 KiB at most
    lines = csv.reader(io.TextIOWrapper(opened, "utf-8-sig", newline=""), strict=True)
    header: list[str] = []
    number = 1
    try:
        for cells in lines:
            place, number = f"line {number}", lines.line_num + 1
            if not header:
                header = cells
            elif cells:
                if len(cells) != len(header):
                    raise UserError(
                        f"{file}, {place}: {len(cells)} cells under a header of {len(header)}"
                    )
                yield place, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file}, line {number}: expected CSV with a header ({error})") from None


_READERS: dict[str, Callable[[Path, io.BufferedReader], Placed]] = {
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
}
SUFFIXES = tuple(_READERS)
