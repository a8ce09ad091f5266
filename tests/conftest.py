"""What live and fault tests share: one real system, started once."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from deepprune.config import RunConfig, load_config
from deepprune.policy_config import PolicyConfig
from deepprune.traces import Problem
from miniature.problems import generate_problems
from tests.support.start_counts import Starts
from tests.support.waiting import HANG_S

# A cluster started by hand asks for a token only when it is told to, one of `ray.init` always; Ray
# reads this once in a process.
os.environ.setdefault("RAY_AUTH_MODE", "token")

# Ray lets its workers wait for every other process: here, for tests that need no Ray.
os.environ.setdefault("RAY_worker_niceness", "0")

# Two processes of tests share the cores, and threads that wait for each other spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How fast a machine is decides no test. `--hypothesis-profile thorough` looks for longer.
for name, max_examples in {"quick": 25, "thorough": 300}.items():
    settings.register_profile(
        name,
        deadline=None,
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("quick")


gc.disable()  # while modules are imported: a quarter of the time of it


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's own process sees what all others start
        config.pluginmanager.register(Starts())


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
    """A pairwise judge and two generators on the laptop.

    A command with `--address` and `--config` as here runs on the same engines.
    """

    def __init__(self, coordinator: Any, config: RunConfig, address: str, folder: Path) -> None:
        super().__init__(coordinator, config)
        self.address = address
        self.config_path = str(folder / "live.yaml")
        Path(self.config_path).write_text(yaml.safe_dump(config.model_dump(mode="json")))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a system follow each other in one process, those that harm it at the end.

    Starting one takes a minute or two. All that run on the engines of `live_system` are one group
    for xdist, all that need any other system a second one; the rest are dealt out.
    """
    systems = ("live_system", "one_system", "a system of its own", "endpoint", "none")

    def system_of(item: pytest.Item) -> str:
        if not any(item.iter_markers("live")) and not any(item.iter_markers("faults")):
            return "none"
        used: Sequence[str] = getattr(item, "fixturenames", ())
        return next((name for name in systems if name in used), "a system of its own")

    def turn(item: pytest.Item) -> tuple[int, bool]:
        return systems.index(system_of(item)), any(item.iter_markers("faults"))

    items.sort(key=turn)
    for item in items:
        if (system := system_of(item)) != "none":
            group = "engines" if system == "live_system" else "others"
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    return generate_problems(7, 4, split="demo")


@contextmanager
def _laptop() -> Iterator[LiveSystem]:
    import ray

    from actors.deploy.connection import connected
    from actors.deploy.preflight import with_calibration
    from actors.deploy.system import running

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
    # More CPUs than there may be: Ray only counts them, and the second replica has to fit.
    with connected(None, num_cpus=6), running(config) as system, TemporaryDirectory() as folder:
        address = ray.get_runtime_context().gcs_address
        yield LiveSystem(system.coordinator, config, address, Path(folder))


class OneSystem:
    """A process talks to one Ray cluster at a time: what asks for another system ends the last."""

    def __init__(self) -> None:
        self._kind: Callable[[], AbstractContextManager[Any]] | None = None
        self._stack = ExitStack()
        self._system: Any = None

    def __call__(self, kind: Callable[[], AbstractContextManager[Any]]) -> Any:
        if self._kind is not kind:
            self.close()
            self._system = self._stack.enter_context(kind())
            self._kind = kind
        return self._system

    def close(self) -> None:
        self._kind = None
        self._stack.close()


@pytest.fixture(scope="session")
def one_system() -> Iterator[OneSystem]:
    system = OneSystem()
    yield system
    system.close()


@contextmanager
def _two_cpus() -> Iterator[str]:
    import ray

    from actors.deploy.connection import connected

    with connected(None, num_cpus=2):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def bare_cluster(one_system: OneSystem) -> str:
    """The address of a Ray cluster of two CPUs, on which nothing runs yet."""
    address: str = one_system(_two_cpus)
    return address


@pytest.fixture
def live_system(one_system: OneSystem) -> LiveSystem:
    found: LiveSystem = one_system(_laptop)
    return found
