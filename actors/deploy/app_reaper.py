"""The warden: takes the engines down when the program that started them died without doing so.

Serve's deployments outlive a driver, by design. A sweep that is killed would hold its GPUs until
somebody notices; a sweep that is run again before the warden acts keeps its engines.
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

NAME, NAMESPACE = "deepprune-warden", "deepprune"
POLL_S = 1.0


class Warden:
    """A detached actor that outlives the driver of the job `job_id`, but not for long."""

    def __init__(self, job_id: str, apps: Sequence[str]) -> None:
        self._job_id, self._apps = job_id, apps
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not any(job["JobID"] == self._job_id and job["IsDead"] for job in jobs()):
            time.sleep(POLL_S)
        logger.warning("the driver is gone; its engines end")
        take_down(self._apps)
        ray.kill(ray.get_runtime_context().current_actor)


@contextmanager
def watched(apps: Sequence[str]) -> Iterator[None]:
    """Have a warden see to `apps` for as long as this driver serves them."""
    dismiss()
    job_id = ray.get_runtime_context().get_job_id()
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1}
    warden = ray.remote(Warden).options(num_cpus=0, **options).remote(job_id, apps)
    try:
        yield
    finally:
        ray.kill(warden)


def dismiss() -> None:
    """Keep the warden of an earlier driver from acting any more."""
    try:
        ray.kill(ray.get_actor(NAME, NAMESPACE))
    except ValueError:
        return


def take_down(apps: Sequence[str]) -> None:
    """End applications, and Serve itself where it serves nothing else."""
    for name in apps:
        serve.delete(name)
    if not serve.status().applications:
        serve.shutdown()
