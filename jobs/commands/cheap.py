"""`deepprune cheap`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_settings, add_target_error, add_verbose

HELP = "train a cheap judge, which reads each prefix once"
DESCRIPTION = (
    "Learn, from the training split of some pairs, a judge that reads n prefixes instead of n² "
    "pairs: `features` compares what two prefixes state, in seconds and without a model; `encoder` "
    "fine-tunes a language model that turns a prefix into a vector, in one process."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pairs", type=Path, help="a folder of `deepprune pairs`")
    parser.add_argument("--kind", choices=("features", "encoder"), default="features")
    parser.add_argument("--config", help="encoder: a training configuration, or a shipped one")
    parser.add_argument("--out", type=Path, required=True, help="the judge's folder")
    parser.add_argument("--checkpoint", help="where the pairs hold prefixes of several")
    add_target_error(parser, "the threshold of `features`")
    add_settings(parser, "any key of the configuration, such as epochs=4")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.cheap import train_cheap

    return train_cheap(options)
