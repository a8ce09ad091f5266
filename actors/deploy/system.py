"""Start the system on the connected Ray cluster, and stop it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ray import serve
from ray.serve.schema import ApplicationStatus

from actors.deploy.app_names import generator_app_name, judge_app_name
from actors.deploy.app_reaper import used
from actors.deploy.applications import QUIET, generator_app, judge_app
from actors.deploy.shared_folders import check_model_folders
from actors.deploy.startup import wait_until_running
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.driver.shards import Shards
from cluster.placement import place
from deepprune.config import RunConfig, VllmGeneratorConfig

SHARED = {ApplicationStatus.DEPLOYING, ApplicationStatus.RUNNING, ApplicationStatus.UNHEALTHY}
"""States of an application that another driver may use: it starts, runs, or recovers."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system: the coordinator's shards and the configuration."""

    coordinator: Shards
    config: RunConfig


@contextmanager
def running(config: RunConfig, *, cluster_ends_too: bool = False) -> Iterator[System]:
    """Start generators, judges and coordinator on the connected cluster; stop them at the end.

    Share engines that another driver has started for an equal configuration; they stop with the
    last driver that uses them. With `cluster_ends_too`, leave stopping to the cluster, whose
    processes all end with it.

    Raises:
        UserError: the engines do not fit, or do not start; the message has the reason.
    """
    place(config)
    targets = engine_targets(config)
    apps = [target.name for target in targets]
    if not cluster_ends_too:
        check_model_folders([config])
    with used(apps) if apps and not cluster_ends_too else nullcontext():
        if targets:
            deploy_missing(targets)
        coordinator = Shards.start(config, generator_app_name(config), judge_app_name(config))
        try:
            if targets:  # they start in parallel with the coordinator
                wait_until_running(apps, config.limits.start_s)
            yield System(coordinator, config)
        finally:
            if not cluster_ends_too:
                coordinator.stop()


def deploy_missing(targets: Sequence[serve.RunTarget]) -> None:
    """Deploy the applications that no other driver has deployed."""
    serve.start(proxy_location="Disabled")
    known = serve.status().applications
    new = [t for t in targets if t.name not in known or known[t.name].status not in SHARED]
    if new:
        serve.run_many(
            new, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )


def engine_targets(config: RunConfig) -> list[serve.RunTarget]:
    """Build the applications of a run's generator and judge, each under its shared name."""
    targets = []
    stall_s = config.limits.stall_s
    if name := generator_app_name(config):
        assert isinstance(config.generator, VllmGeneratorConfig)
        targets.append(_target(generator_app(config.generator, stall_s, GENERATOR), name))
    if name := judge_app_name(config):
        assert config.judge is not None
        targets.append(_target(judge_app(config.judge, stall_s, JUDGE), name))
    return targets


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=QUIET)
