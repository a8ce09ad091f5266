"""The cheap judge: each prefix is read once, and a pair costs one inner product.

A prefix becomes a vector v and a number u; log-odds of P(same) of two prefixes are v·w + u + t.
The product says how alike the traces are, the numbers how sure each is to end where most do. So n
traces cost n forward passes, where the pairwise judge takes up to n²/2 of twice the length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.batches import Prompt, collate, scoring_batches
from training.config import TrainConfig
from training.data import PairSet, Prefix
from training.engines import Engine
from training.losses import focal_loss

TEMPLATE = "Problem:\n{problem}\n\nAttempt:\n{prefix}"
DIMENSIONS = 128
START_SCALE = 4.0


class PrefixEncoder(nn.Module):
    """The mean of a language model's last hidden states, projected."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = Head(language_model.config.hidden_size)

    def forward(self, tokens: Tensor, last: Tensor) -> Tensor:
        """(prefixes, DIMENSIONS + 1): v and u of prefixes (prefixes, length) that end at `last`."""
        model = self.language_model.get_decoder()
        hidden = model(input_ids=tokens, use_cache=False).last_hidden_state
        inside = torch.arange(tokens.shape[1], device=tokens.device) <= last[:, None]
        mean = (hidden * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
        vectors: Tensor = self.head(mean)
        return vectors


class Head(nn.Module):
    """From a mean state (prefixes, width) to v and u, (prefixes, DIMENSIONS + 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Linear(width, DIMENSIONS, bias=False)
        self.number = nn.Linear(width, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))

    def forward(self, mean: Tensor) -> Tensor:
        """Vectors of one length, which is learned, so that products are scaled cosines."""
        mean = nn.functional.layer_norm(mean, mean.shape[-1:])
        unit = nn.functional.normalize(self.vector(mean).float(), dim=-1)
        v = unit * (self.log_scale.float() / 2).exp()
        return torch.cat([v, self.number(mean).float()], dim=-1)


def pair_logits(vectors: Tensor) -> Tensor:
    """(n, n) log-odds of P(same) of all pairs of n encoded prefixes."""
    v, u = vectors[:, :-1], vectors[:, -1]
    return v @ v.T + u[:, None] + u[None, :]


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
    z = pair_logits(vectors)[torch.from_numpy(first), torch.from_numpy(second)]
    labels = torch.from_numpy(same[index[first], index[second]]).to(engine.device)
    loss = focal_loss(z, labels, config.loss.gamma, config.loss.alpha)
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
def encode(
    engine: Engine, prompts: Sequence[Prompt], tokens_per_batch: int = 65536
) -> npt.NDArray[np.float64]:
    """(prefixes, DIMENSIONS + 1): v and u of each prompt."""
    engine.module.eval()
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    vectors = np.zeros((len(prompts), DIMENSIONS + 1))
    for index in scoring_batches(lengths, tokens_per_batch):
        batch = collate([prompts[i] for i in index], np.zeros(len(index), dtype=np.bool_), 0)
        out = engine.forward(batch.tokens.to(engine.device), batch.last.to(engine.device))
        vectors[index] = out.double().cpu().numpy()
    engine.module.train()
    return vectors
