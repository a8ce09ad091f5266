"""Delete Serve applications whose driver died without deleting them.

Serve keeps deployments alive after their driver, by design: a killed sweep would hold its GPUs
until somebody notices. A sweep that starts again before the reaper acts keeps its engines.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
from ray import serve
from ray._private.state import jobs

logger = logging.getLogger(__name__)

NAME, NAMESPACE = "deepprune-app-reaper", "deepprune"
POLL_S = 1.0


class AppReaper:
    """A detached actor: deletes `apps` when the driver of the job `job_id` is dead, then exits."""

    def __init__(self, job_id: str, apps: Sequence[str]) -> None:
        self._job_id, self._apps = job_id, apps
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not any(job["JobID"] == self._job_id and job["IsDead"] for job in jobs()):
            time.sleep(POLL_S)
        logger.warning("the driver died: deleting its applications")
        delete_apps(self._apps)
        ray.kill(ray.get_runtime_context().current_actor)


@contextmanager
def reaped_with_driver(apps: Sequence[str]) -> Iterator[None]:
    """Run a reaper for `apps` within the context."""
    stop_reaper()
    job_id = ray.get_runtime_context().get_job_id()
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1}
    reaper = ray.remote(AppReaper).options(num_cpus=0, **options).remote(job_id, apps)
    try:
        yield
    finally:
        ray.kill(reaper)


def stop_reaper() -> None:
    """Kill the reaper of an earlier driver, if there is one."""
    try:
        ray.kill(ray.get_actor(NAME, NAMESPACE))
    except ValueError:
        return


def delete_apps(apps: Sequence[str]) -> None:
    """Delete applications, and shut Serve down where it serves no others."""
    for name in apps:
        serve.delete(name)
    if not serve.status().applications:
        serve.shutdown()
