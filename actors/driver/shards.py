"""The coordinator as the rest of the system sees it: shards, and problems hashed to them.

Each shard is a `Coordinator` actor with its share of the problems that may be in flight. A problem
lives in one shard from launch to vote, so shards never speak to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.driver.coordinator import Coordinator
from actors.driver.live import Snapshot
from deepprune.config import LimitsConfig, RunConfig
from deepprune.policy_config import PolicyConfig
from deepprune.seeds import stable_seed
from deepprune.traces import Problem

PROBLEMS_PER_SHARD = 32
MAX_CONCURRENCY = 10_000
"""Calls that a shard takes at a time: problems in flight or waiting, and reports of engines."""


@dataclass(frozen=True, slots=True)
class Shards:
    """Handles of the coordinator actors. Can be sent to any process of the cluster."""

    actors: tuple[Any, ...]

    @classmethod
    def start(cls, config: RunConfig, generator_app: str | None, judge_app: str | None) -> Shards:
        """Start as many as the configuration says. They share out `limits.max_problems`.

        They live and die with the driver's node, away from engines; Ray restarts one that dies.
        """
        # Not soft: Ray lets an actor that reserves nothing fall where it likes.
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
        """End the actors, and whatever they still drive."""
        for shard in self.actors:
            ray.kill(shard)

    def solve(self, problem: Problem, policy: PolicyConfig, seed: int) -> Any:
        """A reference to the `Solved` that will be; see `Coordinator.solve`."""
        return self._of(problem, policy.name, seed).solve.remote(problem, policy, seed)

    def collect(self, problem: Problem, samples: Sequence[int], seed: int) -> Any:
        """An iterator of references to traces as they end; see `Coordinator.collect`."""
        method = self._of(problem, "collect", seed).collect.options(num_returns="streaming")
        return method.remote(problem, samples, seed)

    def watch(self) -> list[Snapshot]:
        """Where each running problem stands."""
        found: list[list[Snapshot]] = ray.get([shard.watch.remote() for shard in self.actors])
        return [snapshot for snapshots in found for snapshot in snapshots]

    def interrupt(self, reason: str) -> None:
        """Stop every problem, running or waiting, with the vote as it is."""
        ray.get([shard.interrupt.remote(reason) for shard in self.actors])

    def resume(self) -> None:
        """Take problems again after an `interrupt`."""
        ray.get([shard.resume.remote() for shard in self.actors])

    def _of(self, problem: Problem, work: str, seed: int) -> Any:
        return self.actors[shard_of(problem, work, seed, len(self.actors))]


def num_shards(limits: LimitsConfig) -> int:
    """As many as configured, else one for every `PROBLEMS_PER_SHARD` problems in flight."""
    return limits.coordinators or -(-limits.max_problems // PROBLEMS_PER_SHARD)


def shard_of(problem: Problem, work: str, seed: int, num_shards: int) -> int:
    """The place of the shard that does a piece of work: the same one whoever asks."""
    return stable_seed(problem.problem_id, work, seed) % num_shards


def shares(total: int, parts: int) -> list[int]:
    """`total` in `parts` that differ by one at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]
