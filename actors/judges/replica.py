"""The base class of judge replicas: calls on channels, each of which can be aborted."""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from actors.channels.replica import ChannelReplica
from actors.messages import JudgeReply, JudgeRequest

LIGHT_JUDGE_CALLS = 16
"""Calls that keep a replica of the feature or encoder judge busy for about a second."""


@dataclass(slots=True)
class Cost:
    """The cost of a call so far."""

    num_pairs: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0


class JudgeReplica(ChannelReplica):
    """A Serve replica that scores pairs of prefixes."""

    def _open(self, request: JudgeRequest) -> JudgeWork:
        return JudgeWork(request, self._score)

    @abstractmethod
    async def _score(self, request: JudgeRequest, cost: Cost) -> tuple[float, ...]:
        """Return P(same) of `request.second` with each of `request.firsts`.

        Add to `cost` as the call proceeds: it is billed if the call is cancelled, too.

        Raises:
            PromptTooLong: the problem leaves no room for prefixes.
        """


class JudgeWork:
    """One call. It ends with a reply, or with the cost of what it did until it was aborted."""

    num_tokens = 0

    def __init__(
        self,
        request: JudgeRequest,
        score: Callable[[JudgeRequest, Cost], Coroutine[Any, Any, tuple[float, ...]]],
    ) -> None:
        self._cost = Cost()
        self._scoring = asyncio.create_task(score(request, self._cost))

    def abort(self) -> None:
        """End the call soon, and bill what it has done."""
        self._scoring.cancel()

    async def items(self) -> AsyncGenerator[tuple[JudgeReply, bool]]:
        """Yield the reply."""
        try:
            await asyncio.wait([self._scoring])
        finally:
            self._scoring.cancel()
        cost = self._cost
        p_same = () if self._scoring.cancelled() else self._scoring.result()
        yield JudgeReply(p_same, cost.computed_tokens, cost.cached_tokens, cost.num_pairs), True


def p_same(log_odds: float) -> float:
    """Convert log-odds to P(same)."""
    return 1 / (1 + math.exp(min(700.0, -log_odds)))
