"""`deepprune collect`."""

from __future__ import annotations

import argparse

from jobs.commands.options import ANSWER_KINDS, add_system_options, part, positive

HELP = "sample traces of a benchmark once, for every later replay"
DESCRIPTION = (
    "Sample traces to their ends and write them down as they end. Run again with the same --out, "
    "exactly what is missing is sampled."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "benchmark",
        help="aime22 to aime25, math500, gpqa-diamond, gsm8k, miniature, or a Parquet, "
        "JSONL, JSON or CSV file with columns problem and reference",
    )
    parser.add_argument(
        "--num-traces", type=positive, default=64, metavar="N", help="per problem (%(default)s)"
    )
    parser.add_argument(
        "--problems", type=part, default=slice(None), metavar="A:B", help="only these, from 0"
    )
    parser.add_argument("--answer-kind", choices=ANSWER_KINDS, help="replaces the benchmark's")
    parser.add_argument("--instruction", help="put below each problem; replaces the benchmark's")
    parser.add_argument(
        "--retry-errors", action="store_true", help="sample again what ended in an error"
    )
    add_system_options(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sample.collect import collect

    return collect(options)
