"""Reads the tables of a run as its users may: with pyarrow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from deepprune.schemas import OUTCOMES, SCORES, TRACES


def load_outcomes(folder: Path) -> list[dict[str, Any]]:
    return _load(folder / "outcomes", OUTCOMES)


def load_traces(folder: Path) -> list[dict[str, Any]]:
    return _load(folder / "traces", TRACES)


def load_scores(folder: Path) -> list[dict[str, Any]]:
    return _load(folder / "scores", SCORES)


def _load(table: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    if not table.is_dir():
        return []
    rows: list[dict[str, Any]] = ds.dataset(table, schema=schema).to_table().to_pylist()
    return rows
