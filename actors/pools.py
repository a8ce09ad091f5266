"""The coordinator's end of the Serve deployments: streams, calls, and what their failures mean."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from actors.messages import EngineGone, JudgeReply, JudgeRequest, TraceRequest, TraceUpdate

REPLICA_GONE = (
    RayActorError,
    DeploymentUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""What a call raises, by no decision of ours, when the replica that served it is gone."""


class ServeGenerators:
    """Traces from the replicas of a generator deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._generate: Any = handle.options(stream=True).generate

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        response = self._generate.remote(request)
        ended = False
        try:
            async for update in response:
                yield update
            ended = True
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
            EngineGone: the replica was lost.
        """
        response = self._score.remote(request)
        ended = False
        try:
            reply: JudgeReply = await response
            ended = True
            return reply
        except REPLICA_GONE as error:
            ended = True
            raise EngineGone(f"replica lost: {type(error).__name__}") from error
        finally:
            if not ended:
                response.cancel()
