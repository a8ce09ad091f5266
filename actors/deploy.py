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

from actors.generator import Generator
from actors.judge import Judge
from actors.models import judge_prompt
from actors.shards import Shards
from cluster.placement import Placement, ReplicaPlacement, place
from deepprune.config import ReplicasConfig, RunConfig, VllmGeneratorConfig
from deepprune.errors import UserError

logger = logging.getLogger(__name__)

GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"
MAX_ONGOING_REQUESTS = 4096
"""Requests a replica takes on; the engine queues what it cannot decode at once."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system: its coordinator, in shards."""

    coordinator: Shards
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
            # Without "local" Ray would join whatever cluster somebody started here last.
            ray.init(address="local", include_dashboard=False, **options)
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
    serve.start(proxy_location="Disabled")
    coordinator: Shards | None = None
    try:
        if targets:
            serve.run_many(
                targets,
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
            _wait_until_running([target.name for target in targets], config.limits.start_s)
        coordinator = Shards.start(
            config,
            GENERATOR_APP if isinstance(config.generator, VllmGeneratorConfig) else None,
            JUDGE_APP if config.judge else None,
        )
        yield System(coordinator, config)
    finally:
        if not cluster_ends_too:
            if coordinator is not None:
                coordinator.stop()
            serve.shutdown()


def _targets(config: RunConfig, placement: Placement) -> list[serve.RunTarget]:
    targets = []
    if isinstance(config.generator, VllmGeneratorConfig):
        assert placement.generator is not None
        options = _options(placement.generator, config.generator.replicas)
        deployment = serve.deployment(Generator).options(name="generator", **options)
        app = deployment.bind(
            config.generator, placement.generator.executor_backend, config.limits.stall_s
        )
        targets.append(_target(app, GENERATOR_APP))
    if config.judge is not None:
        assert placement.judge is not None
        options = _options(placement.judge, config.judge.replicas)
        deployment = serve.deployment(Judge).options(name="judge", **options)
        app = deployment.bind(
            config.judge, judge_prompt(config.judge), placement.judge.executor_backend
        )
        targets.append(_target(app, JUDGE_APP))
    return targets


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    # One line in a log for each trace and pair would cost more than it tells.
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=quiet)


def _options(placement: ReplicaPlacement, replicas: ReplicasConfig) -> dict[str, Any]:
    scale: dict[str, Any] = (
        {"num_replicas": replicas.min}
        if replicas.min == replicas.max
        else {"autoscaling_config": {"min_replicas": replicas.min, "max_replicas": replicas.max}}
    )
    return scale | {
        "placement_group_bundles": placement.bundle_dicts,
        "placement_group_strategy": placement.strategy,
        "ray_actor_options": {"num_cpus": placement.num_cpus, "num_gpus": placement.num_gpus},
        "max_ongoing_requests": MAX_ONGOING_REQUESTS,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 5,
        "max_constructor_retry_count": 1,
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
