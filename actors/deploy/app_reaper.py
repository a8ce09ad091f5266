"""Delete each Serve application when its last driver ends.

Serve keeps deployments alive after their driver, by design. The app reaper counts the drivers that
use an application: drivers share it, and it ends with the last of them, also with one that was
killed.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import ray
from ray import serve
from ray._private.state import jobs
from ray.exceptions import ActorDiedError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

logger = logging.getLogger(__name__)

NAME, NAMESPACE = "deepprune-app-reaper", "deepprune"
KEY = b"users"
POLL_S = 1.0
TRIES = 10


class AppReaper:
    """A detached actor: counts the users of each application, by job id.

    Take one call at a time, so that no application is deleted while a driver begins to use it. Keep
    the users in the cluster's key-value store, which survives a restart of the actor. Exit when
    there are none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        stored = _internal_kv_get(KEY, namespace=NAMESPACE)
        self._users: dict[str, list[str]] = json.loads(stored) if stored else {}
        threading.Thread(target=self._watch, daemon=True).start()

    def use(self, job_id: str, apps: Sequence[str]) -> None:
        """Count a job as a user of `apps`."""
        with self._lock:
            for app in apps:
                self._users.setdefault(app, []).append(job_id)
            self._store()

    def release(self, job_id: str, apps: Sequence[str]) -> None:
        """Undo one `use`; return when the applications without another user are deleted."""
        with self._lock:
            left = {app: list(users) for app, users in self._users.items()}
            for app in apps:
                with suppress(ValueError, KeyError):  # a restarted actor may be asked again
                    left[app].remove(job_id)
            self._keep(left)

    def _watch(self) -> None:
        try:
            while True:
                time.sleep(POLL_S)
                with self._lock:
                    self._forget({job["JobID"] for job in jobs() if job["IsDead"]})
                    if not self._users:
                        ray.kill(ray.get_runtime_context().current_actor)
        finally:
            os._exit(1)  # Serve did not answer: Ray restarts the actor, which connects again

    def _forget(self, dead: set[str]) -> None:
        left = {app: [u for u in users if u not in dead] for app, users in self._users.items()}
        if left != self._users:
            logger.warning("a driver died: deleting the applications that only it used")
            self._keep(left)

    def _keep(self, left: dict[str, list[str]]) -> None:
        """Set the users; delete applications that have none, and Serve when it serves nothing."""
        used = {app: users for app, users in left.items() if users}
        # In order: an endpoint before the engines that it uses.
        for name in sorted(serve.status().applications.keys() & left.keys() - used.keys()):
            serve.delete(name)
        if not used and not serve.status().applications:  # a user may be about to deploy
            serve.shutdown()
        self._users = used
        self._store()

    def _store(self) -> None:
        _internal_kv_put(KEY, json.dumps(self._users), namespace=NAMESPACE)


@contextmanager
def used(apps: Sequence[str]) -> Iterator[None]:
    """Count this driver as a user of `apps` within the context, then delete those without one."""
    job_id = ray.get_runtime_context().get_job_id()
    _ask("use", job_id, apps)
    try:
        yield
    finally:
        _ask("release", job_id, apps)


def _ask(method: str, job_id: str, apps: Sequence[str]) -> None:
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0}
    restarts = {"max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(AppReaper).options(**options, **restarts, get_if_exists=True)
    for attempt in range(1, TRIES + 1):
        try:
            ray.get(getattr(actor.remote(), method).remote(job_id, apps))
        except ActorDiedError:  # it has just exited; start the next one
            if attempt == TRIES:
                raise
            time.sleep(POLL_S / TRIES)
        else:
            return
