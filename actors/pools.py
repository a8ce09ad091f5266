"""The coordinator's end of the Serve deployments: streams, calls, and what their failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

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

REPLICA_GONE = (
    RayActorError,
    DeploymentUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""What a call raises, by no decision of ours, when the replica that served it is gone."""


REPLY_S = 600.0
"""A reply of the judge that has not come by then is lost: no call takes so long."""


class ServeGenerators:
    """Traces from the replicas of a generator deployment.

    A trace that falls silent for `stall_s` is gone: its replica tells of each that it holds more
    often than that, see `Generator.generate`. One that nothing has come of is `Unheard`, unless it
    `may_queue` for a replica that has room.
    """

    def __init__(self, handle: DeploymentHandle, stall_s: float, *, may_queue: bool) -> None:
        self._generate: Any = handle.options(stream=True).generate
        self._stall_s = stall_s
        self._may_queue = may_queue

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        response = self._generate.remote(request)
        limit_s = None if self._may_queue else self._stall_s
        silence: type[EngineGone] = Unheard
        ended = False
        try:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        update = await anext(response)
                except TimeoutError:
                    raise silence(f"nothing heard for {limit_s:g} s") from None
                except StopAsyncIteration:
                    ended = True
                    return
                yield update
                limit_s, silence = self._stall_s, EngineGone
        except REPLICA_GONE as error:
            ended = True
            raise EngineGone(f"replica lost: {type(error).__name__}") from error
        finally:
            if not ended:
                response.cancel()


class ServeJudges:
    """P(same) from the replicas of a judge deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._score: Any = handle.score

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one trace against some others. Cancelling the call cancels it in the engine.

        Raises:
            EngineGone: the replica, or its reply, was lost.
        """
        response = self._score.remote(request)
        ended = False
        try:
            async with asyncio.timeout(REPLY_S):
                reply: JudgeReply = await response
            ended = True
            return reply
        except TimeoutError:
            raise EngineGone(f"no reply within {REPLY_S:g} s") from None
        except REPLICA_GONE as error:
            ended = True
            raise EngineGone(f"replica lost: {type(error).__name__}") from error
        finally:
            if not ended:
                response.cancel()
