"""Measure the CPU time of a token in a replica, after the engine: our text path beside vLLM's.

Engine outputs are made up and pushed through vLLM's own output processor: once with vLLM's
detokenizer and log-probabilities as objects, once with token ids and flat log-probabilities that
the replica decodes. Both runs end in the replica's update logic, on one core.

    python -m benchmarks.output_path [--traces 256] [--tokens 128]
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import numpy as np
import typer

from actors.generators.detokenizer import Detokenizer
from actors.generators.trace_work import TraceWork
from actors.messages import TraceRequest
from actors.models import resolve_model
from actors.tokenizer import load_tokenizer
from deepprune.config import SamplingConfig, VllmGeneratorConfig

MODEL = "miniature/reasoner"
TOP_K = 20
TEXT = "First add 3 to 4, so the sum is 7. Wait, check: 7 times 2 gives 14. The answer is 14.\n"


@dataclass(frozen=True)
class Case:
    """What to decode, and how often the replica gets an output."""

    name: str
    stream_interval: int
    confidence: bool


CASES = (
    Case("text, each token", 1, False),
    Case("text, every 8 tokens", 8, False),
    Case(f"text and confidence of the top {TOP_K}", 1, True),
)


async def seconds(case: Case, ours: bool, num_traces: int, num_tokens: int) -> float:
    """Process `num_tokens` of each of `num_traces` traces; CPU seconds."""
    from vllm.tokenizers import get_tokenizer
    from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
    from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
    from vllm.v1.outputs import LogprobsLists

    tokenizer = load_tokenizer(MODEL)
    detokenizer = Detokenizer(tokenizer)
    ids = tokenizer.encode(TEXT * 20, add_special_tokens=False)
    config = VllmGeneratorConfig.model_validate(
        {
            "engine": {"model": MODEL},
            "stream_interval": case.stream_interval,
            "confidence": case.confidence,
        }
    )
    processor = OutputProcessor(get_tokenizer(resolve_model(MODEL)), log_stats=False)
    required = {
        name: None
        for name, field in inspect.signature(EngineCoreRequest).parameters.items()
        if field.default is inspect.Parameter.empty
    }

    async def follow(trace: TraceWork, queue: RequestOutputCollector) -> None:
        while True:
            output: Any = queue.get_nowait() or await queue.get()
            if ours:
                trace.take(output)

    tasks = []
    for index in range(num_traces):
        request = TraceRequest(str(index), "", SamplingConfig(max_tokens=10**6), seed=index)
        trace = TraceWork(request, config, detokenizer.decoder(ids[:32]), "r", _none, _nothing)
        params = trace.sampling_params()
        if not ours:
            params.detokenize, params.flat_logprobs = True, False
        engine_request = EngineCoreRequest(
            **required
            | {
                "request_id": str(index),
                "external_req_id": str(index),
                "prompt_token_ids": ids[:32],
                "sampling_params": params,
                "arrival_time": 0.0,
            }
        )
        queue = RequestOutputCollector(params.output_kind, request_id=str(index))
        processor.add_request(engine_request, None, None, 0, queue)
        tasks.append(asyncio.create_task(follow(trace, queue)))
    await asyncio.sleep(0)
    started = time.process_time()
    for step in range(num_tokens):
        outputs = [
            EngineCoreOutput(
                request_id=str(index),
                new_token_ids=[ids[(step + index) % len(ids)]],
                new_logprobs=LogprobsLists(
                    (np.arange(TOP_K + 1, dtype=np.int32) + step % 50)[None],
                    -np.arange(TOP_K + 1, dtype=np.float32)[None],
                    np.array([1]),
                )
                if case.confidence
                else None,
            )
            for index in range(num_traces)
        ]
        processor.process_outputs(outputs, time.monotonic())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    spent = time.process_time() - started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return spent


async def _none(params: Any) -> AsyncIterator[Any]:
    """Yield no output: the benchmark feeds its own."""
    return
    yield


def _nothing() -> None:
    """Abort nothing."""


def main(traces: int = 256, tokens: int = 128) -> None:
    count = traces * tokens
    print(f"{'case':34} {'vLLM µs/token':>14} {'ours µs/token':>14} {'ratio':>6}")
    for case in CASES:
        vllm, ours = (
            asyncio.run(seconds(case, ours, traces, tokens)) / count * 1e6 for ours in (False, True)
        )
        print(f"{case.name:34} {vllm:14.1f} {ours:14.1f} {ours / vllm:6.2f}")


if __name__ == "__main__":
    typer.run(main)
