"""Train a judge on Ray Train, over any number of workers, and fetch the best one.

Checkpoints go to any file system that pyarrow knows. Training resumes from the last checkpoint when
a worker died and was replaced, and when the command is run again on its folder.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepprune.errors import UserError
from training.config import TrainConfig
from training.learners.trainer import StepMetrics
from training.learners.worker import JUDGE, LEARNERS, Assignment, train_worker
from training.pairs.data import Split, chosen_checkpoint, load_pairs

if TYPE_CHECKING:
    from ray.train import Result

RUN = "training"
POLL_S = 0.5
NUM_KEPT = 1
"""Checkpoints in the storage: that with the best judge; and the last, to resume from."""


OnStep = Callable[[StepMetrics | str], None]
"""Called with the metrics of each step, and with notes for the user."""


class Monitor:
    """An actor that passes steps and notes from the workers to the driver."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._steps: list[StepMetrics | str] = []
        self._failure: str | None = None
        self._gauges = {
            name: Gauge(f"deepprune_train_{name}", f"Of a judge in training: {name}")
            for name in ("step", "loss", "learning_rate", "pairs_per_s", "auroc", "mean_auroc")
        }

    def step(self, metrics: StepMetrics) -> None:
        """Record a finished step."""
        self._steps.append(metrics)
        for name, gauge in self._gauges.items():
            value = getattr(metrics, name)
            if value is not None:
                gauge.set(value)

    def note(self, text: str) -> None:
        """Record a message for the user."""
        self._steps.append(text)

    def take(self) -> list[StepMetrics | str]:
        """The steps and notes since the last call."""
        steps, self._steps = self._steps, []
        return steps

    def failed(self, message: str) -> None:
        """Record why training cannot go on."""
        self._failure = self._failure or message

    def failure(self) -> str | None:
        """The reason why training cannot go on, if there is one."""
        return self._failure


def absolute(storage: str) -> str:
    """Return a URI as it is, and the absolute path of a folder."""
    return storage if "://" in storage else os.path.abspath(os.path.expanduser(storage))


def checked_pairs(config: TrainConfig, folder: Path, checkpoint: str | None) -> tuple[str, int]:
    """Check a training before workers start; return the pairs' checkpoint and the number of steps.

    Raises:
        UserError: pairs of one class only, a split that leaks, a tokenizer without the answer
            tokens, or a problem that leaves no room for prefixes.
    """
    from actors.tokenizer import load_tokenizer

    learner = LEARNERS[config.kind]
    train = load_pairs(folder, ["train"], checkpoint)
    learner.check(config, load_tokenizer(config.model), train)
    return chosen_checkpoint(folder, checkpoint), learner.steps_of(config, train)


def run(
    config: TrainConfig,
    pairs: Path,
    checkpoint: str,
    storage: str,
    on_step: OnStep,
) -> Result:
    """Train, and call `on_step` with each step and note; Ray has to be up.

    Raises:
        UserError: training cannot go on; the last good checkpoint is in the storage.
    """
    import ray
    from ray import train
    from ray.exceptions import RayActorError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    storage = absolute(storage)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    monitor = ray.remote(Monitor).options(num_cpus=0).remote()
    workers = config.workers
    splits: tuple[Split, Split] = ("train", "validation")
    data = tuple(ray.put(load_pairs(pairs, [split], checkpoint)) for split in splits)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"assignment": Assignment(config, data, checkpoint, storage, monitor)},
        torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=workers.num,
            use_gpu=workers.gpus > 0,
            resources_per_worker=config.resources,
        ),
        run_config=train.RunConfig(
            name=RUN,
            storage_path=storage,
            failure_config=train.FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=train.CheckpointConfig(
                num_to_keep=NUM_KEPT, checkpoint_score_attribute="score"
            ),
            worker_runtime_env={"env_vars": _environment(config)},
        ),
    )
    with _watched(monitor, on_step):
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            failure = ray.get(monitor.failure.remote())
            if failure is not None:
                raise UserError(failure) from None
            failures = getattr(error, "worker_failures", {}).values()
            if failures and all(isinstance(failure, RayActorError) for failure in failures):
                raise UserError(
                    f"workers died {workers.max_failures + 1} times (out of memory?): see Ray's "
                    "logs, and run the same command again to go on from the last checkpoint"
                ) from None
            raise
    failure = ray.get(monitor.failure.remote())
    if failure is not None:
        raise UserError(failure)
    return result


def fetch_best(result: Result, folder: Path) -> int:
    """Copy the best judge out of the storage; returns its step."""
    import pyarrow.fs

    assert result.best_checkpoints, "a training ends with a checkpoint"
    best, metrics = max(
        result.best_checkpoints, key=lambda entry: (entry[1]["score"], entry[1]["step"])
    )
    folder.mkdir(exist_ok=True)
    pyarrow.fs.copy_files(
        f"{best.path}/{JUDGE}",
        str(folder.absolute()),
        source_filesystem=best.filesystem,
        destination_filesystem=pyarrow.fs.LocalFileSystem(),
    )
    return int(metrics["step"])


@contextmanager
def _watched(monitor: Any, on_step: OnStep) -> Iterator[None]:
    """Pass the monitor's steps and notes to `on_step`; an error that it raises comes out."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(_watch, monitor, on_step, over)
        try:
            yield
        finally:
            over.set()
        watching.result()


def _watch(monitor: Any, on_step: OnStep, over: threading.Event) -> None:
    import ray

    last = False
    while not last:
        last = over.wait(POLL_S)
        for item in ray.get(monitor.take.remote()):
            on_step(item)


def _environment(config: TrainConfig) -> dict[str, str]:
    """Environment of each worker. DeepSpeed gets its device by name, or it looks for compilers."""
    return {
        "DS_ACCELERATOR": "cuda" if config.workers.gpus else "cpu",
        "TOKENIZERS_PARALLELISM": "false",
    }
