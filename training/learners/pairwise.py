"""Train the pairwise judge: batches of pairs, and the loss on the answer token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.models import load_prompt
from deepprune.config import JudgePrompt
from deepprune.statistics import Floats, Ints
from training.config import TrainConfig
from training.learners.base_model import with_weights
from training.learners.batches import PairEncoder, collate, training_batches
from training.learners.engines import Engine
from training.learners.judge import JudgeModel, save_judge, score_prompts
from training.learners.losses import pair_loss
from training.learners.trainer import StepMetrics, check_classes
from training.pairs.data import PairSet


class PairwiseLearner:
    """A generative judge that is asked about each pair (Section 4.1.2).

    Raises:
        UserError: the training pairs are empty or all of one class, the tokenizer lacks the answer
            tokens, or a problem leaves no room for prefixes.
    """

    def __init__(
        self,
        config: TrainConfig,
        language_model: Any,
        tokenizer: Any,
        train: PairSet,
        validation: PairSet,
    ) -> None:
        check_classes(train)
        self._config, self._tokenizer = config, tokenizer
        self._prompt = config.prompt or load_prompt(config.model)
        encoder = PairEncoder(self._prompt, tokenizer, config.max_tokens)
        self.module = JudgeModel(language_model, encoder.answer_ids)
        self._pad_id = tokenizer.pad_token_id or 0
        self._train, self._prompts = train, encoder.encode_all(train)
        self.validation = validation.limited(config.evaluation_pairs, config.seed)
        self._validation_prompts = encoder.encode_all(self.validation)
        self.num_steps = self.steps_of(config, train)
        self.pairs_per_step = float(config.pairs_per_step)
        self.note: str | None = None
        if num_cut := self._prompts.num_cut:
            self.note = (
                f"{num_cut:,} prefixes, counted once for each pair, are longer than max_tokens "
                f"{config.max_tokens} allows and lose their middle"
            )

    @staticmethod
    def check(config: TrainConfig, tokenizer: Any, train: PairSet) -> None:
        """Refuse a configuration that cannot train, before workers start.

        Raises:
            UserError: as the class says.
        """
        check_classes(train)
        prompt = config.prompt or load_prompt(config.model)
        encoder = PairEncoder(prompt, tokenizer, config.max_tokens)
        longest = max((prefix.problem for prefix in train.prefixes), key=len)
        encoder.token_ids(longest, "", "")

    @staticmethod
    def steps_of(config: TrainConfig, train: PairSet) -> int:
        """Updates in a whole training."""
        return config.num_steps(int(train.copies.sum()) / config.pairs_per_step)

    def batches(self, rank: int, world: int, start: int) -> Iterator[Ints]:
        """This worker's share of each batch, from step `start` on."""
        config = self._config
        every = training_batches(
            self._prompts.lengths,
            self._train.copies,
            config.pairs_per_batch * world,
            self.num_steps * config.accumulation,
            config.seed,
        )
        return (index[rank::world] for index in islice(every, start * config.accumulation, None))

    def losses(self, engine: Engine, index: Ints) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the part of it to log: the loss on the answer tokens."""
        config = self._config.loss
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

    def score(self, engine: Engine) -> Floats:
        """(validation pairs,): log-odds of P(same), computed by all workers together."""
        part = score_prompts(
            engine.forward,
            self._validation_prompts,
            engine.device,
            tokens_per_batch=self._config.pairs_per_batch * self._config.max_tokens,
            rank=engine.rank,
            world=engine.world,
        )
        scores: Floats = engine.total(torch.from_numpy(part)).cpu().numpy()
        return scores

    def save(
        self, weights: Mapping[str, Tensor], metrics: StepMetrics, checkpoint: str, folder: Path
    ) -> None:
        """Write a folder that can be served."""
        answer_ids = self.module.answer_ids
        judge = with_weights(lambda model: JudgeModel(model, answer_ids), weights, self._config)
        prompt = trained_prompt(self._prompt, metrics, checkpoint, self._config.max_tokens)
        save_judge(judge.language_model, self._tokenizer, prompt, folder)


def trained_prompt(
    prompt: JudgePrompt, metrics: StepMetrics, checkpoint: str, max_tokens: int
) -> JudgePrompt:
    """The prompt of a trained judge, with its checkpoint and the figures of its last evaluation."""
    learned = {"checkpoint": checkpoint, "max_tokens": max_tokens, **metrics.saved}
    return prompt.model_copy(update=learned)
