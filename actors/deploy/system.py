"""Bringing the system up on a Ray cluster, local or running, and taking it down again."""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusTrigger,
)

from actors.deploy.app_reaper import take_down, watched
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.driver.shards import Shards
from actors.generators.generator import Generator
from actors.judges.encoder import EncoderJudge
from actors.judges.features import FeatureJudgeReplica
from actors.judges.pairwise import Judge
from actors.models import feature_judge, judge_prompt
from cluster.placement import ReplicaPlacement, place, replica_placement
from deepprune.config import (
    EncoderJudgeConfig,
    FeatureJudgeConfig,
    JudgeConfig,
    ReplicasConfig,
    RunConfig,
    VllmGeneratorConfig,
)
from deepprune.errors import UserError

logger = logging.getLogger(__name__)

GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"
MAX_JUDGE_CALLS = 4096
"""Calls a judge replica takes on; its engine queues what it cannot score at once."""
PAIRS_PER_CALL = 16
"""About how many pairs a call to the judge holds, to tell how many calls fill an engine."""
LIGHT_JUDGE_CALLS = 16
"""Calls that keep a replica of the feature or encoder judge busy for about a second."""
FAILED_START = "A replica failed to start with exception"
"""How the message of a deployment begins one of whose replicas did not start."""
GONE = re.compile(r"^(Actor|Node|Worker)\w+Error\(", re.MULTILINE)
"""What it says where the replica's process, or its node, is gone: Ray's error, without a trace."""
LOOK_BACK_S = 6.0
"""Seconds over which Serve averages the load."""
MOST_BACKOFF_S = 0.5
"""Serve's own pause between two looks for a replica with room."""
BACKOFF_S_PER_REPLICA = 0.025


@dataclass(frozen=True, slots=True)
class System:
    """A running system: its coordinator, in shards."""

    coordinator: Shards
    config: RunConfig


@contextmanager
def running(config: RunConfig, *, cluster_ends_too: bool = False) -> Iterator[System]:
    """Start generators, judges and coordinator on the connected cluster; stop them at the end.

    With `cluster_ends_too`, stopping is left to the cluster, whose processes all end with it.

    Raises:
        UserError: the engines do not fit, or do not start; the message says why.
    """
    place(config)
    targets = _targets(config)
    apps = [target.name for target in targets]
    serve.start(proxy_location="Disabled")
    coordinator: Shards | None = None
    try:
        with watched(apps) if apps and not cluster_ends_too else nullcontext():
            if targets:
                serve.run_many(
                    targets,
                    wait_for_ingress_deployment_creation=False,
                    wait_for_applications_running=False,
                )
            coordinator = Shards.start(
                config,
                GENERATOR_APP if isinstance(config.generator, VllmGeneratorConfig) else None,
                JUDGE_APP if config.judge else None,
            )
            if targets:  # which start while the coordinator does
                wait_until_running(apps, config.limits.start_s)
            yield System(coordinator, config)
    finally:
        if not cluster_ends_too:
            if coordinator is not None:
                coordinator.stop()
            take_down(apps)


def generator_app(config: VllmGeneratorConfig, stall_s: float, name: str) -> serve.Application:
    """A generator as a Serve application, its deployment called `name`."""
    placement = replica_placement(config.engine)
    full = config.engine.max_num_seqs
    options = _options(placement, config.replicas, full=full, most=2 * full)
    deployment = serve.deployment(Generator).options(name=name, **options)
    return deployment.bind(config, placement.executor_backend, stall_s)


def judge_app(config: JudgeConfig, stall_s: float, name: str) -> serve.Application:
    """A judge as a Serve application, its deployment called `name`.

    Raises:
        UserError: the folder of a feature judge holds none.
    """
    if isinstance(config, FeatureJudgeConfig):
        scored = serve.deployment(FeatureJudgeReplica)
        options = _light_options(config.replicas, config.cpus)
        return scored.options(name=name, **options).bind(feature_judge(config), stall_s)
    if isinstance(config, EncoderJudgeConfig):
        read = serve.deployment(EncoderJudge)
        options = _light_options(config.replicas, config.cpus, config.gpus)
        return read.options(name=name, **options).bind(config, stall_s)
    placement = replica_placement(config.engine)
    full = max(1, config.engine.max_num_seqs // PAIRS_PER_CALL)
    options = _options(placement, config.replicas, full=full, most=MAX_JUDGE_CALLS)
    deployment = serve.deployment(Judge).options(name=name, **options)
    return deployment.bind(config, judge_prompt(config), placement.executor_backend, stall_s)


def _targets(config: RunConfig) -> list[serve.RunTarget]:
    targets = []
    if isinstance(config.generator, VllmGeneratorConfig):
        app = generator_app(config.generator, config.limits.stall_s, GENERATOR)
        targets.append(_target(app, GENERATOR_APP))
    if config.judge is not None:
        targets.append(_target(judge_app(config.judge, config.limits.stall_s, JUDGE), JUDGE_APP))
    return targets


# One line in a log for each trace and pair would cost more than it tells.
QUIET = {"log_level": "WARNING", "enable_access_log": False}


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=QUIET)


