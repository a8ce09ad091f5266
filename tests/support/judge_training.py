"""Pairs, a configuration and a reporter for tests that train the miniature's judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from actors.language_model import load_language_model
from actors.tokenizer import load_tokenizer
from training.config import TrainConfig
from training.learners.encoder import EncoderLearner
from training.learners.engines import PlainEngine
from training.learners.trainer import StepMetrics, Trainer
from training.pairs.data import PairSet, Prefix

MODEL = "miniature/judge"
CONFIG = TrainConfig(
    model=MODEL,
    max_tokens=96,
    learning_rate=1e-3,
    pairs_per_step=8,
    pairs_per_batch=4,
    precision="fp32",
    evaluate_every=5,
    epochs=2,
)


def made_pairs(num_problems: int = 6, num_traces: int = 6) -> PairSet:
    """Traces that say early what their answer will be."""
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 2, (num_problems, num_traces))
    prefixes = [
        Prefix("b", f"b/{p}", "m", s, "What?", f"so {p} times {digits[p, s]} then", False)
        for p in range(num_problems)
        for s in range(num_traces)
    ]
    a, b = np.triu_indices(num_traces, 1)
    first = np.concatenate([p * num_traces + a for p in range(num_problems)])
    second = np.concatenate([p * num_traces + b for p in range(num_problems)])
    same = digits.ravel()[first] == digits.ravel()[second]
    return PairSet(prefixes, first, second, same, np.ones(len(first), dtype=np.int64))


def encoder_trainer(config: TrainConfig, pairs: PairSet, held_out: PairSet) -> Trainer:
    """An encoder judge, about to be trained in this process."""
    model, tokenizer = load_language_model(config.model), load_tokenizer(config.model)
    learner = EncoderLearner(config, model, tokenizer, pairs, held_out)
    return Trainer(PlainEngine(learner.module, config, torch.device("cpu")), learner, config)


def train_encoder(
    config: TrainConfig, pairs: PairSet, held_out: PairSet, folder: Path, checkpoint: str
) -> list[StepMetrics]:
    """Train an encoder judge and save what its last step has made of it."""
    trainer, kept = encoder_trainer(config, pairs, held_out), Kept(folder / "state")
    trainer.run(kept)
    weights = trainer._engine.weights()
    assert weights is not None
    trainer._learner.save(weights, kept.log[-1], checkpoint, folder)
    return kept.log


class Kept:
    """A reporter that keeps what it is told, and checkpoints in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[StepMetrics] = []

    def step(self, metrics: StepMetrics) -> None:
        self.log.append(metrics)

    def evaluated(self, engine, progress: StepMetrics) -> None: ...

    def checkpoint(self, engine, step: int) -> None:
        engine.save(self.folder / f"step-{step}", step)
