"""Engine settings that follow from hardware and model; what is set explicitly wins."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from actors.deploy.app_names import generator_app_name
from actors.replica.engine import choose_ray_executor
from cluster.configs import resolve_config, shipped_configs
from cluster.settings import cache_tokens, settings_table, settled
from deepprune.config import RunConfig, VllmGeneratorConfig, load_config
from deepprune.errors import UserError

ROOT = Path(__file__).parents[2]
R1_8B = "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"


def generator(sampling: dict | None = None, **engine) -> VllmGeneratorConfig:
    section = {"engine": {"model": R1_8B, "accelerator": "A100"} | engine}
    return VllmGeneratorConfig.model_validate(section | {"sampling": sampling or {}})


class TestSlots:
    def test_by_hand(self):
        config = generator().model_copy(update={"expected_trace_tokens": 10_000})
        room = (0.9 * 80e9 - 16.38e9) / 147_456
        assert cache_tokens(config.engine) == pytest.approx(room)
        assert settled(config).engine.max_num_seqs == int(room / (5000 * math.exp(0.36)))

    def test_two_shards_hold_more_than_twice_as_many(self):
        one, two = (settled(generator(tensor_parallel=n)).engine.slots for n in (1, 2))
        assert two > 2 * one

    def test_short_budgets_are_expected_to_be_half_used(self):
        short = generator({"max_tokens": 4096})
        usual = generator({"max_tokens": 65536})
        ratio = settled(short).engine.slots / settled(usual).engine.slots
        assert ratio == pytest.approx(12_000 / 2048, rel=0.05)

    def test_a_batch_is_not_larger_than_its_cuda_graphs(self):
        assert settled(generator({"max_tokens": 64})).engine.slots == 512

    def test_an_explicit_value_wins(self):
        assert settled(generator(max_num_seqs=7)).engine.slots == 7

    @pytest.mark.parametrize(
        "engine", [{"accelerator": None}, {"model": "nobody/nothing"}, {"gpus_per_shard": 0}]
    )
    def test_what_is_not_known_leaves_256(self, engine):
        assert cache_tokens(generator(**engine).engine) is None
        assert settled(generator(**engine)).engine.slots == 256

    def test_engines_that_differ_in_it_are_not_shared(self):
        config = load_config(resolve_config("a100x4"))
        shorter = load_config(resolve_config("a100x4"), {"generator.expected_trace_tokens": 9000})
        assert generator_app_name(config) != generator_app_name(shorter)


class TestWhatFollowsFromTheSection:
    def test_reports_are_rarer_on_gpus(self):
        assert (generator().progress_s, generator(gpus_per_shard=0).progress_s) == (5, 1)
        section = {"engine": {"model": R1_8B}, "progress_s": 0.5}
        assert VllmGeneratorConfig.model_validate(section).progress_s == 0.5

    def test_a_shared_gpu_is_shared_in_memory(self):
        assert generator().engine.gpu_memory_utilization == 0.9
        assert generator(gpus_per_shard=0.5).engine.gpu_memory_utilization == 0.45
        chosen = generator(gpus_per_shard=0.5, gpu_memory_utilization=0.3).engine
        assert chosen.gpu_memory_utilization == 0.3

    @pytest.mark.parametrize(
        ("engine", "tokens"),
        [({}, 8192), ({"max_num_batched_tokens": 2048}, 2048), ({"gpus_per_shard": 0}, None)],
    )
    def test_judges_on_gpus_read_large_steps(self, engine, tokens):
        run = RunConfig.model_validate(
            {
                "nodes": {"a100x4": 1},
                "generator": {"engine": {"model": R1_8B}},
                "judge": {"engine": {"model": "judge"} | engine},
            }
        )
        assert run.judge.engine.max_num_batched_tokens == tokens
        assert run.generator.engine.max_num_batched_tokens is None

    def test_a_cache_in_gib_is_refused_on_gpus(self):
        with pytest.raises(UserError, match="kv_cache_gib is for CPUs: remove it") as refusal:
            load_config(resolve_config("a100x4"), {"generator.engine.kv_cache_gib": 40})
        assert str(refusal.value).count("\n") == 0

    def test_a_wrong_key_is_not_reported_for_those_that_follow_from_it(self):
        with pytest.raises(UserError) as refusal:
            load_config(resolve_config("a100x4"), {"generator.engine.gpus_per_shard": -1})
        assert "gpus_per_shard" in str(refusal.value)
        assert "default factory" not in str(refusal.value)


def test_pipeline_shards_run_on_rays_second_executor(monkeypatch):
    from vllm import envs

    monkeypatch.setenv("VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    choose_ray_executor()
    assert envs.VLLM_USE_RAY_V2_EXECUTOR_BACKEND
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_table_in_the_docs_is_what_the_shipped_configurations_say():
    table = settings_table(path.stem for path in shipped_configs())
    assert table in (ROOT / "docs/planning.md").read_text(encoding="utf-8")
    assert table.count("\n") == 1 + 8


def test_each_shipped_engine_on_known_gpus_takes_its_batch_from_arithmetic():
    for path in shipped_configs():
        config = load_config(path)
        if cache_tokens(config.generator.engine) is not None:
            assert config.generator.engine.max_num_seqs is None
