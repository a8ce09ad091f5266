"""`deepprune cheap`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_target_error, add_verbose

HELP = "learn a judge that needs no model"
DESCRIPTION = (
    "Learn the feature judge from the training split of some pairs: a regression on what two "
    "prefixes state. It takes seconds and no GPU, and reads no token when it serves."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pairs", type=Path, help="a folder of `deepprune pairs`")
    parser.add_argument("--out", type=Path, required=True, help="the judge's folder")
    parser.add_argument("--checkpoint", help="where the pairs hold prefixes of several")
    add_target_error(parser, "the threshold")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.judge.cheap import train_cheap

    return train_cheap(options)
