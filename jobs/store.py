"""A run's folder: its configuration, and Parquet parts written problem by problem.

Each solved problem becomes one part of `traces/` and one of `outcomes/`, in this order, written
under another name, flushed to the disk and then renamed. So a run that dies has lost nothing it had
solved and left nothing half written, and an outcome is never without its traces.
`pyarrow.parquet.read_table(folder / "outcomes")` reads all parts as one table.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from deepprune.config import RunConfig, VllmGeneratorConfig
from deepprune.errors import UserError
from deepprune.ledger import Ledger
from jobs.tables import is_correct

if TYPE_CHECKING:
    from actors.coordinator import Solved

LEDGER_FIELDS = [
    (field.name, pa.float64() if field.name.endswith("_s") else pa.int64())
    for field in fields(Ledger)
]

OUTCOMES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("reference", pa.string()),
        ("model", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("complete", pa.bool_()),
        (
            "votes",
            pa.list_(
                pa.struct(
                    [
                        ("answer", pa.string()),
                        ("count", pa.int32()),
                        ("samples", pa.list_(pa.int32())),
                    ]
                )
            ),
        ),
        ("clusters", pa.list_(pa.list_(pa.int32()))),
        *LEDGER_FIELDS,
    ]
)
"""One row per problem, model, policy and seed; the ledger's entries are columns."""

TRACES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("problem", pa.string()),
        ("reference", pa.string()),
        ("model", pa.string()),
        ("policy", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("num_tokens", pa.int32()),
        ("prefix_chars", pa.int32()),
        ("finish_reason", pa.string()),
        ("fate", pa.string()),
        ("reason", pa.string()),
        ("answer", pa.string()),
        ("confidence", pa.list_(pa.float32())),
    ]
)
"""One row per launched trace; `seed` is the trace's own, `prefix_chars` where it was judged."""


class RunStore:
    """Writes a run's folder, which is created when there is something to write.

    Raises:
        UserError: the folder holds a run of another configuration, or cannot be written to.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self._config = config.model_dump(mode="json")
        self._seed = config.seed
        generator = config.generator
        if isinstance(generator, VllmGeneratorConfig):
            self._model = generator.engine.model
        else:
            self._model = generator.model
        self._check()

    def write(self, solved: Solved) -> None:
        """Add a solved problem, replacing what there was for the same problem and policy."""
        if not self._config_path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            _write_whole(self._config_path, text.encode())
        name = _part_name(solved)
        self._write_part("traces", name, self._trace_rows(solved), TRACES)
        self._write_part("outcomes", name, [self._outcome_row(solved)], OUTCOMES)

    @property
    def _config_path(self) -> Path:
        return self.folder / "config.yaml"

    def _check(self) -> None:
        """Refuse a folder now that would fail, or mix two runs, when the first result is in."""
        nearest = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UserError(f"cannot write to {self.folder}: choose another folder with --out")
        if self._config_path.exists():
            text = self._config_path.read_text(encoding="utf-8")
            if yaml.safe_load(text) != self._config:
                raise UserError(
                    f"{self.folder} holds a run of another configuration: choose another --out"
                )

    def _write_part(
        self, table: str, name: str, rows: list[dict[str, Any]], schema: pa.Schema
    ) -> None:
        (self.folder / table).mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema), sink)
        _write_whole(self.folder / table / f"{name}.parquet", sink.getvalue())

    def _outcome_row(self, solved: Solved) -> dict[str, Any]:
        outcome = solved.outcome
        return {
            **self._keys(solved),
            "seed": self._seed,
            "answer": outcome.answer,
            "correct": is_correct(outcome),
            "complete": outcome.complete,
            "votes": [
                {"answer": answer, "count": len(samples), "samples": samples}
                for answer, samples in outcome.decision.votes
            ],
            "clusters": outcome.decision.clusters,
            **{name: getattr(outcome.ledger, name) for name, _ in LEDGER_FIELDS},
        }

    def _trace_rows(self, solved: Solved) -> list[dict[str, Any]]:
        keys = {**self._keys(solved), "problem": solved.outcome.problem.text}
        rows = []
        for end in solved.outcome.ends:
            trace = solved.traces[end.sample]
            rows.append(
                {
                    **keys,
                    "sample": end.sample,
                    "seed": trace.seed,
                    "text": trace.text,
                    "token_ids": trace.token_ids,
                    "num_tokens": end.num_tokens,
                    "prefix_chars": trace.prefix_chars,
                    "finish_reason": trace.finish_reason,
                    "fate": end.fate.value,
                    "reason": end.reason,
                    "answer": trace.answer,
                    "confidence": trace.confidence,
                }
            )
        return rows

    def _keys(self, solved: Solved) -> dict[str, Any]:
        problem = solved.outcome.problem
        return {
            "benchmark": problem.problem_id.rpartition("/")[0],
            "problem_id": problem.problem_id,
            "reference": problem.reference,
            "model": self._model,
            "policy": solved.outcome.policy,
        }


def load_outcomes(folder: Path) -> list[dict[str, Any]]:
    """The outcomes of a run, one dictionary per row, those of an interrupted run included.

    Raises:
        UserError: there is no run in `folder`.
    """
    return _load(folder, "outcomes", OUTCOMES)


def load_traces(folder: Path) -> list[dict[str, Any]]:
    """The traces of a run, one dictionary per row.

    Raises:
        UserError: there is no run in `folder`.
    """
    return _load(folder, "traces", TRACES)


def _load(folder: Path, table: str, schema: pa.Schema) -> list[dict[str, Any]]:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run's folder: it has no config.yaml")
    if not (folder / table).is_dir():
        return []
    rows: list[dict[str, Any]] = ds.dataset(folder / table, schema=schema).to_table().to_pylist()
    return rows


def _part_name(solved: Solved) -> str:
    """A file name that is the same for the same problem and policy, and for no others."""
    outcome = solved.outcome
    key = (outcome.problem.problem_id, outcome.problem.text, outcome.policy)
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{key[0]}-{key[2]}").strip("-.")[:80]
    return f"{readable}-{hashlib.blake2b(repr(key).encode(), digest_size=4).hexdigest()}"


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process or machine dies."""
    unfinished = path.with_name(f"_{path.name}.part")  # readers of Parquet folders skip `_` names
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
