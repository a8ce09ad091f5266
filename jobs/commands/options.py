"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from training import TARGET_ERROR

ANSWER_KINDS = ("auto", "choice", "math")
LIVE_POLICIES = (
    *("cons", "esc", "adaptive", "deepconf-low", "deepconf-high", "deepprune", "deepprune+"),
)
"""All but `oracle`, which knows how traces end. Named here, since pydantic is slow to import."""


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What is run on which system, and the settings of its policy that are changed most."""
    parser.add_argument(
        "--policy",
        choices=LIVE_POLICIES,
        help="replaces the file's policy; settings that both have stay as they are",
    )
    parser.add_argument("--num-traces", type=int, metavar="N", help="traces per problem")
    parser.add_argument("--tau", type=float, help="threshold of the judge's P(same)")
    parser.add_argument("--checkpoint", help="tokens:K or reasoning_words:W")
    add_system_options(parser)


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """Which system, where, and where its results go."""
    parser.add_argument(
        "--config", default="laptop", help="a configuration file, or the name of a shipped one"
    )
    parser.add_argument("--seed", type=int)
    add_settings(parser, "any other key of the configuration, such as policy.wave=64")
    add_address(parser)
    parser.add_argument("--out", type=Path, help="the run's folder; default: runs/COMMAND-TIME")
    add_verbose(parser)


def add_settings(parser: argparse.ArgumentParser, help: str) -> None:
    """`--set KEY=VALUE`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help=f"{help} (repeatable)",
    )


def add_address(parser: argparse.ArgumentParser) -> None:
    """`--address` of a Ray cluster."""
    parser.add_argument("--address", help="a running Ray cluster; absent: start one here")


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """`--verbose`."""
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")


def add_target_error(parser: argparse.ArgumentParser, of: str) -> None:
    """`--target-error` of a threshold."""
    parser.add_argument(
        "--target-error",
        type=share,
        default=TARGET_ERROR,
        metavar="SHARE",
        help=f"share of agreeing pairs that {of} may lose; default: %(default)s",
    )


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def not_negative(text: str) -> float:
    """A finite number of 0 or more."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def share(text: str) -> float:
    """A number between 0 and 1, without these."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1, such as 0.05")
    return number


def part(text: str) -> slice:
    """A part of a list, as A:B."""
    match = re.fullmatch(r"([0-9]*):([0-9]*)", text)
    if match is None:
        raise argparse.ArgumentTypeError("write A:B, such as 0:10, :10 or 10:")
    start, stop = (int(number) if number else None for number in match.groups())
    return slice(start, stop)
