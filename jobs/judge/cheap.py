"""`deepprune cheap`: pairs become a feature judge, in seconds and without a model."""

from __future__ import annotations

import argparse
import sys

from deepprune.errors import UserError
from deepprune.statistics import chosen_tau, sigmoid
from jobs.render.progress import Progress
from training.pairs.data import load_pairs


def train_cheap(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the pairs or the folder cannot work.
    """
    from training.offline.scoring import Features, learn_features

    if options.out.exists() and any(options.out.iterdir()):
        raise UserError(f"{options.out} is not empty: choose another --out")
    training = load_pairs(options.pairs, ["train"], options.checkpoint)
    validation = load_pairs(options.pairs, ["validation"], options.checkpoint)
    with Progress("reading prefixes", len(validation)) as progress:
        progress.phase(f"learning from {len(training):,} pairs")
        judge = learn_features(training)
        if validation.same.any():
            p_same = sigmoid(Features(judge).score(validation, progress.step))
            tau = chosen_tau(validation.same, p_same, options.target_error)
            judge = judge.model_copy(update={"tau": tau})
    judge.save(options.out)
    sys.stderr.write(
        f"saved in {options.out}; see how good it is with: deepprune evaluate {options.pairs} "
        f"--judge {options.out} --out ...\n"
        f"serve it with: judge: {{kind: features, folder: {options.out}}}\n"
    )
    return 0
