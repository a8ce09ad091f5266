"""A look into the engines of the Ray cluster that this process is attached to."""

from __future__ import annotations

from tests.support.waiting import HANG_S

CALLS = 8
"""Calls that should meet every replica."""


def num_unfinished(app: str) -> int:
    """Requests that the engines of a generator or judge hold."""
    from ray import serve

    handle = serve.get_app_handle(app)
    calls = [handle.num_unfinished.remote() for _ in range(CALLS)]
    return sum(call.result(timeout_s=HANG_S) for call in calls)


def num_running(app: str) -> int:
    """Running replicas of a generator or judge."""
    from ray import serve

    deployments = serve.status().applications[app].deployments.values()
    return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)
