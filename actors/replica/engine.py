"""Start a vLLM engine inside a Serve replica, and end the replica when the engine fails."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from actors.models import resolve_model
from actors.parent_watchdog import end_engines_with_me
from actors.replica.forking import forked_engines
from actors.replica.quick_imports import quick_imports
from actors.replica.stall_detector import StallDetector
from deepprune.config import EngineConfig

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM
logger = logging.getLogger(__name__)


def start_engine(config: EngineConfig, executor_backend: str | None) -> AsyncLLM:
    """Start the engine that `config` describes, and return it ready to generate.

    Args:
        config: the engine's section of the configuration.
        executor_backend: vLLM's executor for the shards (see `cluster.placement`); None runs one
            shard in one process.
    """
    on_cpu = config.gpus_per_shard == 0
    if on_cpu:
        _prepare_cpu(config)
    if executor_backend == "ray":
        choose_ray_executor()
    os.environ.update(config.environment)
    end_engines_with_me()
    arguments: dict[str, Any] = {
        "model": resolve_model(config.model),
        "tensor_parallel_size": config.tensor_parallel,
        "pipeline_parallel_size": config.pipeline_parallel,
        "distributed_executor_backend": executor_backend or "uni",
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.slots,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        "scheduling_policy": "priority",
        "enable_log_requests": False,
        "disable_log_stats": True,
        # Chunked prefill with a seed per request kills vLLM's CPU engine: it rewinds the request's
        # random generator, which only a CUDA generator supports.
        **({"enable_chunked_prefill": False, **_kv_cache(config)} if on_cpu else {}),
        **config.engine_args,
    }
    with quick_imports():
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        with forked_engines() if _may_fork(config) else nullcontext():
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def _may_fork(config: EngineConfig) -> bool:
    """Whether the engine is one process that uses no Ray, no CUDA and no threads."""
    one_shard = config.tensor_parallel * config.pipeline_parallel == 1
    return one_shard and config.gpus_per_shard == 0 and config.cpus_per_shard == 1


def _kv_cache(config: EngineConfig) -> dict[str, int]:
    gib = config.kv_cache_gib
    return {} if gib is None else {"kv_cache_memory_bytes": round(gib * 2**30)}


async def check_engine(engine: AsyncLLM, stall_detector: StallDetector) -> None:
    """Exit the replica if its engine has died or hangs. Called by Serve's health check.

    Raising is not enough: Serve replaces a replica only after three failed checks.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        await engine.check_health()
    except EngineDeadError:
        exit_replica()
    if stall_detector.stalled:
        exit_replica("the engine hangs")


def exit_replica(reason: str = "the engine died") -> NoReturn:
    """Exit this replica's process, and kill what is left of its engine.

    A replica without an engine fails every call at once, looks idle to the router, and would draw
    all the traffic until the next health check. Serve replaces a replica whose process has exited.
    """
    logger.error("%s; exiting the replica", reason)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()  # a stopped process would not notice that its parent has exited
    os._exit(1)


def choose_ray_executor() -> None:
    """Choose the newer of vLLM's two executors on Ray: the other one has no asynchronous steps."""
    os.environ["VLLM_USE_RAY_V2_EXECUTOR_BACKEND"] = "1"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        # The Ray workers hold the GPUs, not the replica; vLLM still needs to find CUDA here.
        del os.environ["CUDA_VISIBLE_DEVICES"]


def _prepare_cpu(config: EngineConfig) -> None:
    """Limit an engine to its share of a CPU-only node."""
    # By default vLLM pins every engine of a node to the same first cores.
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(config.cpus_per_shard)
    if config.tensor_parallel * config.pipeline_parallel == 1:
        # One shard runs in the engine's process: a worker process would double the start-up time.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
