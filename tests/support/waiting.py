"""Waiting for what comes about by itself.

How long that takes is for the machine to say. Deadlines are there against hanging alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANG_S = 900.0
"""What has not come about in this time, or does nothing for it, hangs."""
TRIES = 6


def wait_for(
    condition: Callable[[], object],
    *,
    seconds: float = HANG_S,
    every: float = 0.05,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Return once it holds; it is asked `every` so many seconds, for `seconds` after each progress.

    `progress` gives something that changes while there is progress.

    Raises:
        AssertionError: it hangs.
    """
    deadline, seen = time.monotonic() + seconds, progress()
    while not condition():
        if (now := progress()) != seen:
            deadline, seen = time.monotonic() + seconds, now
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(every)


def until_hit(attempt: Callable[[], T | None]) -> T:
    """The first result of `attempt` that is not None: None where a moment has been missed.

    Raises:
        AssertionError: it was missed `TRIES` times, so it may not exist.
    """
    for _ in range(TRIES):
        if (result := attempt()) is not None:
            return result
    raise AssertionError("the moment was missed each time")


def whole() -> bool:
    """Whether two generators and a judge of runs serve, and no other engine of a run does."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.context import _set_global_client
    from ray.serve.exceptions import RayServeException

    try:
        applications = serve.status().applications
    except (RayError, RayServeException):  # its controller is being replaced, or has ended for good
        _set_global_client(None)  # else this process would ask the old one for ever
        return False
    running = {
        name: deployment.replica_states.get("RUNNING", 0)
        for app_name, app in applications.items()
        if app_name.startswith("deepprune-")
        for name, deployment in app.deployments.items()
    }
    return running == {"generator": 2, "judge": 1}
