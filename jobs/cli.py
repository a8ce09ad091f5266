"""The `deepprune` command: reads arguments, reports mistakes in one line, hands over to a job."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from deepprune.errors import UserError
from jobs import commands

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 on a mistake of the user's, 130 when interrupted."""
    options = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        return int(options.run(options))
    except UserError as error:
        sys.stderr.write(f"deepprune: {error}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("deepprune: interrupted\n")
        return EXIT_INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    parser = argparse.ArgumentParser(
        prog="deepprune",
        description="Parallel reasoning at a fraction of the tokens: judge unfinished traces, "
        "cancel the redundant ones, vote over the rest.",
    )
    parser.add_argument("--version", action="version", version=f"deepprune {version('deepprune')}")
    found = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in commands.NAMES:
        module = importlib.import_module(f"jobs.commands.{name}")
        command = found.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        module.arguments(command)
        command.set_defaults(run=module.run)
    return parser
