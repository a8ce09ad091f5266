"""The coordinator's end of the Serve deployments: streams, calls, and what their failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from actors.messages import (
    EngineGone,
    JudgeReply,
    JudgeRequest,
    TraceRequest,
    TraceUpdate,
    Unheard,
)

T = TypeVar("T")

REPLICA_GONE = (
    RayActorError,
    DeploymentUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""What a call raises, by no decision of ours, when the replica that served it is gone."""


class ServeGenerators:
    """Traces from the replicas of a generator deployment."""

    def __init__(self, handle: DeploymentHandle, taken_s: float, stall_s: float) -> None:
        self._generate: Any = handle.options(stream=True).generate
        self._limits_s = taken_s, stall_s

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        async with aclosing(heard(self._generate.remote(request), *self._limits_s)) as updates:
            async for update in updates:
                yield update


class ServeJudges:
    """P(same) from the replicas of a judge deployment."""

    def __init__(self, handle: DeploymentHandle, taken_s: float, stall_s: float) -> None:
        self._score: Any = handle.options(stream=True).score
        self._limits_s = taken_s, stall_s

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one trace against some others. Cancelling the call cancels it in the engine.

        Raises:
            EngineGone: the replica, or its reply, was lost.
            NoRoom: the problem is too long for the judge.
        """
        reply: JudgeReply | None
        async with aclosing(heard(self._score.remote(request), *self._limits_s)) as replies:
            async for reply in replies:
                if reply is not None:
                    return reply
        raise EngineGone("the judge has nothing to say")


async def answered(call: Awaitable[T]) -> T:
    """What a call to a replica answers.

    When a replica dies, Ray may tell those who wait for it with a CancelledError, which would end
    their tasks as if we had cancelled them, without a word.

    Raises:
        one of REPLICA_GONE.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TaskCancelledError from None


async def heard(response: Any, taken_s: float, stall_s: float) -> AsyncGenerator[Any]:
    """What a replica says in reply to a streaming call; cancels one that does not end by itself.

    A replica says something of each call that it has taken more often than every `stall_s`, see
    `with_beats`: what is silent for longer is lost, whether it was the replica or the line.

    Args:
        response: of a Serve handle with `stream=True`.
        taken_s: how long a call may wait for a replica that takes it.

    Raises:
        Unheard: none has.
        EngineGone: the one that had is gone or silent.
    """
    limit_s = taken_s
    silence: type[EngineGone] = Unheard
    ended = False
    try:
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    item = await answered(anext(response))
            except TimeoutError:
                raise silence(f"nothing heard for {limit_s:g} s") from None
            except StopAsyncIteration:
                ended = True
                return
            yield item
            limit_s, silence = stall_s, EngineGone
    except REPLICA_GONE as error:
        ended = True
        raise EngineGone(f"replica lost: {type(error).__name__}") from error
    finally:
        if not ended:
            response.cancel()
