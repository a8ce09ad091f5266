"""A first look at recorded traces, without their texts: what there is, and what cannot be used.

It keeps four bytes of each trace. Samples of one model under several configurations are one
recording unless their numbers clash, and of several policies the one that finished most counts, as
in `deepprune.recordings`.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.errors import UserError
from deepprune.recordings import COLUMNS, FINISHED, HINT, REQUIRED
from deepprune.table_io import TEXT_SUFFIXES, Kind, data_files, read_rows
from training.pairs.data import problem_key
from training.pairs.pair_up import Row

SLICE_ROWS = 2048
"""Traces that one task cuts, unless a file's row groups are larger."""
MAX_SAMPLE = 2**31 - 1

_LOOKED_AT: dict[str, Kind] = {
    name: COLUMNS[name]
    for name in ("problem_id", "problem", "model", "config", "policy", "sample", "fate")
}

_Key = tuple[str, str]
_Variant = tuple[str | None, str | None]
"""Policy and configuration."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file that one task reads: some row groups, or all of it."""

    file: str
    row_groups: tuple[int, ...] | None


@dataclass(frozen=True)
class Survey:
    """What is known of all traces together."""

    num_traces: int
    keys: dict[str, str]
    """What makes each problem itself, by its id."""
    policies: dict[_Key, str | None]
    """The policy whose traces count, where a problem was recorded under several."""
    clashing: frozenset[str]
    """Models of which each configuration counts as a model of its own."""

    def model(self, trace: Row) -> str | None:
        """The name under which a trace is paired; None where another policy's traces count."""
        name = trace.get("model") or ""
        key = (trace["problem_id"], name)
        if key in self.policies and self.policies[key] != trace.get("policy"):
            return None
        if name not in self.clashing:
            return name
        return f"{name} ({trace.get('config') or 'no config'})"


def source_files(sources: Sequence[Path]) -> list[Path]:
    """The files of recordings: a run's folder, a folder of parts, or single files.

    Raises:
        UserError: there is no such path, or no table in it.
    """
    tables = (source / "traces" for source in sources)
    found = [
        file
        for source, table in zip(sources, tables, strict=True)
        for file in data_files(table if table.is_dir() else source)
    ]
    return [file.absolute() for file in found]


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


def look_at(files: Sequence[Path], seen: Callable[[int], None] = lambda _: None) -> Survey:
    """Read the keys of all traces; `seen` is told how many more have been.

    Raises:
        UserError: a file is damaged or foreign, a problem's id stands for two texts, or a sample
            is there twice.
    """
    keys: dict[str, str] = {}
    samples: dict[_Key, dict[_Variant, array[int]]] = defaultdict(lambda: defaultdict(_integers))
    num_traces = 0
    for file in files:
        for row in read_rows(file, _LOOKED_AT, _required_keys(), hint=HINT):
            problem_id, sample = row["problem_id"], row["sample"]
            if problem_id is None or sample is None:
                raise UserError(f"{file}: a trace without a problem_id or a sample")
            if not 0 <= sample <= MAX_SAMPLE:
                raise UserError(f"{file}: {problem_id} has a sample {sample}: count from 0")
            key = problem_key(problem_id, row["problem"])
            if keys.setdefault(problem_id, key) != key:
                raise UserError(f"{file}: {problem_id} stands for another problem elsewhere")
            if row.get("fate") in FINISHED:
                variant = (row.get("policy"), row.get("config"))
                samples[problem_id, row.get("model") or ""][variant].append(sample)
            num_traces += 1
            if num_traces % SLICE_ROWS == 0:
                seen(SLICE_ROWS)
    if not samples:
        raise UserError(f"{', '.join(map(str, files))}: no finished traces")
    seen(num_traces % SLICE_ROWS)
    policies = {
        key: max(counts, key=lambda policy: (counts[policy], policy or ""))
        for key, variants in samples.items()
        if len(counts := _by_policy(variants)) > 1
    }
    kept = {
        key: {
            config: numbers
            for (policy, config), numbers in variants.items()
            if key not in policies or policy == policies[key]
        }
        for key, variants in samples.items()
    }
    for (problem_id, model), by_config in kept.items():
        for numbers in by_config.values():
            _refuse_doubles(problem_id, model, numbers)
    clashing = {model for (_, model), by_config in kept.items() if _clash(by_config)}
    return Survey(num_traces, keys, policies, frozenset(clashing))


def _row_group_sizes(file: Path) -> list[int]:
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file} cannot be read as Parquet: {reason}") from None
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _required_keys() -> list[str]:
    return [name for name in REQUIRED if name in _LOOKED_AT]


def _integers() -> array[int]:
    return array("i")


def _by_policy(variants: dict[_Variant, array[int]]) -> Counter[str | None]:
    counts: Counter[str | None] = Counter()
    for (policy, _), numbers in variants.items():
        counts[policy] += len(numbers)
    return counts


def _refuse_doubles(problem_id: str, model: str, numbers: array[int]) -> None:
    found, counts = np.unique(numbers, return_counts=True)
    if (counts > 1).any():
        raise UserError(
            f"{problem_id}, sample {found[counts.argmax()]} by {model or 'no model'} is there "
            "twice: give each recording once"
        )


def _clash(by_config: dict[Any, array[int]]) -> bool:
    together = np.concatenate(list(by_config.values()))
    return len(np.unique(together)) < len(together)
