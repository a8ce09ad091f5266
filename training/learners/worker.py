"""The training function of each worker, from loading the model to the last checkpoint.

A checkpoint holds `state/`, to resume training from, and `judge/`, a folder that can be served.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import torch

from actors.tokenizer import load_tokenizer
from deepprune.errors import UserError
from training.config import TrainConfig
from training.learners.base_model import base_model
from training.learners.encoder import EncoderLearner
from training.learners.engines import DeepSpeedEngine, Engine, PlainEngine
from training.learners.pairwise import PairwiseLearner
from training.learners.trainer import Learner, StepMetrics, Trainer

STATE, JUDGE = "state", "judge"
LEARNERS: dict[str, type[PairwiseLearner] | type[EncoderLearner]] = {
    "pairwise": PairwiseLearner,
    "encoder": EncoderLearner,
}


@dataclass(frozen=True, slots=True)
class Assignment:
    """Arguments of a worker."""

    config: TrainConfig
    pairs: tuple[Any, Any]
    """References to the pairs to train on and to validate with: workers need no folder of ours."""
    checkpoint: str
    """Where the prefixes were cut."""
    storage: str
    """Where checkpoints go: a folder or a URI."""
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
    import ray
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
        *ray.get(list(work.pairs)),
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
    Trainer(engine, learner, config).run(RayReporter(work, learner, engine.rank), start)


class RayReporter:
    """Reports steps to the monitor, and checkpoints to Ray Train."""

    def __init__(self, work: Assignment, learner: Learner, rank: int) -> None:
        self._work, self._learner = work, learner
        self._best: StepMetrics | None = None
        """Metrics of the best judge since the last checkpoint."""
        self._folder = _unfinished(work.storage) / f"unfinished-{rank}"
        shutil.rmtree(self._folder, ignore_errors=True)  # of a worker that died

    def step(self, metrics: StepMetrics) -> None:
        """Send a finished step to the monitor."""
        from ray import train

        if train.get_context().get_world_rank() == 0:
            self._work.monitor.step.remote(metrics)

    def evaluated(self, engine: Engine, metrics: StepMetrics) -> None:
        """Save the judge on this node if it is the best since the last checkpoint."""
        if self._best is not None and metrics.score <= self._best.score:
            return
        self._best = metrics
        weights = engine.weights()
        if weights is not None:
            self._learner.save(weights, metrics, self._work.checkpoint, self._folder / JUDGE)

    def checkpoint(self, engine: Engine, step: int) -> None:
        """Save the state and that judge, and wait until they are in the storage."""
        from ray import train

        assert self._best is not None, "an evaluation comes before each checkpoint"
        engine.save(self._folder / STATE, step)
        train.report(
            {"step": self._best.step, "score": self._best.score},
            checkpoint=train.Checkpoint.from_directory(self._folder),
            checkpoint_dir_name=f"step-{step:07}",
        )
        shutil.rmtree(self._folder)
        self._best = None


def _unfinished(storage: str) -> Path:
    """Where a checkpoint is written before it is copied: the storage's disk, if it is a folder."""
    filesystem, path = pyarrow.fs.FileSystem.from_uri(storage)
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return Path(path)
    return (
        Path(tempfile.gettempdir())
        / f"deepprune-{hashlib.sha256(storage.encode()).hexdigest()[:12]}"
    )
