"""`deepprune sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_address, add_settings, add_verbose

HELP = "compare policies on the same problems, recorded or live"
DESCRIPTION = (
    "Run every policy of a sweep under every setting. A sweep that was stopped goes on where it "
    "was when it is run again with the same --out."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", help="a sweep's file, or the name of a shipped one")
    parser.add_argument("--out", type=Path, help="the run's folder; default: runs/sweep-NAME-TIME")
    add_settings(parser, "a key of the sweep, such as seeds=20")
    add_address(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sweep.command import sweep

    return sweep(options)
