"""`deepprune demo`."""

from __future__ import annotations

import argparse

from jobs.commands.options import add_run_options, positive

HELP = "compare pruning with plain self-consistency, live"
DESCRIPTION = (
    "Answer generated problems with self-consistency, with the configured policy, and with "
    "deepprune+ unless --policy says which, live on the miniature models; the laptop's main job."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--num-problems", type=positive, default=24, help="default: %(default)s")
    add_run_options(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sample.demo import demo

    return demo(options)
