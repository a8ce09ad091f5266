"""`deepprune answer`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_run_options

HELP = "answer one problem by voting over many traces"
DESCRIPTION = "Answer one problem, given as the argument, in a file, or on stdin."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("problem", nargs="?", help="the problem; stdin when absent or -")
    parser.add_argument("--file", type=Path, help="read the problem from this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    add_run_options(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sample.answer import answer

    return answer(options)
