"""Placement by hand, the shipped configurations, and the manifest that `ray up` takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.configs import resolve_config, shipped_configs
from cluster.hardware import NODE_TYPES
from cluster.placement import place, replica_placement
from deepprune.config import EngineConfig, RunConfig, load_config
from deepprune.errors import UserError

ROOT = Path(__file__).parents[2]
A100 = "accelerator_type:A100"
H20 = "accelerator_type:H20"


def one(kind: str, gpus: int = 1) -> list[dict]:
    return [{"CPU": gpus, "GPU": gpus, kind: 0.001}]


@pytest.mark.parametrize(
    ("name", "generator", "judge", "executor", "replicas"),
    [
        ("laptop", [{"CPU": 1}], [{"CPU": 1}], None, (1, 1)),
        ("a100x4", one(A100), one(A100), None, (3, 1)),
        ("a100x4-qwen3-32b", one(A100, 2), one(A100), "mp", (1, 1)),
        ("h20x8", one(H20), one(H20), None, (7, 1)),
        ("h20x8-qwen3-32b", one(H20, 2), one(H20), "mp", (3, 2)),
    ],
)
def test_shipped_configurations_are_placed_as_by_hand(name, generator, judge, executor, replicas):
    config = load_config(resolve_config(name))
    placement = place(config)
    assert placement.generator.bundle_dicts == generator
    assert placement.judge.bundle_dicts == judge
    assert placement.generator.executor_backend == executor
    assert placement.generator.strategy == "STRICT_PACK"
    assert (config.generator.replicas.min, config.judge.replicas.min) == replicas


def test_every_shipped_configuration_is_among_those():
    assert [path.stem for path in shipped_configs()] == [
        *("a100x4", "a100x4-qwen3-32b", "h20x8", "h20x8-qwen3-32b", "laptop")
    ]


def test_pipeline_shards_may_lie_on_several_nodes():
    placement = replica_placement(
        EngineConfig(model="m", tensor_parallel=2, pipeline_parallel=2, cpus_per_shard=2)
    )
    assert placement.bundle_dicts == [{"CPU": 2, "GPU": 1}] * 4
    assert placement.strategy == "PACK"
    assert (placement.num_cpus, placement.num_gpus) == (2, 0)
    assert placement.executor_backend == "ray"


def test_a_shared_gpu_is_a_fraction():
    placement = replica_placement(EngineConfig(model="m", gpus_per_shard=0.25))
    assert placement.bundle_dicts == [{"CPU": 1, "GPU": 0.25}]
    assert placement.num_gpus == 0.25


def config(nodes: dict, engine: dict, replicas: int = 1) -> RunConfig:
    return RunConfig.model_validate(
        {
            "nodes": nodes,
            "generator": {
                "engine": {"model": "m"} | engine,
                "replicas": {"min": replicas, "max": replicas},
            },
            "policy": {"name": "cons"},
        }
    )


@pytest.mark.parametrize(
    ("nodes", "engine", "replicas", "words"),
    [
        ({"tpu": 1}, {}, 1, ["no node type 'tpu'", "a100x4"]),
        ({"a100x4": 2}, {"tensor_parallel": 8}, 1, ["8 GPUs on one node", "a100x4 with 4"]),
        ({"laptop": 1}, {}, 1, ["1 GPUs", "gpus_per_shard: 0"]),
        ({"a100x4": 1}, {"accelerator": "H20"}, 1, ["accelerator 'H20'"]),
        ({"a100x4": 1}, {}, 5, ["no room", "replicas.min"]),
        ({"a100x4": 1}, {"tensor_parallel": 3}, 2, ["no room"]),
        ({"laptop": 1}, {"gpus_per_shard": 0, "cpus_per_shard": 4}, 1, ["no room"]),
    ],
)
def test_what_cannot_be_placed_is_refused(nodes, engine, replicas, words):
    with pytest.raises(UserError) as refusal:
        place(config(nodes, engine, replicas))
    assert all(word in str(refusal.value) for word in words), refusal.value
    assert "\n" not in str(refusal.value)


@given(
    nodes=st.dictionaries(st.sampled_from(sorted(NODE_TYPES)), st.integers(1, 3), min_size=1),
    tensor=st.integers(1, 8),
    pipeline=st.integers(1, 3),
    replicas=st.integers(1, 6),
)
def test_what_is_placed_is_within_what_there_is(nodes, tensor, pipeline, replicas):
    run = config(nodes, {"tensor_parallel": tensor, "pipeline_parallel": pipeline}, replicas)
    there = sum(NODE_TYPES[name].gpus * count for name, count in nodes.items())
    try:
        place(run)
    except UserError:
        # Refused although there are GPUs enough: then no node alone has room for the shards.
        largest = max(NODE_TYPES[name].gpus for name in nodes)
        whole = sum(NODE_TYPES[name].gpus // tensor * count for name, count in nodes.items())
        assert tensor * pipeline * replicas > there or tensor > largest or whole < replicas
    else:
        assert tensor * pipeline * replicas <= there


def test_a_configuration_is_found_by_name_or_path(tmp_path):
    assert resolve_config("laptop").name == "laptop.yaml"
    path = tmp_path / "mine.yaml"
    path.write_text("")
    assert resolve_config(str(path)) == path
    with pytest.raises(UserError, match="one of a100x4"):
        resolve_config("mine")


def test_placement_needs_no_ray():
    code = "import sys, cluster.placement; assert not {'ray', 'torch', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ray_accepts_the_cluster_manifest():
    from ray.autoscaler._private.util import prepare_config, validate_config

    manifest = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    prepared = prepare_config(manifest)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert set(types) == {"head", "a100x4", "h20x8"}
    for name, node_type in types.items():
        expected = NODE_TYPES[name]
        resources = node_type["resources"]
        assert resources["CPU"] == expected.cpus
        assert resources.get("GPU", 0) == expected.gpus
        if expected.accelerator:
            assert f"accelerator_type:{expected.accelerator}" in resources
        assert 0 <= node_type["min_workers"] <= node_type["max_workers"] <= manifest["max_workers"]
