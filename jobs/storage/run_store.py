"""A run's folder: its configuration, and Parquet parts written problem by problem.

Each solved problem becomes one part of `traces/`, one of `scores/` where a judge was asked, and one
of `outcomes/`, in this order, written
under another name, flushed to the disk and then renamed. So a run that dies has lost nothing it had
solved and left nothing half written, and an outcome is never without its traces.
`pyarrow.parquet.read_table(folder / "outcomes")` reads all parts as one table.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from deepprune.config import RunConfig
from deepprune.errors import UserError
from deepprune.schemas import OUTCOMES, SCORES, TRACES
from jobs.storage.rows import Origin, live_outcome_row, score_rows, trace_rows

if TYPE_CHECKING:
    from actors.driver.coordinator import Solved


class RunStore:
    """Writes a run's folder, which is created when there is something to write.

    Raises:
        UserError: the folder holds a run of another configuration, or cannot be written to.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self._config = config.model_dump(mode="json")
        self._origin = Origin.of(config)
        self._check()

    def write(self, solved: Solved) -> None:
        """Add a solved problem, replacing what there was for the same problem and policy."""
        if not self._config_path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            _write_whole(self._config_path, text.encode())
        name = _part_name(solved)
        self._write_part("traces", name, trace_rows(solved, self._origin), TRACES)
        if solved.scores:
            self._write_part("scores", name, score_rows(solved, self._origin), SCORES)
        self._write_part("outcomes", name, [live_outcome_row(solved, self._origin)], OUTCOMES)

    @property
    def _config_path(self) -> Path:
        return self.folder / "config.yaml"

    def _check(self) -> None:
        """Refuse a folder now that would fail, or mix two runs, when the first result is in."""
        nearest = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UserError(f"cannot write to {self.folder}: choose another folder with --out")
        if self._config_path.exists():
            text = self._config_path.read_text(encoding="utf-8")
            if yaml.safe_load(text) != self._config:
                raise UserError(
                    f"{self.folder} holds a run of another configuration: choose another --out"
                )

    def _write_part(
        self, table: str, name: str, rows: list[dict[str, Any]], schema: pa.Schema
    ) -> None:
        (self.folder / table).mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema), sink)
        _write_whole(self.folder / table / f"{name}.parquet", sink.getvalue())


def load_outcomes(folder: Path) -> list[dict[str, Any]]:
    """The outcomes of a run, one dictionary per row, those of an interrupted run included.

    Raises:
        UserError: there is no run in `folder`.
    """
    return _load(folder, "outcomes", OUTCOMES)


def load_traces(folder: Path) -> list[dict[str, Any]]:
    """The traces of a run, one dictionary per row.

    Raises:
        UserError: there is no run in `folder`.
    """
    return _load(folder, "traces", TRACES)


def load_scores(folder: Path) -> list[dict[str, Any]]:
    """What the judge said in a run, one dictionary per pair.

    Raises:
        UserError: there is no run in `folder`.
    """
    return _load(folder, "scores", SCORES)


def _load(folder: Path, table: str, schema: pa.Schema) -> list[dict[str, Any]]:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run's folder: it has no config.yaml")
    if not (folder / table).is_dir():
        return []
    rows: list[dict[str, Any]] = ds.dataset(folder / table, schema=schema).to_table().to_pylist()
    return rows


def _part_name(solved: Solved) -> str:
    """A file name that is the same for the same problem and cell, and for no others."""
    problem = solved.outcome.problem
    key = (problem.problem_id, problem.text, solved.policy, solved.seed)
    readable = f"{problem.problem_id}-{solved.outcome.policy}"
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", readable).strip("-.")[:80]
    return f"{readable}-{hashlib.blake2b(repr(key).encode(), digest_size=4).hexdigest()}"


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process or machine dies."""
    unfinished = path.with_name(f"_{path.name}.part")  # readers of Parquet folders skip `_` names
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
