"""Select the recorded traces that count where several cells or configurations recorded a problem.

Of the cells that recorded a problem live (`deepprune.cells`), the one that finished most traces
counts. Samples of several configurations (a column `config`) are one recording, unless their
numbers clash: then each configuration counts as a model of its own.
"""

from __future__ import annotations

import logging
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from deepprune.errors import UserError

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
_Key = tuple[str, str]
"""Problem id and model."""
_Cell = tuple[str | None, str | None]
"""Policy and cell; in folders without a column `cell`, the policy alone tells cells apart."""


@dataclass(frozen=True)
class TraceSelection:
    """`cells` holds the cell that counts of each problem recorded under several; each configuration
    of a model in `clashing` counts as a model of its own.
    """

    cells: Mapping[_Key, _Cell]
    clashing: frozenset[str]

    def model(self, row: Row) -> str | None:
        """The model that a trace counts for; None where another cell's traces count."""
        name = row.get("model") or ""
        cell = _cell_of(row)
        if self.cells.get((row["problem_id"], name), cell) != cell:
            return None
        if name not in self.clashing:
            return name
        return f"{name} ({row.get('config') or 'no config'})"


class TraceIndex:
    """The keys of finished traces, four bytes for each."""

    def __init__(self) -> None:
        self._samples: dict[_Key, dict[_Cell, dict[str | None, array[int]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(lambda: array("i")))
        )

    def __bool__(self) -> bool:
        return bool(self._samples)

    def add(self, row: Row) -> None:
        """Take the key of a finished trace."""
        of_cell = self._samples[row["problem_id"], row.get("model") or ""][_cell_of(row)]
        of_cell[row.get("config")].append(row["sample"])

    def select(self, where: str) -> TraceSelection:
        """Select by the keys of all traces; `where` names their source in messages.

        Raises:
            UserError: a sample is there twice.
        """
        cells: dict[_Key, _Cell] = {}
        clashing: set[str] = set()
        for (problem_id, model), by_cell in self._samples.items():
            cell = _fullest(by_cell)
            if len(by_cell) > 1:
                cells[problem_id, model] = cell
                logger.info("%s: %s as recorded under policy %s", where, problem_id, cell[0])
            by_config = by_cell[cell]
            for samples in by_config.values():
                if (doubled := _doubled(samples)) is not None:
                    raise UserError(
                        f"{where}: sample {doubled} of {problem_id} by {model or 'no model'} is "
                        "there twice: keep one of them"
                    )
            if _doubled(array("i", chain.from_iterable(by_config.values()))) is not None:
                clashing.add(model)
        return TraceSelection(cells, frozenset(clashing))


def _cell_of(row: Row) -> _Cell:
    return row.get("policy"), row.get("cell")


def _fullest(by_cell: Mapping[_Cell, Mapping[str | None, array[int]]]) -> _Cell:
    """The cell with most traces; of several, that of the last policy's first settings and seed."""
    counts = {cell: sum(map(len, samples.values())) for cell, samples in by_cell.items()}
    most = max(counts.values())
    fullest = [cell for cell, count in counts.items() if count == most]
    policy = max(policy or "" for policy, _ in fullest)
    return min((c for c in fullest if (c[0] or "") == policy), key=lambda cell: cell[1] or "")


def _doubled(samples: array[int]) -> int | None:
    """The first sample that is there twice."""
    return next((sample for sample, count in Counter(samples).items() if count > 1), None)
