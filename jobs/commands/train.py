"""`deepprune train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_address, add_settings, add_verbose

HELP = "train a judge on pairs"
DESCRIPTION = (
    "Train a language model to say whether two unfinished traces will end in the same answer. "
    "Run again with the same --out, a training that was stopped goes on from its last checkpoint."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pairs", type=Path, help="a folder of `deepprune pairs`")
    parser.add_argument(
        "--config",
        required=True,
        help="a configuration file, or the name of a shipped one: tiny, smollm2, smollm2-encoder, "
        "qwen3-4b_a100x4, qwen3-4b_h20x8",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder to write; the judge is in its judge/"
    )
    parser.add_argument("--checkpoint", help="where the pairs hold prefixes of several")
    parser.add_argument(
        "--storage",
        metavar="URI",
        help="where checkpoints go: a folder that all nodes see, s3://..., gs://..., hdfs://...; "
        "default: checkpoints/ in --out",
    )
    parser.add_argument("--seed", type=int)
    add_settings(parser, "any key of the configuration, such as loss.kind=cross_entropy")
    add_address(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.judge.train import train

    return train(options)
