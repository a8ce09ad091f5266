"""Scores that were taken down earlier: P(same) of the pairs of each problem, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from deepprune import judges
from deepprune.cells import seed_of
from deepprune.config import Reads
from deepprune.judges import ScoredPairs
from deepprune.recordings import source_files
from deepprune.statistics import Floats, Ints
from deepprune.table_io import read_tables

COLUMNS: dict[str, pa.DataType] = {
    "problem_id": pa.string(),
    "model": pa.string(),
    "checkpoint": pa.string(),
    "first": pa.int64(),
    "second": pa.int64(),
    "p_same": pa.float64(),
    "reads": pa.string(),
    "cell": pa.string(),
}
OPTIONAL = ("model", "reads", "cell")
"""Columns that may be missing, and hold nulls."""
KEYS = ["problem_id", "model", "checkpoint", "cell", "reads"]

Key = tuple[str, str, str]
"""Problem id, model and checkpoint."""


@dataclass
class RecordedScores:
    """P(same) of a problem's pairs, and what was read for all of them.

    Each part is (first samples, second samples, P(same)), three arrays of one length.
    """

    seed: int = 0
    reads: Reads = "pairs"
    parts: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)

    def matrix_of(self, samples: Sequence[int]) -> ScoredPairs:
        """The scores of all pairs of `samples`; NaN where there is none."""
        first, second, p_same = (np.concatenate(arrays) for arrays in zip(*self.parts, strict=True))
        return judges.recorded(samples, first, second, p_same, self.reads)


Scores = Mapping[Key, RecordedScores]


def load_scores(paths: Sequence[Path]) -> Scores:
    """Read recorded scores of run folders, folders of parts and files.

    Of a live sweep with several seeds, the scores of the first count: a recording has its traces.

    Raises:
        UserError: a path holds none, or is damaged.
    """
    scores: dict[Key, RecordedScores] = {}
    for path in paths:
        for file in source_files(path, "scores"):
            for table in read_tables(file, COLUMNS, OPTIONAL):
                for (problem_id, model, checkpoint, cell, reads), rows in _grouped(table):
                    key, seed = (problem_id, model, checkpoint), seed_of(cell) or 0
                    known = scores.get(key)
                    if known is None or seed < known.seed:
                        known = scores[key] = RecordedScores(seed)
                    if seed == known.seed:
                        known.reads = reads or "pairs"  # type: ignore[assignment]
                        known.parts.append(rows)
    return scores


def _grouped(table: pa.Table) -> Iterator[tuple[tuple[str, ...], tuple[Ints, Ints, Floats]]]:
    """The rows of each combination of KEYS; empty texts for nulls."""
    values = ("first", "second", "p_same")
    grouped = table.group_by(KEYS, use_threads=False).aggregate([(name, "list") for name in values])
    for row in range(grouped.num_rows):
        first, second, p_same = (grouped[f"{name}_list"][row].values.to_numpy() for name in values)
        yield tuple(grouped[name][row].as_py() or "" for name in KEYS), (first, second, p_same)
