"""A replica's own code in this process, without Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from actors.generators.generator import Generator
from actors.judges.pairwise import Judge
from actors.messages import JudgeReply, JudgeRequest, TraceRequest, TraceUpdate


class InProcess:
    """Generators: one replica that traces reach without a channel."""

    def __init__(self, replica: Generator) -> None:
        replica._retired = True  # there is no channel to drain
        self._replica = replica
        self._open: dict[str, Any] = {}

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        work = self._open[request.request_id] = self._replica._open(request)
        try:
            async for update, _ in work.items():
                yield update
        finally:
            del self._open[request.request_id]

    def abort(self, request_id: str) -> int:
        if request_id not in self._open:
            return 0
        self._open[request_id].abort()
        tokens: int = self._open[request_id].num_tokens
        return tokens


async def judged(judge: Judge, request: JudgeRequest) -> JudgeReply:
    """Call a judge's replica."""
    (reply,) = [reply async for reply, _ in judge._open(request).items()]
    return reply
