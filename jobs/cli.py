"""The `deepprune` command: reads arguments, reports mistakes in one line, hands over to a job."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from deepprune.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 on a mistake of the user's, 130 when interrupted."""
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepprune",
        description="Parallel reasoning at a fraction of the tokens: judge unfinished traces, "
        "cancel the redundant ones, vote over the rest.",
    )
    parser.add_argument("--version", action="version", version=f"deepprune {version('deepprune')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    answer = commands.add_parser(
        "answer",
        help="answer one problem by voting over many traces",
        description="Answer one problem, given as the argument, in a file, or on stdin.",
    )
    answer.add_argument("problem", nargs="?", help="the problem; stdin when absent or -")
    answer.add_argument("--file", type=Path, help="read the problem from this file")
    answer.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    _add_run_options(answer)
    answer.set_defaults(run=_answer)

    demo = commands.add_parser(
        "demo",
        help="compare pruning with plain self-consistency, live",
        description="Answer generated problems twice, with self-consistency and with the "
        "configured policy, live on the miniature models; the laptop's main job.",
    )
    demo.add_argument("--num-problems", type=_positive, default=24, help="default: %(default)s")
    _add_run_options(demo)
    demo.set_defaults(run=_demo)

    sweep = commands.add_parser(
        "sweep",
        help="compare policies on the same problems, recorded or live",
        description="Run every policy of a sweep under every setting. A sweep that was stopped "
        "goes on where it was when it is run again with the same --out.",
    )
    sweep.add_argument("config", help="a sweep's file, or the name of a shipped one")
    sweep.add_argument("--out", type=Path, help="the run's folder; default: runs/sweep-NAME-TIME")
    sweep.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a key of the sweep, such as seeds=20 (repeatable)",
    )
    sweep.add_argument("--address", help="a running Ray cluster; absent: start one here")
    sweep.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    sweep.set_defaults(run=_sweep)
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="laptop", help="a configuration file, or the name of a shipped one"
    )
    parser.add_argument(
        "--policy", choices=("deepprune", "cons"), help="replaces the file's policy"
    )
    parser.add_argument("--num-traces", type=int, metavar="N", help="traces per problem")
    parser.add_argument("--tau", type=float, help="threshold of the judge's P(same)")
    parser.add_argument("--checkpoint", help="tokens:K or reasoning_words:W")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="any other key of the configuration, such as policy.wave=64 (repeatable)",
    )
    parser.add_argument("--address", help="a running Ray cluster; absent: start one here")
    parser.add_argument("--out", type=Path, help="the run's folder; default: runs/COMMAND-TIME")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")


def _answer(options: argparse.Namespace) -> int:
    from jobs.answer import answer

    return answer(options)


def _demo(options: argparse.Namespace) -> int:
    from jobs.demo import demo

    return demo(options)


def _sweep(options: argparse.Namespace) -> int:
    from jobs.sweep import sweep

    return sweep(options)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
