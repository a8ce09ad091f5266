"""Recorded traces, read from disk: what a replay works on.

A recording is a run's folder, a folder of parts, or one file, with at least a problem, a sample
number and a text for each trace. Only finished traces can be replayed.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepprune.answers import AnswerKind, TruncatedAnswers, equivalent, extract_answer
from deepprune.errors import UserError
from deepprune.table_io import Kind, data_files, read_rows
from deepprune.trace_selection import TraceIndex
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

COLUMNS: dict[str, Kind] = {
    "problem_id": "text",
    "problem": "text",
    "reference": "answer",
    "model": "text",
    "config": "text",
    "policy": "text",
    "cell": "text",
    "sample": "integer",
    "text": "text",
    "num_tokens": "integer",
    "prefix_chars": "integer",
    "prefix_tokens": "integer",
    "finish_reason": "text",
    "closed_tokens": "integer",
    "fate": "text",
    "answer": "answer",
    "confidence": "numbers",
    "confidence_window": "integer",
}
REQUIRED = ("problem_id", "problem", "sample", "text")
FINISHED = (None, "finished")
Answers = Literal["recorded", "texts"]
"""Where answers come from: the recording's own column, or the texts."""
HINT = "`deepprune import --map` brings other layouts into shape"
MAX_SAMPLE = 2**31 - 1

_Key = tuple[str, str]
_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How traces are read, and those that come without a token count or an answer."""

    kind: AnswerKind
    truncated: TruncatedAnswers
    chars_per_token: float
    answers: Answers

    def answer(self, row: dict[str, Any]) -> str | None:
        if self.answers == "recorded" and "answer" in row:
            recorded: str | None = row["answer"]
            return recorded
        return extract_answer(
            row["text"],
            self.kind,
            finish_reason=row.get("finish_reason"),
            truncated=self.truncated,
        )


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """A finished trace.

    `prefix_chars` and `prefix_tokens` say where it was judged, if it was; `closed_tokens` where its
    thought was closed for want of tokens or time.
    """

    sample: int
    text: str
    num_tokens: int
    answer: str | None
    finish_reason: str | None = None
    prefix_chars: int | None = None
    prefix_tokens: int | None = None
    confidence: tuple[float, ...] = ()
    confidence_window: int | None = None
    closed_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """All finished traces of one problem by one model, in order of their samples."""

    problem: Problem
    model: str
    traces: tuple[RecordedTrace, ...]
    cell: str | None = None
    """The cell of a live run that recorded it; see `deepprune.cells`."""


def load_recordings(
    path: Path,
    *,
    kind: AnswerKind = "auto",
    truncated: TruncatedAnswers = "none",
    chars_per_token: float = 3.6,
    answers: Answers = "recorded",
) -> list[Recording]:
    """Read all recordings of a folder or file, in order of problem and model.

    Traces that were cancelled or lost are left out. A text without a token count is counted by its
    characters; an answer is taken as recorded, or read off the text where there is no such column.
    `deepprune.trace_selection` says which traces count where several cells recorded a problem.

    Raises:
        UserError: the path holds no recordings, or ones that are damaged, doubled or foreign.
    """
    index, finished = TraceIndex(), []
    num_left_out = 0
    for file in source_files(path):
        for row in read_traces(file):
            fate = row.get("fate")
            if fate in FINISHED and not (row["text"] is None and fate is None):
                index.add(row)
                finished.append(row)
            else:
                num_left_out += 1
    if not finished:
        raise UserError(f"{path} holds no finished traces")
    if num_left_out:
        logger.info("%s: %d traces that did not finish are left out", path, num_left_out)
    num_closed = sum(row.get("closed_tokens") is not None for row in finished)
    if num_closed:
        logger.info("%s: the thoughts of %d traces were closed before their end", path, num_closed)
    if answers == "recorded":
        answers = _checked_answers(path, finished)
    reading = _Reading(kind, truncated, chars_per_token, answers)
    selection = index.select(str(path))
    groups: dict[_Key, _Rows] = defaultdict(list)
    for row in finished:
        if (model := selection.model(row)) is not None:
            groups[row["problem_id"], model].append(row)
    return [
        _recording(path, model, rows, reading)
        for (_, model), rows in sorted(groups.items(), key=_in_natural_order)
    ]


def _checked_answers(path: Path, rows: _Rows) -> Answers:
    """Warn of a column of answers that is null for most traces; leave it if it is for all."""
    given = [row["answer"] is not None for row in rows if "answer" in row]
    missing = len(given) - sum(given)
    if given and missing == len(given):
        logger.warning(
            "%s: its column `answer` is null throughout: answers are read off texts", path
        )
        return "texts"
    if missing > len(given) / 2:
        logger.warning(
            "%s: column `answer` is null for %d of %d traces: a sweep with `answers: texts` reads "
            "them off the texts",
            *(path, missing, len(given)),
        )
    return "recorded"


def source_files(source: Path, name: str = "traces") -> list[Path]:
    """The files of a table: in a run's folder by its name, in a folder of parts, or a single file.

    Raises:
        UserError: there is no such path, or no table in it.
    """
    table = source / name
    return data_files(table if table.is_dir() else source)


def read_traces(
    file: Path, columns: Mapping[str, Kind] = COLUMNS, row_groups: Sequence[int] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a file of recorded traces, or of some row groups of it.

    Raises:
        UserError: the file is damaged or foreign, or a trace has no id or sample.
    """
    required = [name for name in REQUIRED if name in columns]
    for row in read_rows(file, columns, required, hint=HINT, row_groups=row_groups):
        problem_id, sample = row["problem_id"], row["sample"]
        if problem_id is None or sample is None:
            missing = "problem_id" if problem_id is None else "sample"
            raise UserError(f"{file}: a trace without a {missing}")
        if not 0 <= sample <= MAX_SAMPLE:
            raise UserError(f"{file}: {problem_id} has a sample {sample}: count from 0")
        yield row


def _in_natural_order(group: tuple[_Key, _Rows]) -> tuple[object, ...]:
    """Problem 2 before problem 10."""
    problem_id, model = group[0]
    parts = re.split(r"([0-9]+)", problem_id)
    return ([(int(part), "") if part.isdecimal() else (-1, part) for part in parts], model)


def _recording(path: Path, model: str, rows: _Rows, reading: _Reading) -> Recording:
    problem_id = rows[0]["problem_id"]
    rows.sort(key=lambda row: int(row["sample"]))
    problem = Problem(
        problem_id,
        _the_one(path, problem_id, "problem", rows) or "",
        _the_one(path, problem_id, "reference", rows),
        reading.kind,
    )
    return Recording(problem, model, tuple(_traces(path, rows, reading)), rows[0].get("cell"))


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
            answer=reading.answer(row),
            finish_reason=row.get("finish_reason"),
            prefix_chars=row.get("prefix_chars"),
            prefix_tokens=row.get("prefix_tokens"),
            confidence=tuple(row.get("confidence") or ()),
            confidence_window=row.get("confidence_window"),
            closed_tokens=row.get("closed_tokens"),
        )
