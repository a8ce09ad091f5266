"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 60, every: float = 0.05) -> None:
    """Return once it holds; it is asked `every` so many seconds.

    Raises:
        AssertionError: it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(every)


def whole() -> bool:
    """Whether two generators and a judge serve, and nothing else does."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        applications = serve.status().applications
    except (RayError, RayServeException):  # its controller is being replaced
        return False
    running = {
        name: deployment.replica_states.get("RUNNING", 0)
        for app in applications.values()
        for name, deployment in app.deployments.items()
    }
    return running == {"generator": 2, "judge": 1}
