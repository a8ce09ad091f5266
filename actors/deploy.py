"""Bringing the system up on a Ray cluster, local or running, and taking it down again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.coordinator import Coordinator
from actors.generator import Generator
from actors.judge import Judge
from actors.models import judge_prompt
from actors.warden import take_down, watched
from cluster.placement import Placement, ReplicaPlacement, place
from deepprune.config import ReplicasConfig, RunConfig, VllmGeneratorConfig
from deepprune.errors import UserError

logger = logging.getLogger(__name__)

GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"
MAX_JUDGE_CALLS = 4096
"""Calls a judge replica takes on; its engine queues what it cannot score at once."""
DOWNSCALE_DELAY_S = 120.0
PAIRS_PER_CALL = 16
"""About how many pairs a call to the judge holds, to tell how many calls fill an engine."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system: the handle of its coordinator actor."""

    coordinator: Any
    config: RunConfig


def running_cluster(address: str | None) -> str | None:
    """The address as given, else that of the cluster which runs this program as a job."""
    return address or os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Attach to the cluster at `address`, or start a local one and stop it at the end.

    Raises:
        UserError: nothing answers at `address`.
    """
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is None:
            ray.init(include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster lets us in at {address!r}: start one with `ray start --head`, use the "
            "RAY_AUTH_MODE and token that it has, or leave --address out to start one here "
            f"({' '.join(str(error).split())[:120]})"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def running(config: RunConfig, *, cluster_ends_too: bool = False) -> Iterator[System]:
    """Start generators, judges and coordinator on the connected cluster; stop them at the end.

    With `cluster_ends_too`, stopping is left to the cluster, whose processes all end with it.

    Raises:
        UserError: the engines do not fit, or do not start; the message says why.
    """
    placement = place(config)
    targets = _targets(config, placement)
    apps = [target.name for target in targets]
    serve.start(proxy_location="Disabled")
    coordinator: Any = None
    try:
        with watched(apps) if apps and not cluster_ends_too else nullcontext():
            if targets:
                serve.run_many(
                    targets,
                    wait_for_ingress_deployment_creation=False,
                    wait_for_applications_running=False,
                )
                _wait_until_running(apps, config.limits.start_s)
            coordinator = _start_coordinator(config)
            yield System(coordinator, config)
    finally:
        if not cluster_ends_too:
            if coordinator is not None:
                ray.kill(coordinator)
            take_down(apps)


def _start_coordinator(config: RunConfig) -> Any:
    """Start it beside the driver, away from engines that die; Ray restarts it when it dies."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return (
        ray.remote(Coordinator)
        .options(num_cpus=0, max_concurrency=10_000, max_restarts=-1, scheduling_strategy=here)
        .remote(
            config,
            GENERATOR_APP if isinstance(config.generator, VllmGeneratorConfig) else None,
            JUDGE_APP if config.judge else None,
        )
    )


def _targets(config: RunConfig, placement: Placement) -> list[serve.RunTarget]:
    targets = []
    if isinstance(config.generator, VllmGeneratorConfig):
        assert placement.generator is not None
        options = _options(
            placement.generator,
            config.generator.replicas,
            full=config.generator.engine.max_num_seqs,
            most=2 * config.generator.engine.max_num_seqs,
        )
        deployment = serve.deployment(Generator).options(name="generator", **options)
        app = deployment.bind(
            config.generator, placement.generator.executor_backend, config.limits.stall_s
        )
        targets.append(_target(app, GENERATOR_APP))
    if config.judge is not None:
        assert placement.judge is not None
        options = _options(
            placement.judge,
            config.judge.replicas,
            full=max(1, config.judge.engine.max_num_seqs // PAIRS_PER_CALL),
            most=MAX_JUDGE_CALLS,
        )
        deployment = serve.deployment(Judge).options(name="judge", **options)
        app = deployment.bind(
            config.judge,
            judge_prompt(config.judge),
            placement.judge.executor_backend,
            config.limits.stall_s,
        )
        targets.append(_target(app, JUDGE_APP))
    return targets


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    # One line in a log for each trace and pair would cost more than it tells.
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=quiet)


def _options(
    placement: ReplicaPlacement, replicas: ReplicasConfig, *, full: int, most: int
) -> dict[str, Any]:
    """Options of a deployment whose engine is full with `full` requests and queues up to `most`.

    What is above `most` waits in the coordinator, so that a replica which is added finds work at
    once: a request never moves from one replica to another.
    """
    scale: dict[str, Any] = (
        {"num_replicas": replicas.min}
        if replicas.min == replicas.max
        else {"autoscaling_config": _autoscaling(replicas, full)}
    )
    if placement.node_labels:
        scale["placement_group_bundle_label_selector"] = [dict(placement.node_labels)]
    return scale | {
        "placement_group_bundles": placement.bundle_dicts,
        "placement_group_strategy": placement.strategy,
        "ray_actor_options": {"num_cpus": placement.num_cpus, "num_gpus": placement.num_gpus},
        "max_ongoing_requests": most,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 5,
        "max_constructor_retry_count": 1,
    }


def _autoscaling(replicas: ReplicasConfig, full: int) -> dict[str, Any]:
    """As many replicas as it takes to decode all outstanding traces at once.

    Up within seconds, because traces that wait cost wall time; down after two minutes, because an
    engine takes minutes to start and problems come in waves.
    """
    return {
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        "target_ongoing_requests": full,
        "metrics_interval_s": 2,
        "look_back_period_s": 6,
        "upscale_delay_s": 4,
        "downscale_delay_s": DOWNSCALE_DELAY_S,
    }


def _wait_until_running(names: list[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        applications = serve.status().applications
        states = {name: applications[name] for name in names if name in applications}
        failed = {
            name: state
            for name, state in states.items()
            if state.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
        }
        for name, state in failed.items():
            messages = [deployment.message for deployment in state.deployments.values()]
            raise UserError(f"{name} did not start: {_last_line(messages or [state.message])}")
        if len(states) == len(names) and all(
            state.status is ApplicationStatus.RUNNING for state in states.values()
        ):
            return
        if time.monotonic() > deadline:
            raise UserError(
                f"the engines were not ready within {timeout_s:.0f} s (limits.start_s): does the "
                f"cluster have the resources? waiting for {', '.join(sorted(names))}"
            )
        time.sleep(0.2)


def _last_line(messages: list[str]) -> str:
    """The line of an engine's traceback that says what is wrong."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no reason given"])[-1]
