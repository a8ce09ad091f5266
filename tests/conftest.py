"""What live and fault tests share: one real system, started once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from deepprune.config import RunConfig, load_config
from deepprune.policy_config import PolicyConfig
from deepprune.traces import Problem
from miniature.problems import generate_problems


class LiveSystem:
    """The laptop's system with a second generator replica, and calls that wait for results."""

    def __init__(self, coordinator: Any, config: RunConfig) -> None:
        self.coordinator = coordinator
        self.config = config

    def start(self, problems: Sequence[Problem], policy: PolicyConfig, seed: int = 0) -> list[Any]:
        return [self.coordinator.solve(problem, policy, seed) for problem in problems]

    def solve(self, problems: Sequence[Problem], policy: PolicyConfig, seed: int = 0) -> list[Any]:
        import ray

        solved: list[Any] = ray.get(self.start(problems, policy, seed), timeout=180)
        return solved


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    return generate_problems(7, 4, split="demo")


@pytest.fixture(scope="session")
def live_system() -> Iterator[LiveSystem]:
    import ray

    from actors.deploy import running
    from actors.preflight import with_calibration

    config = with_calibration(
        load_config(
            "cluster/laptop.yaml",
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
    ray.init(
        address="local",
        num_cpus=6,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    try:
        with running(config) as system:
            yield LiveSystem(system.coordinator, config)
    finally:
        ray.shutdown()
