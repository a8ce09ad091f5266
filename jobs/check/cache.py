"""Check that the cache of an engine holds its traces."""

from __future__ import annotations

from cluster.model_shapes import BYTES_PER_VALUE, model_shape
from cluster.settings import cache_tokens, expected_trace_tokens, held_tokens, settled
from deepprune.config import VllmGeneratorConfig
from deepprune.errors import UserError

FLOAT32_BYTES = 4
OVERCOMMIT = 2
"""`max_num_seqs` may be this much above what the cache holds of traces of usual length."""


def check_cache(generator: VllmGeneratorConfig) -> str | None:
    """Compare the cache of a replica with its longest trace and its batch.

    Returns:
        what it holds; None where the size of the cache is not known before the engine starts.

    Raises:
        UserError: the longest trace does not fit, or the batch is far too large.
    """
    engine = generator.engine
    room = cache_tokens(engine) or _room_on_cpu(generator)
    if room is None:
        return None
    longest = engine.max_model_len or generator.sampling.max_tokens
    if room < longest:
        raise UserError(
            f"a replica's cache has room for {room:,.0f} tokens, and its context is {longest:,}: "
            "lower max_model_len, or raise tensor_parallel (on CPUs, kv_cache_gib)"
        )
    fitting = max(1, int(room / held_tokens(generator)))
    slots = settled(generator).engine.slots
    if slots > OVERCOMMIT * fitting:
        raise UserError(
            f"max_num_seqs {slots} is far above the {fitting} traces of "
            f"{expected_trace_tokens(generator):,.0f} tokens that the cache holds, and vLLM would "
            "compute their tokens again and again: remove max_num_seqs, or set "
            "generator.expected_trace_tokens to their mean length"
        )
    return (
        f"{room:,.0f} tokens in a replica: {fitting} traces of "
        f"{expected_trace_tokens(generator):,.0f} tokens; a batch has {slots} at most"
    )


def _room_on_cpu(generator: VllmGeneratorConfig) -> float | None:
    engine = generator.engine
    if engine.gpus_per_shard or engine.kv_cache_gib is None:
        return None
    try:
        of_token = model_shape(_folder(engine.model)).kv_bytes_per_token
    except UserError:
        return None
    size = FLOAT32_BYTES if engine.dtype == "float32" else BYTES_PER_VALUE
    return engine.kv_cache_gib * 2**30 * BYTES_PER_VALUE / (of_token * size)


def _folder(model: str) -> str:
    from actors.models import resolve_model

    return resolve_model(model)
