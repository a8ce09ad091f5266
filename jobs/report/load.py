"""Runs read from disk: each outcome as a typed row, whatever version of the tables wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from deepprune.errors import UserError, reason
from deepprune.ledger import Fate
from deepprune.policy_config import JUDGE_PRICE
from deepprune.schemas import LEDGER_FIELDS, OUTCOMES
from deepprune.table_io import read_tables

REQUIRED = {"problem_id", "policy"}
NESTED = ("votes", "clusters", "ends", "events")
TOKENS = tuple(f"{fate.value}_tokens" for fate in Fate)
NUMBERS = ("rounds", "sequential_tokens", *(name for name, _ in LEDGER_FIELDS))
"""Columns that become figures."""
AS_RECORDED = (
    *("problem_id", "reference", "driver", "policy", "cell", "judge", "num_traces", "checkpoint"),
    *("tau", "settings", "seed", "answer", "correct"),
)
"""Columns that `Row` holds as they are."""


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome. `values` holds the columns of NUMBERS that the run recorded."""

    run: int
    index: int
    benchmark: str
    problem_id: str
    reference: str | None
    model: str
    driver: str | None
    policy: str
    cell: str | None
    judge: str | None
    num_traces: int | None
    checkpoint: str | None
    tau: float | None
    settings: str | None
    seed: int | None
    answer: str | None
    correct: bool | None
    complete: bool
    values: dict[str, float]

    @property
    def tokens(self) -> float | None:
        """Tokens generated, whatever became of them; None in runs that did not count them."""
        return self._sum(TOKENS)

    @property
    def judge_tokens(self) -> float | None:
        """Tokens that the judge read, computed or cached."""
        return self._sum(("judge_computed_tokens", "judge_cached_tokens"))

    @property
    def bill(self) -> float | None:
        """Tokens generated, and at `JUDGE_PRICE` those that judge and prompts computed."""
        read = self._sum(("judge_computed_tokens", "prompt_computed_tokens")) or 0.0
        return None if self.tokens is None else self.tokens + JUDGE_PRICE * read

    def _sum(self, names: Iterable[str]) -> float | None:
        known = [self.values[name] for name in names if name in self.values]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Detail:
    """What a page about one problem shows of an outcome."""

    votes: list[dict[str, Any]]
    clusters: list[list[int]]
    ends: list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A run's folder, read."""

    folder: Path
    name: str
    config: dict[str, Any]
    outcomes: pa.Table
    rows: tuple[Row, ...]
    recordings: tuple[Path, ...]

    def detail(self, row: Row) -> Detail:
        """The nested columns of an outcome, which are too many to keep as Python objects."""
        record = self.outcomes.slice(row.index, 1).to_pylist()[0]
        return Detail(record["votes"] or [], record["clusters"] or [], record["ends"] or [])


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs, in the order given; one given twice is read once.

    Raises:
        UserError: a folder is no run's, holds no outcomes, or a table that is damaged or foreign.
    """
    paths = list(dict.fromkeys(folder.resolve() for folder in folders))
    shown = _short_names(paths)
    return [_load(path, index, shown[index]) for index, path in enumerate(paths)]


def _load(folder: Path, index: int, name: str) -> Run:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run's folder: it has no config.yaml")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder / 'config.yaml'} cannot be read: {reason(error)}") from None
    config = config if isinstance(config, dict) else {}
    columns = {field.name: field.type for field in OUTCOMES}
    parts = parquet_files(folder / "outcomes")
    tables = [t for part in parts for t in read_tables(part, columns, columns.keys() - REQUIRED)]
    outcomes = pa.concat_tables(tables) if tables else None
    if not outcomes:
        raise UserError(f"{folder} holds no outcomes yet: nothing to report")
    return Run(folder, name, config, outcomes, _rows(outcomes, index), _recordings(folder, config))


def parquet_files(folder: Path) -> list[Path]:
    """The finished parts of a table."""
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.glob("*.parquet") if not f.name.startswith(("_", ".")))


def _rows(table: pa.Table, run: int) -> tuple[Row, ...]:
    flat = table.drop_columns(list(NESTED))
    return tuple(
        Row(
            run=run,
            index=index,
            benchmark=record["benchmark"] or record["problem_id"].partition("/")[0],
            model=record["model"] or "unnamed model",
            complete=record["complete"] is not False,
            values={name: float(record[name]) for name in NUMBERS if record[name] is not None},
            **{name: record[name] for name in AS_RECORDED},
        )
        for index, record in enumerate(flat.to_pylist())
    )


def _recordings(folder: Path, config: dict[str, Any]) -> tuple[Path, ...]:
    """Where a sweep says its recordings are; relative paths may start here or in its folder."""
    named = config.get("recordings") or []
    paths = []
    for item in [named] if isinstance(named, str) else named:
        if not isinstance(item, str):
            continue
        path = Path(item)
        paths.append(path if path.exists() else folder / path)
    return tuple(paths)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, and the one before where that is not enough."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else f"{path.parent.name}/{name}"
        for path, name in zip(paths, names, strict=True)
    ]
