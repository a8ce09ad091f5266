"""Wait for Serve applications to start, and tell a lasting failure from a passing one."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from contextlib import suppress

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusTrigger,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.hub_models import bytes_arrive
from deepprune.errors import UserError

LOOK_S = 1.0
"""Seconds between two looks at where replicas are."""
ARRIVE_S = 30.0
"""Seconds without a new byte after which a download is called stalled."""
FAILED_START = "A replica failed to start with exception"
"""Start of a deployment's message after a replica failed to start."""
GONE = re.compile(r"^(Actor|Node|Worker)\w+Error\(", re.MULTILINE)
"""Ray's error, without a traceback, in such a message when the replica's process or node died."""


def wait_until_running(names: list[str], timeout_s: float) -> None:
    """Wait until the Serve applications run.

    Raises:
        UserError: one fails to start twice with the same error, or Serve gives it up, or nothing is
            gained for `timeout_s` seconds: no replica is placed, no byte of a model arrives; the
            message has the error.
    """
    deadline, nodes, looked = time.monotonic() + timeout_s, list[str](), 0.0
    failures: dict[str, _Failures] = defaultdict(_Failures)
    while True:
        applications = serve.status().applications
        states = {name: applications[name] for name in names if name in applications}
        for name, state in states.items():
            messages = [deployment.message for deployment in state.deployments.values()]
            failures[name].add(messages)
            if failures[name].repeated or _given_up(state):
                raise UserError(f"{name} did not start: {_last_line(messages or [state.message])}")
        if len(states) == len(names) and all(
            state.status is ApplicationStatus.RUNNING for state in states.values()
        ):
            return
        if (now := time.monotonic()) > looked + LOOK_S:
            looked, placed = now, replica_nodes(names)
            if len(placed) > len(nodes):
                nodes, deadline = placed, now + timeout_s
        if now > deadline:
            if not bytes_arrive_on(set(nodes)):
                raise UserError(_too_late(sorted(names), timeout_s, is_placed=bool(nodes)))
            deadline = time.monotonic() + timeout_s
        time.sleep(0.2)


def replica_nodes(names: list[str]) -> list[str]:
    """Return the node of each replica of the applications that has one."""
    applications = _get_global_client().get_serve_details()["applications"]
    return [
        replica["node_id"]
        for name in names
        if name in applications
        for deployment in applications[name]["deployments"].values()
        for replica in deployment["replicas"]
        if replica.get("node_id")
    ]


def bytes_arrive_on(nodes: set[str]) -> bool:
    """Whether the cache of models grows on any of the nodes."""
    watch = ray.remote(num_cpus=0, max_retries=0)(bytes_arrive)
    there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    left = [watch.options(scheduling_strategy=node).remote(ARRIVE_S) for node in there]
    while left:
        (ready,), left = ray.wait(left, num_returns=1)
        with suppress(RayError):  # its node has just died
            if ray.get(ready):
                return True
    return False


def _too_late(names: list[str], timeout_s: float, is_placed: bool) -> str:
    within = f"within {timeout_s:.0f} s (limits.start_s); waiting for {', '.join(names)}"
    if not is_placed:
        return f"no node had room for the engines {within}: `ray status` shows what is missing"
    return (
        f"the engines were placed, but not ready {within}: no byte of a model arrives; raise "
        "limits.start_s, or download the models first with `deepprune fetch`"
    )


class _Failures:
    """Errors that replicas of one application raised while they started.

    Serve retries a failed start. An error raised twice will be raised again: give up. An error
    raised once may have passed, such as memory that a dead engine had not released yet.
    """

    def __init__(self) -> None:
        self._messages: dict[str, set[str]] = defaultdict(set)

    def add(self, messages: list[str]) -> None:
        """Add the deployments' current messages; most of them are repeats."""
        for message in messages:
            if FAILED_START in message and not GONE.search(message):
                self._messages[_last_line([message])].add(message)

    @property
    def repeated(self) -> bool:
        """Whether two attempts raised the same error."""
        return any(len(messages) > 1 for messages in self._messages.values())


def _given_up(application: ApplicationStatusOverview) -> bool:
    """Whether Serve has stopped retrying: too many failed starts, or the build failed.

    A replica that fails its health check before the others have started also counts as a failed
    deployment, but Serve replaces it.
    """
    if application.status is not ApplicationStatus.DEPLOY_FAILED:
        return False
    unhealthy = DeploymentStatusTrigger.HEALTH_CHECK_FAILED
    return not any(
        deployment.status_trigger is unhealthy or deployment.status is DeploymentStatus.UNHEALTHY
        for deployment in application.deployments.values()
    )


def _last_line(messages: list[str]) -> str:
    """The last error line of an engine's traceback."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["no reason given"])[-1]
