"""Client of the generator and judge deployments: streams, calls, and their failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from actors.generators.endpoint import EndpointGenerators
from actors.messages import (
    EngineGone,
    Generators,
    JudgeReply,
    JudgeRequest,
    NotStarted,
    TraceRequest,
    TraceUpdate,
)
from deepprune.config import EndpointGeneratorConfig, RunConfig

T = TypeVar("T")

REPLICA_GONE = (
    RayActorError,
    DeploymentUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""Errors of a call whose replica died."""


class ServeGenerators:
    """Traces from the replicas of a generator deployment."""

    def __init__(self, handle: DeploymentHandle, start_s: float, stall_s: float) -> None:
        self._generate: Any = handle.options(stream=True).generate
        self._limits_s = start_s, stall_s

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        async with aclosing(receive(self._generate.remote(request), *self._limits_s)) as updates:
            async for update in updates:
                yield update


class ServeJudges:
    """P(same) from the replicas of a judge deployment."""

    def __init__(self, handle: DeploymentHandle, start_s: float, stall_s: float) -> None:
        self._score: Any = handle.options(stream=True).score
        self._limits_s = start_s, stall_s

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one trace against others. Cancelling the call cancels it in the engine.

        Raises:
            EngineGone: the replica or its reply was lost.
            PromptTooLong: the problem is too long for the judge.
        """
        reply: JudgeReply | None
        async with aclosing(receive(self._score.remote(request), *self._limits_s)) as replies:
            async for reply in replies:
                if reply is not None:
                    return reply
        raise EngineGone("the judge sent no reply")


def connect_generators(
    config: RunConfig, handle: DeploymentHandle | None, start_s: float
) -> Generators:
    """Connect to a run's generators: its endpoint, or the deployment behind `handle`."""
    if isinstance(config.generator, EndpointGeneratorConfig):
        return EndpointGenerators(config.generator, config.limits.stall_s)
    assert handle is not None, "a vLLM generator runs as a Serve deployment"
    return ServeGenerators(handle, start_s, config.limits.stall_s)


async def await_reply(call: Awaitable[T]) -> T:
    """Wait for the reply of a replica.

    When a replica dies, Ray may raise CancelledError in its callers, which would silently end
    their tasks. Raise TaskCancelledError instead, unless the task really was cancelled.

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


async def receive(response: Any, start_s: float, stall_s: float) -> AsyncGenerator[Any]:
    """Yield the items of a streaming call, and cancel a call that does not end by itself.

    A replica sends items or heartbeats more often than every `stall_s` (see `with_heartbeats`):
    after a longer silence the replica or the connection is lost.

    Args:
        response: of a Serve handle with `stream=True`.
        start_s: limit in seconds for a replica to take the call.
        stall_s: limit in seconds between two items.

    Raises:
        NotStarted: no replica took the call in time.
        EngineGone: the replica died or fell silent.
    """
    limit_s = start_s
    silence: type[EngineGone] = NotStarted
    ended = False
    try:
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    item = await await_reply(anext(response))
            except TimeoutError:
                raise silence(f"nothing received for {limit_s:g} s") from None
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
