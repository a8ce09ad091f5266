"""Placement by hand, the shipped configurations, and the manifest that `ray up` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.configs import resolve_config, shipped_configs
from cluster.node_types import NODE_TYPES
from cluster.placement import place
from deepprune.config import (
    load_config,
)
from deepprune.errors import UserError

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

    @pytest.mark.parametrize("name", ["h20x8", "h20x8-paper"])
    def test_gpt_oss_thinks_with_high_effort_on_one_date(self, name):
        generator = load_config(resolve_config(name)).generator
        assert generator.chat_template_kwargs == {"reasoning_effort": "high"}
        assert generator.chat_template_date is not None

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
