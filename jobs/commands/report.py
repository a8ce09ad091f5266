"""`deepprune report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_verbose, not_negative

HELP = "tables, plots and every problem of some runs, as one HTML file"
DESCRIPTION = (
    "Say what some runs show together: which policy, at what cost, with what accuracy. Writes "
    "report.html, which needs no network, and its plots as PNG."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="default: the run's own folder; runs/report-TIME where there are several",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here too")
    parser.add_argument(
        "--max-text",
        type=not_negative,
        default=16.0,
        metavar="MB",
        help="size of the traces in the file, which longer ones are cut to; default: %(default)g",
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.report import report

    return report(options)
