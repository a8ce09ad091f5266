"""The base class of judge replicas: a streaming call with heartbeats."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from actors.messages import JudgeReply, JudgeRequest
from actors.replica.heartbeat import with_heartbeats


class JudgeReplica(ABC):
    """A Serve replica that scores pairs of prefixes."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._unfinished = 0

    async def num_unfinished(self) -> int:
        """Count the calls in progress."""
        return self._unfinished

    async def score(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply | None]:
        """Yield P(same) of `request.second` with each of `request.firsts`; None is a heartbeat.

        Closing the stream cancels the rest of its work.

        Raises:
            PromptTooLong: the problem leaves no room for prefixes.
        """
        self._unfinished += 1
        try:
            async with aclosing(with_heartbeats(self._replies(request), self._stall_s)) as replies:
                async for reply in replies:
                    yield reply
        finally:
            self._unfinished -= 1

    @abstractmethod
    def _replies(self, request: JudgeRequest) -> AsyncGenerator[JudgeReply]:
        """The one reply to a request."""


def p_same(log_odds: float) -> float:
    """Convert log-odds to P(same)."""
    return 1 / (1 + math.exp(min(700.0, -log_odds)))
