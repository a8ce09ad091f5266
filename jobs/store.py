"""A run's folder: its configuration, and Parquet parts written problem by problem.

Each solved problem becomes one part of `outcomes/` and one of `traces/`, written under another name
and then renamed, so that a run that dies has lost nothing it had solved and left nothing half
written. `pyarrow.parquet.read_table(folder / "outcomes")` reads all parts as one table.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from deepprune.config import RunConfig, VllmGeneratorConfig
from deepprune.ledger import Ledger
from jobs.tables import is_correct

if TYPE_CHECKING:
    from actors.coordinator import Solved

_LEDGER = [
    pa.field(field.name, pa.float64() if field.name.endswith("_s") else pa.int64())
    for field in fields(Ledger)
]

OUTCOMES = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("model", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("reference", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("correct", pa.bool_()),
        pa.field("complete", pa.bool_()),
        pa.field(
            "votes",
            pa.list_(pa.struct([("answer", pa.string()), ("samples", pa.list_(pa.int32()))])),
        ),
        pa.field("clusters", pa.list_(pa.list_(pa.int32()))),
        *_LEDGER,
    ]
)
"""One row per problem, model, policy and seed."""

TRACES = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("model", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("num_tokens", pa.int32()),
        pa.field("prefix_chars", pa.int32()),
        pa.field("finish_reason", pa.string()),
        pa.field("fate", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("confidence", pa.list_(pa.float32())),
    ]
)
"""One row per launched trace."""


class RunStore:
    """Writes a run's folder; it is created when there is something to write."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self._config = config
        generator = config.generator
        self._model = (
            generator.engine.model
            if isinstance(generator, VllmGeneratorConfig)
            else generator.model
        )

    def write(self, solved: Solved) -> None:
        """Add a solved problem, replacing what there was for the same problem and policy."""
        outcome = solved.outcome
        config = self.folder / "config.yaml"
        if not config.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            config.write_text(
                yaml.safe_dump(self._config.model_dump(mode="json"), sort_keys=False), "utf-8"
            )
        key = re.sub(r"[^\w.-]+", "_", f"{outcome.problem.problem_id}-{outcome.policy}")
        self._write_part("traces", key, self._trace_rows(solved), TRACES)
        self._write_part("outcomes", key, [self._outcome_row(solved)], OUTCOMES)

    def _write_part(
        self, table: str, key: str, rows: list[dict[str, Any]], schema: pa.Schema
    ) -> None:
        folder = self.folder / table
        folder.mkdir(exist_ok=True)
        # A leading underscore hides the unfinished part from readers of the folder.
        unfinished = folder / f"_{key}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema), unfinished)
        unfinished.rename(folder / f"{key}.parquet")

    def _outcome_row(self, solved: Solved) -> dict[str, Any]:
        outcome = solved.outcome
        return {
            "problem_id": outcome.problem.problem_id,
            "model": self._model,
            "policy": outcome.policy,
            "seed": self._config.seed,
            "reference": outcome.problem.reference,
            "answer": outcome.answer,
            "correct": is_correct(outcome),
            "complete": outcome.complete,
            "votes": [
                {"answer": answer, "samples": list(samples)}
                for answer, samples in outcome.decision.votes
            ],
            "clusters": [list(cluster) for cluster in outcome.decision.clusters],
            **{field.name: getattr(outcome.ledger, field.name) for field in fields(Ledger)},
        }

    def _trace_rows(self, solved: Solved) -> list[dict[str, Any]]:
        problem = solved.outcome.problem
        return [
            {
                "problem_id": problem.problem_id,
                "problem": problem.text,
                "reference": problem.reference,
                "model": self._model,
                "policy": solved.outcome.policy,
                "sample": end.sample,
                "seed": solved.traces[end.sample].seed,
                "text": solved.traces[end.sample].text,
                "token_ids": solved.traces[end.sample].token_ids,
                "num_tokens": end.num_tokens,
                "prefix_chars": solved.traces[end.sample].prefix_chars,
                "finish_reason": solved.traces[end.sample].finish_reason,
                "fate": end.fate.value,
                "reason": end.reason,
                "answer": solved.traces[end.sample].answer,
                "confidence": solved.traces[end.sample].confidence,
            }
            for end in solved.outcome.ends
        ]


def load_outcomes(folder: Path) -> list[dict[str, Any]]:
    """The outcomes of a run, one dictionary per row."""
    rows: list[dict[str, Any]] = pq.read_table(folder / "outcomes").to_pylist()
    return rows
