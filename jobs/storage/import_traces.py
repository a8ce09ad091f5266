"""`deepprune import`: recorded traces of any layout, as a folder that can be replayed.

Rows are read and written in batches, so memory stays flat however much there is. The folder holds
no traces before all of them are in it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepprune.answers import AnswerKind, TruncatedAnswers, equivalent, extract_answer
from deepprune.errors import UserError
from deepprune.ledger import Fate
from deepprune.schemas import TRACES
from deepprune.table_io import Kind, data_files, placed_rows
from deepprune.traces import Problem
from jobs.render.format import counted
from jobs.storage.rows import trace_row
from jobs.storage.run_dir import RunDir

NEEDED = ("problem", "text")
KINDS: dict[str, Kind] = {
    "problem": "text",
    "text": "text",
    "answer": "value",
    "problem_id": "value",
    "reference": "value",
    "model": "text",
    "num_tokens": "integer",
    "finish_reason": "text",
}
PER_TEXT = ("text", "answer", "num_tokens", "finish_reason")
"""Columns that may hold a list, one value for each of a row's texts."""
PART_ROWS = 512
UNFINISHED = "_importing"


def import_traces(
    sources: Sequence[Path],
    maps: Sequence[str],
    out: Path,
    *,
    benchmark: str,
    model: str,
    answer_kind: AnswerKind,
    truncated_answers: TruncatedAnswers,
) -> None:
    """Write the traces of `sources` into `out`, with their columns renamed by `maps`.

    Raises:
        UserError: a source is damaged or foreign, or the folder already holds traces.
    """
    columns = parse_map(maps)
    config = {
        "imported": {
            "sources": [source.name for source in sources],
            "map": columns,
            "benchmark": benchmark,
            "model": model,
            "answer_kind": answer_kind,
            "truncated_answers": truncated_answers,
        }
    }
    files = [file for source in sources for file in data_files(source)]
    if (out / "traces").exists():
        raise UserError(f"{out} already holds traces: choose another --out")
    for file in files:
        next(_their_rows(file, columns), None)  # a wrong map leaves no folder behind
    rows = Rows(benchmark, model, answer_kind, truncated_answers)
    with RunDir(out, config) as folder:
        unfinished = out / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        part: list[dict[str, Any]] = []
        num_parts = 0
        for file in files:
            for row in rows.of(file, columns):
                part.append(row)
                if len(part) == PART_ROWS:
                    folder.write(UNFINISHED, f"part-{num_parts:06}", part, TRACES)
                    part, num_parts = [], num_parts + 1
        if part:
            folder.write(UNFINISHED, f"part-{num_parts:06}", part, TRACES)
        if not rows.num_traces:
            raise UserError("the sources hold no traces: nothing was imported")
        unfinished.rename(out / "traces")
    sys.stderr.write(f"{rows.summary}: saved in {out}\n")


def parse_map(maps: Sequence[str]) -> dict[str, str]:
    """Our columns by theirs, of `ours=theirs,...`.

    Raises:
        UserError: a column of ours does not exist, is given twice, or one that is needed is not.
    """
    columns: dict[str, str] = {}
    for entry in ",".join(maps).split(","):
        ours, separator, theirs = (word.strip() for word in entry.partition("="))
        if not (separator and theirs):
            raise UserError(f"--map {entry}: write OURS=THEIRS, such as text=response")
        if ours not in KINDS:
            raise UserError(f"--map {entry}: {ours!r} is not one of {', '.join(KINDS)}")
        if ours in columns:
            raise UserError(f"--map names {ours} twice")
        columns[ours] = theirs
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise UserError(f"--map must say which column holds the {' and the '.join(missing)}")
    return columns


