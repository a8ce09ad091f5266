"""The training loop of every judge, in one process or in each of many workers.

The batches of a step depend on the seed and the step alone, so a resumed training continues as if
it had not stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from deepprune.errors import UserError
from deepprune.statistics import Floats, auroc, chosen_tau, fit_platt, mean_auroc, sigmoid
from training.config import TrainConfig
from training.learners.engines import Engine
from training.pairs.data import PairSet


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Metrics of a training step: one line of the log."""

    step: int
    num_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    pairs_per_s: float
    auroc: float | None = None
    """Of all validation pairs, pooled."""
    mean_auroc: float | None = None
    """The mean over validation problems, which selects the best checkpoint."""
    slope: float | None = None
    shift: float | None = None
    """Platt scaling of its log-odds by the validation pairs, which makes P(same) a probability."""
    tau: float | None = None
    """P(same) below which lies the target error's share of the validation pairs that agree."""
    base_rate: float | None = None
    """How many of the validation pairs agree."""

    @property
    def score(self) -> float:
        """Checkpoint selection metric: within-problem AUROC, else pooled, else the step."""
        found = (value for value in (self.mean_auroc, self.auroc) if value is not None)
        return next((value for value in found if not math.isnan(value)), float(self.step))

    @property
    def saved(self) -> dict[str, float | None]:
        """The figures that are saved with a judge, each within the range of its setting."""

        def inside(value: float | None, low: float, high: float) -> float | None:
            if value is None or math.isnan(value):
                return None
            return min(high, max(low, round(value, 4)))

        return {
            "slope": round(self.slope or 1.0, 4),
            "shift": round(self.shift or 0.0, 4),
            "tau": inside(self.tau, 0.001, 0.999),
            "base_rate": inside(self.base_rate, 0.001, 0.999),
            "auroc": inside(self.mean_auroc, 0.5, 1.0),
        }


class Reporter(Protocol):
    """Receives every step; keeps the checkpoints."""

    def step(self, metrics: StepMetrics) -> None:
        """Report a finished step."""
        ...

    def evaluated(self, engine: Engine, metrics: StepMetrics) -> None:
        """Keep the judge where it is the best so far. Every worker calls it."""
        ...

    def checkpoint(self, engine: Engine, step: int) -> None:
        """Save the state to resume after `step`, and the judge kept. Every worker calls it."""
        ...


class Learner(Protocol):
    """A kind of judge in training: its batches, its loss, its evaluation, and its files."""

    module: Any
    """The module to train."""
    num_steps: int
    pairs_per_step: float
    validation: PairSet
    note: str | None
    """A message for the user before training begins."""

    def batches(self, rank: int, world: int, start: int) -> Iterator[Any]:
        """This worker's batches from step `start` on, `accumulation` a step."""
        ...

    def losses(self, engine: Engine, batch: Any) -> tuple[Tensor, Tensor]:
        """The loss of a batch to minimise, and the part of it to log."""
        ...

    def score(self, engine: Engine) -> Floats:
        """(validation pairs,): log-odds of P(same), by all workers together, without gradients."""
        ...

    def save(
        self, weights: Mapping[str, Tensor], metrics: StepMetrics, checkpoint: str, folder: Path
    ) -> None:
        """Write a folder that can be served; `checkpoint` names the place where prefixes end."""
        ...


class Trainer:
    """Trains one judge of any kind."""

    def __init__(self, engine: Engine, learner: Learner, config: TrainConfig) -> None:
        self._engine, self._learner, self._config = engine, learner, config

    def run(self, reporter: Reporter, start: int = 0) -> None:
        """Train from step `start` to the end.

        Raises:
            UserError: the loss is no number any more; checkpoints saved before are kept.
        """
        engine, learner = self._engine, self._learner
        engine.module.train()
        between_checkpoints = self._config.evaluate_every * self._config.checkpoint_every
        batches = learner.batches(engine.rank, engine.world, start)
        since = time.monotonic()
        for step in range(start + 1, learner.num_steps + 1):
            rate = learning_rate(self._config, step, learner.num_steps)
            loss, grad_norm = self._step(batches, rate)
            _refuse_no_number(f"the loss of step {step}", loss)
            pairs_per_s = learner.pairs_per_step / (time.monotonic() - since)
            metrics = StepMetrics(step, learner.num_steps, loss, rate, grad_norm, pairs_per_s)
            if step % self._config.evaluate_every == 0 or step == learner.num_steps:
                metrics = self._evaluated(metrics)
                reporter.evaluated(engine, metrics)
                if step % between_checkpoints == 0 or step == learner.num_steps:
                    reporter.checkpoint(engine, step)
            reporter.step(metrics)
            since = time.monotonic()

    def _step(self, batches: Iterator[Any], rate: float) -> tuple[float, float]:
        engine, accumulation = self._engine, self._config.accumulation
        total = torch.zeros((), device=engine.device)
        for number in range(1, accumulation + 1):
            loss, logged = self._learner.losses(engine, next(batches))
            engine.backward(loss, is_last=number == accumulation)
            total += logged.detach()
        mean = engine.total(total / accumulation / engine.world)
        return float(mean), engine.step(rate)

    def _evaluated(self, metrics: StepMetrics) -> StepMetrics:
        validation = self._learner.validation
        if not len(validation):
            return metrics
        self._engine.module.eval()
        scores = self._learner.score(self._engine)
        self._engine.module.train()
        _refuse_no_number(f"a score after step {metrics.step}", float(scores.sum()))
        same = validation.same
        scale = fit_platt(scores, same)
        tau = None
        if same.any():
            target = self._config.target_error
            tau = chosen_tau(same, sigmoid(scale.logits(scores)), target)
        return replace(
            metrics,
            auroc=auroc(same, scores),
            mean_auroc=mean_auroc(same, scores, validation.problem),
            slope=scale.slope,
            shift=scale.shift,
            tau=tau,
            base_rate=float(same.mean()),
        )


def _refuse_no_number(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"{what} is {value}: training stops, and the last checkpoint is kept; lower "
            "learning_rate or use precision: fp32"
        )


def check_classes(train: PairSet) -> None:
    """Refuse a set of pairs that lacks a class.

    Raises:
        UserError: there are none, or all are of one class.
    """
    if not len(train):
        raise UserError("there are no pairs to train on: more problems, or smaller held-out shares")
    if train.only_class:
        raise UserError(
            f"all {len(train)} training pairs {train.only_class}, so there is nothing to tell "
            "apart: add problems that the model gets wrong at times"
        )


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rises to its height in a straight line, then falls to a tenth along a cosine."""
    warmup = max(1, round(config.warmup * num_steps))
    if step <= warmup:
        return config.learning_rate * step / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))
