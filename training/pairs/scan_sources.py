"""Scan recorded traces without their texts: what there is, and what cannot be used.

Keeps four bytes of each trace. `deepprune.trace_selection` says which traces count where several
cells or configurations recorded a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune import recordings
from deepprune.errors import UserError, reason
from deepprune.recordings import COLUMNS, FINISHED, read_traces
from deepprune.table_io import TEXT_SUFFIXES, Kind
from deepprune.trace_selection import TraceIndex, TraceSelection
from training.pairs.data import problem_key

SLICE_ROWS = 2048
"""Traces that one task cuts, unless a file's row groups are larger."""

_KEYS: dict[str, Kind] = {
    name: COLUMNS[name]
    for name in ("problem_id", "problem", "model", "config", "policy", "cell", "sample", "fate")
}


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file that one task reads: some row groups, or all of it."""

    file: str
    row_groups: tuple[int, ...] | None


@dataclass(frozen=True)
class SourceScan:
    """What is known of all traces together."""

    num_traces: int
    keys: dict[str, str]
    """What makes each problem itself, by its id."""
    selection: TraceSelection
    """The traces that count."""


def source_files(sources: Sequence[Path]) -> list[Path]:
    """The files of recordings: run folders, folders of parts, or single files.

    Raises:
        UserError: there is no such path, or no table in it.
    """
    return [file.absolute() for source in sources for file in recordings.source_files(source)]


def slices_of(files: Sequence[Path]) -> list[Slice]:
    """Cut files into parts of about `SLICE_ROWS` traces."""
    slices = []
    for file in files:
        if file.suffix in TEXT_SUFFIXES:
            slices.append(Slice(str(file), None))
            continue
        chosen: list[int] = []
        num_rows = 0
        for number, rows in enumerate(_row_group_sizes(file)):
            chosen.append(number)
            num_rows += rows
            if num_rows >= SLICE_ROWS:
                slices.append(Slice(str(file), tuple(chosen)))
                chosen, num_rows = [], 0
        if chosen:
            slices.append(Slice(str(file), tuple(chosen)))
    return slices


def scan_sources(
    files: Sequence[Path], on_progress: Callable[[int], None] = lambda _: None
) -> SourceScan:
    """Read the keys of all traces; `on_progress` is told how many more have been read.

    Raises:
        UserError: a file is damaged or foreign, a problem's id stands for two texts, or a sample
            is there twice.
    """
    keys: dict[str, str] = {}
    index = TraceIndex()
    num_traces = 0
    for file in files:
        for row in read_traces(file, _KEYS):
            problem_id = row["problem_id"]
            key = problem_key(problem_id, row["problem"])
            if keys.setdefault(problem_id, key) != key:
                raise UserError(f"{file}: {problem_id} stands for another problem elsewhere")
            if row.get("fate") in FINISHED:
                index.add(row)
            num_traces += 1
            if num_traces % SLICE_ROWS == 0:
                on_progress(SLICE_ROWS)
    shown = ", ".join(map(str, files))
    if not index:
        raise UserError(f"{shown}: no finished traces")
    on_progress(num_traces % SLICE_ROWS)
    return SourceScan(num_traces, keys, index.select(shown))


def _row_group_sizes(file: Path) -> list[int]:
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet: {reason(error)}") from None
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