class Rows:
    """Turns their rows into ours: a row that holds a list of texts gives a trace for each.

    Remembers of each problem its id, its reference and how often it came.
    """

    def __init__(
        self, benchmark: str, model: str, kind: AnswerKind, truncated: TruncatedAnswers
    ) -> None:
        self._benchmark = benchmark
        self._model = model
        self._kind = kind
        self._truncated = truncated
        self._problems: dict[str, bytes] = {}
        self._references: dict[str, str] = {}
        self._next_sample: Counter[tuple[str, str]] = Counter()
        self.num_traces = self.num_without_answer = self.num_without_text = 0

    @property
    def summary(self) -> str:
        """What was imported, in words."""
        problems, traces = (
            counted(len(self._problems), "problem"),
            counted(self.num_traces, "trace"),
        )
        without = f"{self.num_without_answer:,} of them without an answer"
        textless = f", {self.num_without_text:,} without a text" if self.num_without_text else ""
        return f"{problems}, {traces}, {without}{textless}"

    def of(self, file: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The rows of a file as rows of the traces table.

        Raises:
            UserError: a row has no problem, another problem or reference under a known id, or
                lists of different lengths.
        """
        for where, theirs in _their_rows(file, columns):
            problem = theirs["problem"]
            if problem is None or not problem.strip():
                raise UserError(f"{where}: {columns['problem']} is empty")
            problem_id = self._problem_id(where, theirs, problem)
            model = theirs.get("model") or self._model
            sample = self._next_sample[problem_id, model]
            self._next_sample[problem_id, model] += 1
            yield self._row(theirs, problem_id, model, sample)

    def _problem_id(self, where: str, theirs: Mapping[str, Any], problem: str) -> str:
        if "problem_id" not in theirs:
            text = hashlib.blake2b(problem.encode(), digest_size=6).hexdigest()
            name = f"{self._benchmark}/{text}"
        elif not theirs["problem_id"]:
            raise UserError(f"{where}: there is no problem_id")
        else:
            given = theirs["problem_id"]
            name = given if "/" in given else f"{self._benchmark}/{given}"
        digest = hashlib.blake2b(problem.encode(), digest_size=8).digest()
        same = self._problems.setdefault(name, digest) == digest
        reference = theirs.get("reference")
        if same and reference is not None:
            same = equivalent(self._references.setdefault(name, reference), reference)
        if not same:
            raise UserError(f"{where}: {name} stands for another problem or reference above")
        return name

    def _row(
        self, theirs: Mapping[str, Any], problem_id: str, model: str, sample: int
    ) -> dict[str, Any]:
        text = theirs["text"]
        answer = theirs.get("answer")
        if "answer" not in theirs and text is not None:
            answer = extract_answer(
                text,
                self._kind,
                finish_reason=theirs.get("finish_reason"),
                truncated=self._truncated,
            )
        self.num_traces += 1
        self.num_without_answer += answer is None
        self.num_without_text += text is None
        return trace_row(
            Problem(problem_id, theirs["problem"], theirs.get("reference")),
            model,
            sample,
            fate=Fate.LOST if text is None else Fate.FINISHED,
            reason="imported",
            text=text,
            num_tokens=theirs.get("num_tokens"),
            finish_reason=theirs.get("finish_reason"),
            answer=answer,
            error="imported without a text" if text is None else None,
        )


def _their_rows(file: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Their values under our names, a row for each text; each with its place in the file."""
    kinds: dict[str, Kind] = {theirs: KINDS[ours] for ours, theirs in columns.items()}
    lists = [theirs for ours, theirs in columns.items() if ours in PER_TEXT]
    hint = "--map names their columns"
    for where, row in placed_rows(file, kinds, tuple(kinds), lists=lists, hint=hint):
        named = {ours: row[theirs] for ours, theirs in columns.items()}
        for one in _texts(where, named, columns):
            yield where, one


def _texts(
    where: str, theirs: dict[str, Any], columns: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A row for each text of a row, with the other values of `PER_TEXT` that belong to it."""
    names = [name for name in PER_TEXT if name in theirs]
    if not any(isinstance(theirs[name], list) for name in names):
        yield theirs
        return
    count = len(theirs["text"]) if isinstance(theirs["text"], list) else 1
    values = {}
    for name in names:
        value = theirs[name]
        values[name] = value if isinstance(value, list) else [value]
        if value is None:
            values[name] *= count
        if len(values[name]) != count:
            raise UserError(
                f"{where}: {columns[name]} holds {counted(len(values[name]), 'value')} for "
                f"{counted(count, 'text')}: map a column with one {name} for each text"
            )
    for together in zip(*values.values(), strict=True):
        yield theirs | dict(zip(values, together, strict=True))
