"""The `deepprune` command: reads arguments, reports mistakes in one line, hands over to a job."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from deepprune.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
ANSWER_KINDS = ("auto", "choice", "math")


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

    _add_collect(
        commands.add_parser(
            "collect",
            help="sample traces of a benchmark once, for every later replay",
            description="Sample traces to their ends and write them down as they end. Run again "
            "with the same --out, exactly what is missing is sampled.",
        )
    )
    _add_import(
        commands.add_parser(
            "import",
            help="bring recorded traces of another layout into shape",
            description="Read any Parquet or JSONL with prompts and responses as a recording.",
        )
    )
    _add_report(
        commands.add_parser(
            "report",
            help="tables, plots and every problem of some runs, as one HTML file",
            description="Say what some runs show together: which policy, at what cost, with what "
            "accuracy. Writes report.html, which needs no network, and its plots as PNG.",
        )
    )
    return parser


def _add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "benchmark",
        help="aime22 to aime25, math500, gpqa-diamond, gsm8k, miniature, or a Parquet or JSONL "
        "file with columns problem and reference",
    )
    parser.add_argument(
        "--num-traces", type=_positive, default=64, metavar="N", help="per problem (%(default)s)"
    )
    parser.add_argument(
        "--problems", type=_range, default=slice(None), metavar="A:B", help="only these, from 0"
    )
    parser.add_argument("--answer-kind", choices=ANSWER_KINDS, help="replaces the benchmark's")
    parser.add_argument("--instruction", help="put below each problem; replaces the benchmark's")
    parser.add_argument(
        "--retry-errors", action="store_true", help="sample again what ended in an error"
    )
    _add_system_options(parser)
    parser.set_defaults(run=_collect)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="files or folders")
    parser.add_argument(
        "--map",
        action="append",
        required=True,
        metavar="OURS=THEIRS,...",
        help="their columns: problem and text are needed; answer, problem_id, reference, model, "
        "num_tokens and finish_reason may be given",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--benchmark", default="imported", metavar="NAME")
    parser.add_argument("--model", default="imported", metavar="NAME", help="where no column says")
    parser.add_argument("--answer-kind", choices=ANSWER_KINDS, default="auto")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    parser.set_defaults(run=_import)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", choices=("deepprune", "cons"), help="replaces the file's policy"
    )
    parser.add_argument("--num-traces", type=int, metavar="N", help="traces per problem")
    parser.add_argument("--tau", type=float, help="threshold of the judge's P(same)")
    parser.add_argument("--checkpoint", help="tokens:K or reasoning_words:W")
    _add_system_options(parser)


def _add_system_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="laptop", help="a configuration file, or the name of a shipped one"
    )
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


def _collect(options: argparse.Namespace) -> int:
    from jobs.collect import collect

    return collect(options)


def _import(options: argparse.Namespace) -> int:
    from jobs.imports import import_traces

    return import_traces(options)


def _range(text: str) -> slice:
    match = re.fullmatch(r"([0-9]*):([0-9]*)", text)
    if match is None:
        raise argparse.ArgumentTypeError("write A:B, such as 0:10, :10 or 10:")
    start, stop = (int(part) if part else None for part in match.groups())
    return slice(start, stop)


def _add_report(parser: argparse.ArgumentParser) -> None:
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
        type=_not_negative,
        default=16.0,
        metavar="MB",
        help="size of the traces in the file, which longer ones are cut to; default: %(default)g",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from jobs.report import report

    return report(options)


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
