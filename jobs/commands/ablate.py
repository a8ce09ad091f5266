"""`deepprune ablate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_address, add_verbose

HELP = "train and evaluate a judge under each of several settings (Table 1)"
DESCRIPTION = (
    "For each checkpoint, loss and oversampling of a grid: pairs, training, evaluation; then one "
    "table. Run again with the same --out, a grid that was stopped goes on where it was."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, help="the grid: recordings, train, pairs, set, ...")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    add_address(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.judge.ablate import ablate

    return ablate(options)
