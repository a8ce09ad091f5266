"""Measure the CPU time of a coordinator shard for the transport of a trace.

The engines of `benchmarks/simulated.py` run in a real Serve deployment, and real coordinator actors
drive them in real time. Their CPU time over two runs, one with progress every second and one
without, gives the cost of a trace and of an update.

    python -m benchmarks.transport RECORDING [--problems 2] [--shards 2]
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import ray
import typer
from ray import serve

from actors.channels.replica import ChannelReplica
from actors.deploy.applications import CHANNELS, QUIET
from actors.deploy.connection import connected
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.driver.shards import Shards
from actors.messages import JudgeReply, JudgeRequest, TraceRequest, TraceUpdate
from benchmarks.simulated import SimulatedEngines, problem_texts
from cluster.configs import resolve_config
from deepprune.config import load_config
from deepprune.policy_config import ConsConfig, DeepPruneConfig, PolicyConfig
from deepprune.recordings import Recording, load_recordings
from deepprune.speed import SpeedConfig
from deepprune.traces import Problem

APP = "simulated"
SPEED = SpeedConfig(step_s=0.01, step_s_per_trace=0)
CHECKPOINT_TOKENS = 500


class SimulatedReplica(ChannelReplica):
    """Stands in for generator and judge replicas, with simulated engines."""

    def __init__(self, pools: dict[str, Recording], progress_s: float) -> None:
        super().__init__(10_000, stall_s=120)
        self._engines = SimulatedEngines(
            pools, CHECKPOINT_TOKENS, 1, speed=SPEED, streams=10_000, progress_s=progress_s
        )

    def _open(self, request: TraceRequest | JudgeRequest) -> SimulatedWork:
        return SimulatedWork(self._engines, request)

    async def num_updates(self) -> int:
        return self._engines.num_updates


class SimulatedWork:
    """One request to simulated engines."""

    num_tokens = 0

    def __init__(self, engines: SimulatedEngines, request: TraceRequest | JudgeRequest) -> None:
        self._engines = engines
        self._request = request

    def abort(self) -> None:
        """End a trace soon."""
        self._engines.abort(self._request.request_id)

    async def items(self) -> AsyncGenerator[tuple[TraceUpdate | JudgeReply, bool]]:
        """Yield updates, or a reply."""
        if isinstance(self._request, JudgeRequest):
            yield await self._engines.score(self._request), True
            return
        async for update in self._engines.stream(self._request):
            self.num_tokens = update.num_tokens
            yield update, bool(update.finish_reason or update.prefix_chars)


def main(recording: Path, problems: int = 2, traces: int = 512, shards: int = 2) -> None:
    pools = problem_texts(load_recordings(recording), problems)
    config = load_config(
        resolve_config("laptop"), {"limits.max_problems": problems, "limits.coordinators": shards}
    )
    checkpoint = f"tokens:{CHECKPOINT_TOKENS}"
    policies: list[PolicyConfig] = [
        ConsConfig(num_traces=traces),
        DeepPruneConfig(num_traces=traces, checkpoint=checkpoint, wave=traces),
    ]
    with connected(None):
        serve.start(proxy_location="Disabled")
        for policy in policies:
            cost = {}
            for progress_s in (1000.0, 1.0):
                _deploy(pools, progress_s)
                started = Shards.start(config, f"{APP}-{GENERATOR}", f"{APP}-{JUDGE}")
                cost[progress_s] = _measure(started, pools, policy)
                started.stop()
            few, many = cost[1000.0], cost[1.0]
            per_update = (many[0] - few[0]) / max(1, many[2] - few[2])
            per_trace = (few[0] - per_update * (few[2] - few[1])) / few[1]
            print(
                f"{policy.name}: {few[1]} traces, {1000 * few[0] / few[1]:.2f} ms of coordinator "
                f"CPU each without progress; {1e6 * per_update:.0f} us an update more "
                f"({many[2]} updates against {few[2]}); {1000 * per_trace:.2f} ms without any",
                flush=True,
            )


def _deploy(pools: dict[str, Recording], progress_s: float) -> None:
    for name in (GENERATOR, JUDGE):
        deployment = serve.deployment(SimulatedReplica).options(
            name=name, ray_actor_options={"num_cpus": 0}, **CHANNELS
        )
        app = deployment.bind(pools, progress_s)
        serve.run(app, name=f"{APP}-{name}", route_prefix=None, logging_config=QUIET)


def _measure(shards: Shards, pools: dict[str, Any], policy: PolicyConfig) -> tuple[float, int, int]:
    """CPU seconds of all shards, traces launched, updates sent."""
    handle = serve.get_deployment_handle(GENERATOR, f"{APP}-{GENERATOR}")
    updates = handle.num_updates.remote().result()
    before = _cpu_s(shards)
    solved = ray.get(
        [shards.solve(Problem(f"simulated/{i}", text), policy, 0) for i, text in enumerate(pools)]
    )
    spent = _cpu_s(shards) - before
    launched = sum(s.outcome.ledger.launched_traces for s in solved)
    return spent, launched, handle.num_updates.remote().result() - updates


def _cpu_s(shards: Shards) -> float:
    def process_time(_: Any) -> float:
        return time.process_time()

    times = [shard.__ray_call__.remote(process_time) for shard in shards.actors]
    return float(sum(ray.get(times)))


if __name__ == "__main__":
    typer.run(main)
