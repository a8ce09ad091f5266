"""Where `deepprune collect` writes: traces in small parts as they end, each sample exactly once.

What is on disk is what is known: a sample whose row is in a part is never asked for again, and any
other is. A process that dies loses at most the traces that had ended since its last part.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from deepprune.errors import UserError
from deepprune.schemas import TRACES
from deepprune.table_io import Kind, read_rows
from deepprune.traces import Problem
from jobs.storage.run_dir import RunDir

KEYS: dict[str, Kind] = {"problem_id": "text", "sample": "integer", "error": "text"}
PART_TRACES = 48
PART_S = 5.0
"""A part is written when it has this many traces, or when its first has waited this long."""


class CollectStore:
    """Adds rows of the traces table to a folder that is locked for us.

    Raises:
        UserError: a part in the folder is damaged.
    """

    def __init__(self, folder: RunDir, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._rows: list[dict[str, Any]] = []
        self._waiting_since = 0.0
        self._parts = sorted((folder.path / "traces").glob("part-*.parquet"))
        self._next_part = 1 + max((_number(part) for part in self._parts), default=-1)
        self._known: dict[str, set[int]] = defaultdict(set)
        self.num_errors = 0
        for part in self._parts:
            for problem_id, sample, error in _keys(part):
                self._known[problem_id].add(sample)
                self.num_errors += error is not None

    def forget_errors(self) -> None:
        """Drop the rows of traces that ended in an error, so that they are missing again.

        Raises:
            UserError: the disk is full, or fails; the rest is as it was.
        """
        for part in self._parts:
            if not any(error is not None for _, _, error in _keys(part)):
                continue
            rows = pq.read_table(part, schema=TRACES).to_pylist()
            kept = [row for row in rows if row["error"] is None]
            for row in rows:
                if row["error"] is not None:
                    self._known[row["problem_id"]].discard(row["sample"])
                    self.num_errors -= 1
            self._folder.write("traces", part.stem, kept, TRACES)

    def missing(self, problem: Problem, num_traces: int) -> list[int]:
        """The samples below `num_traces` that have no row yet."""
        known = self._known[problem.problem_id]
        return [sample for sample in range(num_traces) if sample not in known]

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take rows, and write a part when there are enough of them.

        Raises:
            UserError: the disk is full, or fails; all parts written before are whole.
        """
        for row in rows:
            samples = self._known[row["problem_id"]]
            assert row["sample"] not in samples, f"{row['problem_id']}, sample {row['sample']}"
            samples.add(row["sample"])
            self.num_errors += row["error"] is not None
        if not self._rows:
            self._waiting_since = self._clock()
        self._rows.extend(rows)
        if len(self._rows) >= PART_TRACES:
            self.flush()

    def flush(self, *, if_due: bool = False) -> None:
        """Write what has been taken; `if_due`, only when it has waited for long enough.

        Raises:
            UserError: the disk is full, or fails; all parts written before are whole.
        """
        due = not if_due or self._clock() - self._waiting_since >= PART_S
        if self._rows and due:
            self._folder.write("traces", f"part-{self._next_part:06}", self._rows, TRACES)
            self._next_part += 1
            self._rows = []


def _number(part: Path) -> int:
    digits = part.stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else -1


def _keys(part: Path) -> list[tuple[str, int, str | None]]:
    try:
        rows = list(read_rows(part, KEYS, tuple(KEYS)))
    except UserError as error:
        raise UserError(
            f"{part} is damaged ({error}): delete it, and its traces are sampled again"
        ) from None
    return [(row["problem_id"], row["sample"], row["error"]) for row in rows]
