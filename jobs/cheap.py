"""`deepprune cheap`: pairs become a judge that reads each prefix once."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from deepprune.errors import UserError
from jobs.progress import Progress
from jobs.settings import settings_of
from training.config import TrainConfig, load
from training.data import PairSet, chosen_checkpoint, load_pairs


def train_cheap(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the pairs, the configuration or the folder cannot work.
    """
    if options.out.exists() and any(options.out.iterdir()):
        raise UserError(f"{options.out} is not empty: choose another --out")
    training = load_pairs(options.pairs, ["train"], options.checkpoint)
    validation = load_pairs(options.pairs, ["validation"], options.checkpoint)
    if options.kind == "features":
        _features(options, training, validation)
    else:
        _encoder(options, training, validation)
    sys.stderr.write(
        f"saved in {options.out}; see how good it is with: deepprune evaluate {options.pairs} "
        f"--judge {options.out} --out ...\n"
        f"serve it with: judge: {{kind: {options.kind}, folder: {options.out}}}\n"
    )
    return 0


def _features(options: argparse.Namespace, training: PairSet, validation: PairSet) -> None:
    from training.calibration import sigmoid
    from training.metrics import chosen_tau
    from training.scoring import Features, learn_features

    with Progress("reading prefixes", len(validation)) as progress:
        progress.phase(f"learning from {len(training):,} pairs")
        judge = learn_features(training)
        if validation.same.any():
            p_same = sigmoid(Features(judge).score(validation, progress.step))
            tau = chosen_tau(validation.same, p_same, options.target_error)
            judge = judge.model_copy(update={"tau": tau})
    judge.save(options.out)


def _encoder(options: argparse.Namespace, training: PairSet, validation: PairSet) -> None:
    if options.config is None:
        raise UserError("--kind encoder needs --config: a training configuration, such as smollm2")
    config = load(TrainConfig, options.config, settings_of(options.settings, example="epochs=4"))
    from training.encoder_run import steps_of, train_encoder
    from training.scoring import device

    checkpoint = chosen_checkpoint(options.pairs, options.checkpoint)
    losses: list[float] = []
    with Progress("training", len(steps_of(config, training))) as progress:

        def seen(loss: float) -> None:
            losses.append(loss)
            progress.step()

        train_encoder(config, training, validation, options.out, checkpoint, device(), seen)
        progress.note(f"loss of the last steps {np.mean(losses[-20:]):.4f}")
