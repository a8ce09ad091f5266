"""Score one trace against many, in as many calls to the judge as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from actors.messages import EngineGone, JudgeRequest, Judges, PromptTooLong

logger = logging.getLogger(__name__)


class JudgeRun:
    """Scores `request.second` against all of `request.firsts`, the prefixes of `members`.

    Each call has at most `pairs_per_call` pairs and is named after its first member. The costs
    include those of calls that were aborted.
    """

    def __init__(
        self,
        judges: Judges,
        request: JudgeRequest,
        members: Sequence[int],
        *,
        pairs_per_call: int,
        retries: int,
    ) -> None:
        self.num_pairs = 0
        self.computed_tokens = 0
        self.cached_tokens = 0
        self._judges = judges
        self._retries = retries
        self._aborted = False
        self._error: EngineGone | PromptTooLong | None = None
        self._parts = [
            replace(
                request,
                request_id=f"{request.request_id}/judge-{members[start]}",
                firsts=request.firsts[start : start + pairs_per_call],
            )
            for start in range(0, len(members), pairs_per_call)
        ]

    @property
    def costs(self) -> dict[str, int]:
        """The costs so far, by their names in the ledger."""
        return {
            "judge_pairs": self.num_pairs,
            "judge_computed_tokens": self.computed_tokens,
            "judge_cached_tokens": self.cached_tokens,
        }

    def abort(self) -> None:
        """End all calls soon; `p_same` then returns None."""
        self._aborted = True
        for part in self._parts:
            self._judges.abort(part.request_id)

    async def p_same(self) -> tuple[float, ...] | None:
        """Return P(same) for each member. If one call fails, the others are aborted.

        Raises:
            EngineGone: more than `retries` replicas died under a call.
            PromptTooLong: the problem is too long for the judge.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._score(part)) for part in self._parts]
        if self._error is not None:
            raise self._error
        return None if self._aborted else tuple(p for task in tasks for p in task.result())

    async def _score(self, part: JudgeRequest) -> tuple[float, ...]:
        num_deaths = 0
        while not self._aborted:
            try:
                reply = await self._judges.score(part)
            except EngineGone as gone:
                logger.warning("%s: judge: %s", part.request_id, gone)
                num_deaths += 1
                if num_deaths > self._retries:
                    self._fail(gone)
            except PromptTooLong as refusal:
                self._fail(refusal)
            else:
                self.num_pairs += reply.num_pairs
                self.computed_tokens += reply.computed_tokens
                self.cached_tokens += reply.cached_tokens
                return reply.p_same
        return ()

    def _fail(self, error: EngineGone | PromptTooLong) -> None:
        self._error = self._error or error
        self.abort()
