"""`deepprune cheap`: pairs become a feature judge, in seconds and without a model."""

from __future__ import annotations

import sys
from pathlib import Path

from deepprune.errors import UserError
from deepprune.statistics import chosen_tau, sigmoid
from jobs.render.progress import Progress
from training.pairs.data import load_pairs


def train_cheap(pairs: Path, out: Path, checkpoint: str | None, target_error: float) -> None:
    """Learn the feature judge from the training split of `pairs`; save it in `out`.

    Raises:
        UserError: the pairs or the folder cannot work.
    """
    from training.offline.scoring import Features, learn_features

    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another --out")
    training = load_pairs(pairs, ["train"], checkpoint)
    validation = load_pairs(pairs, ["validation"], checkpoint)
    with Progress("reading prefixes", len(validation)) as progress:
        progress.phase(f"learning from {len(training):,} pairs")
        judge = learn_features(training)
        if validation.same.any():
            p_same = sigmoid(Features(judge).score(validation, progress.step))
            tau = chosen_tau(validation.same, p_same, target_error)
            judge = judge.model_copy(update={"tau": tau})
    judge.save(out)
    sys.stderr.write(
        f"saved in {out}; see how good it is with: deepprune evaluate {pairs} "
        f"--judge {out} --out ...\n"
        f"serve it with: judge: {{kind: features, folder: {out}}}\n"
    )
