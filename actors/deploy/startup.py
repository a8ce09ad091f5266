"""Wait for Serve applications to start, and tell a lasting failure from a passing one."""

from __future__ import annotations

import re
import time
from collections import defaultdict

from ray import serve
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusTrigger,
)

from deepprune.errors import UserError

FAILED_START = "A replica failed to start with exception"
"""Start of a deployment's message after a replica failed to start."""
GONE = re.compile(r"^(Actor|Node|Worker)\w+Error\(", re.MULTILINE)
"""Ray's error, without a traceback, in such a message when the replica's process or node died."""


def wait_until_running(names: list[str], timeout_s: float) -> None:
    """Wait until the Serve applications run.

    Raises:
        UserError: one fails to start twice with the same error, or Serve gives it up, or it takes
            longer than `timeout_s` seconds; the message has the error.
    """
    deadline = time.monotonic() + timeout_s
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
        if time.monotonic() > deadline:
            raise UserError(
                f"the engines were not ready within {timeout_s:.0f} s (limits.start_s): does the "
                f"cluster have the resources? waiting for {', '.join(sorted(names))}"
            )
        time.sleep(0.2)


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
