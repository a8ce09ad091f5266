"""The two Ray clusters that live tests share: one with engines, and one without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from actors.deploy.connection import START_TIMED_OUT, connected
from deepprune.config import RunConfig, load_config
from deepprune.policy_config import PolicyConfig
from deepprune.traces import Problem
from tests.support.free_port import free_port, free_ports
from tests.support.waiting import HANG_S, wait_for


class OneSystem:
    """At most one system at a time: asking for another one ends the last.

    A process talks to one Ray cluster at a time, and a cluster has one endpoint.
    """

    def __init__(self) -> None:
        self._kind: Callable[..., AbstractContextManager[Any]] | None = None
        self._stack = ExitStack()
        self._system: Any = None

    def __call__(self, kind: Callable[..., AbstractContextManager[Any]], *arguments: Any) -> Any:
        if self._kind is not kind:
            self.close()
            self._system = self._stack.enter_context(kind(*arguments))
            self._kind = kind
        return self._system

    def close(self) -> None:
        self._kind = None
        self._stack.close()


class Driven:
    """A running system, and calls that wait for results."""

    def __init__(self, coordinator: Any, config: RunConfig) -> None:
        self.coordinator = coordinator
        self.config = config

    def start(self, problems: Sequence[Problem], policy: PolicyConfig, seed: int = 0) -> list[Any]:
        return [self.coordinator.solve(problem, policy, seed) for problem in problems]

    def solve(self, problems: Sequence[Problem], policy: PolicyConfig, seed: int = 0) -> list[Any]:
        import ray

        solved: list[Any] = ray.get(self.start(problems, policy, seed), timeout=HANG_S)
        return solved


class LiveSystem(Driven):
    """A pairwise judge and two generators on the laptop, and at most one endpoint over them.

    A command with `--address` and `--config` as here runs on the same engines.
    """

    def __init__(
        self, coordinator: Any, config: RunConfig, folder: Path, port: int, endpoints: OneSystem
    ) -> None:
        import ray

        super().__init__(coordinator, config)
        self.address = ray.get_runtime_context().gcs_address
        self.config_path = str(folder / "live.yaml")
        Path(self.config_path).write_text(yaml.safe_dump(config.model_dump(mode="json")))
        self.port = port
        self.endpoints = endpoints


@contextmanager
def laptop() -> Iterator[LiveSystem]:
    from ray.serve.context import _get_global_client

    from actors.deploy.preflight import with_calibration
    from actors.deploy.system import running
    from actors.serving.deploy import listen

    config = with_calibration(
        load_config(
            "cluster/laptop-pairwise.yaml",
            {
                "nodes": {"laptop": 2},
                "generator.replicas": {"min": 2, "max": 2},
                "generator.progress_s": 0.05,
                "generator.confidence": True,
                "limits.coordinators": 2,
                "generator.confidence_top_k": 5,
                "generator.confidence_window": 32,
                "policy.num_traces": 32,
            },
        )
    )
    port = free_port()
    # More CPUs than there may be: Ray only counts them, and a generator of two replicas and two
    # threads has to fit beside this one.
    with connected(None, num_cpus=9), TemporaryDirectory() as folder:
        listen("127.0.0.1", port)
        with running(config) as system, closing(OneSystem()) as endpoints:
            yield LiveSystem(system.coordinator, config, Path(folder), port, endpoints)
            # Else those that tests have called would report to Serve after its end, for ever.
            _get_global_client().shutdown_cached_handles()


class Head:
    """A Ray cluster of two CPUs with the Jobs API, and this process attached to it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, dashboard: str) -> None:
        self.process = process
        self.address = address
        self.dashboard = dashboard


@contextmanager
def head() -> Iterator[Head]:
    """Start a head from the command line."""
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled

    ensure_token_if_auth_enabled()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": "/tmp",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # nothing runs on it when it ends
    }
    environment.pop("RAY_ADDRESS", None)
    port, client, dashboard, agent, agent_grpc = free_ports(5)
    options = [
        *("--num-cpus=2", f"--port={port}", f"--dashboard-port={dashboard}"),
        f"--ray-client-server-port={client}",
        # Other clusters on this machine have taken the agent's usual ports.
        *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
    ]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", *options],
                env=environment,
                stdout=log.open("w"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        process = start()

        def is_up() -> bool:
            nonlocal process
            said = log.read_text()
            if process.poll() is not None:  # Ray gives its own processes 30 s
                assert START_TIMED_OUT in said, said
                process = start()
            return "Ray runtime started" in said

        try:
            wait_for(is_up, every=0.2)
            address = f"127.0.0.1:{port}"
            with connected(address):
                yield Head(process, address, f"http://127.0.0.1:{dashboard}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
