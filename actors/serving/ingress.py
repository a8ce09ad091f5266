"""The ingress: a Serve replica that accepts requests and drives their policies.

Replicas are independent: each admits requests, uses its share of the engine slots, and drives a
`LiveProblem` for each request over the handles of generators and judges. So more replicas serve
more requests.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatusOverview, ReplicaState

from actors.deploy.preflight import with_calibration
from actors.driver.serve_client import (
    REPLICA_GONE,
    ServeJudges,
    await_reply,
    connect_generators,
)
from actors.serving.admission import Admission
from actors.serving.capacity_shares import share_by_need
from actors.serving.fairness import FairGate, FairGenerators, FairJudges
from actors.serving.http import build_http_app
from actors.serving.keys import Keyring
from actors.serving.request_runner import ServedModel
from actors.serving.service import RequestService
from actors.serving.spec import offer_of
from actors.serving.usage_reports import UsageReports
from deepprune.config import EndpointGeneratorConfig, JudgeConfig, RunConfig, VllmJudgeConfig
from deepprune.serve_config import ServeConfig

logger = logging.getLogger(__name__)

CAPACITY_S = 2.0
"""Seconds between two looks at the number of replicas."""


@serve.ingress()
class Ingress:
    """One replica. `engines` has the handles of each model's generator and judge."""

    def __init__(
        self,
        config: ServeConfig,
        engines: dict[str, tuple[DeploymentHandle | None, DeploymentHandle | None]],
        history: DeploymentHandle,
        capacity_shares: DeploymentHandle,
        keys: Keyring,
    ) -> None:
        gates: dict[Any, FairGate] = {}  # models that share an engine share its gate
        models = {
            name: _served_model(config, name, generator, judge, gates, len(keys))
            for name, (generator, judge) in engines.items()
        }
        reports = ray.remote(UsageReports).options(num_cpus=0, max_concurrency=1000).remote()
        self._service = RequestService(config, models, keys, history, reports)
        self._capacity_shares: Any = capacity_shares
        self._generators = {name: generator for name, (generator, _) in engines.items()}
        self._name = uuid.uuid4().hex
        self._loops = [
            asyncio.create_task(loop())
            for loop in (
                self._follow_capacity,
                self._service.deliver_usage_reports,
                self._service.write_history,
            )
        ]

    def check_health(self) -> None:
        """Raise if a loop has ended; Serve then replaces the replica.

        Raises:
            RuntimeError: a loop has ended; none ends by itself.
        """
        for loop in self._loops:
            if loop.done():
                raise RuntimeError(f"{loop.get_coro()} has ended") from loop.exception()

    def __serve_build_asgi_app__(self) -> Any:
        """Build the ASGI app; called by Serve after the constructor."""
        return build_http_app(self._service)

    async def _follow_capacity(self) -> None:
        """Keep our share of the engine slots in step with the replicas and the demand."""
        models = self._service.models
        while True:
            try:
                status = await asyncio.to_thread(serve.status)
                demand = {name: m.trace_gate.share.demand for name, m in models.items()}
                others = await await_reply(self._capacity_shares.report.remote(self._name, demand))
            except (RayError, *REPLICA_GONE) as error:  # a deployment is restarting
                logger.warning("cannot read the number of replicas: %s", error)
            else:
                self._resize_gates(status.applications, others)
            await asyncio.sleep(CAPACITY_S)

    def _resize_gates(
        self,
        applications: Mapping[str, ApplicationStatusOverview],
        others: dict[str, list[int]],
    ) -> None:
        def num_running(generator: DeploymentHandle) -> int:
            app = applications.get(generator.app_name)
            deployment = app.deployments.get(generator.deployment_name) if app else None
            return int(deployment.replica_states.get(ReplicaState.RUNNING, 0)) if deployment else 0

        for name, model in self._service.models.items():
            generator = self._generators[name]
            num_replicas = 1 if generator is None else num_running(generator)
            self._service.num_generators[name] = num_replicas
            slots = _slots(model.config) * max(1, num_replicas)
            share = model.trace_gate.share
            model.trace_gate.resize(share_by_need(slots, share.demand, others[name]))
            self._service.metrics.queues(
                {"model": name, "replica": str(os.getpid())},
                running=model.admission.num_running,
                waiting=model.admission.num_waiting,
                waiting_traces=share.num_waiting,
            )


def _served_model(
    config: ServeConfig,
    name: str,
    generator: DeploymentHandle | None,
    judge: DeploymentHandle | None,
    gates: dict[Any, FairGate],
    num_keys: int,
) -> ServedModel:
    run = with_calibration(config.run(name))
    # The gates pass no more than the replicas take at once, so a call starts within stall_s.
    stall_s = run.limits.stall_s
    judges = ServeJudges(judge, stall_s, stall_s) if judge is not None else None
    trace_key = generator.deployment_id if generator is not None else ("trace", name)
    judge_key = judge.deployment_id if judge is not None else ("judge", name)
    trace_gate = gates.setdefault(trace_key, FairGate(_slots(run)))
    judge_gate = gates.setdefault(judge_key, FairGate(_judge_slots(run.judge)))
    return ServedModel(
        config=run,
        offer=offer_of(config, name),
        generators=FairGenerators(connect_generators(run, generator, stall_s), trace_gate),
        judges=FairJudges(judges, judge_gate) if judges is not None else None,
        replica=generator,
        trace_gate=trace_gate,
        judge_gate=judge_gate,
        admission=Admission(config.models[name].queue, num_keys),
    )


def _judge_slots(judge: JudgeConfig | None) -> int:
    """Pairs that the judge's replicas score at the same time."""
    if judge is None:
        return 1
    each = judge.engine.max_num_seqs if isinstance(judge, VllmJudgeConfig) else judge.pairs_per_call
    return each * judge.replicas.max


def _slots(config: RunConfig) -> int:
    """Traces that one replica of the generator decodes at the same time."""
    if isinstance(config.generator, EndpointGeneratorConfig):
        return config.generator.max_concurrency
    return config.generator.engine.max_num_seqs
