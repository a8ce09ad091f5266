"""Sections of one vLLM engine and of its replicas, which generators and judges share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from deepprune.section import Model, Section

DEFAULT_SLOTS = 256
GPU_MEMORY_SHARE = 0.9


def _memory_share(known: dict[str, Any]) -> float:
    """An engine's share of its GPU's memory: that of the GPU it reserves."""
    return GPU_MEMORY_SHARE * (known["gpus_per_shard"] or 1)


class EngineConfig(Section):
    """One vLLM engine: the model, and how a replica of it is cut into shards."""

    model: Model
    """A local folder, a hub name, `miniature/reasoner`, `miniature/judge` or `smollm2`."""
    tensor_parallel: int = Field(1, ge=1)
    """Shards of each layer; they share one node."""
    pipeline_parallel: int = Field(1, ge=1)
    """Groups of layers; above 1, a replica may span nodes."""
    gpus_per_shard: float = Field(1.0, ge=0, le=1)
    """GPUs a shard reserves: below 1 to share a GPU with another engine, 0 on a CPU-only node."""
    cpus_per_shard: int = Field(1, ge=1)
    accelerator: str | None = None
    """Only on nodes with this accelerator, by Ray's name for it (`A100`, `H20`)."""
    node_labels: dict[str, str] = Field({})
    """Only on nodes whose Ray labels match, such as `{pool: judges}` or `{pool: "!judges"}`: with
    the same labels generators and judges are packed on the same nodes, with different ones apart.
    """
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    max_model_len: int | None = Field(None, ge=16)
    """Context in tokens; the model's own when absent."""
    max_num_seqs: int | None = Field(None, ge=1)
    """Traces that one replica decodes at the same time. Absent: as many as the cache of its GPUs
    holds (`cluster/settings.py`); 256 where the GPU or the model is not known there."""
    max_num_batched_tokens: int | None = Field(None, ge=16)
    """Tokens of a step. Absent: 8,192 for judges on GPUs, else vLLM's own."""
    gpu_memory_utilization: float = Field(default_factory=_memory_share, gt=0, le=1)
    """Absent: 0.9 of the share of the GPU in `gpus_per_shard`."""
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory of the key-value cache, on CPUs only."""
    enforce_eager: bool = False
    engine_args: dict[str, JsonValue] = Field({})
    """Further arguments of vLLM's `AsyncEngineArgs`, passed as they are."""
    environment: dict[str, str] = Field({})
    """Environment variables of the engine's processes."""

    @property
    def tokenizer(self) -> str:
        """The model whose tokenizer the engine uses."""
        return str(self.engine_args.get("tokenizer", self.model))

    @property
    def slots(self) -> int:
        """`max_num_seqs`, or 256 where it is absent."""
        return self.max_num_seqs or DEFAULT_SLOTS

    @property
    def shards(self) -> int:
        """Shards of a replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @model_validator(mode="after")
    def _a_shared_gpu_has_one_shard(self) -> EngineConfig:
        if 0 < self.gpus_per_shard < 1 and self.shards > 1:
            raise ValueError("gpus_per_shard below 1 needs tensor_parallel = pipeline_parallel = 1")
        return self

    @model_validator(mode="after")
    def _a_gpu_measures_its_own_cache(self) -> EngineConfig:
        if self.gpus_per_shard and self.kv_cache_gib is not None:
            raise ValueError(
                "kv_cache_gib is for CPUs: remove it, and set gpu_memory_utilization to give the "
                "cache another share of the GPU"
            )
        return self


class ReplicasConfig(Section):
    """How many replicas; between `min` and `max` Ray Serve follows the load."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)
    upscale_delay_s: float = Field(4.0, ge=0)
    """Seconds of too much load before a replica is added."""
    downscale_delay_s: float = Field(120.0, ge=0)
    """Seconds of too little before one is taken away."""
    drain_s: float = Field(5.0, ge=0)
    """Seconds that a replica which leaves has to finish its work; what is left of it then is done
    by the others, from where it stood."""

    @model_validator(mode="after")
    def _ordered(self) -> ReplicasConfig:
        if self.min > self.max:
            raise ValueError(f"replicas: min {self.min} is above max {self.max}")
        return self
