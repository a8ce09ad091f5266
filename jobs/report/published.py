"""Numbers that the DeepPrune paper published, typed in from its tables.

*DeepPrune: Parallel Scaling without Inter-trace Redundancy* (Tu, Li, Bai, Hou, Li). They are shown
beside ours, marked as published, where model, benchmark and number of traces match. The rows marked
with a dagger are those that the paper quotes from DeepConf.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    tau: float
    model: str
    benchmark: str
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


_MODELS = ("DeepSeek-8B", "Qwen3-32B", "GPT-OSS-20B")
_BENCHMARKS = ("AIME24", "AIME25", "GPQA")
_TABLE_2: dict[str, tuple[tuple[float | None, float | None, float | None], ...]] = {
    # (tokens in 1e8, change in per cent, accuracy in per cent), by model and benchmark
    "cons@512†": (
        *((3.55, None, 86.7), (4.01, None, 82.3), (9.92, None, 72.5)),
        *((2.00, None, 84.8), (2.43, None, 80.1), (7.44, None, 72.2)),
        *((5.57, None, 96.7), (6.26, None, 95.4), (None, None, None)),
    ),
    "DeepConf-high†": (
        *((1.45, -59.0, 86.7), (2.37, -40.9, 81.4), (6.90, -30.4, 72.4)),
        *((0.88, -56.0, 86.4), (1.61, -33.7, 80.2), (4.16, -44.1, 72.9)),
        *((3.07, -44.8, 96.7), (3.18, -49.2, 95.3), (None, None, None)),
    ),
    "DeepConf-low†": (
        *((0.78, -77.9, 92.5), (1.24, -69.0, 86.4), (3.46, -65.1, 71.7)),
        *((0.66, -66.8, 89.5), (1.14, -52.9, 80.2), (3.21, -56.9, 73.0)),
        *((1.11, -80.0, 95.7), (1.21, -80.7, 96.1), (None, None, None)),
    ),
    "cons@512": (
        *((3.62, None, 86.7), (4.19, None, 83.3), (10.9, None, 66.2)),
        *((1.93, None, 86.7), (2.64, None, 80.0), (6.94, None, 70.7)),
        *((2.05, None, 93.3), (2.10, None, 90.0), (4.60, None, 70.7)),
    ),
    "DeepPrune": (
        *((0.42, -88.3, 86.7), (0.35, -91.6, 83.3), (2.54, -76.7, 63.1)),
        *((0.26, -86.4, 90.0), (0.23, -91.4, 90.0), (None, None, None)),
        *((0.42, -79.6, 90.0), (0.38, -82.2, 93.3), (2.20, -52.5, 68.7)),
    ),
}

TABLE_2 = tuple(
    PublishedResult(
        row,
        model,
        benchmark,
        tokens * TOKEN_UNIT,
        accuracy / 100,
        None if change is None else change / 100,
    )
    for row, cells in _TABLE_2.items()
    for (model, benchmark), (tokens, change, accuracy) in zip(
        ((model, benchmark) for model in _MODELS for benchmark in _BENCHMARKS), cells, strict=True
    )
    if tokens is not None and accuracy is not None
)

TABLE_3 = tuple(
    PublishedThreshold(tau, "Qwen3-32B", benchmark, c * TOKEN_UNIT, p, t * TOKEN_UNIT, a)
    for benchmark, tau, c, p, t, a in (
        ("AIME24", 0.75, 0.0148, 0.933, 0.33, 0.867),
        ("AIME24", 0.63, 0.0093, 0.933, 0.28, 0.933),
        ("AIME24", 0.5, 0.0082, 0.933, 0.26, 0.900),
        ("AIME24", 0.25, 0.0043, 0.933, 0.25, 0.900),
        ("AIME25", 0.75, 0.0282, 0.967, 0.31, 0.900),
        ("AIME25", 0.63, 0.0265, 0.967, 0.23, 0.833),
        ("AIME25", 0.5, 0.0142, 0.70, 0.23, 0.900),
        ("AIME25", 0.25, 0.0050, 0.70, 0.23, 0.900),
    )
)

TABLE_4 = (
    PublishedPairs("GLM-4.5-Air", 11_870, 11_213),
    PublishedPairs("QwQ-32B", 13_785, 12_569),
    PublishedPairs("Deepseek-R1-Distill-llama-8b", 80_760, 61_505),
    PublishedPairs("Qwen3-4B-Thinking-2507", 13_800, 12_852),
)

_SAME_MODEL = {"deepseek8b": "deepseekr10528qwen38b"}
_SAME_BENCHMARK = {"aime2024": "aime24", "aime2025": "aime25", "gpqadiamond": "gpqa"}


def same_model(ours: str, published: str) -> bool:
    """Whether two names are of one model; an owner's or folder's name before it does not count."""
    a, b = (_plain(name.rstrip("/").rpartition("/")[2]) for name in (ours, published))
    return _SAME_MODEL.get(a, a) == _SAME_MODEL.get(b, b)


def same_benchmark(ours: str, published: str) -> bool:
    """Whether two names are of one benchmark."""
    a, b = _plain(ours), _plain(published)
    return _SAME_BENCHMARK.get(a, a) == _SAME_BENCHMARK.get(b, b)


def results(model: str, benchmark: str, num_traces: int | None) -> tuple[PublishedResult, ...]:
    """What Table 2 says of a setting, if it is one of the paper's."""
    if num_traces != NUM_TRACES:
        return ()
    return tuple(
        result
        for result in TABLE_2
        if same_model(model, result.model) and same_benchmark(benchmark, result.benchmark)
    )


def thresholds(
    model: str, benchmark: str, num_traces: int | None
) -> tuple[PublishedThreshold, ...]:
    """What Table 3 says of a setting, if it is one of the paper's."""
    if num_traces != NUM_TRACES:
        return ()
    return tuple(
        result
        for result in TABLE_3
        if same_model(model, result.model) and same_benchmark(benchmark, result.benchmark)
    )


def pairs(model: str) -> PublishedPairs | None:
    """What Table 4 says of a model."""
    return next((row for row in TABLE_4 if same_model(model, row.model)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
