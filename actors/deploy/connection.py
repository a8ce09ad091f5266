"""Connect to a running Ray cluster, or start a local one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psutil
import ray
from ray._private import services
from ray._private.authentication.authentication_token_generator import (
    generate_new_authentication_token,
)
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from deepprune.errors import UserError

logger = logging.getLogger(__name__)

START_TIMED_OUT = "timed out during startup"
"""Part of Ray's error message when a node does not start within 30 s."""
TOKEN = "RAY_AUTH_TOKEN"
MAX_STARTS = 3
START_S = 600
"""Limit for the start of a local cluster's processes, also on a busy machine."""
LOCAL = {
    # By default Ray lowers the priority of its workers; here the user waits for them.
    "RAY_worker_niceness": "0",
    "RAY_gcs_server_port_wait_time_s": str(START_S),
    "RAY_worker_register_timeout_seconds": str(START_S),
    # Serve replaces a proxy that is not ready after 15 s, or silent for 30.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(START_S),
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""Defaults for the environment of a local cluster."""


def running_cluster(address: str | None) -> str | None:
    """Return `address`, else the address of the cluster that runs this program as a job."""
    return address or os.environ.get("RAY_ADDRESS")


@contextmanager
def connected(address: str | None, *, num_cpus: int | None = None) -> Iterator[None]:
    """Connect to the cluster at `address`, or start a local one and stop it at the end.

    A local one counts `num_cpus` CPUs as its own, by default those of this machine.

    Raises:
        UserError: nothing answers at `address`, or this machine is too busy to start a cluster.
    """
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with own_token() if address is None else nullcontext():
        if address is None:
            _start(options | {"num_cpus": num_cpus})
        else:
            _join(address, options)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def own_token() -> Iterator[None]:
    """Give a local cluster a token that ends with it, unless this user has one already.

    Ray would write one to ~/.ray, and the next `ray start --head` here would ask it of its nodes.
    """
    loader = AuthenticationTokenLoader.instance()
    if loader.has_token(ignore_auth_mode=True):
        yield
        return
    os.environ[TOKEN] = generate_new_authentication_token()
    loader.reset_cache()
    try:
        yield
    finally:
        del os.environ[TOKEN]
        loader.reset_cache()


def _join(address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise UserError(
            f"cannot connect to a Ray cluster at {address!r}: start one with `ray start --head`, "
            "set RAY_AUTH_MODE=token if it asks for one, or leave --address out to start one here "
            f"({' '.join(str(error).split())[:120]})"
        ) from None


def _start(options: dict[str, Any]) -> None:
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    for attempt in range(1, MAX_STARTS + 1):
        try:
            with extended_start_timeout():
                # Without "local" Ray would join whatever cluster somebody started here last.
                ray.init(address="local", include_dashboard=False, **options)
        except Exception as error:  # Ray raises no narrower class
            if START_TIMED_OUT not in str(error):
                raise
            ray.shutdown()
            logger.warning("Ray did not start in time (%d of %d)", attempt, MAX_STARTS)
        else:
            return
    raise UserError(
        f"Ray has not started here in {MAX_STARTS} attempts: see /tmp/ray/session_latest/logs for "
        "the reason, or try again when the machine is less busy"
    )


@contextmanager
def extended_start_timeout() -> Iterator[None]:
    """Allow a node that `ray.init` starts `START_S`, not Ray's 30 s, while its raylet runs."""
    get_node = services.get_node

    def get_node_with_timeout(*arguments: Any) -> Any:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:  # not registered yet
                if not _raylet_runs() or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    services.get_node = get_node_with_timeout
    try:
        yield
    finally:
        services.get_node = get_node


def _raylet_runs() -> bool:
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # ended since
            if child.name() == "raylet" and child.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
