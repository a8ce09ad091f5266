"""Write tables: a Parquet file appears whole or not at all, even when process or machine die."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError

SUMMARY = b"deepprune"
GROUP_ROWS = 65536
GROUP_BYTES = 16 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under another name, flush it to the disk and rename it.

    Raises:
        UserError: the disk is full, or fails.
    """
    # Readers of Parquet skip `_` names. Two tasks may write the same part at the same time.
    unfinished = path.with_name(f"_{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was written before is safe: "
            "make room, and run the same command again to go on"
        ) from None
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_rows(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as a table; columns that a row lacks are null.

    Raises:
        UserError: the disk is full, or fails.
    """
    with atomic_file(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema), file, compression="zstd")


class TableWriter:
    """Adds tables to a file in row groups of bounded size; `summary` goes into its footer."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.Table] = []
        self.summary: dict[str, Any] = {}

    def add(self, table: pa.Table) -> None:
        """Take more rows; they are written when there are enough of them."""
        self._waiting.append(table)
        num_rows = sum(table.num_rows for table in self._waiting)
        num_bytes = sum(table.nbytes for table in self._waiting)
        if num_rows >= GROUP_ROWS or num_bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been taken as a row group."""
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open a writer; the file appears when the block ends well.

    Raises:
        UserError: the disk is full, or fails.
    """
    with (
        atomic_file(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as parquet,
    ):
        writer = TableWriter(parquet)
        yield writer
        writer.flush()
        parquet.add_key_value_metadata({SUMMARY: json.dumps(writer.summary)})


def summary_of(path: Path) -> dict[str, Any] | None:
    """The summary of a file written by `table_writer`; None where there is no such file."""
    if not path.is_file():
        return None
    summary: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[SUMMARY])
    return summary
