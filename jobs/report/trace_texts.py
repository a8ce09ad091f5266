"""The texts of traces: from the run itself where it was live, from recordings where it replayed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepprune.errors import UserError
from deepprune.recordings import COLUMNS, Recording, load_recordings
from deepprune.table_io import read_rows
from jobs.report.load import Row, Run, parquet_files

TRACE_COLUMNS = {
    name: COLUMNS[name]
    for name in (
        *("problem_id", "problem", "model", "policy", "cell", "sample", "text", "num_tokens"),
        *("prefix_chars", "answer"),
    )
}
CONFIG_KEYS = {
    "kind": "answer_kind",
    "truncated": "truncated_answers",
    "chars_per_token": "chars_per_token",
    "answers": "answers",
}
"""Keys of a sweep's configuration by the options of `load_recordings` that they set."""


@dataclass(frozen=True, slots=True)
class Text:
    """A trace's text. `prefix_chars` is where it was judged live; None in a recording's."""

    text: str
    num_tokens: int
    answer: str | None
    prefix_chars: int | None = None


Texts = Mapping[int, Text]
"""By sample."""


_Key = tuple[int, str, str]
"""Run, problem id and model."""
_Cell = tuple[str, str | None]
"""Policy and cell; in folders without a column `cell`, the policy alone tells cells apart."""


class TraceTexts:
    """All texts of some runs; `notes` says which are missing, and why."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.notes: list[str] = []
        self.problems: dict[str, str] = {}
        self._recorded: dict[_Key, Recording] = {}
        self._live: dict[_Key, dict[_Cell, dict[int, Text]]] = defaultdict(dict)
        self._read: dict[Path, list[Recording]] = {}
        for index, run in enumerate(runs):
            self._add_recordings(index, run)
            self._add_live(index, run)
            if not (run.recordings or parquet_files(run.folder / "traces")):
                self.notes.append(
                    f"{run.name} holds no traces: its problems are shown without texts."
                )

    def texts(self, row: Row) -> Texts:
        """The traces of an outcome; empty where they are not at hand."""
        key = (row.run, row.problem_id, row.model)
        live = self._live.get(key, {}).get((row.policy, row.cell))
        if live is not None and row.driver != "replay":
            return live
        recording = self._recorded.get(key)
        if recording is None:
            return {}
        return {t.sample: Text(t.text, t.num_tokens, t.answer) for t in recording.traces}

    def fair_sample(self, row: Row) -> Texts:
        """The traces of an outcome if all of them were left to finish, else none.

        Traces of a policy that prunes are no fair sample.
        """
        key = (row.run, row.problem_id, row.model)
        finished = self.texts(row) if key in self._recorded or row.policy == "cons" else {}
        return finished or self._live.get(key, {}).get(("", None), {})

    def _add_recordings(self, index: int, run: Run) -> None:
        options: dict[str, Any] = {
            name: run.config[key] for name, key in CONFIG_KEYS.items() if run.config.get(key)
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
                for row in read_rows(part, TRACE_COLUMNS):
                    self._add_trace(index, row)
            except UserError as error:
                self.notes.append(f"Without the texts of {part.name}: {error}.")

    def _add_trace(self, index: int, trace: dict[str, Any]) -> None:
        problem_id, sample = trace.get("problem_id"), trace.get("sample")
        if problem_id is None or sample is None:
            return
        if trace.get("problem"):
            self.problems[problem_id] = trace["problem"]
        of_problem = self._live[index, problem_id, trace.get("model") or "unnamed model"]
        texts = of_problem.setdefault((trace.get("policy") or "", trace.get("cell")), {})
        texts[sample] = Text(
            trace.get("text") or "",
            trace.get("num_tokens") or 0,
            trace.get("answer"),
            trace.get("prefix_chars"),
        )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of traces of the same problem that both gave an answer, and those that agree."""

    model: str
    benchmark: str
    num_problems: int
    pairs: int
    same: int


def count_pairs(runs: Sequence[Run], texts: TraceTexts) -> list[Pairs]:
    """Table 4: how many pairs of traces share their answer, by model and benchmark.

    Answers count as the same when self-consistency counted them as one vote, or are the same text.
    """
    votes = _votes(runs)
    totals: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    done: set[tuple[str, str]] = set()
    rows = (row for run in runs for row in run.rows)
    for row in sorted(rows, key=lambda row: -(row.num_traces or 0)):
        if (row.model, row.problem_id) in done:
            continue
        sample = texts.fair_sample(row)
        if not sample:
            continue
        done.add((row.model, row.problem_id))
        voted = votes[_votes_key(row)]
        answers = {number: text.answer for number, text in sample.items()}
        sizes = Counter(voted.get(s, a) for s, a in answers.items() if a is not None).values()
        number = sum(sizes)
        same = sum(size * (size - 1) // 2 for size in sizes)
        totals[row.model, row.benchmark].append((number * (number - 1) // 2, same))
    return [
        Pairs(model, benchmark, len(found), sum(p for p, _ in found), sum(s for _, s in found))
        for (model, benchmark), found in sorted(totals.items())
    ]


def _votes(runs: Sequence[Run]) -> dict[tuple[Any, ...], dict[int, str]]:
    """The answer that self-consistency counted each sample for, by `_votes_key`."""
    found: dict[tuple[Any, ...], dict[int, str]] = defaultdict(dict)
    for run in runs:
        for row in run.rows:
            if row.policy == "cons":
                for vote in run.detail(row).votes:
                    counted = dict.fromkeys(vote["samples"] or (), vote["answer"])
                    found[_votes_key(row)].update(counted)
    return found


def _votes_key(row: Row) -> tuple[Any, ...]:
    """Replays of a problem share their samples; each live cell has its own."""
    cell = row.cell if row.driver != "replay" and row.policy == "cons" else None
    return row.run, row.problem_id, row.model, cell
