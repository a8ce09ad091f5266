"""A run's folder: one process at a time adds to it, in parts that are whole or not there.

It holds `config.yaml` and tables (`deepprune.schemas`), each a folder of Parquet parts, which
`pyarrow.parquet.read_table(folder / "outcomes")` reads as one. A part's name follows from what it
holds, so a run that was stopped goes on with the parts that are missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import yaml

from deepprune.errors import UserError
from deepprune.table_writer import atomic_file, write_rows


class RunDir:
    """A run's folder, locked while its `with` lasts.

    Raises:
        UserError: another process writes to the folder, it belongs to another configuration, or it
            cannot be written to; the message says which, and what differs.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self._config = config
        self._lock: int | None = None

    def check(self) -> None:
        """Refuse a folder now that would be refused when there are results; create nothing.

        Raises:
            UserError: the folder belongs to another configuration, or cannot be written to.
        """
        nearest = next(path for path in (self.path, *self.path.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UserError(f"cannot write to {self.path}: choose another folder with --out")
        if not self._config_path.exists():
            return
        found = yaml.safe_load(self._config_path.read_text(encoding="utf-8"))
        if differing := sorted(_differences(found, self._config)):
            shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
            raise UserError(
                f"{self.path} holds results of another configuration (different: {shown}): choose "
                "another --out, or the configuration it was made with"
            )

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

    def __exit__(self, *_: object) -> None:
        self._unlock()

    def has(self, table: str, part: str) -> bool:
        """Whether a part has been written."""
        return self._part(table, part).is_file()

    def read(self, table: str, part: str) -> list[dict[str, Any]]:
        """The rows of a part that has been written."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(self._part(table, part)).to_pylist()
        return rows

    def write(
        self, table: str, part: str, rows: Sequence[dict[str, Any]], schema: pa.Schema
    ) -> None:
        """Write a part, replacing one of the same name.

        Raises:
            UserError: the disk is full, or fails; all parts written before are whole.
        """
        write_rows(self._part(table, part), rows, schema)

    @property
    def _config_path(self) -> Path:
        return self.path / "config.yaml"

    def _part(self, table: str, part: str) -> Path:
        return self.path / table / f"{part}.parquet"

    def _claim(self) -> None:
        self.check()
        for unfinished in self.path.glob("*/_*.part"):  # of a process that died
            unfinished.unlink(missing_ok=True)
        if not self._config_path.exists():
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            with atomic_file(self._config_path) as file:
                file.write(text.encode())

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def part_name(words: str, *key: object, digest_size: int = 6) -> str:
    """A file name that begins with `words`, and is the same for the same key and for no other."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.")[:80]
    return f"{readable}-{hashlib.blake2b(repr(key).encode(), digest_size=digest_size).hexdigest()}"


def _differences(a: Any, b: Any, path: str = "") -> set[str]:
    """Dotted paths at which two configurations differ; a key that is null may be missing."""
    if isinstance(a, dict) and isinstance(b, dict):
        inner = (
            _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
            for key in {*a, *b}
        )
        return set().union(*inner)
    return set() if a == b or _same_path(a, b) else {path or "all of it"}


def _same_path(a: Any, b: Any) -> bool:
    """Whether both name one file; runs of earlier versions hold relative paths of models."""
    paths = isinstance(a, str) and isinstance(b, str) and os.sep in a + b
    return paths and os.path.abspath(a) == os.path.abspath(b)
