"""Clients of the generator and judge deployments."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ray.serve.handle import DeploymentHandle

from actors.channels.pool import ReplicaPool
from actors.generators.endpoint import EndpointGenerators
from actors.messages import (
    Generators,
    JudgeReply,
    JudgeRequest,
    TraceRequest,
    TraceUpdate,
)
from deepprune.config import EndpointGeneratorConfig, RunConfig


class ServeGenerators:
    """Traces from the replicas of a generator deployment."""

    def __init__(self, pool: ReplicaPool) -> None:
        self.pool = pool

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        async with aclosing(self.pool.stream(request)) as updates:
            async for update in updates:
                yield update

    def abort(self, request_id: str) -> int:
        """End a trace; see `Generators.abort`."""
        return self.pool.abort(request_id)


class ServeJudges:
    """P(same) from the replicas of a judge deployment."""

    def __init__(self, pool: ReplicaPool) -> None:
        self.pool = pool

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one trace against others; see `Judges.score`."""
        async with aclosing(self.pool.stream(request)) as replies:
            async for reply in replies:
                answer: JudgeReply = reply
                return answer
        return JudgeReply((), 0, 0)  # aborted while it waited for a replica

    def abort(self, request_id: str) -> None:
        """End a call; see `Judges.abort`."""
        self.pool.abort(request_id)


def connect_generators(config: RunConfig, handle: DeploymentHandle | None) -> Generators:
    """Connect to a run's generators: its endpoint, or the deployment behind `handle`."""
    if isinstance(config.generator, EndpointGeneratorConfig):
        return EndpointGenerators(config.generator, config.limits.stall_s)
    assert handle is not None, "a vLLM generator runs as a Serve deployment"
    return ServeGenerators(ReplicaPool(handle, config.limits.stall_s))


def connect_judges(config: RunConfig, handle: DeploymentHandle | None) -> ServeJudges | None:
    """Connect to a run's judges, if it has any."""
    return ServeJudges(ReplicaPool(handle, config.limits.stall_s)) if handle else None
