"""`deepprune pairs`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_address, add_settings, add_verbose, positive

HELP = "pairs of unfinished traces, labelled, to train a judge on"
DESCRIPTION = (
    "Cut recorded traces at a checkpoint, pair them within each problem, label the pairs by "
    "whether the answers agree, and split them by problem. Run again with the same --out, a build "
    "that was stopped goes on where it was."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="recordings: folders of `collect`, `import` or a run, Parquet or JSONL files",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="KIND:N",
        help="tokens:K or reasoning_words:W (repeatable; default tokens:500)",
    )
    parser.add_argument(
        "--pairs-per-problem", type=positive, metavar="N", help="at most; absent: all pairs"
    )
    parser.add_argument(
        "--balanced", action="store_true", help="draw at most half of them from either class"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--config", type=Path, help="a YAML file of these and further settings")
    add_settings(parser, "any other setting, such as test=0.2 or oversampling=1")
    add_address(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.judge.pairs import pairs

    return pairs(options)
