"""Collected traces, and what a recording's folder holds of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from actors.driver.live_trace import LiveTrace
from actors.driver.trace_collector import Collected
from deepprune.config import load_config
from deepprune.traces import Problem
from jobs.sample import collect as job

CONFIG = load_config("cluster/laptop.yaml", {"generator.confidence": True})
PROBLEMS = [Problem(f"b/{i}", f"What is {i}?", str(i), "math") for i in range(3)]


def ended(sample: int, error: str | None = None) -> Collected:
    trace = LiveTrace(
        seed=sample,
        text="\\boxed{1}",
        token_ids=[1, 2],
        num_tokens=2,
        finish_reason=None if error else "stop",
        answer=None if error else "1",
        confidence=[1.5],
    )
    return Collected(sample, trace, error)


def row(problem: Problem, sample: int, error: str | None = None) -> dict:
    return job.collected_row(CONFIG, problem, ended(sample, error))


def rows_in(folder: Path) -> list[dict]:
    parts = sorted((folder / "traces").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]
