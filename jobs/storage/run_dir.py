"""A folder of results that one process at a time adds to, in parts that are whole or not there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from deepprune.errors import UserError


class ResultFolder:
    """Holds `config.yaml` and tables as folders of Parquet parts; locked while its `with` lasts.

    Raises:
        UserError: another process writes to the folder, it belongs to another configuration, or it
            cannot be written to; the message says which, and what differs.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self._config = config
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._unlock()
            raise UserError(
                f"another process is writing to {self.path}: let it finish, or choose another --out"
            ) from None
        try:
            self._claim()
        except UserError:
            self._unlock()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unlock()

    def has(self, table: str, part: str) -> bool:
        """Whether a part has been written."""
        return (self.path / table / f"{part}.parquet").is_file()

    def write(self, table: str, part: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        """Write a part, replacing one of the same name.

        Raises:
            UserError: the disk is full, or fails; all parts written before are whole.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd")
        self.write_file(f"{table}/{part}.parquet", sink.getvalue())

    def write_file(self, name: str, data: Any) -> None:
        """Write a file that is there whole or not at all, whenever process or machine die.

        Raises:
            UserError: the disk is full, or fails.
        """
        path = self.path / name
        unfinished = path.with_name(f"_{path.name}.part")  # readers of Parquet skip `_` names
        try:
            path.parent.mkdir(exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; what was written before is safe: "
                "make room, and run the same command again to go on"
            ) from None

    def _claim(self) -> None:
        path = self.path / "config.yaml"
        if not path.exists():
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            self.write_file(path.name, text.encode())
            return
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if found != self._config:
            differing = sorted(_differences(found, self._config))
            shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
            raise UserError(
                f"{self.path} holds results of another configuration (different: {shown}): choose "
                "another --out, or the configuration it was made with"
            )

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _differences(a: Any, b: Any, path: str = "") -> set[str]:
    """Dotted paths at which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        inner = (
            _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
            for key in {*a, *b}
        )
        return set().union(*inner)
    return set() if a == b else {path or "all of it"}
