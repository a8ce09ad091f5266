"""The encoder judge, live: a Serve replica that reads each prefix once and compares vectors.

A vector is kept, so a trace that meets many others is read once, and is on one call's bill. It is
kept for the one vote that it belongs to: a sweep asks about the same prefixes under many policies,
and each is to bear what it costs.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.judges.replica import JudgeReplica, p_same
from actors.messages import JudgeReply, JudgeRequest
from actors.models import encoder_folder
from actors.replica.engine import exit_replica
from actors.replica.gc_pause import gc_paused
from actors.replica.stall_detector import StallDetector
from deepprune.config import EncoderJudgeConfig

if TYPE_CHECKING:
    from torch import Tensor

    from actors.judges.padding import Prompt

MAX_KEPT = 100_000
"""Vectors that a replica keeps, 0.5 kB each; the ones unused for longest go first."""


@dataclass(eq=False)
class _Reading:
    """A prefix that is to be read, and its vector once it has been."""

    prompt: Prompt
    batch: asyncio.Task[None]
    """Done once the prefix has been read."""
    vector: Tensor | None = None
    num_waiting: int = 0
    begun: bool = False
    paid: bool = False


class EncoderJudge(JudgeReplica):
    """One replica. Prefixes that come while others are read are read together, next."""

    def __init__(self, config: EncoderJudgeConfig, stall_s: float) -> None:
        super().__init__(stall_s)
        with gc_paused():
            import torch

            from actors.judges.prefix_encoder import SavedEncoder

            if not config.gpus:
                torch.set_num_threads(max(1, int(config.cpus)))
            device = torch.device("cuda" if config.gpus else "cpu")
            self._encoder = SavedEncoder(encoder_folder(config), device)
        self._stall_detector = StallDetector(stall_s)
        self._known: OrderedDict[bytes, _Reading] = OrderedDict()
        self._waiting: dict[_Reading, bytes] = {}
        self._next: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that is gone: its reading hangs."""
        if self._stall_detector.stalled:
            exit_replica("the encoder hangs")

    async def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        ended = False
        texts = (*request.firsts, request.second)
        readings = [self._reading(request.vote, request.problem, text) for text in texts]
        try:
            # Shielded, since others may wait for the same batch.
            await asyncio.gather(*(asyncio.shield(reading.batch) for reading in readings))
            scores = self._compare([reading.vector for reading in readings])
            ended = True
        finally:
            num_tokens = self._settled(readings)
            if not ended and request.report_to is not None:
                request.report_to.settle_judge.remote(request.request_id, 0, num_tokens, 0)
        yield JudgeReply(scores, num_tokens, 0)

    def _reading(self, vote: str, problem: str, text: str) -> _Reading:
        """The prefix's reading: one that there is, or one that begins with the next batch."""
        key = hashlib.blake2b(f"{vote}\0{text}".encode(), digest_size=16).digest()
        reading = self._known.get(key)
        if reading is None:
            if self._next is None:
                self._next = asyncio.create_task(self._read())
            reading = _Reading(self._encoder.token_ids(problem, text), self._next)
            self._known[key] = reading
            self._waiting[reading] = key
            if len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        reading.num_waiting += 1
        return reading

    async def _read(self) -> None:
        """Read all that waits when its turn comes, in a thread: the replica stays responsive."""
        async with self._turn:
            batch, self._waiting, self._next = list(self._waiting), {}, None
            for reading in batch:
                reading.begun = True
            with self._stall_detector.request():
                prompts = [reading.prompt for reading in batch]
                vectors = await asyncio.to_thread(self._encoder.encode, prompts)
                self._stall_detector.record_output()
        for reading, vector in zip(batch, vectors, strict=True):
            reading.vector = vector

    def _settled(self, readings: list[_Reading]) -> int:
        """Tokens on the bill of a call that is over: those that no other call has paid for.

        What it alone has asked for, and nobody has begun to read, is not read.
        """
        num_tokens = 0
        for reading in readings:
            reading.num_waiting -= 1
            if not reading.begun:
                if reading.num_waiting == 0:
                    self._known.pop(self._waiting.pop(reading), None)
            elif not reading.paid:
                num_tokens += len(reading.prompt)
                reading.paid = True
        return num_tokens

    def _compare(self, vectors: list[Any]) -> tuple[float, ...]:
        """P(same) of the last one with each of the others."""
        import torch

        firsts, second = torch.stack(vectors[:-1]), vectors[-1]
        log_odds = self._encoder.log_odds(firsts, second.expand_as(firsts))
        return tuple(p_same(z) for z in log_odds.tolist())
