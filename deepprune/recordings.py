"""Recorded traces, read from disk: what a replay works on.

A recording is a run's folder, a folder of Parquet parts, or one Parquet or JSONL file, with at
least a problem, a text and, unless it can be read off the text, an answer for each trace.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from deepprune.answers import AnswerKind, extract_answer
from deepprune.errors import UserError
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

COLUMNS = (
    *("benchmark", "problem_id", "problem", "reference", "model", "sample", "text", "num_tokens"),
    *("prefix_chars", "prefix_tokens", "finish_reason", "fate", "answer"),
    *("confidence", "confidence_window"),
)
REQUIRED = ("problem_id", "problem", "sample", "text")


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """A finished trace. `prefix_chars` and `prefix_tokens` say where it was judged, if it was."""

    sample: int
    text: str
    num_tokens: int
    answer: str | None
    finish_reason: str | None = None
    prefix_chars: int | None = None
    prefix_tokens: int | None = None
    confidence: tuple[float, ...] = ()
    confidence_window: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """All finished traces of one problem by one model, in order of their samples."""

    problem: Problem
    model: str
    traces: tuple[RecordedTrace, ...]


def load_recordings(
    path: Path, *, kind: AnswerKind = "auto", chars_per_token: float = 3.6
) -> list[Recording]:
    """Read all recordings of a folder or file, in order of problem and model.

    Traces that were cancelled or lost are left out. A text without a token count is counted by its
    characters; an answer is taken as recorded, or read off the text where there is no such column.

    Raises:
        UserError: the path holds no recordings, or ones that are damaged, doubled or foreign.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    num_left_out = 0
    for row in _rows(path):
        if row.get("fate") not in (None, "finished"):
            num_left_out += 1
            continue
        groups.setdefault((row["problem_id"], row.get("model") or ""), []).append(row)
    if not groups:
        raise UserError(f"{path} holds no finished traces")
    if num_left_out:
        logger.info("%s: %d traces that did not finish are left out", path, num_left_out)
    return [_recording(path, rows, kind, chars_per_token) for _, rows in sorted(groups.items())]


def _recording(
    path: Path, rows: list[dict[str, Any]], kind: AnswerKind, chars_per_token: float
) -> Recording:
    rows.sort(key=lambda row: int(row["sample"]))
    first = rows[0]
    for row, following in zip(rows, rows[1:], strict=False):
        if row["sample"] == following["sample"]:
            raise UserError(
                f"{path}: sample {row['sample']} of {row['problem_id']} by "
                f"{row.get('model') or 'no model'} is there twice: keep one of them"
            )
    traces = tuple(_trace(row, kind, chars_per_token) for row in rows)
    problem = Problem(str(first["problem_id"]), str(first["problem"]), first.get("reference"))
    return Recording(problem, first.get("model") or "", traces)


def _trace(row: dict[str, Any], kind: AnswerKind, chars_per_token: float) -> RecordedTrace:
    text = row["text"] or ""
    return RecordedTrace(
        sample=int(row["sample"]),
        text=text,
        num_tokens=row.get("num_tokens") or max(1, round(len(text) / chars_per_token)),
        answer=row["answer"] if "answer" in row else extract_answer(text, kind),
        finish_reason=row.get("finish_reason"),
        prefix_chars=row.get("prefix_chars"),
        prefix_tokens=row.get("prefix_tokens"),
        confidence=tuple(row.get("confidence") or ()),
        confidence_window=row.get("confidence_window"),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    files = _files(path)
    for file in files:
        try:
            table = _read(file)
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{file} cannot be read as recorded traces: {reason}") from None
        missing = [name for name in REQUIRED if name not in table.column_names]
        if missing:
            raise UserError(
                f"{file} is no table of traces: it has no column {', '.join(missing)}; "
                "`deepprune import --map` brings other layouts into shape"
            )
        yield from table.select([n for n in COLUMNS if n in table.column_names]).to_pylist()


def _read(file: Path) -> pa.Table:
    if file.suffix in (".jsonl", ".json"):
        return pyarrow.json.read_json(file)
    return pq.ParquetFile(file).read()


def _files(path: Path) -> list[Path]:
    folder = path / "traces" if (path / "traces").is_dir() else path
    if folder.is_dir():
        files = sorted(f for f in folder.glob("*.parquet") if not f.name.startswith(("_", ".")))
    else:
        files = [folder] if folder.is_file() else []
    if not files:
        raise UserError(f"{path} holds no recorded traces: give a run's folder, Parquet or JSONL")
    return files
