"""The feature judge: a Serve replica that compares prefixes by the facts they state.

It runs on a CPU and reads no tokens, so it adds no tokens to the ledger.
"""

from __future__ import annotations

import asyncio

from actors.judges.replica import LIGHT_JUDGE_CALLS, Cost, JudgeReplica
from actors.messages import JudgeRequest
from deepprune.feature_judge import FeatureJudge


class FeatureJudgeReplica(JudgeReplica):
    """One replica; it scores one call at a time."""

    def __init__(self, judge: FeatureJudge, stall_s: float) -> None:
        super().__init__(LIGHT_JUDGE_CALLS, stall_s)
        self._judge = judge
        self._turn = asyncio.Lock()

    async def _score(self, request: JudgeRequest, cost: Cost) -> tuple[float, ...]:
        async with self._turn:
            # In a thread, so that the replica can send heartbeats meanwhile.
            scores = await asyncio.to_thread(
                self._judge.p_same, request.problem, request.firsts, request.second
            )
        cost.num_pairs += len(scores)
        return scores
