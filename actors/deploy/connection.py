"""Attaching this program to a Ray cluster: one that runs, or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray
from ray._private import services

from deepprune.errors import UserError

logger = logging.getLogger(__name__)

TOO_SLOW = "timed out during startup"
"""Of Ray's message when a node has not come up in 30 s."""
MOST_STARTS = 3
START_S = 600
"""How long the processes of a local cluster may take to start, on however busy a machine."""
LOCAL = {
    # Ray puts the workers behind every other process of the machine, whose user waits for them.
    "RAY_worker_niceness": "0",
    "RAY_gcs_server_port_wait_time_s": str(START_S),
    "RAY_worker_register_timeout_seconds": str(START_S),
}
"""Environment of a local cluster, where it does not say otherwise."""


def running_cluster(address: str | None) -> str | None:
    """The address as given, else that of the cluster which runs this program as a job."""
    return address or os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Attach to the cluster at `address`, or start a local one and stop it at the end.

    Raises:
        UserError: nothing answers at `address`, or this machine is too busy to start a cluster.
    """
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        _start(options)
    else:
        _join(address, options)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster lets us in at {address!r}: start one with `ray start --head`, use the "
            "RAY_AUTH_MODE and token that it has, or leave --address out to start one here "
            f"({' '.join(str(error).split())[:120]})"
        ) from None


def _start(options: dict[str, Any]) -> None:
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    for attempt in range(1, MOST_STARTS + 1):
        try:
            with patience():
                # Without "local" Ray would join whatever cluster somebody started here last.
                ray.init(address="local", include_dashboard=False, **options)
        except Exception as error:  # Ray says it by nothing more special
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            logger.warning("Ray did not start in time (%d of %d)", attempt, MOST_STARTS)
        else:
            return
    raise UserError(
        f"Ray has not started here in {MOST_STARTS} attempts: see /tmp/ray/session_latest/logs for "
        "what has stopped it, or try again when the machine is less busy"
    )


@contextmanager
def patience() -> Iterator[None]:
    """Within it, a node that `ray.init` starts may take longer than Ray's 30 s: while it runs."""
    get_node = services.get_node

    def get_node_patiently(*arguments: Any) -> Any:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:  # it has not registered yet
                if not _raylet_runs() or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    services.get_node = get_node_patiently
    try:
        yield
    finally:
        services.get_node = get_node


def _raylet_runs() -> bool:
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if child.name() == "raylet" and child.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
