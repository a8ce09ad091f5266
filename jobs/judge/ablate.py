"""`deepprune ablate`: the grid of the paper's Table 1, as the three commands for each of its cells.

Each of the commands resumes by itself, so does the grid.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepprune.errors import UserError
from deepprune.section import Section
from jobs.render.table import Cell, Table
from training.config import load

TABLE = "ablation.md"


class AblationConfig(Section):
    """What to compare, on what."""

    recordings: list[str] = Field(min_length=1)
    """Recorded traces, as `deepprune pairs` reads them."""
    train: str
    """A training configuration, or the name of a shipped one."""
    checkpoints: list[str] = Field(["tokens:500", "reasoning_words:25"], min_length=1)
    losses: list[Literal["focal", "cross_entropy"]] = Field(
        ["cross_entropy", "focal"], min_length=1
    )
    oversampling: list[int] = Field([1, 2], min_length=1)
    pairs: dict[str, Any] = Field({})
    """Further settings of the pairs, such as `test: 0.2`."""
    settings: dict[str, Any] = Field({})
    """Further settings of the training, such as `epochs: 2`."""
    judges: list[str] = Field(["tfidf", "features"])
    """Judged beside each trained one."""


def ablate(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the grid, or what one of its commands was given, cannot work.
    """
    config = load(AblationConfig, options.config)
    common = ["--address", options.address] if options.address else []
    rows = []
    for times in config.oversampling:
        pairs = options.out / f"pairs-x{times}"
        checkpoints = [arg for c in config.checkpoints for arg in ("--checkpoint", c)]
        made_of = {**config.pairs, "oversampling": times}
        _run(
            *("pairs", *config.recordings, "--out", str(pairs), *checkpoints),
            *_settings(made_of),
            *common,
        )
        for checkpoint, loss in itertools.product(config.checkpoints, config.losses):
            cell = options.out / f"{checkpoint.replace(':', '-')}-{loss}-x{times}"
            at = ("--checkpoint", checkpoint)
            settings = _settings({**config.settings, "loss.kind": loss})
            _run(
                *("train", str(pairs), "--config", config.train, "--out", str(cell), *at),
                *settings,
                *common,
            )
            judge, evaluation = str(cell / "judge"), cell / "evaluation"
            judges = [arg for name in (judge, *config.judges) for arg in ("--judge", name)]
            _run("evaluate", str(pairs), *judges, "--out", str(evaluation), *at)
            rows += list(_rows(evaluation, judge, checkpoint, loss, times))
    _write(options.out / TABLE, _table(rows).markdown() + "\n")
    sys.stderr.write(f"saved in {options.out / TABLE}\n")
    return 0


def _run(*arguments: str) -> None:
    """One command, in this process."""
    from jobs.cli import parser

    options = parser().parse_args(arguments)
    sys.stderr.write(f"deepprune {' '.join(arguments)}\n")
    options.run(options)


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        yield from ("--set", f"{key}={json.dumps(value)}")


def _rows(
    evaluation: Path, judge: str, checkpoint: str, loss: str, times: int
) -> Iterator[tuple[Cell, ...]]:
    data = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    figures = next(place for place in data["places"] if place["pairs"] == "all pairs")["judges"]
    for name, found in figures.items():
        trained = name == judge
        settings = (checkpoint, loss, f"×{times}") if trained else (checkpoint, "", "")
        yield (
            Cell("trained" if trained else name),
            *map(Cell, settings),
            *(_figure(found[column]) for column in ("within", "pooled", "tnr")),
        )


def _figure(interval: list[float | None]) -> Cell:
    value, low, high = interval
    if value is None:
        return Cell("–")
    return Cell(f"{value:.3f}", f"{low:.3f}–{high:.3f}")


def _table(rows: list[tuple[Cell, ...]]) -> Table:
    headings = (
        *("judge", "checkpoint", "loss", "oversampling"),
        *("AUROC within a problem", "AUROC pooled", "TNR@0.2"),
    )
    distinct = tuple(dict.fromkeys(rows))
    note = "On the test problems; in brackets 95% bootstrap intervals over problems."
    return Table("In the form of the paper's Table 1", headings, distinct, (note,), (), 4)


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
