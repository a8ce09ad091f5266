"""Pairs as token ids: prompts rendered as they are served, and batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actors.judges.padding import Prompt, padded
from actors.judges.pair_prompt import PairPrompt, Tokens
from deepprune.statistics import Bools, Ints
from training.pairs.data import PairSet

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 50
"""Batches that are sorted by length together: wide enough to pad little, narrow enough to mix."""


class PairEncoder(PairPrompt):
    """The prompts of many pairs; `Prompts.num_cut` counts prefixes that lose their middle."""

    @property
    def answer_ids(self) -> tuple[int, int]:
        """The answers' tokens, "different" first."""
        return self.different_id, self.same_id

    def encode_all(self, pairs: PairSet) -> Prompts:
        """The prompts of all pairs, in their order, put together when they are asked for.

        Raises:
            UserError: the template and a problem leave no room for prefixes.
        """
        pairs = pairs.compact()
        tokens = [self.encode(prefix.text) for prefix in pairs.prefixes]
        around = [self.around(prefix.problem) for prefix in pairs.prefixes]
        for pieces in around:
            self.room(pieces)
        return Prompts(self, pairs.first, pairs.second, tokens, around)


class Prompts:
    """The prompts of a set of pairs. Each prefix is kept once, however many pairs it is in."""

    def __init__(
        self,
        encoder: PairEncoder,
        first: Ints,
        second: Ints,
        tokens: Sequence[Tokens],
        around: Sequence[tuple[Tokens, ...]],
    ) -> None:
        self._encoder, self._first, self._second = encoder, first, second
        self._tokens, self._around = tokens, around
        self.num_cut = 0
        """How many prefixes, counted once for each pair, have lost their middle."""
        self.lengths: Ints = np.zeros(len(first), dtype=np.int64)
        """(pairs,): tokens of each prompt."""
        self.seconds: Ints = np.zeros((len(first), 2), dtype=np.int64)
        """(pairs, 2): where the second prefix begins and ends in each prompt."""
        for place, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            a, b = len(tokens[i]), len(tokens[j])
            kept_a, kept_b = encoder.limits(a, b, around[i])
            self.num_cut += (kept_a < a) + (kept_b < b)
            head, middle, tail = map(len, around[i])
            start = head + kept_a + middle
            self.seconds[place] = start, start + kept_b
            self.lengths[place] = start + kept_b + tail

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, place: int) -> Prompt:
        i, j = int(self._first[place]), int(self._second[place])
        ids = self._encoder.assemble(self._tokens[i], self._tokens[j], self._around[i])
        return np.array(ids, dtype=np.int32)


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the right. Attention is causal, so no position sees the padding."""

    tokens: Tensor
    """(batch, length), int64."""
    last: Tensor
    """(batch,), int64: where each prompt ends and its answer is read."""
    same: Tensor
    """(batch,), float32."""
    read: Tensor | None = None
    """(batch, length), bool: the tokens of the second prefixes, where they are to be predicted."""


def collate(
    prompts: Sequence[Prompt],
    same: Bools,
    pad_id: int,
    seconds: Ints | None = None,
) -> Batch:
    """One batch of prompts; `seconds`, (batch, 2), says where second prefixes begin and end."""
    import torch

    tokens, last = padded(prompts, pad_id)
    return Batch(
        tokens,
        last,
        torch.from_numpy(same.astype(np.float32)),
        None if seconds is None else torch.from_numpy(_inside(seconds, tokens.shape[1])),
    )


def _inside(spans: Ints, length: int) -> Bools:
    places = np.arange(length)
    inside: Bools = (places >= spans[:, :1]) & (places < spans[:, 1:])
    return inside


def epoch_order(copies: Ints, rng: np.random.Generator) -> Ints:
    """Every pair as often as its copies say, shuffled."""
    return rng.permutation(np.repeat(np.arange(len(copies)), copies))


def training_batches(
    lengths: Ints, copies: Ints, batch_size: int, num_batches: int, seed: int
) -> Iterator[Ints]:
    """`num_batches` arrays of `batch_size` indices: epoch after epoch, prompts of like length.

    Windows of an epoch's random order are sorted by length and cut into batches, and the batches
    of a window shuffled. Depends on the arguments only, so a training can be resumed by skipping.
    """
    rng = np.random.default_rng(seed)
    waiting = np.zeros(0, dtype=np.int64)
    given = 0
    while given < num_batches:
        while len(waiting) < min(WINDOW, num_batches - given) * batch_size:
            waiting = np.concatenate([waiting, epoch_order(copies, rng)])
        num = min(WINDOW, num_batches - given, len(waiting) // batch_size)
        window, waiting = waiting[: num * batch_size], waiting[num * batch_size :]
        window = window[np.argsort(lengths[window], kind="stable")]
        for index in rng.permutation(num):
            yield window[index * batch_size : (index + 1) * batch_size]
        given += num
