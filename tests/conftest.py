"""What live and fault tests share: one real system, started once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from deepprune.traces import Problem
from miniature.problems import generate_problems
from tests.support.start_counts import Starts

if TYPE_CHECKING:  # unit tests load no Ray
    from tests.support.systems import Head, LiveSystem, OneSystem

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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a system follow each other in one process, those that harm it at the end.

    All that run on the engines of `live_system` are one group for xdist, all that need any other
    system a second one; the rest are dealt out.
    """
    systems = ("live_system", "one_system", "a system of its own", "none")
    endpoints = ("scaled_endpoint", "endpoint")

    def system_of(item: pytest.Item) -> str:
        if not any(item.iter_markers("live")) and not any(item.iter_markers("faults")):
            return "none"
        used: Sequence[str] = getattr(item, "fixturenames", ())
        return next((name for name in systems if name in used), "a system of its own")

    def turn(item: pytest.Item) -> tuple[int, bool, int]:
        used: Sequence[str] = getattr(item, "fixturenames", ())
        endpoint = next((-i for i, name in enumerate(endpoints) if name in used), -len(endpoints))
        return systems.index(system_of(item)), any(item.iter_markers("faults")), endpoint

    items.sort(key=turn)
    for item in items:
        if (system := system_of(item)) != "none":
            group = "engines" if system == "live_system" else "others"
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    return generate_problems(7, 4, split="demo")


@pytest.fixture(scope="session")
def one_system() -> Iterator[OneSystem]:
    from tests.support.systems import OneSystem

    system = OneSystem()
    yield system
    system.close()


@pytest.fixture(scope="module")
def bare_head(one_system: OneSystem) -> Head:
    """A Ray cluster of two CPUs, on which nothing runs yet."""
    from tests.support.systems import head

    found: Head = one_system(head)
    return found


@pytest.fixture(scope="module")
def bare_cluster(bare_head: Head) -> str:
    """The address of `bare_head`."""
    return bare_head.address


@pytest.fixture
def live_system(one_system: OneSystem) -> LiveSystem:
    from tests.support.systems import laptop

    found: LiveSystem = one_system(laptop)
    return found
