"""The texts of traces: from the run itself where it was live, from recordings where it replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError
from deepprune.recordings import Recording, load_recordings
from jobs.report.load import Row, Run, parquet_files

TRACE_COLUMNS = (
    *("problem_id", "problem", "model", "policy", "sample", "text", "num_tokens", "prefix_chars"),
    *("fate", "answer"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A trace's text. `prefix_chars` is where it was judged live; None in a recording's."""

    text: str
    num_tokens: int
    answer: str | None
    prefix_chars: int | None = None


Texts = Mapping[int, Text]
"""By sample."""


class Shelf:
    """All texts of some runs; `notes` says which could not be had, and why."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.notes: list[str] = []
        self.problems: dict[str, str] = {}
        self._recorded: dict[tuple[int, str, str], Recording] = {}
        self._live: dict[tuple[int, str, str, str], dict[int, Text]] = {}
        self._read: dict[Path, list[Recording]] = {}
        for index, run in enumerate(runs):
            self._add_recordings(index, run)
            self._add_live(index, run)
            if not (run.recordings or parquet_files(run.folder / "traces")):
                self.notes.append(
                    f"{run.name} holds no traces: its problems are shown without texts."
                )

    def texts(self, row: Row) -> Texts:
        """The traces that an outcome is about; empty where they are not at hand."""
        live = self._live.get((row.run, row.problem_id, row.model, row.policy))
        if live is not None and row.driver != "replay":
            return live
        recording = self._recorded.get((row.run, row.problem_id, row.model))
        if recording is None:
            return {}
        return {t.sample: Text(t.text, t.num_tokens, t.answer) for t in recording.traces}

    def answers(self, run: int, problem_id: str, model: str) -> dict[int, str | None]:
        """The answers of a problem's traces when all of them were left to finish, or nothing.

        Traces of a run that pruned are no fair sample, so they do not count.
        """
        recording = self._recorded.get((run, problem_id, model))
        if recording is not None:
            return {trace.sample: trace.answer for trace in recording.traces}
        for policy in ("cons", ""):
            live = self._live.get((run, problem_id, model, policy))
            if live is not None:
                return {sample: text.answer for sample, text in live.items()}
        return {}

    def _add_recordings(self, index: int, run: Run) -> None:
        known = {
            "kind": "answer_kind",
            "truncated": "truncated_answers",
            "chars_per_token": "chars_per_token",
        }
        options: dict[str, Any] = {
            name: run.config[key] for name, key in known.items() if run.config.get(key)
        }
        wanted = {(row.problem_id, row.model) for row in run.rows}
        for path in run.recordings:
            try:
                if path not in self._read:
                    self._read[path] = load_recordings(path, **options)
            except UserError as error:
                self.notes.append(f"Without the texts of {path.name}: {error}.")
                continue
            for recording in self._read[path]:
                model = recording.model or "unnamed model"
                problem = recording.problem
                if (problem.problem_id, model) in wanted:
                    self._recorded[index, problem.problem_id, model] = recording
                    self.problems[problem.problem_id] = problem.text

    def _add_live(self, index: int, run: Run) -> None:
        for part in parquet_files(run.folder / "traces"):
            try:
                table = pq.ParquetFile(part)
                names = [n for n in TRACE_COLUMNS if n in table.schema_arrow.names]
                records = table.read(columns=names).to_pylist()
            except (OSError, pa.ArrowException) as error:
                reason = " ".join(str(error).split())[:160]
                self.notes.append(f"Without the texts of {part.name}: {reason}.")
                continue
            for record in records:
                self._add_trace(index, record)

    def _add_trace(self, index: int, record: dict[str, Any]) -> None:
        problem_id, sample = record.get("problem_id"), record.get("sample")
        if problem_id is None or sample is None:
            return
        if record.get("problem"):
            self.problems[problem_id] = record["problem"]
        model, policy = record.get("model") or "unnamed model", record.get("policy") or ""
        texts = self._live.setdefault((index, problem_id, model, policy), {})
        texts[sample] = Text(
            record.get("text") or "",
            record.get("num_tokens") or 0,
            record.get("answer"),
            record.get("prefix_chars"),
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of traces of the same problem that both gave an answer, and those that agree."""

    model: str
    benchmark: str
    num_problems: int
    pairs: int
    same: int

    @property
    def ratio(self) -> float:
        """The share of pairs that agree."""
        return self.same / self.pairs if self.pairs else float("nan")


def count_pairs(runs: Sequence[Run], shelf: Shelf) -> list[Pairs]:
    """Table 4: how many pairs of traces share their answer, by model and benchmark.

    Answers count as the same when self-consistency counted them as one vote, or are the same text.
    """
    votes = _votes(runs)
    totals: dict[tuple[str, str], list[tuple[int, int]]] = {}
    done: set[tuple[str, str]] = set()
    for row in (row for run in runs for row in run.rows):
        if (row.model, row.problem_id) in done:
            continue
        answers = shelf.answers(row.run, row.problem_id, row.model)
        if not answers:
            continue
        done.add((row.model, row.problem_id))
        voted = votes.get((row.run, row.problem_id, row.model), {})
        sizes = Counter(voted.get(s, a) for s, a in answers.items() if a is not None).values()
        number = sum(sizes)
        same = sum(size * (size - 1) // 2 for size in sizes)
        totals.setdefault((row.model, row.benchmark), []).append((number * (number - 1) // 2, same))
    return [
        Pairs(model, benchmark, len(found), sum(p for p, _ in found), sum(s for _, s in found))
        for (model, benchmark), found in sorted(totals.items())
    ]


def _votes(runs: Sequence[Run]) -> dict[tuple[int, str, str], dict[int, str]]:
    """Which answer self-consistency took each trace's to be, by run, problem and model."""
    found: dict[tuple[int, str, str], dict[int, str]] = {}
    for run in runs:
        for row in run.rows:
            if row.policy == "cons":
                voted = found.setdefault((row.run, row.problem_id, row.model), {})
                for vote in run.detail(row).votes:
                    voted.update(dict.fromkeys(vote["samples"] or (), vote["answer"]))
    return found
