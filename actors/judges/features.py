"""The feature judge, live: a Serve replica that compares prefixes by what they state.

It takes a CPU and reads no tokens, so its bill in the ledger is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from actors.judges.replica import JudgeReplica
from actors.messages import JudgeReply, JudgeRequest
from deepprune.feature_judge import FeatureJudge


class FeatureJudgeReplica(JudgeReplica):
    """One replica; calls are scored one after the other."""

    def __init__(self, judge: FeatureJudge, stall_s: float) -> None:
        super().__init__(stall_s)
        self._judge = judge
        self._turn = asyncio.Lock()

    async def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        async with self._turn:
            # In a thread, so that the replica says that it is well in the meantime.
            scores = await asyncio.to_thread(
                self._judge.p_same, request.problem, request.firsts, request.second
            )
        yield JudgeReply(scores, 0, 0)
