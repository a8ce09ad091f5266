"""Train the encoder judge (`actors/judges/prefix_encoder.py`): a step is all pairs of problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from actors.encoder_config import HEAD_FILE, EncoderSettings
from actors.judges.padding import Prompt, padded
from actors.judges.prefix_encoder import PrefixEncoder, encoded, token_ids
from deepprune.statistics import Floats, Ints, grouped
from training.config import TrainConfig
from training.learners.base_model import save_language_model, with_weights
from training.learners.engines import Engine
from training.learners.label_closure import LabelClosure
from training.learners.losses import verdict_loss
from training.learners.trainer import StepMetrics, check_classes
from training.pairs.data import PairSet, Prefix

TRACES_PER_PROBLEM = 16
"""Traces of a problem in a step: all their pairs are learned from."""
PAIRS_PER_PROBLEM = TRACES_PER_PROBLEM * (TRACES_PER_PROBLEM - 1) // 2
PAIRS_AT_ONCE = 65536
"""Pairs whose vectors are compared at the same time."""


class EncoderLearner:
    """An encoder judge. A batch is whole problems, at least one, of `pairs_per_batch` pairs.

    Raises:
        UserError: the training pairs are empty or all of one class.
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
        torch.manual_seed(config.seed)  # the head starts from random numbers
        self.module = PrefixEncoder(language_model)
        self._config, self._tokenizer = config, tokenizer
        self._labels = LabelClosure(train)
        self._problems = pairs_by_problem(train)
        self._prompts = prompts_of(train.prefixes, tokenizer, config.max_tokens)
        self.validation = validation.limited(config.evaluation_pairs, config.seed)
        self._held_out = self.validation.compact()
        self._held_out_prompts = prompts_of(self._held_out.prefixes, tokenizer, config.max_tokens)
        self.num_steps = self.steps_of(config, train)
        sizes = np.minimum([len(np.unique(p)) for p in self._problems], TRACES_PER_PROBLEM)
        self.pairs_per_step = problems_per_step(config) * float((sizes * (sizes - 1) / 2).mean())
        num_cut = sum(len(prompt) == config.max_tokens for prompt in self._prompts)
        self.note: str | None = None
        if num_cut:
            self.note = (
                f"{num_cut:,} prefixes reach max_tokens {config.max_tokens}; longer ones lose "
                "their beginning"
            )

    @staticmethod
    def check(config: TrainConfig, tokenizer: Any, train: PairSet) -> None:
        """Refuse a configuration that cannot train, before workers start.

        Raises:
            UserError: as the class says.
        """
        check_classes(train)

    @staticmethod
    def steps_of(config: TrainConfig, train: PairSet) -> int:
        """Updates in a whole training."""
        return config.num_steps(len(np.unique(train.problem)) / problems_per_step(config))

    def batches(self, rank: int, world: int, start: int) -> Iterator[list[Ints]]:
        """The prefixes of this worker's problems in each batch, from step `start` on."""
        shown = shuffled(self._problems, self._config.seed)
        num_batches = self.num_steps * self._config.accumulation
        for number in range(num_batches):
            batch = list(islice(shown, problems_per_batch(self._config) * world))
            if number >= start * self._config.accumulation:
                yield batch[rank::world]

    def losses(self, engine: Engine, members: Sequence[Ints]) -> tuple[Tensor, Tensor]:
        """The loss on all pairs within each problem, to minimise and to log."""
        index = np.concatenate(members)
        group = np.repeat(np.arange(len(members)), [len(m) for m in members])
        first, second = np.nonzero(np.triu(group[:, None] == group[None, :], 1))
        same, known = self._labels.of(index[first], index[second])
        pairs = torch.from_numpy(np.stack([first[known], second[known]]))
        tokens, last = padded([self._prompts[i] for i in index])
        z = engine.forward(*(x.to(engine.device) for x in (tokens, last, pairs)))
        labels = torch.from_numpy(same[known]).to(engine.device)
        loss = verdict_loss(z, labels, self._config.loss)
        return loss, loss

    def score(self, engine: Engine) -> Floats:
        """(validation pairs,): log-odds of P(same), computed by all workers together."""
        prompts, pairs = self._held_out_prompts, self._held_out
        part = encoded(engine.forward, prompts, engine.device, rank=engine.rank, world=engine.world)
        vectors, head = engine.total(part), engine.module.head
        return compared(head, vectors, pairs.first, pairs.second)

    def save(
        self, weights: Mapping[str, Tensor], metrics: StepMetrics, checkpoint: str, folder: Path
    ) -> None:
        """Write a folder that can be served."""
        judge = with_weights(PrefixEncoder, weights, self._config)
        save_language_model(judge.language_model, self._tokenizer, folder)
        save_file(judge.head.state_dict(), folder / HEAD_FILE)
        EncoderSettings(
            checkpoint=checkpoint, max_tokens=self._config.max_tokens, **metrics.saved
        ).save(folder)


def problems_per_batch(config: TrainConfig) -> int:
    """Whole problems that a worker holds at a time."""
    return max(1, config.pairs_per_batch // PAIRS_PER_PROBLEM)


def problems_per_step(config: TrainConfig) -> int:
    """Whole problems behind one update, over all workers."""
    return problems_per_batch(config) * config.accumulation * config.workers.num


@torch.no_grad()
def compared(head: Any, vectors: Tensor, first: Ints, second: Ints) -> Floats:
    """(pairs,): log-odds of P(same), not calibrated, of pairs of vectors."""
    scores = np.zeros(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        z = head.compare(vectors[first[some]], vectors[second[some]])
        scores[some] = z.double().cpu().numpy()
    return scores


def prompts_of(prefixes: Sequence[Prefix], tokenizer: Any, max_tokens: int) -> list[Prompt]:
    """The token ids of each prefix behind its problem."""
    return [token_ids(tokenizer, each.problem, each.text, max_tokens) for each in prefixes]


def pairs_by_problem(pairs: PairSet) -> list[Ints]:
    """For each problem its pairs, (pairs, 2): the places of their prefixes."""
    places = np.stack([pairs.first, pairs.second], axis=1)
    return [places[index] for index in grouped(pairs.problem)]


def shuffled(problems: Sequence[Ints], seed: int) -> Iterator[Ints]:
    """Prefixes of problem after problem, each problem once an epoch."""
    rng = np.random.default_rng(seed)
    while True:
        for place in rng.permutation(len(problems)):
            yield drawn(problems[place], rng)


def drawn(pairs: Ints, rng: np.random.Generator) -> Ints:
    """At most `TRACES_PER_PROBLEM` of the prefixes of a problem's pairs, (pairs, 2), at random."""
    members = np.unique(pairs)
    if len(members) <= TRACES_PER_PROBLEM:
        return rng.choice(members, len(members), replace=False)
    # Pair by pair: of traces drawn one by one, few pairs might be in the data.
    met = rng.permutation(pairs).ravel()
    _, first_met = np.unique(met, return_index=True)
    return met[np.sort(first_met)][:TRACES_PER_PROBLEM]
