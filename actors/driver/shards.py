"""The coordinator as shards: several `Coordinator` actors, with problems hashed to them.

Each shard has its share of the problems in flight. A problem stays in one shard from launch to
vote, so shards do not communicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.driver.coordinator import Coordinator
from actors.driver.snapshot import Snapshot
from deepprune.config import LimitsConfig, RunConfig
from deepprune.policy_config import PolicyConfig
from deepprune.promise import Terms
from deepprune.seeds import stable_seed
from deepprune.traces import Problem

PROBLEMS_PER_SHARD = 32
MAX_CONCURRENCY = 10_000
"""Concurrent calls of a shard: problems in flight or waiting."""


@dataclass(frozen=True, slots=True)
class Shards:
    """Handles of the coordinator actors; can be pickled to any process of the cluster."""

    actors: tuple[Any, ...]

    @classmethod
    def start(cls, config: RunConfig, generator_app: str | None, judge_app: str | None) -> Shards:
        """Start the configured number of shards, and share `limits.max_problems` among them.

        They run on the driver's node, apart from engines. Ray restarts a shard that dies.
        """
        # Not soft: Ray would place an actor that reserves nothing on any node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Coordinator).options(
            num_cpus=0,
            max_concurrency=MAX_CONCURRENCY,
            max_restarts=-1,
            scheduling_strategy=here,
        )
        slots = shares(config.limits.max_problems, num_shards(config.limits))
        return cls(tuple(actor.remote(config, generator_app, judge_app, n) for n in slots))

    def stop(self) -> None:
        """Kill the actors, and with them the problems in flight."""
        for shard in self.actors:
            ray.kill(shard)

    def solve(
        self, problem: Problem, policy: PolicyConfig, seed: int, terms: Terms | None = None
    ) -> Any:
        """Return a reference to the future `Solved`; see `Coordinator.solve`."""
        return self._of(problem, policy.name, seed).solve.remote(problem, policy, seed, terms)

    def collect(self, problem: Problem, samples: Sequence[int], seed: int) -> Any:
        """Return an iterator of references to ended traces; see `Coordinator.collect`."""
        method = self._of(problem, "collect", seed).collect.options(num_returns="streaming")
        return method.remote(problem, samples, seed)

    def watch(self) -> list[Snapshot]:
        """Return a snapshot of each running problem."""
        found: list[list[Snapshot]] = ray.get([shard.watch.remote() for shard in self.actors])
        return [snapshot for snapshots in found for snapshot in snapshots]

    def interrupt(self, reason: str) -> None:
        """Stop every problem, running or waiting, with its vote so far."""
        ray.get([shard.interrupt.remote(reason) for shard in self.actors])

    def resume(self) -> None:
        """Accept problems again after an `interrupt`."""
        ray.get([shard.resume.remote() for shard in self.actors])

    def _of(self, problem: Problem, work: str, seed: int) -> Any:
        return self.actors[shard_of(problem, work, seed, len(self.actors))]


def num_shards(limits: LimitsConfig) -> int:
    """Return the configured number, else one per `PROBLEMS_PER_SHARD` problems in flight."""
    return limits.coordinators or -(-limits.max_problems // PROBLEMS_PER_SHARD)


def shard_of(problem: Problem, work: str, seed: int, num_shards: int) -> int:
    """Return the index of the shard for a piece of work, the same in every process."""
    return stable_seed(problem.problem_id, work, seed) % num_shards


def shares(total: int, parts: int) -> list[int]:
    """Split `total` into `parts` that differ by at most one."""
    return [total // parts + (part < total % parts) for part in range(parts)]
