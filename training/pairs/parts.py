"""Parquet files that are there whole or not at all, with what is known of them in their footer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError

SUMMARY = b"deepprune"
GROUP_ROWS = 65536
GROUP_BYTES = 16 << 20


class Part:
    """A file that tables are added to while its `with` lasts; it appears when that ends well.

    Raises:
        UserError: the disk is full, or fails.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        # Readers of Parquet skip `_` names.
        self._unfinished = path.with_name(f"_{path.name}.{os.getpid()}.part")
        self._waiting: list[pa.Table] = []
        self.summary: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open("wb")
            self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        except OSError as error:
            raise self._failed(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush()
                self._writer.add_key_value_metadata({SUMMARY: json.dumps(self.summary)})
            self._writer.close()
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if error is None:
                self._unfinished.replace(self._path)
            else:
                self._unfinished.unlink()
        except OSError as failure:
            raise self._failed(failure) from None

    def add(self, table: pa.Table) -> None:
        """Take more rows; they are written when there are enough of them."""
        self._waiting.append(table)
        num_rows = sum(table.num_rows for table in self._waiting)
        num_bytes = sum(table.nbytes for table in self._waiting)
        if num_rows >= GROUP_ROWS or num_bytes >= GROUP_BYTES:
            try:
                self._flush()
            except OSError as error:
                raise self._failed(error) from None

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []

    def _failed(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self._path}: {error.strerror or error}; what was written before is "
            "safe: make room, and run the same command again to go on"
        )


def summary_of(path: Path) -> dict[str, Any] | None:
    """What a part says of itself; None where there is no such part."""
    if not path.is_file():
        return None
    summary: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[SUMMARY])
    return summary
