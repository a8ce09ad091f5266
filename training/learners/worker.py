"""What each worker of a training does, from loading the model to the last checkpoint.

A checkpoint holds `state/`, from which training goes on, and `judge/`, a folder that can be served:
so whatever happens later, the last good judge is there.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actors.tokenizer import load_tokenizer
from deepprune.errors import UserError
from training.config import TrainConfig
from training.learners.base_model import base_model
from training.learners.encoder import EncoderLearner
from training.learners.engines import DeepSpeedEngine, Engine, PlainEngine
from training.learners.pairwise import PairwiseLearner
from training.learners.trainer import Learner, Progress, Trainer
from training.pairs.data import load_pairs

STATE, JUDGE = "state", "judge"
LEARNERS: dict[str, type[PairwiseLearner] | type[EncoderLearner]] = {
    "pairwise": PairwiseLearner,
    "encoder": EncoderLearner,
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told."""

    config: TrainConfig
    pairs: Path
    checkpoint: str
    """Where the prefixes were cut."""
    monitor: Any
    """Handle of the `Monitor` actor."""


def train_worker(given: dict[str, Assignment]) -> None:
    """Train; runs in a worker of Ray Train.

    Raises:
        UserError: something in the configuration or data cannot work; the monitor knows as well.
    """
    import ray

    work = given["assignment"]
    if ray.get(work.monitor.failure.remote()):
        return  # taken up again after a mistake that would only be made again
    try:
        _train(work)
    except UserError as error:
        ray.get(work.monitor.failed.remote(str(error)))
        raise


def _train(work: Assignment) -> None:
    from ray import train
    from ray.train.torch import get_device

    config = work.config
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(config.workers.cpus)))
    torch.manual_seed(config.seed)
    bf16 = config.precision == "bf16" and config.deepspeed is not None
    learner: Learner = LEARNERS[config.kind](
        config,
        base_model(config, torch.bfloat16 if bf16 else torch.float32),
        load_tokenizer(config.model),
        load_pairs(work.pairs, ["train"], work.checkpoint),
        load_pairs(work.pairs, ["validation"], work.checkpoint),
    )
    make_engine = PlainEngine if config.deepspeed is None else DeepSpeedEngine
    engine: Engine = make_engine(learner.module, config, device)
    if learner.note is not None and engine.rank == 0:
        work.monitor.note.remote(learner.note)
    start = 0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = engine.load(Path(folder) / STATE)
    Trainer(engine, learner, config).run(RayReporter(work, learner), start)


class RayReporter:
    """Tells the monitor about steps, and Ray Train about checkpoints."""

    def __init__(self, work: Assignment, learner: Learner) -> None:
        self._work, self._learner = work, learner

    def progress(self, progress: Progress) -> None:
        """Send a step on its way."""
        from ray import train

        if train.get_context().get_world_rank() == 0:
            self._work.monitor.progress.remote(progress)

    def checkpoint(self, engine: Engine, progress: Progress) -> None:
        """Save state and judge, and wait until they are in the storage."""
        from ray import train

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            engine.save(folder / STATE, progress.step)
            weights = engine.weights()
            if weights is not None:
                self._learner.save(weights, progress, self._work.checkpoint, folder / JUDGE)
            train.report(
                {"step": progress.step, "score": progress.score},
                checkpoint=train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"step-{progress.step:07}",
            )