def scale_options(replicas: ReplicasConfig, full: int) -> dict[str, Any]:
    """Serve's options for as many replicas as it takes to serve all outstanding calls at once.

    A replica is full with `full` calls. Up within seconds, because traces that wait cost wall time;
    down after minutes, because an engine takes minutes to start and problems come in waves.
    """
    drain = {"graceful_shutdown_timeout_s": replicas.drain_s}
    if replicas.min == replicas.max:
        return drain | {"num_replicas": replicas.min}
    return drain | {
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            # Below what a replica can take: when all are full, more are wanted.
            "target_ongoing_requests": max(1.0, 0.8 * full),
            "metrics_interval_s": 2,
            "look_back_period_s": LOOK_BACK_S,
            "upscale_delay_s": replicas.upscale_delay_s,
            "downscale_delay_s": replicas.downscale_delay_s,
        }
    }


def routing(replicas: ReplicasConfig) -> RequestRouterConfig:
    """How often a coordinator that has more requests than the engines take looks for room.

    Ray 2.60 makes about two looks for each replica, and hands out one request a look once it has
    had to wait: with its own pause that is four requests a second and replica, and engines run dry
    on short traces (4 to 8 times slower on the miniature). Up to 20 replicas a coordinator makes
    about 80 looks a second; beyond that Serve's own pause will do.
    """
    pause_s = min(MOST_BACKOFF_S, BACKOFF_S_PER_REPLICA * replicas.max)
    return RequestRouterConfig(max_backoff_s=pause_s)


def _options(
    placement: ReplicaPlacement, replicas: ReplicasConfig, *, full: int, most: int
) -> dict[str, Any]:
    """Options of a deployment whose engine is full with `full` requests and queues up to `most`.

    What is above `most` waits in the coordinator, so that a replica which is added finds work at
    once: a request never moves from one replica to another.
    """
    scale = scale_options(replicas, full)
    if placement.node_labels:
        scale["placement_group_bundle_label_selector"] = [dict(placement.node_labels)]
    return scale | {
        "placement_group_bundles": placement.bundle_dicts,
        "placement_group_strategy": placement.strategy,
        "ray_actor_options": {"num_cpus": placement.num_cpus, "num_gpus": placement.num_gpus},
        "max_ongoing_requests": most,
        "request_router_config": routing(replicas),
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
        "logging_config": QUIET,
    }


def _light_options(replicas: ReplicasConfig, cpus: float, gpus: float = 0) -> dict[str, Any]:
    """Options of a judge without an engine: one process, one actor."""
    return scale_options(replicas, LIGHT_JUDGE_CALLS) | {
        "ray_actor_options": {"num_cpus": cpus, "num_gpus": gpus},
        "max_ongoing_requests": MAX_JUDGE_CALLS,
        "health_check_period_s": 5,
        "logging_config": QUIET,
    }


def wait_until_running(names: list[str], timeout_s: float) -> None:
    """Wait for Serve applications.

    Raises:
        UserError: one fails to start twice in the same way, or Serve gives it up, or it takes
            longer than `timeout_s`; the message says why.
    """
    deadline = time.monotonic() + timeout_s
    failures: dict[str, _Failures] = defaultdict(_Failures)
    while True:
        applications = serve.status().applications
        states = {name: applications[name] for name in names if name in applications}
        for name, state in states.items():
            messages = [deployment.message for deployment in state.deployments.values()]
            failures[name].note(messages)
            if failures[name].repeated or _given_up(state):
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


class _Failures:
    """What the replicas of one application have raised while they started.

    Serve tries again, as it should where something has died. What was raised twice will be raised
    again, and nobody needs to wait for that; once, it may have been a moment's trouble, such as
    memory that a dead engine had not given back yet.
    """

    def __init__(self) -> None:
        self._said: dict[str, set[str]] = defaultdict(set)

    def note(self, messages: list[str]) -> None:
        """Take in what the deployments say now, most of which they have said before."""
        for said in messages:
            if FAILED_START in said and not GONE.search(said):
                self._said[_last_line([said])].add(said)

    @property
    def repeated(self) -> bool:
        """Whether something was raised twice: the same error, at two tries."""
        return any(len(said) > 1 for said in self._said.values())


def _given_up(application: ApplicationStatusOverview) -> bool:
    """Whether Serve tries no more: replicas failed to start too often, or nothing could be built.

    A replica that is found ill before the others have started counts as a failed deployment too,
    but is replaced.
    """
    if application.status is not ApplicationStatus.DEPLOY_FAILED:
        return False
    ill = DeploymentStatusTrigger.HEALTH_CHECK_FAILED
    return not any(
        deployment.status_trigger is ill or deployment.status is DeploymentStatus.UNHEALTHY
        for deployment in application.deployments.values()
    )


def _last_line(messages: list[str]) -> str:
    """The line of an engine's traceback that says what is wrong."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no reason given"])[-1]
