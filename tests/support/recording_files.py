"""Recorded traces in every format that is read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from deepprune.recordings import load_recordings


def trace(problem: int = 0, sample: int = 0, **more) -> dict:
    return {
        "benchmark": "b",
        "problem_id": f"b/{problem}",
        "problem": f"What is {problem}?",
        "reference": str(problem),
        "model": "m",
        "sample": sample,
        "text": f"It is \\boxed{{{problem}}}.",
        "answer": str(problem),
    } | more


def parquet(path: Path, rows: list[dict], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_recordings(path)
    message = str(caught.value)
    assert "\n" not in message
    return message
