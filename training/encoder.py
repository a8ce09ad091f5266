"""Training steps of the encoder judge (`actors/prefix_encoder.py`): all pairs of a few problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actors.padding import Prompt, padded
from actors.prefix_encoder import encoded, token_ids
from training.config import TrainConfig
from training.data import PairSet, Prefix
from training.engines import Engine
from training.losses import verdict_loss

PAIRS_AT_ONCE = 65536
"""Pairs whose vectors are compared at the same time."""


def encode_prefixes(prefixes: Sequence[Prefix], tokenizer: Any, max_tokens: int) -> list[Prompt]:
    """The token ids of each prefix behind its problem."""
    return [token_ids(tokenizer, p.problem, p.text, max_tokens) for p in prefixes]


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
    tokens, last = padded([prompts[i] for i in index])
    vectors = engine.forward(tokens.to(engine.device), last.to(engine.device))
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


def score(
    engine: Engine,
    prompts: Sequence[Prompt],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """(pairs,): log-odds of P(same) of pairs of prompts, each read once; not calibrated."""
    module = engine.module.eval()
    vectors = encoded(module, prompts, engine.device)
    scores = np.zeros(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        with torch.no_grad():
            z = module.head.compare(vectors[first[some]], vectors[second[some]])
        scores[some] = z.double().cpu().numpy()
    module.train()
    return scores
