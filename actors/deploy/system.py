"""Start the system on the connected Ray cluster, and stop it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ray import serve

from actors.deploy.app_reaper import delete_apps, reaped_with_driver
from actors.deploy.applications import QUIET, generator_app, judge_app
from actors.deploy.startup import wait_until_running
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.driver.shards import Shards
from cluster.placement import place
from deepprune.config import RunConfig, VllmGeneratorConfig

GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"


@dataclass(frozen=True, slots=True)
class System:
    """A running system: the coordinator's shards and the configuration."""

    coordinator: Shards
    config: RunConfig


@contextmanager
def running(config: RunConfig, *, cluster_ends_too: bool = False) -> Iterator[System]:
    """Start generators, judges and coordinator on the connected cluster; stop them at the end.

    With `cluster_ends_too`, leave stopping to the cluster, whose processes all end with it.

    Raises:
        UserError: the engines do not fit, or do not start; the message has the reason.
    """
    place(config)
    targets = _targets(config)
    apps = [target.name for target in targets]
    serve.start(proxy_location="Disabled")
    coordinator: Shards | None = None
    try:
        with reaped_with_driver(apps) if apps and not cluster_ends_too else nullcontext():
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
            if targets:  # they start in parallel with the coordinator
                wait_until_running(apps, config.limits.start_s)
            yield System(coordinator, config)
    finally:
        if not cluster_ends_too:
            if coordinator is not None:
                coordinator.stop()
            delete_apps(apps)


def _targets(config: RunConfig) -> list[serve.RunTarget]:
    targets = []
    if isinstance(config.generator, VllmGeneratorConfig):
        app = generator_app(config.generator, config.limits.stall_s, GENERATOR)
        targets.append(_target(app, GENERATOR_APP))
    if config.judge is not None:
        targets.append(_target(judge_app(config.judge, config.limits.stall_s, JUDGE), JUDGE_APP))
    return targets


def _target(app: serve.Application, name: str) -> serve.RunTarget:
    return serve.RunTarget(app, name=name, route_prefix=None, logging_config=QUIET)
