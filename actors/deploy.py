"""Bringing the system up on a Ray cluster, local or running, and taking it down again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from actors.coordinator import Coordinator
from actors.generator import Generator
from actors.judge import Judge
from actors.models import judge_prompt
from cluster.placement import ReplicaPlacement, place, replica_placement
from deepprune.config import JudgeConfig, ReplicasConfig, RunConfig, VllmGeneratorConfig
from deepprune.errors import UserError

logger = logging.getLogger(__name__)

GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"
MAX_ONGOING_REQUESTS = 4096
"""Requests a replica takes on; the engine queues what it cannot decode at once."""
LOOK_BACK_S = 15.0
"""Seconds over which Serve averages the load."""


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
    place(config)
    targets = _targets(config)
    serve.start(proxy_location="Disabled")
    coordinator: Any = None
    try:
        if targets:
            serve.run_many(
                targets,
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
            wait_until_running([target.name for target in targets], config.limits.start_s)
        coordinator = (
            ray.remote(Coordinator)
            .options(num_cpus=0, max_concurrency=10_000)
            .remote(
                config,
                GENERATOR_APP if isinstance(config.generator, VllmGeneratorConfig) else None,
                JUDGE_APP if config.judge else None,
            )
        )
        yield System(coordinator, config)
    finally:
        if not cluster_ends_too:
            if coordinator is not None:
                ray.kill(coordinator)
            serve.shutdown()


def generator_app(config: VllmGeneratorConfig, stall_s: float, name: str) -> serve.Application:
    """A generator as a Serve application, its deployment called `name`."""
    placement = replica_placement(config.engine)
    deployment = serve.deployment(Generator).options(
        name=name, **_options(placement, config.replicas, config.engine.max_num_seqs)
    )
    return deployment.bind(config, placement.executor_backend, stall_s)


def judge_app(config: JudgeConfig, name: str) -> serve.Application:
    """A judge as a Serve application, its deployment called `name`."""
    placement = replica_placement(config.engine)
    deployment = serve.deployment(Judge).options(
        name=name, **_options(placement, config.replicas, config.engine.max_num_seqs)
    )
    return deployment.bind(config, judge_prompt(config), placement.executor_backend)


def _targets(config: RunConfig) -> list[serve.RunTarget]:
    targets = []
    if isinstance(config.generator, VllmGeneratorConfig):
        app = generator_app(config.generator, config.limits.stall_s, "generator")
        targets.append(_target(app, GENERATOR_APP))
    if config.judge is not None:
        targets.append(_target(judge_app(config.judge, "judge"), JUDGE_APP))
    return targets


# One line in a log for each trace and pair would cost more than it tells.
QUIET = {"log_level": "WARNING", "enable_access_log": False}


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=QUIET)


def scale_options(replicas: ReplicasConfig, num_calls: int) -> dict[str, Any]:
    """Serve's options for as many replicas as `num_calls` calls at a time to each of them need."""
    drain = {"graceful_shutdown_timeout_s": replicas.drain_s}
    if replicas.min == replicas.max:
        return drain | {"num_replicas": replicas.min}
    return drain | {
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            # Below what a replica can take: when all are full, more are wanted.
            "target_ongoing_requests": max(1.0, 0.8 * num_calls),
            "upscale_delay_s": replicas.upscale_delay_s,
            "downscale_delay_s": replicas.downscale_delay_s,
            "look_back_period_s": LOOK_BACK_S,
        }
    }


def _options(
    placement: ReplicaPlacement, replicas: ReplicasConfig, num_calls: int
) -> dict[str, Any]:
    return scale_options(replicas, num_calls) | {
        "placement_group_bundles": placement.bundle_dicts,
        "placement_group_strategy": placement.strategy,
        "ray_actor_options": {"num_cpus": placement.num_cpus, "num_gpus": placement.num_gpus},
        "max_ongoing_requests": MAX_ONGOING_REQUESTS,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "max_constructor_retry_count": 1,
        "logging_config": QUIET,
    }


def wait_until_running(names: list[str], timeout_s: float) -> None:
    """Wait for Serve applications.

    Raises:
        UserError: one fails to start, or takes longer than `timeout_s`; the message says why.
    """
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
