"""The cheap judge: each prefix is read once, and a pair costs a small network on two vectors.

A prefix becomes a vector, and log-odds of P(same) come from how far two of them are apart, and what
they share, in each dimension: in most dimensions all traces of a problem are alike, so an inner
product would tell problems apart and hardly traces. So n traces cost n forward passes, where the
pairwise judge takes up to n²/2 of twice the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.batches import Prompt, collate, scoring_batches, tokens_at_once
from training.config import TrainConfig
from training.data import PairSet, Prefix
from training.engines import Engine
from training.losses import verdict_loss

TEMPLATE = "Problem:\n{problem}\n\nAttempt:\n{prefix}"
DIMENSIONS = 128
HIDDEN = 64
PAIRS_AT_ONCE = 65536


class PrefixEncoder(nn.Module):
    """A language model's last hidden state, where it has read all of a prefix, projected."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = Head(language_model.config.hidden_size)

    def forward(self, tokens: Tensor, last: Tensor) -> Tensor:
        """(prefixes, DIMENSIONS): vectors of prefixes (prefixes, length) that end at `last`."""
        model = self.language_model.get_decoder()
        hidden = model(input_ids=tokens, use_cache=False).last_hidden_state
        vectors: Tensor = self.head(hidden[torch.arange(len(last), device=last.device), last])
        return vectors


class Head(nn.Module):
    """From states (prefixes, width) to vectors, and from two vectors to log-odds; in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Linear(width, DIMENSIONS)
        self.hidden = nn.Linear(2 * DIMENSIONS, HIDDEN)
        self.verdict = nn.Linear(HIDDEN, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(prefixes, DIMENSIONS)."""
        states = nn.functional.layer_norm(states.float(), states.shape[-1:])
        return _linear(self.vector, states)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """(pairs,): log-odds of P(same) of vectors (pairs, DIMENSIONS); either order gives one."""
        both = torch.cat([(first - second).abs(), first * second], dim=-1)
        return _linear(self.verdict, nn.functional.gelu(_linear(self.hidden, both)))[..., 0]


def _linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """In float32, also by weights in bf16: vectors of a problem differ by little."""
    return nn.functional.linear(values, layer.weight.float(), layer.bias.float())


def encode_prefixes(prefixes: Sequence[Prefix], tokenizer: Any, max_tokens: int) -> list[Prompt]:
    """The token ids of each prefix behind its problem; of longer ones the beginning is dropped."""
    return [
        np.array(
            tokenizer.encode(TEMPLATE.format(problem=p.problem, prefix=p.text))[-max_tokens:],
            dtype=np.int32,
        )
        for p in prefixes
    ]


def train_step(
    engine: Engine,
    prompts: Sequence[Prompt],
    members: Sequence[npt.NDArray[np.int64]],
    same: npt.NDArray[np.bool_],
    config: TrainConfig,
    learning_rate: float,
) -> float:
    """One update on all pairs within a few problems; returns the loss.

    Args:
        engine: holds a `PrefixEncoder`; its `accumulation` has to be 1.
        prompts: of all prefixes.
        members: for each problem of the step, indices of its prefixes.
        same: (prefixes, prefixes), whether two traces agree.
        config: loss.
        learning_rate: of this step.
    """
    index = np.concatenate(members)
    group = np.repeat(np.arange(len(members)), [len(m) for m in members])
    batch = collate([prompts[i] for i in index], np.zeros(len(index), dtype=np.bool_), 0)
    vectors = engine.forward(batch.tokens.to(engine.device), batch.last.to(engine.device))
    within = np.triu(group[:, None] == group[None, :], 1)
    first, second = np.nonzero(within)
    z = engine.module.head.compare(vectors[first], vectors[second])
    labels = torch.from_numpy(same[index[first], index[second]]).to(engine.device)
    loss = verdict_loss(z, labels, config.loss)
    engine.backward(loss, is_last=True)
    engine.step(learning_rate)
    return float(loss.detach())


def epochs(
    pairs: PairSet, per_problem: int, problems_per_step: int, num_epochs: int, seed: int
) -> Iterator[list[npt.NDArray[np.int64]]]:
    """For each step, some problems' prefixes: at most `per_problem` of each, drawn at random."""
    rng = np.random.default_rng(seed)
    problem = pairs.problem
    members = [
        np.unique(np.concatenate([pairs.first[problem == p], pairs.second[problem == p]]))
        for p in np.unique(problem)
    ]
    for _ in range(num_epochs):
        order = rng.permutation(len(members))
        for start in range(0, len(order), problems_per_step):
            yield [
                rng.choice(members[p], min(per_problem, len(members[p])), replace=False)
                for p in order[start : start + problems_per_step]
            ]


@torch.no_grad()
def score(
    engine: Engine,
    prompts: Sequence[Prompt],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """(pairs,): log-odds of P(same) of pairs of prompts, each read once."""
    module = engine.module.eval()
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    vectors = torch.zeros(len(prompts), DIMENSIONS, device=engine.device)
    for index in scoring_batches(lengths, tokens_at_once(engine.device)):
        batch = collate([prompts[i] for i in index], np.zeros(len(index), dtype=np.bool_), 0)
        vectors[index] = module(batch.tokens.to(engine.device), batch.last.to(engine.device))
    scores = np.zeros(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        z = module.head.compare(vectors[first[some]], vectors[second[some]])
        scores[some] = z.double().cpu().numpy()
    module.train()
    return scores
