"""`deepprune plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_settings, add_verbose

HELP = "predict what a sweep takes on which nodes, before renting any"
DESCRIPTION = (
    "Replay a sweep in virtual time on GPUs that are described by their datasheets: hours, "
    "GPU-hours and tokens of each policy on each mix of nodes, and which mix is the cheapest."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", help="a plan's file, or the name of a shipped one")
    add_settings(parser, "a key of the plan, such as num_problems=60")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here too")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sweep.plan import plan

    return plan(options)
