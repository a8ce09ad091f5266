"""What a plan knows of nodes and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.configs import resolve_config
from cluster.gpu_specs import GPU_SPECS
from cluster.model_shapes import MODEL_SHAPES, model_shape
from cluster.node_types import NODE_TYPES
from cluster.roofline import judge_speed, replica_speed
from deepprune.config import load_config
from deepprune.errors import UserError
from deepprune.speed import Efficiency

ROOT = Path(__file__).parents[2]
QWEN_8B = MODEL_SHAPES["deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"]
ALL_OF_IT = Efficiency(bandwidth=1, compute=1, step_s=0, step_s_per_trace=0, memory=1)


class TestHardware:
    def test_every_gpu_node_has_an_accelerator_of_its_memory(self):
        for node in NODE_TYPES.values():
            if node.accelerator:
                gpu = GPU_SPECS[node.accelerator]
                assert gpu.memory_bytes == pytest.approx(node.gpu_memory_gib * 1e9)

    def test_a_replica_by_hand(self):
        speed = replica_speed(
            GPU_SPECS["A100"],
            2,
            QWEN_8B,
            ALL_OF_IT,
            max_num_seqs=256,
            trace_tokens=10_000,
        )
        assert QWEN_8B.kv_bytes_per_token == 147_456
        assert speed.step_s == pytest.approx(16.38e9 / 4.078e12)
        assert speed.step_s_per_context_token == pytest.approx(147_456 / 4.078e12)
        assert speed.compute_s_per_trace == pytest.approx(2 * 8.19e9 / 624e12)
        assert speed.prefill_tokens_per_s == pytest.approx(624e12 / (2 * 8.19e9))
        assert speed.cache_tokens == pytest.approx((160e9 - 16.38e9) / 147_456)
        assert speed.streams == 256

    def test_efficiency_is_taken_off(self):
        half = Efficiency(bandwidth=0.5, compute=0.25, step_s=0, step_s_per_trace=0, memory=1)
        options = {"max_num_seqs": 8, "trace_tokens": 100}
        full = replica_speed(GPU_SPECS["H20"], 1, QWEN_8B, ALL_OF_IT, **options)
        less = replica_speed(GPU_SPECS["H20"], 1, QWEN_8B, half, **options)
        assert less.step_s == pytest.approx(2 * full.step_s)
        assert less.compute_s_per_trace == pytest.approx(4 * full.compute_s_per_trace)
        assert full.streams == 8

    def test_a_judge_reads_as_fast_as_it_computes(self):
        judge = MODEL_SHAPES["Qwen/Qwen3-4B-Instruct-2507"]
        speed = judge_speed(GPU_SPECS["H20"], 1, judge, ALL_OF_IT)
        assert speed.judge_tokens_per_s == pytest.approx(148e12 / 8.04e9)

    def test_a_model_that_does_not_fit(self):
        with pytest.raises(UserError, match=r"1 x A100 hold 80 GB.*raise tensor_parallel"):
            replica_speed(
                GPU_SPECS["A100"],
                1,
                MODEL_SHAPES["Qwen/Qwen3-32B"],
                Efficiency(),
                max_num_seqs=1,
                trace_tokens=60_000,
            )


class TestModels:
    def test_a_folder_is_counted_from_its_config(self):
        shape = model_shape(str(ROOT / "miniature/models/reasoner"))
        metrics = json.loads((ROOT / "miniature/models/metrics.json").read_text())
        # All but the norms: 9 of 128 weights.
        assert shape.active_params == metrics["reasoner"]["parameters"] - 9 * 128
        assert shape.kv_bytes_per_token == 2 * 4 * 4 * 32 * 2

    def test_an_unknown_one_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="the size of 'nobody/nothing' is not known"):
            model_shape("nobody/nothing")
        (tmp_path / "config.json").write_text(json.dumps({"num_experts": 8}))
        with pytest.raises(UserError, match="mixture of experts"):
            model_shape(str(tmp_path))
        (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))
        with pytest.raises(UserError, match="num_hidden_layers"):
            model_shape(str(tmp_path))

    def test_all_models_of_the_shipped_runs_are_known(self):
        for name in ("a100x4", "a100x4-qwen3-32b", "h20x8", "h20x8-qwen3-32b"):
            config = load_config(resolve_config(f"{name}-paper"))
            assert config.generator.engine.model in MODEL_SHAPES
            assert config.judge.engine.model in MODEL_SHAPES
