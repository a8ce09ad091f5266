"""Recorded traces, read from disk: what a replay works on.

A recording is a run's folder, a folder of parts, or one file, with at least a problem, a sample
number and a text for each trace. Only finished traces can be replayed.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from deepprune.answers import AnswerKind, TruncatedAnswers, equivalent, extract_answer
from deepprune.errors import UserError
from deepprune.table_io import Kind, data_files, read_rows
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

COLUMNS: dict[str, Kind] = {
    "problem_id": "text",
    "problem": "text",
    "reference": "answer",
    "model": "text",
    "config": "text",
    "policy": "text",
    "sample": "integer",
    "text": "text",
    "num_tokens": "integer",
    "prefix_chars": "integer",
    "prefix_tokens": "integer",
    "finish_reason": "text",
    "fate": "text",
    "answer": "answer",
    "confidence": "numbers",
    "confidence_window": "integer",
}
REQUIRED = ("problem_id", "problem", "sample", "text")
FINISHED = (None, "finished")
HINT = "`deepprune import --map` brings other layouts into shape"

_Key = tuple[str, str]
_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How traces are read that come without a token count or an answer."""

    kind: AnswerKind
    truncated: TruncatedAnswers
    chars_per_token: float

    def answer(self, row: dict[str, Any]) -> str | None:
        return extract_answer(
            row["text"],
            self.kind,
            finish_reason=row.get("finish_reason"),
            truncated=self.truncated,
        )


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
    path: Path,
    *,
    kind: AnswerKind = "auto",
    truncated: TruncatedAnswers = "none",
    chars_per_token: float = 3.6,
) -> list[Recording]:
    """Read all recordings of a folder or file, in order of problem and model.

    Traces that were cancelled or lost are left out. A text without a token count is counted by its
    characters; an answer is taken as recorded, or read off the text where there is no such column.
    Where several policies recorded the same problem live, the one that finished most counts.
    Samples of several configurations (a column `config`) are one recording, unless their numbers
    clash: then each configuration counts as a model of its own.

    Raises:
        UserError: the path holds no recordings, or ones that are damaged, doubled or foreign.
    """
    groups: dict[_Key, _Rows] = defaultdict(list)
    num_left_out = 0
    for row in _rows(path):
        if row.get("fate") in FINISHED and not (row["text"] is None and row.get("fate") is None):
            groups[row["problem_id"], row.get("model") or ""].append(row)
        else:
            num_left_out += 1
    if not groups:
        raise UserError(f"{path} holds no finished traces")
    if num_left_out:
        logger.info("%s: %d traces that did not finish are left out", path, num_left_out)
    groups = {key: _of_one_policy(path, rows) for key, rows in groups.items()}
    groups = _split_by_config(groups)
    return [
        _recording(path, model, rows, _Reading(kind, truncated, chars_per_token))
        for (_, model), rows in sorted(groups.items(), key=_in_natural_order)
    ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    table = path / "traces"
    for file in data_files(table if table.is_dir() else path):
        for row in read_rows(file, COLUMNS, REQUIRED, hint=HINT):
            for name in ("problem_id", "sample"):
                if row[name] is None:
                    raise UserError(f"{file}: a trace without a {name}")
            yield row


def _of_one_policy(path: Path, rows: _Rows) -> _Rows:
    counts = Counter(row.get("policy") for row in rows)
    if len(counts) == 1:
        return rows
    most = max(counts, key=lambda policy: (counts[policy], policy or ""))
    logger.info("%s: %s as recorded under policy %s", path, rows[0]["problem_id"], most)
    return [row for row in rows if row.get("policy") == most]


def _split_by_config(groups: dict[_Key, _Rows]) -> dict[_Key, _Rows]:
    clashing = {model for (_, model), rows in groups.items() if _configs_clash(rows)}
    split: dict[_Key, _Rows] = defaultdict(list)
    for (problem_id, model), rows in groups.items():
        for row in rows:
            name = f"{model} ({row.get('config') or 'no config'})" if model in clashing else model
            split[problem_id, name].append(row)
    return split


def _configs_clash(rows: _Rows) -> bool:
    configs: dict[int, set[str | None]] = defaultdict(set)
    for row in rows:
        configs[row["sample"]].add(row.get("config"))
    return any(len(found) > 1 for found in configs.values())


def _in_natural_order(group: tuple[_Key, _Rows]) -> tuple[object, ...]:
    """Problem 2 before problem 10."""
    problem_id, model = group[0]
    parts = re.split(r"([0-9]+)", problem_id)
    return ([(int(part), "") if part.isdecimal() else (-1, part) for part in parts], model)


def _recording(path: Path, model: str, rows: _Rows, reading: _Reading) -> Recording:
    problem_id = rows[0]["problem_id"]
    rows.sort(key=lambda row: int(row["sample"]))
    for row, following in pairwise(rows):
        if row["sample"] == following["sample"]:
            raise UserError(
                f"{path}: sample {row['sample']} of {problem_id} by {model or 'no model'} is there "
                "twice: keep one of them"
            )
    problem = Problem(
        problem_id,
        _the_one(path, problem_id, "problem", rows) or "",
        _the_one(path, problem_id, "reference", rows),
        reading.kind,
    )
    return Recording(problem, model, tuple(_traces(path, rows, reading)))


def _the_one(path: Path, problem_id: str, column: str, rows: _Rows) -> str | None:
    """What all rows that say anything in a column say; of equivalent references, the first."""
    found = list(dict.fromkeys(row[column] for row in rows if row.get(column) is not None))
    if column == "reference":
        different = any(not equivalent(found[0], other) for other in found[1:])
    else:
        different = len(found) > 1
    if different:
        raise UserError(
            f"{path}: {problem_id} has {len(found)} different values of {column}: problems with "
            "the same problem_id must be the same"
        )
    return found[0] if found else None


def _traces(
    path: Path, rows: Iterable[dict[str, Any]], reading: _Reading
) -> Iterator[RecordedTrace]:
    for row in rows:
        text = row["text"]
        if text is None:
            raise UserError(f"{path}: sample {row['sample']} of {row['problem_id']} has no text")
        num_tokens = row.get("num_tokens")
        yield RecordedTrace(
            sample=row["sample"],
            text=text,
            num_tokens=max(
                1, round(len(text) / reading.chars_per_token) if num_tokens is None else num_tokens
            ),
            answer=row["answer"] if "answer" in row else reading.answer(row),
            finish_reason=row.get("finish_reason"),
            prefix_chars=row.get("prefix_chars"),
            prefix_tokens=row.get("prefix_tokens"),
            confidence=tuple(row.get("confidence") or ()),
            confidence_window=row.get("confidence_window"),
        )
