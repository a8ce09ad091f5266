"""The log of a training: a CSV file, and TensorBoard's where tensorboardX is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from training.learners.trainer import StepMetrics

CSV_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"
COLUMNS = tuple(field.name for field in fields(StepMetrics))


class TrainLog:
    """One row a step. A training that resumes at an earlier step replaces its rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rows = read_log(folder)
        self.last_step = int(rows[-1]["step"]) if rows else 0
        """The last step that was written, 0 before the first."""
        self._events: Any = None
        if importlib.util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(folder / TENSORBOARD_FOLDER))

    def add(self, metrics: StepMetrics) -> None:
        """Write a step."""
        row = asdict(metrics)
        if not 0 < self.last_step < metrics.step:
            earlier = [old for old in read_log(self._folder) if int(old["step"]) < metrics.step]
            self._write("w", [dict(zip(COLUMNS, COLUMNS, strict=True)), *earlier])
        self._write("a", [row])
        self.last_step = metrics.step
        if self._events is not None:
            for name, value in row.items():
                if name not in ("step", "num_steps") and value is not None:
                    self._events.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        """Write what is left."""
        if self._events is not None:
            self._events.close()

    def _write(self, mode: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with (self._folder / CSV_FILE).open(mode, newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)


def read_log(folder: Path) -> list[dict[str, str]]:
    """The rows of a log, values as they are written; empty where there is none."""
    if not (folder / CSV_FILE).is_file():
        return []
    with (folder / CSV_FILE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
