"""`deepprune ablate`: the grid of the paper's Table 1, as the three commands for each of its cells.

Each of the commands resumes by itself, so does the grid.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepprune.section import Section
from deepprune.statistics import Estimate
from jobs.judge.evaluate.command import Options, evaluate_judges
from jobs.judge.evaluate.writing import three_digits, write_text
from jobs.judge.pairs import pairs
from jobs.judge.train import train
from jobs.render.table import Cell, Table, estimated
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


def ablate(config_file: Path, out: Path, address: str | None) -> None:
    """Run `pairs`, `train` and `evaluate` for each cell of the grid; write one table.

    Raises:
        UserError: the grid, or the options that it gives to one of the commands, cannot work.
    """
    config = load(AblationConfig, config_file)
    sources = [Path(recording) for recording in config.recordings]
    rows = []
    for times in config.oversampling:
        built = out / f"pairs-x{times}"
        sys.stderr.write(f"ablate: pairs in {built}\n")
        settings = {**config.pairs, "oversampling": times, "checkpoints": config.checkpoints}
        pairs(sources, built, None, settings, address)
        for checkpoint, loss in itertools.product(config.checkpoints, config.losses):
            cell = out / f"{checkpoint.replace(':', '-')}-{loss}-x{times}"
            judge, evaluation = str(cell / "judge"), cell / "evaluation"
            sys.stderr.write(f"ablate: judge in {judge}\n")
            settings = {**config.settings, "loss.kind": loss}
            train(built, config.train, cell, settings, checkpoint=checkpoint, address=address)
            judges = tuple(dict.fromkeys((judge, *config.judges)))
            evaluate_judges(Options(built, judges, evaluation, checkpoint))
            rows += list(_rows(evaluation, judge, checkpoint, loss, times))
    write_text(out / TABLE, _table(rows).markdown() + "\n")
    sys.stderr.write(f"saved in {out / TABLE}\n")


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
            *(
                estimated(
                    None if found[column][0] is None else Estimate(*found[column]), three_digits
                )
                for column in ("within", "pooled", "tnr")
            ),
        )


def _table(rows: list[tuple[Cell, ...]]) -> Table:
    headings = (
        *("judge", "checkpoint", "loss", "oversampling"),
        *("AUROC within a problem", "AUROC pooled", "TNR@0.2"),
    )
    distinct = tuple(dict.fromkeys(rows))
    note = "On the test problems; in brackets 95% bootstrap intervals over problems."
    return Table("In the form of the paper's Table 1", headings, distinct, (note,), (), 4)
