"""Placement by hand, the shipped configurations, and the manifest that `ray up` takes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.configs import resolve_config, shipped_configs
from cluster.node_types import NODE_TYPES
from cluster.placement import place, replica_placement
from deepprune.config import (
    EncoderJudgeConfig,
    EngineConfig,
    RunConfig,
    load_config,
    parse_config,
)
from deepprune.errors import UserError

ROOT = Path(__file__).parents[2]
A100 = "accelerator_type:A100"
H20 = "accelerator_type:H20"
ON_GPUS = ["a100x4", "a100x4-qwen3-32b", "h20x8", "h20x8-qwen3-32b"]
WITH_JUDGE = [f"{name}-paper" for name in ON_GPUS]
HALF_A_GPU = {"CPU": 1, "GPU": 0.5}
JUDGE = "Qwen/Qwen3-4B-Instruct-2507"


def one(kind: str, gpus: int = 1) -> list[dict]:
    return [{"CPU": gpus, "GPU": gpus, kind: 0.001}]


class TestShippedConfigurations:
    def test_each_on_gpus_is_there_without_a_judge_and_with_the_papers(self):
        names = [path.stem for path in shipped_configs()]
        others = ["gpu", "gpu-paper", "laptop", "laptop-pairwise"]
        assert names == sorted([*ON_GPUS, *WITH_JUDGE, *others])
        for name in (*ON_GPUS, "gpu"):
            config = load_config(resolve_config(name))
            paper = load_config(resolve_config(f"{name}-paper"))
            assert (config.judge, config.policy.name) == (None, "deepprune+")
            assert paper.judge is not None and paper.policy.name == "deepprune"
            engines = [c.generator.engine.model_dump() for c in (config, paper)]
            assert name == "gpu" or engines[0] == engines[1]
            assert config.generator.sampling == paper.generator.sampling

    @pytest.mark.parametrize(
        ("name", "generator", "judge", "executor", "replicas"),
        [
            ("laptop", [{"CPU": 1}], [{"CPU": 1}], None, ((1, 1), (1, 1))),
            ("laptop-pairwise", [{"CPU": 1}], [{"CPU": 1}], None, ((1, 1), (1, 1))),
            (
                "gpu-paper",
                [{"CPU": 1, "GPU": 0.5}],
                [{"CPU": 1, "GPU": 0.5}],
                None,
                ((1, 1), (1, 1)),
            ),
            ("a100x4-paper", one(A100), one(A100), None, ((3, 3), (1, 1))),
            ("a100x4-qwen3-32b-paper", one(A100, 2), one(A100), "mp", ((1, 1), (1, 2))),
            ("h20x8-paper", one(H20), one(H20), None, ((7, 7), (1, 1))),
            ("h20x8-qwen3-32b-paper", one(H20, 2), one(H20), "mp", ((3, 3), (2, 2))),
        ],
    )
    def test_they_are_placed_as_by_hand(self, name, generator, judge, executor, replicas):
        config = load_config(resolve_config(name))
        placement = place(config)
        assert placement.generator is not None and placement.judge is not None
        assert placement.generator.bundle_dicts == generator
        assert placement.judge.bundle_dicts == judge
        assert placement.generator.executor_backend == executor
        assert placement.judge.executor_backend is None
        assert placement.generator.strategy == placement.judge.strategy == "STRICT_PACK"
        # The actor has all of its only bundle.
        assert placement.generator.num_gpus == generator[0].get("GPU", 0)
        assert placement.generator.num_cpus == generator[0]["CPU"]
        assert replicas == (
            (config.generator.replicas.min, config.generator.replicas.max),
            (config.judge.replicas.min, config.judge.replicas.max),
        )

    @pytest.mark.parametrize("name", [*ON_GPUS, *WITH_JUDGE, "gpu", "gpu-paper"])
    def test_no_gpu_is_left_over_and_the_most_replicas_fit(self, name):
        config = load_config(resolve_config(name))
        most = sum(
            section.replicas.max * section.engine.tensor_parallel * section.engine.gpus_per_shard
            for section in (config.generator, config.judge)
            if section is not None
        )
        assert most == sum(NODE_TYPES[node].gpus * n for node, n in config.nodes.items())

    def test_two_engines_on_one_gpu_leave_each_other_room(self):
        config = load_config(resolve_config("gpu-paper"))
        engines = (config.generator.engine, config.judge.engine)
        assert sum(engine.gpu_memory_utilization for engine in engines) <= 0.9
        # Each would measure what the other is just taking.
        assert all("kv_cache_memory_bytes" in engine.engine_args for engine in engines)

    @pytest.mark.parametrize(
        ("name", "model", "sampling"),
        [
            ("a100x4", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", (0.6, 0.95, 0, 65536)),
            ("a100x4-qwen3-32b", "Qwen/Qwen3-32B", (0.6, 0.95, 20, 32768)),
            ("h20x8", "openai/gpt-oss-20b", (1.0, 1.0, 0, 131072 - 4096)),
            ("h20x8-qwen3-32b", "Qwen/Qwen3-32B", (0.6, 0.95, 20, 32768)),
        ],
    )
    def test_models_are_sampled_as_their_cards_say(self, name, model, sampling):
        config = load_config(resolve_config(f"{name}-paper"))
        generator = config.generator
        assert generator.engine.model == model
        assert config.judge.engine.model == JUDGE
        chosen = generator.sampling
        assert sampling == (chosen.temperature, chosen.top_p, chosen.top_k, chosen.max_tokens)
        assert generator.engine.max_model_len >= chosen.max_tokens + 1024  # and the prompt

    @pytest.mark.parametrize("name", WITH_JUDGE)
    def test_they_write_out_what_the_paper_chose(self, name):
        written = yaml.safe_load(resolve_config(name).read_text())["policy"]
        assert written.pop("checkpoint") in ("tokens:500", "reasoning_words:25")
        assert written == {
            "name": "deepprune",
            "num_traces": 512,
            "tau": 0.5,
            "max_clusters": 16,
            "max_members": 20,
            "max_finish": 20,
            "singletons_finish": 32,
        }

    @pytest.mark.parametrize("name", WITH_JUDGE)
    def test_they_cite_the_paper(self, name):
        text = resolve_config(name).read_text()
        assert "Section 4.2" in text and "Appendix C" in text


class TestNames:
    def test_a_shipped_name_or_a_path(self, tmp_path, monkeypatch):
        assert resolve_config("laptop").name == "laptop.yaml"
        path = tmp_path / "mine.yaml"
        path.write_text("")
        assert resolve_config(str(path)) == path
        monkeypatch.chdir(tmp_path)
        assert resolve_config("mine.yaml") == Path("mine.yaml")

    def test_a_file_here_comes_before_a_shipped_name(self, tmp_path, monkeypatch):
        (tmp_path / "laptop").write_text("")
        monkeypatch.chdir(tmp_path)
        assert resolve_config("laptop") == Path("laptop")

    @pytest.mark.parametrize("name", ["mine", "", ".", "../cluster/laptop", "laptop.yml", "/"])
    def test_anything_else_is_refused_with_what_there_is(self, name):
        with pytest.raises(UserError) as refusal:
            resolve_config(name)
        assert str(refusal.value) == (
            f"there is no configuration {name!r}: give a file, or one of a100x4, "
            "a100x4-paper, a100x4-qwen3-32b, a100x4-qwen3-32b-paper, gpu, gpu-paper, h20x8, "
            "h20x8-paper, h20x8-qwen3-32b, h20x8-qwen3-32b-paper, laptop, laptop-pairwise"
        )


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


class TestManifest:
    @pytest.fixture(scope="class")
    def manifest(self) -> dict:
        return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())

    @pytest.fixture(scope="class")
    def prepared(self, manifest) -> dict:
        """As `ray up` has it when it asks the provider for the first node."""
        from ray.autoscaler._private.util import prepare_config, validate_config

        prepared = prepare_config(manifest)
        validate_config(prepared)
        return prepared

    def test_its_node_types_are_ours(self, prepared):
        types = prepared["available_node_types"]
        assert set(types) == {"head", "a100x4", "h20x8"}
        for name, node_type in types.items():
            expected = NODE_TYPES[name]
            resources = {"CPU": expected.cpus}
            if expected.gpus:
                resources |= {"GPU": expected.gpus, f"accelerator_type:{expected.accelerator}": 1}
            assert node_type["resources"] == resources

    def test_it_grows_within_limits_and_shrinks(self, prepared):
        types = prepared["available_node_types"]
        assert types["head"]["max_workers"] == 0
        for name in ("a100x4", "h20x8"):
            limits = types[name]["min_workers"], types[name]["max_workers"]
            assert 0 == limits[0] <= limits[1] <= prepared["max_workers"]
        assert types["a100x4"]["max_workers"] > 0
        assert 0 < prepared["idle_timeout_minutes"] <= 60

    def test_both_sides_start_ray(self, prepared):
        *_, head = prepared["head_start_ray_commands"]
        *_, worker = prepared["worker_start_ray_commands"]
        assert "ray start --head --port=6379" in head
        assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
        assert "ray start --address=$RAY_HEAD_IP:6379" in worker
        assert any("EXTRAS=gpu" in command for command in prepared["worker_setup_commands"])

    def test_it_holds_no_secret_and_no_place_of_ours(self, manifest):
        assert manifest["provider"]["project_id"] is None
        assert "ssh_private_key" not in manifest["auth"]
        assert manifest["file_mounts"] == {"~/deepprune": "."}
        text = (ROOT / "ray_cluster.yaml").read_text()
        assert "/home/" not in text and "/root/" not in text
