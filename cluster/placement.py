"""Compute the placement of replicas from a configuration, without Ray.

A replica is one actor in one placement group. With one shard the actor uses its only bundle.
Tensor-parallel shards are processes on the actor's node, in one bundle, since they exchange data in
every layer. With pipeline parallelism each shard has its own bundle and Ray worker, and the bundles
may be on several nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.node_types import NODE_TYPES, NodeType
from deepprune.config import (
    EncoderJudgeConfig,
    EngineConfig,
    FeatureJudgeConfig,
    ReplicasConfig,
    RunConfig,
    VllmGeneratorConfig,
    VllmJudgeConfig,
)
from deepprune.errors import UserError

Bundle = dict[str, float]


@dataclass(frozen=True, slots=True)
class ReplicaPlacement:
    """The resources of one replica: its placement group, the actor's share, vLLM's executor.

    A node needs all of `node_labels` to hold one of its bundles.
    """

    bundles: tuple[tuple[tuple[str, float], ...], ...]
    strategy: str
    num_cpus: float
    num_gpus: float
    executor_backend: str | None
    node_labels: tuple[tuple[str, str], ...] = ()

    @property
    def needs(self) -> Bundle:
        """What a node must have to hold any of the bundles."""
        return {name: amount for bundle in self.bundles for name, amount in bundle}

    @property
    def bundle_dicts(self) -> list[Bundle]:
        """The bundles in Ray's format."""
        return [dict(bundle) for bundle in self.bundles]


@dataclass(frozen=True, slots=True)
class Placement:
    """Placement of the replicas that Serve runs; None where there are none."""

    generator: ReplicaPlacement | None
    judge: ReplicaPlacement | None


def place(config: RunConfig) -> Placement:
    """Compute the placement, and check that the minimum number of replicas fits on the nodes.

    Raises:
        UserError: a node type is unknown, or the nodes cannot hold the replicas.
    """
    place_together(config.nodes, [config])
    placements = {name: replica_placement(engine) for name, engine, _ in _engines(config)}
    return Placement(placements.get("generator"), placements.get("judge"))


def _engines(config: RunConfig) -> list[tuple[str, EngineConfig, ReplicasConfig]]:
    """List the engines that a run starts: name, configuration, replicas."""
    engines = []
    if isinstance(config.generator, VllmGeneratorConfig):
        engines.append(("generator", config.generator.engine, config.generator.replicas))
    if isinstance(config.judge, VllmJudgeConfig):
        engines.append(("judge", config.judge.engine, config.judge.replicas))
    if isinstance(config.judge, EncoderJudgeConfig):
        alike = EngineConfig(
            model=config.judge.folder,
            gpus_per_shard=config.judge.gpus,
            cpus_per_shard=max(1, math.ceil(config.judge.cpus)),
        )
        engines.append(("judge", alike, config.judge.replicas))
    return engines


def models(config: RunConfig) -> Iterator[tuple[str, ReplicaPlacement]]:
    """List what replicas load, models, tokenizers and judges, each with its replica's placement."""
    for _, engine, _ in _engines(config):
        for name in {engine.model, engine.tokenizer}:
            yield name, replica_placement(engine)
    judge = config.judge
    if isinstance(judge, FeatureJudgeConfig):
        yield judge.folder, one_bundle({"CPU": judge.cpus})


def one_bundle(resources: Bundle) -> ReplicaPlacement:
    """Place a process without an engine."""
    return ReplicaPlacement((tuple(resources.items()),), "PACK", 0, 0, None)


def place_together(nodes: Mapping[str, int], runs: Sequence[RunConfig]) -> None:
    """Check that the minimum number of replicas of all runs fits on the nodes together.

    Runs share equal engines.

    Raises:
        UserError: it does not.
    """
    types = _node_types(nodes)
    engines = [engine for run in runs for engine in _engines(run)]
    wanted = [engine for i, engine in enumerate(engines) if engine not in engines[:i]]
    for name, engine, _ in wanted:
        _check_shape(name, engine, types)
    _check_capacity(wanted, types)


