"""Numbers that the DeepPrune paper published, typed in from its tables into `published.yaml`.

They are shown beside ours, marked as published, where model, benchmark and number of traces match.
The rows marked with a dagger are those that the paper quotes from DeepConf.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

NUM_TRACES = 512
TOKEN_UNIT = 1e8
"""Tokens of a whole benchmark are published in units of this, as DeepConf's are."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A cell of Table 2: tokens of the whole benchmark, and accuracy."""

    row: str
    model: str
    benchmark: str
    tokens: float
    accuracy: float
    change: float | None = None
    """Of tokens against the paper's own cons@512, as published."""


@dataclass(frozen=True, slots=True)
class PublishedThreshold:
    """A cell of Table 3: greedy clustering alone, then the vote within the largest cluster."""

    model: str
    benchmark: str
    tau: float
    clustering_tokens: float
    pass_at_k: float
    tokens: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class PublishedPairs:
    """A row of Table 4: pairs of traces, 16 per problem, all benchmarks together."""

    model: str
    pairs: int
    same: int


_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
TABLE_2 = tuple(
    PublishedResult(
        row, model, benchmark, tokens * TOKEN_UNIT, right / 100, change[0] / 100 if change else None
    )
    for row, model, benchmark, tokens, right, *change in _TABLES["table_2"]
)
TABLE_3 = tuple(
    PublishedThreshold("Qwen3-32B", benchmark, tau, c * TOKEN_UNIT, passed, t * TOKEN_UNIT, right)
    for benchmark, tau, c, passed, t, right in _TABLES["table_3"]
)
TABLE_4 = tuple(PublishedPairs(*row) for row in _TABLES["table_4"])

_SAME_NAME = {
    "deepseek8b": "deepseekr10528qwen38b",
    "aime2024": "aime24",
    "aime2025": "aime25",
    "gpqadiamond": "gpqa",
}


def results(model: str, benchmark: str, sizes: Collection[int | None]) -> list[PublishedResult]:
    """The results in Table 2 of a model on a benchmark, if `sizes` has its number of traces."""
    found = (r for r in TABLE_2 if _same(model, r.model) and _same(benchmark, r.benchmark))
    return list(found) if NUM_TRACES in sizes else []


def thresholds(
    model: str, benchmark: str, sizes: Collection[int | None]
) -> list[PublishedThreshold]:
    """The thresholds in Table 3 of a model on a benchmark, likewise."""
    found = (r for r in TABLE_3 if _same(model, r.model) and _same(benchmark, r.benchmark))
    return list(found) if NUM_TRACES in sizes else []


def pairs(model: str) -> PublishedPairs | None:
    """The row in Table 4 of a model."""
    return next((row for row in TABLE_4 if _same(model, row.model)), None)


def _same(ours: str, published: str) -> bool:
    """Whether two names mean the same; a model's owner or folder does not count."""
    a, b = (
        re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower())
        for name in (ours, published)
    )
    return _SAME_NAME.get(a, a) == _SAME_NAME.get(b, b)
