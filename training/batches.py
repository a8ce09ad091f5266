"""Pairs as token ids: prompts rendered as they are served, and batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actors.judge import answer_token_id
from deepprune.config import JudgePrompt
from deepprune.errors import UserError
from training.data import PairSet

if TYPE_CHECKING:
    from torch import Tensor

Ints = npt.NDArray[np.int64]
Prompt = npt.NDArray[np.int32]

WINDOW = 50
"""Batches that are sorted by length together: wide enough to pad little, narrow enough to mix."""
LENGTH_STEP = 32
"""Padded lengths are multiples of this, so that kernels meet few shapes."""


class PairEncoder:
    """Renders pairs exactly as the served judge does, as long as they fit.

    A pair longer than `max_tokens` loses the middle of each prefix that takes more than its half of
    the room: where a trace starts and where it stands matter most. `num_cut` counts such prefixes.

    Raises:
        UserError: an answer is not a single token, or the template alone fills `max_tokens`.
    """

    def __init__(self, prompt: JudgePrompt, tokenizer: Any, max_tokens: int) -> None:
        self.answer_ids = (
            answer_token_id(tokenizer, prompt.different_token),
            answer_token_id(tokenizer, prompt.same_token),
        )
        self.num_cut = 0
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._encode: Callable[[str], tuple[int, ...]] = lru_cache(maxsize=65536)(self._tokens)
        self._around: Callable[[str], tuple[tuple[int, ...], ...]] = lru_cache(maxsize=4096)(
            self._template_around
        )

    def token_ids(self, problem: str, first: str, second: str) -> list[int]:
        """The prompt of one pair, at most `max_tokens` long."""
        head, middle, tail = self._around(problem)
        room = self._max_tokens - len(head) - len(middle) - len(tail)
        if room < 2:
            raise UserError(
                f"the judge's template and a problem take {self._max_tokens - room} tokens and "
                f"leave no room for prefixes: raise max_tokens above {self._max_tokens}"
            )
        a, b = self._encode(first), self._encode(second)
        if len(a) + len(b) > room:
            half = room // 2
            a, b = self._cut(a, max(half, room - len(b))), self._cut(b, max(half, room - len(a)))
        return [*head, *a, *middle, *b, *tail]

    def encode_all(self, pairs: PairSet) -> list[Prompt]:
        """The prompts of all pairs, in their order."""
        prefixes = pairs.prefixes
        return [
            np.array(
                self.token_ids(prefixes[i].problem, prefixes[i].text, prefixes[j].text),
                dtype=np.int32,
            )
            for i, j in zip(pairs.first, pairs.second, strict=True)
        ]

    def _cut(self, tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
        if len(tokens) <= room:
            return tokens
        self.num_cut += 1
        start = (room + 1) // 2
        end = room - start
        return tokens[:start] + (tokens[-end:] if end else ())

    def _template_around(self, problem: str) -> tuple[tuple[int, ...], ...]:
        template = self._prompt.template
        if self._prompt.chat:
            template = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": template}], add_generation_prompt=True, tokenize=False
            )
        elif self._prompt.add_special_tokens and self._tokenizer.bos_token:
            template = self._tokenizer.bos_token + template
        head, rest = template.split("{first}")
        middle, tail = rest.split("{second}")
        return tuple(
            self._tokens(piece.replace("{problem}", problem)) for piece in (head, middle, tail)
        )

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the right. Attention is causal, so no position sees the padding."""

    tokens: Tensor
    """(batch, length), int64."""
    last: Tensor
    """(batch,), int64: where each prompt ends and its answer is read."""
    same: Tensor
    """(batch,), float32."""


def collate(prompts: Sequence[Prompt], same: npt.NDArray[np.bool_], pad_id: int) -> Batch:
    """One batch of prompts."""
    import torch

    lengths = [len(prompt) for prompt in prompts]
    longest = -(-max(lengths) // LENGTH_STEP) * LENGTH_STEP
    tokens = np.full((len(prompts), longest), pad_id, dtype=np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return Batch(
        torch.from_numpy(tokens),
        torch.tensor(lengths) - 1,
        torch.from_numpy(same.astype(np.float32)),
    )


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


def scoring_batches(lengths: Ints, max_tokens: int) -> Iterator[Ints]:
    """Indices of all pairs, longest first, in batches of at most `max_tokens` padded tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = -(-int(lengths[order[start]]) // LENGTH_STEP) * LENGTH_STEP
        size = max(1, max_tokens // longest)
        yield order[start : start + size]
        start += size
