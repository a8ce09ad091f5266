"""Placement of engines on nodes: what fits, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.node_types import NODE_TYPES
from cluster.placement import place, replica_placement
from deepprune.config import (
    EncoderJudgeConfig,
    EngineConfig,
    RunConfig,
    parse_config,
)
from deepprune.errors import UserError

ROOT = Path(__file__).parents[2]


def test_pipeline_shards_may_lie_on_several_nodes():
    placement = replica_placement(
        EngineConfig(model="m", tensor_parallel=2, pipeline_parallel=2, cpus_per_shard=2)
    )
    assert placement.bundle_dicts == [{"CPU": 2, "GPU": 1}] * 4
    assert placement.strategy == "PACK"
    assert (placement.num_cpus, placement.num_gpus) == (2, 0)
    assert placement.executor_backend == "ray"


def test_labels_of_nodes_go_with_every_placement():
    for parallel in ({}, {"tensor_parallel": 2}, {"pipeline_parallel": 2}):
        engine = EngineConfig(model="m", node_labels={"pool": "!judges"}, **parallel)
        assert replica_placement(engine).node_labels == (("pool", "!judges"),)


def test_a_shared_gpu_is_a_fraction():
    placement = replica_placement(EngineConfig(model="m", gpus_per_shard=0.25))
    assert placement.bundle_dicts == [{"CPU": 1, "GPU": 0.25}]
    assert placement.num_gpus == 0.25


def config(nodes: dict, engine: dict, replicas: int = 1, judge: dict | None = None) -> RunConfig:
    data = {
        "nodes": nodes,
        "generator": {
            "engine": {"model": "m"} | engine,
            "replicas": {"min": replicas, "max": replicas},
        },
        "policy": {"name": "cons"},
    }
    if judge is not None:
        count = judge.pop("replicas", 1)
        data["judge"] = {
            "engine": {"model": "j"} | judge,
            "replicas": {"min": count, "max": count},
        }
    return RunConfig.model_validate(data)


def refusal_of(run: RunConfig) -> str:
    with pytest.raises(UserError) as refusal:
        place(run)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


class TestRefusals:
    def test_an_unknown_node_type(self):
        assert refusal_of(config({"tpu": 1}, {})) == (
            "nodes: there is no node type 'tpu'; known are a100x4, gpu, h200x8, h20x8, head, laptop"
        )

    @pytest.mark.parametrize(
        ("nodes", "engine", "largest"),
        [
            ({"a100x4": 2}, {"tensor_parallel": 8}, "a100x4 with 4"),
            ({"a100x4": 2}, {"tensor_parallel": 8, "pipeline_parallel": 2}, "a100x4 with 4"),
            # The largest of those that it may use.
            ({"a100x4": 1, "h20x8": 1}, {"tensor_parallel": 8, "accelerator": "A100"}, "a100x4"),
            ({"laptop": 1}, {}, "laptop with 0"),
        ],
    )
    def test_more_tensor_parallel_shards_than_a_node_has_gpus(self, nodes, engine, largest):
        message = refusal_of(config(nodes, engine))
        shards = engine.get("tensor_parallel", 1)
        assert f"generator: one replica needs {shards} GPUs on one node" in message
        assert f"the largest node type it may use is {largest}" in message
        assert "lower tensor_parallel" in message and "gpus_per_shard: 0" in message

    def test_an_accelerator_that_no_node_has(self):
        assert "generator: no node has the accelerator 'H20'" in refusal_of(
            config({"a100x4": 1}, {"accelerator": "H20"})
        )
        assert "judge: no node has the accelerator 'H20'" in refusal_of(
            config({"a100x4": 1}, {}, judge={"accelerator": "H20"})
        )

    @pytest.mark.parametrize(
        ("nodes", "engine", "replicas", "needs"),
        [
            ({"a100x4": 1}, {}, 5, "1 GPUs and 1 CPUs"),
            ({"a100x4": 1}, {"tensor_parallel": 3}, 2, "3 GPUs and 3 CPUs"),
            ({"laptop": 1}, {"gpus_per_shard": 0, "cpus_per_shard": 4}, 1, "0 GPUs and 4 CPUs"),
            ({"laptop": 3}, {"gpus_per_shard": 0, "cpus_per_shard": 2}, 4, "0 GPUs and 2 CPUs"),
            ({"a100x4": 1, "h20x8": 1}, {"accelerator": "A100"}, 5, "1 GPUs and 1 CPUs"),
            # Two thirds of a GPU do not come from two thirds of several.
            ({"a100x4": 1}, {"gpus_per_shard": 0.6}, 5, "0.6 GPUs and 1 CPUs"),
        ],
    )
    def test_no_room(self, nodes, engine, replicas, needs):
        message = refusal_of(config(nodes, engine, replicas))
        assert message.startswith(f"generator: no room for a replica that needs {needs} beside")
        assert message.endswith(f"on {sum(nodes.values())} nodes: lower replicas.min, or add nodes")

    def test_no_room_beside_the_generators(self):
        assert refusal_of(config({"a100x4": 1}, {}, 4, judge={})).startswith("judge: no room")

    def test_an_encoder_judge_takes_its_share_of_a_gpu(self):
        judge = EncoderJudgeConfig(kind="encoder", folder="e", gpus=0.2)

        def beside(replicas: int):
            return config({"a100x4": 1}, {}, replicas).model_copy(update={"judge": judge})

        placed = place(beside(3)).judge
        assert placed is not None and placed.bundle_dicts == [{"CPU": 1, "GPU": 0.2}]
        assert refusal_of(beside(4)).startswith("judge: no room for a replica that needs 0.2 GPUs")

    def test_a_judge_may_share_the_gpu_of_a_generator(self):
        shared = {"gpus_per_shard": 0.5}
        place(config({"a100x4": 1}, shared, 4, judge=shared | {"replicas": 4}))
        refusal_of(config({"a100x4": 1}, shared, 4, judge=shared | {"replicas": 5}))

    def test_fewer_replicas_at_most_than_at_least(self):
        with pytest.raises(UserError, match="replicas: min 3 is above max 2") as refusal:
            parse_config(
                {
                    "nodes": {"a100x4": 1},
                    "generator": {"engine": {"model": "m"}, "replicas": {"min": 3, "max": 2}},
                    "policy": {"name": "cons"},
                },
                "mine.yaml",
            )
        assert str(refusal.value).startswith("mine.yaml: generator.replicas: ")


NODES = st.dictionaries(st.sampled_from(sorted(NODE_TYPES)), st.integers(1, 3), min_size=1)
ENGINES = st.fixed_dictionaries(
    {"cpus_per_shard": st.integers(1, 16), "accelerator": st.sampled_from([None, "A100", "H20"])}
).flatmap(
    lambda engine: st.one_of(
        st.builds(
            lambda tensor, pipeline: (
                engine | {"tensor_parallel": tensor, "pipeline_parallel": pipeline}
            ),
            st.integers(1, 9),
            st.integers(1, 3),
        ),
        st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.6]).map(
            lambda share: engine | {"gpus_per_shard": share}
        ),
    )
)


def bundles_of(engine: dict) -> tuple[int, float, int]:
    """How many bundles a replica has, and the GPUs and CPUs of each."""
    tensor, pipeline = engine.get("tensor_parallel", 1), engine.get("pipeline_parallel", 1)
    share, cpus = engine.get("gpus_per_shard", 1), engine["cpus_per_shard"]
    if pipeline > 1:
        return tensor * pipeline, share, cpus
    return 1, tensor * share, tensor * cpus


def usable(nodes: dict, engine: dict) -> list:
    every = [NODE_TYPES[name] for name, count in nodes.items() for _ in range(count)]
    return [node for node in every if engine["accelerator"] in (None, node.accelerator)]


class TestWhateverIsAsked:
    @given(NODES, ENGINES, st.integers(1, 40))
    def test_generators_alone_are_placed_just_when_they_fit(self, nodes, engine, replicas):
        count, gpus, cpus = bundles_of(engine)
        room = 0
        for node in usable(nodes, engine):
            fitting = node.cpus // cpus
            if gpus >= 1:
                fitting = min(fitting, node.gpus // gpus)
            elif gpus > 0:
                fitting = min(fitting, node.gpus * math.floor(1 / gpus + 1e-9))
            room += fitting
        most_gpus = max((node.gpus for node in usable(nodes, engine)), default=-1)
        shards = engine.get("tensor_parallel", 1) * engine.get("gpus_per_shard", 1)
        try:
            place(config(nodes, engine, replicas))
        except UserError:
            assert count * replicas > room or shards > most_gpus
        else:
            assert count * replicas <= room and shards <= most_gpus

    @given(NODES, ENGINES, st.integers(1, 8), ENGINES, st.integers(1, 8))
    def test_generators_and_judges_take_no_more_than_there_is(
        self, nodes, engine, replicas, judge, judges
    ):
        try:
            place(config(nodes, engine, replicas, judge | {"replicas": judges}))
        except UserError:
            return
        demands = [(engine, replicas), (judge, judges)]
        for accelerators in (["A100"], ["H20"], ["A100", "H20", "H200", None]):
            among = [n for n in map(NODE_TYPES.get, nodes) if n.accelerator in accelerators]
            confined = [
                (bundles_of(each), number)
                for each, number in demands
                if None in accelerators or each["accelerator"] in accelerators
            ]
            gpus = sum(count * gpu * number for (count, gpu, _), number in confined)
            cpus = sum(count * cpu * number for (count, _, cpu), number in confined)
            assert gpus <= sum(node.gpus * nodes[node.name] for node in among) + 1e-6
            assert cpus <= sum(node.cpus * nodes[node.name] for node in among)


def test_placement_needs_no_ray():
    code = "import sys, cluster.placement; assert not {'ray', 'torch', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
