"""`deepprune evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.commands.options import add_target_error, add_verbose, positive

HELP = "how good judges are, on pairs that they have not seen"
DESCRIPTION = (
    "Score held-out pairs with some judges and compare them: AUROC over all pairs and within a "
    "problem, TNR@0.2, precision and recall, calibration. The scores are saved, so that a sweep "
    "can replay with them."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("pairs", type=Path, help="a folder of `deepprune pairs`")
    parser.add_argument(
        "--judge",
        dest="judges",
        action="append",
        required=True,
        metavar="JUDGE",
        help="always-same, tfidf, embeddings, features (learned from the training split), the "
        "folder of a judge, or a language model to ask without training (repeatable)",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--checkpoint", help="where the pairs hold prefixes of several")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="the pairs to score; default: %(default)s",
    )
    parser.add_argument(
        "--max-pairs", type=positive, metavar="N", help="score N pairs, drawn at random"
    )
    parser.add_argument(
        "--max-tokens",
        type=positive,
        metavar="N",
        help="longest prompt of a pairwise judge; default: what it was trained on, or 2048",
    )
    add_target_error(parser, "a threshold")
    parser.add_argument(
        "--save-threshold",
        action="store_true",
        help="write the threshold for --target-error, chosen on the validation pairs, into each "
        "judge's folder, where runs find it",
    )
    parser.add_argument(
        "--cascade",
        action="store_true",
        help="with two judges: let the first decide the clear pairs and the second the rest",
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Hand over to the job."""
    from jobs.judge.evaluate import evaluate

    return evaluate(options)
