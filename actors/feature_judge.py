"""The feature judge, live: a Serve replica that compares prefixes by what they state.

It takes a CPU and reads no tokens, so its bill in the ledger is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from actors.beats import with_beats
from actors.messages import JudgeReply, JudgeRequest
from deepprune.feature_judge import FeatureJudge


class FeatureJudgeReplica:
    """One replica; calls are scored one after the other."""

    def __init__(self, judge: FeatureJudge, stall_s: float) -> None:
        self._judge = judge
        self._stall_s = stall_s
        self._unfinished = 0
        self._turn = asyncio.Lock()

    async def num_unfinished(self) -> int:
        """Calls that are not answered yet."""
        return self._unfinished

    async def score(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply | None]:
        """P(same) of `request.second` with each of `request.firsts`; None while it is not known."""
        async with aclosing(with_beats(self._replies(request), self._stall_s)) as replies:
            async for reply in replies:
                yield reply

    async def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        self._unfinished += 1
        try:
            async with self._turn:
                # In a thread, so that the replica says that it is well in the meantime.
                scores = await asyncio.to_thread(
                    self._judge.p_same, request.problem, request.firsts, request.second
                )
        finally:
            self._unfinished -= 1
        yield JudgeReply(scores, 0, 0)
