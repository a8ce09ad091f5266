"""Estimate a replica's speed at decoding, prefill and judging, by the roofline model.

A decoding step reads all weights and the KV cache of the batch, and computes 2 operations per
weight and trace; it takes the longer of the two times. Prefill is limited by compute. Shards of a
replica add up; `Efficiency.step_s` has their communication.
"""

from __future__ import annotations

from cluster.gpu_specs import GpuSpec
from cluster.model_shapes import ModelShape
from deepprune.errors import UserError
from deepprune.speed import Efficiency, SpeedConfig

JUDGE_LATENCY_S = 0.05
"""Latency of a call without the prefill: two processes and a running batch."""


def replica_speed(
    gpu: GpuSpec,
    shards: int,
    model: ModelShape,
    efficiency: Efficiency,
    *,
    max_num_seqs: int,
    trace_tokens: float,
) -> SpeedConfig:
    """Estimate one generator replica on `shards` GPUs; its longest trace has `trace_tokens`.

    Raises:
        UserError: the GPUs hold too little cache for that trace.
    """
    bandwidth = gpu.bandwidth * shards * efficiency.bandwidth
    flops = _flops(gpu, shards, efficiency)
    cache_tokens = free_tokens(gpu, shards, model, efficiency.memory)
    if cache_tokens < trace_tokens:
        raise UserError(
            f"{shards} x {gpu.name} hold {gpu.memory_bytes * shards / 1e9:.0f} GB, too little for "
            f"the model's {model.weight_bytes / 1e9:.0f} GB and a trace of {trace_tokens:,.0f} "
            "tokens: raise tensor_parallel"
        )
    return SpeedConfig(
        streams=max_num_seqs,
        cache_tokens=cache_tokens,
        step_s=model.weight_bytes / bandwidth + efficiency.step_s,
        step_s_per_context_token=model.kv_bytes_per_token / bandwidth,
        compute_s_per_trace=2 * model.active_params / flops,
        step_s_per_trace=efficiency.step_s_per_trace,
        prefill_tokens_per_s=flops / (2 * model.active_params),
    )


def free_tokens(gpu: GpuSpec, shards: int, model: ModelShape, memory_share: float) -> float:
    """Tokens of cache that the weights leave in a share of the memory of some GPUs."""
    room = gpu.memory_bytes * shards * memory_share - model.weight_bytes
    return room / model.kv_bytes_per_token


def judge_speed(
    gpu: GpuSpec, shards: int, model: ModelShape, efficiency: Efficiency
) -> SpeedConfig:
    """Estimate one judge replica; only the judge's fields are meaningful."""
    flops = _flops(gpu, shards, efficiency)
    return SpeedConfig(
        judge_s=JUDGE_LATENCY_S, judge_tokens_per_s=flops / (2 * model.active_params)
    )


def _flops(gpu: GpuSpec, shards: int, efficiency: Efficiency) -> float:
    return gpu.flops * shards * (efficiency.compute or gpu.compute_share)
