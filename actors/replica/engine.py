"""Starting a vLLM engine inside a Serve replica, from its section of the configuration."""

from __future__ import annotations

import logging
import multiprocessing
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

from actors.models import resolve_model
from actors.parent_watchdog import end_engines_with_me
from actors.replica.forking import forked_engines
from actors.replica.gc_pause import collector_off
from actors.replica.stall_detector import Vigil
from deepprune.config import EngineConfig

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM
logger = logging.getLogger(__name__)


def start_engine(config: EngineConfig, executor_backend: str | None) -> AsyncLLM:
    """Start the engine that `config` describes and return when it is ready to generate.

    `executor_backend` is how vLLM runs its shards (see `cluster.placement`); None: in one process.
    """
    on_cpu = config.gpus_per_shard == 0
    if on_cpu:
        _prepare_cpu(config)
    if executor_backend == "ray" and os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        # The replica itself holds no GPU, its Ray workers do; vLLM must still see CUDA to plan.
        del os.environ["CUDA_VISIBLE_DEVICES"]
    os.environ.update(config.environment)
    end_engines_with_me()
    arguments: dict[str, Any] = {
        "model": resolve_model(config.model),
        "tensor_parallel_size": config.tensor_parallel,
        "pipeline_parallel_size": config.pipeline_parallel,
        "distributed_executor_backend": executor_backend or "uni",
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        "enable_log_requests": False,
        "disable_log_stats": True,
        # With a seed per request, a prefill in chunks kills vLLM's CPU engine: it rewinds the
        # request's random generator, which only CUDA's can do.
        **({"enable_chunked_prefill": False, **_kv_cache(config)} if on_cpu else {}),
        **config.engine_args,
    }
    with collector_off():
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        with forked_engines() if _may_fork(config) else nullcontext():
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def _may_fork(config: EngineConfig) -> bool:
    """Whether one process that uses neither Ray nor CUDA nor threads is all of the engine."""
    one_shard = config.tensor_parallel * config.pipeline_parallel == 1
    return one_shard and config.gpus_per_shard == 0 and config.cpus_per_shard == 1


def _kv_cache(config: EngineConfig) -> dict[str, int]:
    gib = config.kv_cache_gib
    return {} if gib is None else {"kv_cache_memory_bytes": round(gib * 2**30)}


async def check_engine(engine: AsyncLLM, vigil: Vigil) -> None:
    """End this replica where its engine has died or hangs; Serve's health checks ask for it.

    Raising would not do: Serve waits for three such checks before it replaces a replica.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        await engine.check_health()
    except EngineDeadError:
        leave_the_pool()
    if vigil.stalled:
        leave_the_pool("the engine hangs")


def leave_the_pool(reason: str = "the engine died") -> NoReturn:
    """End this replica's process, and what is left of its engine.

    A replica without an engine fails every call at once, looks idle for it, and would draw all the
    traffic until the next health check. When the process is gone, Serve replaces it.
    """
    logger.error("%s; this replica ends with it", reason)
    for process in multiprocessing.active_children():
        process.kill()  # a stopped process would not notice that its parent is gone
    os._exit(1)


def _prepare_cpu(config: EngineConfig) -> None:
    """Keep an engine on a CPU-only node to its share of the machine."""
    # vLLM would pin every engine of a node to the same first cores.
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(config.cpus_per_shard)
    if config.tensor_parallel * config.pipeline_parallel == 1:
        # One shard needs no worker process of its own beside the engine's: half the start-up time.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
