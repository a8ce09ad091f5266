"""Generators and judges as Serve applications: resources, scaling and routing."""

from __future__ import annotations

from typing import Any

from ray import serve

from actors.generators.generator import Generator
from actors.judges.encoder import EncoderJudge
from actors.judges.features import FeatureJudgeReplica
from actors.judges.pairwise import Judge
from actors.judges.replica import LIGHT_JUDGE_CALLS
from actors.models import feature_judge, judge_prompt
from cluster.placement import ReplicaPlacement, replica_placement
from cluster.settings import settled
from deepprune.config import (
    EncoderJudgeConfig,
    FeatureJudgeConfig,
    JudgeConfig,
    ReplicasConfig,
    VllmGeneratorConfig,
)

MAX_CALLS = 1000
"""Concurrent Serve calls of a replica: they ask for its address, or count tokens."""
PAIRS_PER_CALL = 16
"""Typical pairs in a call to the judge: tells how many calls fill an engine."""
LOOK_BACK_S = 6.0
"""Seconds over which Serve averages the load."""
QUIET = {"log_level": "WARNING", "enable_access_log": False}
"""Logging options: an access log line for each call would cost too much."""
CHANNELS: dict[str, Any] = {
    "max_ongoing_requests": MAX_CALLS,
    "request_router_config": {"request_router_class": "actors.channels.router.ChannelRouter"},
    "health_check_period_s": 5,
    "logging_config": QUIET,
}
"""Options of each deployment that drivers reach by channels."""
BY_DEMAND = "actors.channels.scaling:replicas_for_demand"


def generator_app(config: VllmGeneratorConfig, stall_s: float, name: str) -> serve.Application:
    """Build a generator's Serve application, its deployment called `name`."""
    config = settled(config)
    placement = replica_placement(config.engine)
    options = _options(placement, config.replicas, config.engine.slots)
    deployment = serve.deployment(Generator).options(name=name, **options)
    return deployment.bind(config, placement.executor_backend, stall_s)


def judge_app(config: JudgeConfig, stall_s: float, name: str) -> serve.Application:
    """Build a judge's Serve application, its deployment called `name`.

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
    full = max(1, config.engine.slots // PAIRS_PER_CALL)
    options = _options(placement, config.replicas, full)
    deployment = serve.deployment(Judge).options(name=name, **options)
    return deployment.bind(config, judge_prompt(config), placement.executor_backend, stall_s)


def scale_options(
    replicas: ReplicasConfig, full: int, *, policy: str | None = None
) -> dict[str, Any]:
    """Build Serve's scaling options: enough replicas to serve all requests at once.

    `full` requests fill a replica. Scale up within seconds, because waiting traces cost wall time;
    scale down after minutes, because an engine takes minutes to start and problems come in waves.
    """
    drain = {"graceful_shutdown_timeout_s": replicas.drain_s}
    if replicas.min == replicas.max:
        return drain | {"num_replicas": replicas.min}
    return drain | {
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            # Below a replica's capacity, so that full replicas trigger a scale-up.
            "target_ongoing_requests": max(1.0, 0.8 * full),
            "metrics_interval_s": 2,
            "look_back_period_s": LOOK_BACK_S,
            "upscale_delay_s": replicas.upscale_delay_s,
            "downscale_delay_s": replicas.downscale_delay_s,
            **({"policy": {"policy_function": policy}} if policy else {}),
        }
    }


def _options(placement: ReplicaPlacement, replicas: ReplicasConfig, full: int) -> dict[str, Any]:
    """Build the options of a deployment whose engine runs `full` requests at once."""
    scale = scale_options(replicas, full, policy=BY_DEMAND)
    if placement.node_labels:
        scale["placement_group_bundle_label_selector"] = [dict(placement.node_labels)]
    return (
        CHANNELS
        | scale
        | {
            "placement_group_bundles": placement.bundle_dicts,
            "placement_group_strategy": placement.strategy,
            "ray_actor_options": {"num_cpus": placement.num_cpus, "num_gpus": placement.num_gpus},
            "health_check_timeout_s": 30,
        }
    )


def _light_options(replicas: ReplicasConfig, cpus: float, gpus: float = 0) -> dict[str, Any]:
    """Build the options of a judge without an engine: one process, one actor."""
    resources = {"ray_actor_options": {"num_cpus": cpus, "num_gpus": gpus}}
    return CHANNELS | scale_options(replicas, LIGHT_JUDGE_CALLS, policy=BY_DEMAND) | resources
