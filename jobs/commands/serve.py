"""`deepprune serve`."""

from __future__ import annotations

import argparse

from jobs.commands.options import add_address, add_settings, add_verbose

HELP = "serve models over HTTP, OpenAI-compatible"
DESCRIPTION = (
    "Serve the models of a configuration as an OpenAI-compatible endpoint, until interrupted. "
    "docs/endpoint.md describes it."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "config",
        nargs="?",
        default="serve-laptop",
        help="an endpoint's configuration file, or the name of a shipped one (default: "
        "serve-laptop)",
    )
    parser.add_argument("--host", help="replaces http.host")
    parser.add_argument("--port", type=int, help="replaces http.port")
    add_settings(parser, "any other key of the configuration, such as history=0")
    add_address(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.sample.serve import serve

    return serve(options)