def replica_placement(engine: EngineConfig) -> ReplicaPlacement:
    """Compute the placement group of one replica of an engine."""
    shards = engine.tensor_parallel * engine.pipeline_parallel
    labels = tuple(engine.node_labels.items())
    if engine.pipeline_parallel > 1:
        bundle = _bundle(engine, 1)
        cpus: float = engine.cpus_per_shard
        return ReplicaPlacement((bundle,) * shards, "PACK", cpus, 0, "ray", labels)
    return ReplicaPlacement(
        (_bundle(engine, shards),),
        "STRICT_PACK",
        engine.cpus_per_shard * shards,
        engine.gpus_per_shard * shards,
        None if shards == 1 else "mp",
        labels,
    )


def _bundle(engine: EngineConfig, shards: int) -> tuple[tuple[str, float], ...]:
    bundle: Bundle = {"CPU": engine.cpus_per_shard * shards}
    if engine.gpus_per_shard:
        bundle["GPU"] = engine.gpus_per_shard * shards
    if engine.accelerator:
        bundle[f"accelerator_type:{engine.accelerator}"] = 0.001
    return tuple(bundle.items())


def _node_types(nodes: Mapping[str, int]) -> list[NodeType]:
    for name in nodes:
        if name not in NODE_TYPES:
            known = ", ".join(sorted(NODE_TYPES))
            raise UserError(f"nodes: there is no node type {name!r}; known are {known}")
    return [NODE_TYPES[name] for name, count in nodes.items() for _ in range(count)]


def _check_shape(name: str, engine: EngineConfig, nodes: list[NodeType]) -> None:
    """Check that a replica fits on an empty node of some type."""
    if engine.accelerator and all(node.accelerator != engine.accelerator for node in nodes):
        raise UserError(
            f"{name}: no node has the accelerator {engine.accelerator!r}; take another, or add "
            "such a node type to nodes"
        )
    gpus = engine.gpus_per_shard * engine.tensor_parallel
    usable = [node for node in nodes if engine.accelerator in (None, node.accelerator)]
    largest = max(usable, key=lambda node: node.gpus, default=None)
    if largest is None or gpus > largest.gpus:
        there = "none" if largest is None else f"{largest.name} with {largest.gpus}"
        raise UserError(
            f"{name}: one replica needs {gpus:g} GPUs on one node (tensor_parallel "
            f"{engine.tensor_parallel}), but the largest node type it may use is {there}: lower "
            "tensor_parallel, raise pipeline_parallel, or set gpus_per_shard: 0 to run on CPU"
        )


class _Room:
    """Free resources of a node. GPUs count singly: Ray takes a fraction from one GPU."""

    def __init__(self, node: NodeType) -> None:
        self._accelerator = node.accelerator
        self._cpus: float = node.cpus
        self._gpus = [1.0] * node.gpus

    def take(self, bundle: Bundle, accelerator: str | None) -> bool:
        """Reserve `bundle` if it fits."""
        gpus = bundle.get("GPU", 0)
        share, count = (1.0, round(gpus)) if gpus >= 1 else (gpus, gpus > 0)
        chosen = [i for i, free in enumerate(self._gpus) if share <= free + 1e-9][:count]
        if bundle["CPU"] > self._cpus or len(chosen) < count:
            return False
        if accelerator not in (None, self._accelerator):
            return False
        self._cpus -= bundle["CPU"]
        for i in chosen:
            self._gpus[i] -= share
        return True


def _check_capacity(
    wanted: list[tuple[str, EngineConfig, ReplicasConfig]], nodes: list[NodeType]
) -> None:
    """Place all bundles of the minimum replicas by first fit, largest first."""
    rooms = [_Room(node) for node in nodes]
    bundles = [
        (name, engine.accelerator, dict(bundle))
        for name, engine, replicas in wanted
        for _ in range(replicas.min)
        for bundle in replica_placement(engine).bundles
    ]
    bundles.sort(key=lambda item: (-item[2].get("GPU", 0), -item[2]["CPU"]))
    for name, accelerator, bundle in bundles:
        if not any(room.take(bundle, accelerator) for room in rooms):
            gpus, cpus = bundle.get("GPU", 0), bundle["CPU"]
            raise UserError(
                f"{name}: no room for a replica that needs {gpus:g} GPUs and {cpus:g} CPUs beside "
                f"the others on {len(nodes)} nodes: lower replicas.min, or add nodes"
            )
