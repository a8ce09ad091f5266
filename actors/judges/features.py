"""The feature judge: a Serve replica that compares prefixes by the facts they state.

It runs on a CPU and reads no tokens, so it adds no tokens to the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from actors.judges.replica import JudgeReplica
from actors.messages import JudgeReply, JudgeRequest
from deepprune.feature_judge import FeatureJudge


class FeatureJudgeReplica(JudgeReplica):
    """One replica; it scores one call at a time."""

    def __init__(self, judge: FeatureJudge, stall_s: float) -> None:
        super().__init__(stall_s)
        self._judge = judge
        self._turn = asyncio.Lock()

    async def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        async with self._turn:
            # In a thread, so that the replica can send heartbeats meanwhile.
            scores = await asyncio.to_thread(
                self._judge.p_same, request.problem, request.firsts, request.second
            )
        yield JudgeReply(scores, 0, 0)
