"""The training loop, the same in one process and in each of many workers.

Which pairs a step sees follows from the seed and the step alone, so a training that is taken up
again from a checkpoint goes on as if it had not stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actors.padding import Prompt
from deepprune.errors import UserError
from training.batches import PairEncoder, collate, training_batches
from training.calibration import calibrated, sigmoid
from training.config import TrainConfig
from training.data import PairSet
from training.engines import Engine
from training.judge import score_prompts
from training.losses import pair_loss
from training.metrics import auroc, chosen_tau, mean_auroc


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a training's log."""

    step: int
    num_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    pairs_per_s: float
    auroc: float | None = None
    """Of all validation pairs, pooled."""
    mean_auroc: float | None = None
    """The mean over validation problems: what chooses the best checkpoint."""
    slope: float | None = None
    shift: float | None = None
    """Platt scaling of its log-odds by the validation pairs, which makes P(same) a probability."""
    tau: float | None = None
    """P(same) below which lies the target error's share of the validation pairs that agree."""
    base_rate: float | None = None
    """How many of the validation pairs agree."""

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: the AUROC, else steps."""
        found = (value for value in (self.mean_auroc, self.auroc) if value is not None)
        return next((value for value in found if not math.isnan(value)), float(self.step))


class Reporter(Protocol):
    """Told about every step; keeps the checkpoints."""

    def progress(self, progress: Progress) -> None:
        """A step is done."""
        ...

    def checkpoint(self, engine: Engine, progress: Progress) -> None:
        """Weights have been evaluated: save them. Every worker calls it."""
        ...


class Trainer:
    """Trains one judge on encoded pairs.

    Raises:
        UserError: the training pairs are empty or all of one class.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: PairEncoder,
        train: PairSet,
        validation: PairSet,
        config: TrainConfig,
        pad_id: int,
    ) -> None:
        check_classes(train)
        self._engine = engine
        self._config = config
        self._pad_id = pad_id
        self._train, self._prompts = train, encoder.encode_all(train)
        self._validation = validation.limited(config.evaluation_pairs, config.seed)
        self._validation_prompts = encoder.encode_all(self._validation)
        self.num_steps = num_steps(train, config)
        self.num_cut = self._prompts.num_cut
        """Prefixes, counted once for each training pair, that lose their middle to `max_tokens`."""

    def run(self, reporter: Reporter, start: int = 0) -> None:
        """Train from step `start` to the end.

        Raises:
            UserError: the loss is no number any more; checkpoints saved before are kept.
        """
        self._engine.module.train()
        batches = self._batches(start)
        since = time.monotonic()
        for step in range(start + 1, self.num_steps + 1):
            rate = learning_rate(self._config, step, self.num_steps)
            loss, grad_norm = self._step(batches, rate)
            _refuse_no_number(f"the loss of step {step}", loss)
            pairs_per_s = self._config.pairs_per_step / (time.monotonic() - since)
            progress = Progress(step, self.num_steps, loss, rate, grad_norm, pairs_per_s)
            if step % self._config.evaluate_every == 0 or step == self.num_steps:
                progress = self._evaluated(progress)
                reporter.checkpoint(self._engine, progress)
            reporter.progress(progress)
            since = time.monotonic()

    def _batches(self, start: int) -> Iterator[npt.NDArray[np.int64]]:
        """This worker's share of each batch, from step `start` on."""
        config = self._config
        every = training_batches(
            self._prompts.lengths,
            self._train.copies,
            config.pairs_per_batch * self._engine.world,
            self.num_steps * config.accumulation,
            config.seed,
        )
        rank, world = self._engine.rank, self._engine.world
        return (index[rank::world] for index in islice(every, start * config.accumulation, None))

    def _step(self, batches: Iterator[npt.NDArray[np.int64]], rate: float) -> tuple[float, float]:
        engine, accumulation = self._engine, self._config.accumulation
        total = torch.zeros((), device=engine.device)
        for number in range(1, accumulation + 1):
            loss, of_verdicts = self._losses(next(batches))
            engine.backward(loss, is_last=number == accumulation)
            total += of_verdicts.detach()
        mean = engine.total(total / accumulation / engine.world)
        return float(mean), engine.step(rate)

    def _losses(self, index: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """What is minimised, and the part of it that is logged: the loss on the answer tokens."""
        engine, config = self._engine, self._config.loss
        batch = collate(
            [self._prompts[i] for i in index],
            self._train.same[index],
            self._pad_id,
            self._prompts.seconds[index] if config.reading else None,
        )
        tokens, last, same = (x.to(engine.device) for x in (batch.tokens, batch.last, batch.same))
        if batch.read is None:
            verdicts = pair_loss(engine.forward(tokens, last), same, config)
            return verdicts, verdicts
        logits, reading = engine.forward(tokens, last, batch.read.to(engine.device))
        verdicts = pair_loss(logits, same, config)
        return verdicts + config.reading * reading, verdicts

    def _evaluated(self, progress: Progress) -> Progress:
        if not len(self._validation):
            return progress
        scores = self.score(self._validation_prompts)
        _refuse_no_number(f"a score after step {progress.step}", float(scores.sum()))
        same = self._validation.same
        scale = calibrated(scores, same)
        tau = None
        if same.any():
            target = self._config.target_error
            tau = chosen_tau(same, sigmoid(scale.logits(scores)), target)
        return replace(
            progress,
            auroc=auroc(same, scores),
            mean_auroc=mean_auroc(same, scores, self._validation.problem),
            slope=scale.slope,
            shift=scale.shift,
            tau=tau,
            base_rate=float(same.mean()),
        )

    def score(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """(pairs,): log-odds of P(same), computed by all workers together."""
        engine = self._engine
        engine.module.eval()
        part = score_prompts(
            engine.forward,
            prompts,
            engine.device,
            tokens_per_batch=self._config.pairs_per_batch * self._config.max_tokens,
            rank=engine.rank,
            world=engine.world,
        )
        engine.module.train()
        scores: npt.NDArray[np.float64] = engine.total(torch.from_numpy(part)).cpu().numpy()
        return scores


def _refuse_no_number(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"{what} is {value}: training stops, and the last checkpoint is kept; lower "
            "learning_rate or use precision: fp32"
        )


def num_steps(train: PairSet, config: TrainConfig) -> int:
    """Updates in a whole training."""
    return max(1, math.ceil(config.epochs * int(train.copies.sum()) / config.pairs_per_step))


def check_classes(train: PairSet) -> None:
    """Refuse pairs that nothing can be learned from.

    Raises:
        UserError: there are none, or all are of one class.
    """
    if not len(train):
        raise UserError("there are no pairs to train on: more problems, or smaller held-out shares")
    if train.same.all() or not train.same.any():
        kind = "agree" if train.same.all() else "differ"
        raise UserError(
            f"all {len(train)} training pairs {kind}, so there is nothing to tell apart: add "
            "problems that the model gets wrong at times"
        )


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rises to its height in a straight line, then falls to a tenth along a cosine."""
    warmup = max(1, round(config.warmup * num_steps))
    if step <= warmup:
        return config.learning_rate * step / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))
