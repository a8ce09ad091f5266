"""The training function of each worker, from loading the model to the last checkpoint.

A checkpoint holds `state/`, to resume training from, and `judge/`, a folder that can be served.
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
from training.learners.trainer import Learner, StepMetrics, Trainer
from training.pairs.data import load_pairs

STATE, JUDGE = "state", "judge"
LEARNERS: dict[str, type[PairwiseLearner] | type[EncoderLearner]] = {
    "pairwise": PairwiseLearner,
    "encoder": EncoderLearner,
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """Arguments of a worker."""

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
        return  # a retry would fail with the same error
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
    """Reports steps to the monitor, and checkpoints to Ray Train."""

    def __init__(self, work: Assignment, learner: Learner) -> None:
        self._work, self._learner = work, learner

    def step(self, metrics: StepMetrics) -> None:
        """Send a finished step to the monitor."""
        from ray import train

        if train.get_context().get_world_rank() == 0:
            self._work.monitor.step.remote(metrics)

    def checkpoint(self, engine: Engine, metrics: StepMetrics) -> None:
        """Save state and judge, and wait until they are in the storage."""
        from ray import train

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            engine.save(folder / STATE, metrics.step)
            weights = engine.weights()
            if weights is not None:
                self._learner.save(weights, metrics, self._work.checkpoint, folder / JUDGE)
            train.report(
                {"step": metrics.step, "score": metrics.score},
                checkpoint=train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"step-{metrics.step:07}",
            )
