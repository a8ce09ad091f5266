"""The encoder judge: a Serve replica that encodes each prefix once and compares vectors.

Vectors are cached, so a trace that is compared with many others is encoded once, and one call pays
for it. The cache is per vote: a sweep judges the same prefixes under many policies, and each policy
has to pay its own costs.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.judges.replica import LIGHT_JUDGE_CALLS, Cost, JudgeReplica, p_same
from actors.messages import JudgeRequest
from actors.models import encoder_folder
from actors.replica.engine import exit_replica
from actors.replica.quick_imports import quick_imports
from actors.replica.stall_detector import StallDetector
from deepprune.config import EncoderJudgeConfig

if TYPE_CHECKING:
    from torch import Tensor

    from actors.judges.padding import Prompt

MAX_KEPT = 100_000
"""Cached vectors of a replica, 0.5 kB each; the least recently used are dropped."""


@dataclass(eq=False)
class _Encoding:
    """A prefix to encode, and its vector once it is encoded."""

    prompt: Prompt
    batch: asyncio.Task[None]
    """The task that encodes it."""
    vector: Tensor | None = None
    num_waiting: int = 0
    begun: bool = False
    paid: bool = False


class EncoderJudge(JudgeReplica):
    """One replica. Prefixes that arrive while a batch is encoded form the next batch."""

    def __init__(self, config: EncoderJudgeConfig, stall_s: float) -> None:
        super().__init__(LIGHT_JUDGE_CALLS, stall_s)
        with quick_imports():
            import torch

            from actors.judges.prefix_encoder import SavedEncoder

            if not config.gpus:
                torch.set_num_threads(max(1, int(config.cpus)))
            device = torch.device("cuda" if config.gpus else "cpu")
            self._encoder = SavedEncoder(encoder_folder(config), device)
        self._stall_detector = StallDetector(stall_s)
        self._known: OrderedDict[bytes, _Encoding] = OrderedDict()
        self._waiting: dict[_Encoding, bytes] = {}
        self._next: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def check_health(self) -> None:
        """Exit the replica if the encoder hangs. Called by Serve, which then replaces it."""
        if self._stall_detector.stalled:
            exit_replica("the encoder hangs")

    async def _score(self, request: JudgeRequest, cost: Cost) -> tuple[float, ...]:
        texts = (*request.firsts, request.second)
        encodings = [self._encoding(request.vote, request.problem, text) for text in texts]
        try:
            # Shielded: other calls may wait for the same batch.
            await asyncio.gather(*(asyncio.shield(encoding.batch) for encoding in encodings))
            scores = self._compare([encoding.vector for encoding in encodings])
            cost.num_pairs += len(scores)
        finally:
            cost.computed_tokens += self._end_call(encodings)
        return scores

    def _encoding(self, vote: str, problem: str, text: str) -> _Encoding:
        """Return the prefix's encoding: a cached one, or one of the next batch."""
        key = hashlib.blake2b(f"{vote}\0{text}".encode(), digest_size=16).digest()
        encoding = self._known.get(key)
        if encoding is None:
            if self._next is None:
                self._next = asyncio.create_task(self._encode_batch())
            encoding = _Encoding(self._encoder.token_ids(problem, text), self._next)
            self._known[key] = encoding
            self._waiting[encoding] = key
            if len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        encoding.num_waiting += 1
        return encoding

    async def _encode_batch(self) -> None:
        """Encode all waiting prefixes as one batch, in a thread, off the event loop."""
        async with self._turn:
            batch, self._waiting, self._next = list(self._waiting), {}, None
            for encoding in batch:
                encoding.begun = True
            with self._stall_detector.request():
                prompts = [encoding.prompt for encoding in batch]
                vectors = await asyncio.to_thread(self._encoder.encode, prompts)
                self._stall_detector.record_output()
        for encoding, vector in zip(batch, vectors, strict=True):
            encoding.vector = vector

    def _end_call(self, encodings: list[_Encoding]) -> int:
        """End a call, and return the tokens that it pays for: those no other call has paid.

        Drop prefixes that only this call waited for and no batch has begun to encode.
        """
        num_tokens = 0
        for encoding in encodings:
            encoding.num_waiting -= 1
            if not encoding.begun:
                if encoding.num_waiting == 0:
                    self._known.pop(self._waiting.pop(encoding), None)
            elif not encoding.paid:
                num_tokens += len(encoding.prompt)
                encoding.paid = True
        return num_tokens

    def _compare(self, vectors: list[Any]) -> tuple[float, ...]:
        """P(same) of the last vector with each of the others."""
        import torch

        firsts, second = torch.stack(vectors[:-1]), vectors[-1]
        log_odds = self._encoder.log_odds(firsts, second.expand_as(firsts))
        return tuple(p_same(z) for z in log_odds.tolist())
