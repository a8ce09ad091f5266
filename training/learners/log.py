"""The log of a training: a CSV file, and TensorBoard's where tensorboardX is installed."""

from __future__ import annotations

import csv
import importlib.util
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
        self._path = folder / CSV_FILE
        self._rows: list[dict[str, Any]] = list(read_log(folder)) if self._path.is_file() else []
        self._file = self._path.open("a", newline="", encoding="utf-8")
        if not self._rows:
            self._rewrite()
        self._events: Any = None
        if importlib.util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(folder / TENSORBOARD_FOLDER))

    @property
    def last_step(self) -> int:
        """The last step that was written, 0 before the first."""
        return int(self._rows[-1]["step"]) if self._rows else 0

    def add(self, metrics: StepMetrics) -> None:
        """Write a step."""
        row = asdict(metrics)
        behind = bool(self._rows) and int(self._rows[-1]["step"]) >= metrics.step
        if behind:
            self._rows = [old for old in self._rows if int(old["step"]) < metrics.step]
        self._rows.append(row)
        if behind:
            self._rewrite()
        else:
            csv.DictWriter(self._file, COLUMNS).writerow(row)
            self._file.flush()
        if self._events is not None:
            for name, value in row.items():
                if name not in ("step", "num_steps") and value is not None:
                    self._events.add_scalar(name, value, metrics.step)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
        if self._events is not None:
            self._events.close()

    def _rewrite(self) -> None:
        self._file.close()
        self._file = self._path.open("w", newline="", encoding="utf-8")
        writer = csv.DictWriter(self._file, COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        self._file.flush()


def read_log(folder: Path) -> list[dict[str, str]]:
    """The rows of a log, values as they are written; empty where there was none."""
    with (folder / CSV_FILE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
