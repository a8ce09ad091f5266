"""`deepprune import`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import ANSWER_KINDS, add_verbose

HELP = "bring recorded traces of another layout into shape"
DESCRIPTION = "Read any Parquet, JSONL, JSON or CSV with prompts and responses as a recording."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="files or folders")
    parser.add_argument(
        "--map",
        action="append",
        required=True,
        metavar="OURS=THEIRS,...",
        help="their columns: problem and text are needed; answer, problem_id, reference, model, "
        "num_tokens and finish_reason may be given; doc.problem goes into an object, resps[0] "
        "into a list, and text=resps[0][*] makes a trace of every element",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--benchmark", default="imported", metavar="NAME")
    parser.add_argument("--model", default="imported", metavar="NAME", help="where no column says")
    parser.add_argument("--answer-kind", choices=ANSWER_KINDS, default="auto")
    parser.add_argument(
        "--truncated-answers",
        choices=("none", "last_box"),
        default="none",
        help="what a trace counts for whose finish_reason says that it was cut in its thought",
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.storage.import_traces import import_traces

    return import_traces(options)
