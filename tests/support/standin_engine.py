"""Drive the generator's replica, without Ray, over a stand-in model of random weights.

    python -m tests.support.standin_engine FOLDER OUT

Writes one JSON object: the traces that a test compares.
"""

from __future__ import annotations

import asyncio
import json
import sys
from array import array
from pathlib import Path

from actors.channels import server
from actors.driver.live_trace import LiveTrace
from actors.generators.detokenizer import Detokenizer
from actors.generators.generator import Generator
from actors.tokenizer import load_tokenizer
from deepprune.config import SamplingConfig, VllmGeneratorConfig
from deepprune.traces import Problem

BEFORE = "<think>\nLet a ≡ 60"
PROBLEM = "What is 6 times 7?"


async def main(folder: str) -> dict[str, object]:
    config = VllmGeneratorConfig.model_validate(
        {
            "engine": {
                "model": folder,
                "gpus_per_shard": 0,
                "dtype": "float32",
                "max_model_len": 1024,
                "max_num_seqs": 4,
                "kv_cache_gib": 0.1,
                "enforce_eager": True,
                "engine_args": {
                    "load_format": "dummy",
                    "block_size": 32,
                    "disable_log_stats": False,
                },
            },
            "confidence": True,
            "confidence_top_k": 4,
            "confidence_window": 16,
        }
    )
    server.replica_name = lambda: "standin"  # there is no Ray
    generator = Generator(config, None, 120.0)
    tokenizer = load_tokenizer(folder)
    detokenizer = Detokenizer(tokenizer)

    async def trace(prefix: list[int], num_tokens: int, **sampling: object) -> dict[str, object]:
        before = detokenizer.decoder([]).feed(prefix)
        live = LiveTrace(1, 16, before, array("i", prefix), len(prefix))
        budget = {"temperature": 1.0, "top_p": 1.0, "max_tokens": len(prefix) + num_tokens}
        request = live.request(
            f"k/{len(sampling)}",
            Problem("k/0", PROBLEM),
            SamplingConfig.model_validate(budget | sampling),
        )
        async for update, _ in generator._open(request).items():
            live.take(update)
        ids = list(live.token_ids[len(prefix) :])
        return {
            "text": live.text[len(before) :],
            "decoded": detokenizer.decoder(prefix).feed(ids, final=True),
            "num_tokens": len(ids),
            "confidence": live.confidence,
            "finish_reason": live.finish_reason,
        }

    async def aborted(index: int, at_tokens: int) -> int:
        """Abort a trace at a number of tokens; return those that its last update bills."""
        live = LiveTrace(index)
        sampling = SamplingConfig(temperature=1.0, top_p=1.0, max_tokens=900)
        work = generator._open(live.request(f"a/{index}", Problem("a/0", PROBLEM), sampling))

        async def follow() -> None:
            async for update, _ in work.items():
                live.take(update)

        following = asyncio.create_task(follow())
        while work.num_tokens < at_tokens:  # noqa: ASYNC110
            await asyncio.sleep(0)
        work.abort()
        await following
        return live.num_tokens

    # More than the engine decodes at once: some are aborted while they wait for it.
    before = engine_tokens()
    bills = await asyncio.gather(*(aborted(i, 9 * (i % 8)) for i in range(24)))
    await asyncio.sleep(1)  # outputs that the engine had under way
    counted = engine_tokens() - before
    ids = tokenizer.encode(BEFORE, add_special_tokens=False)
    inside = next(
        count for count in range(1, len(ids)) if tokenizer.decode(ids[:count]).endswith("�")
    )
    whole = await trace([], 64)
    stop = str(whole["text"])[20:23]
    return {
        "whole": whole,
        "inside": await trace(ids[:inside], 40),
        "stopped": await trace([], 64, stop=(stop,)),
        "stop": stop,
        "bills": bills,
        "counted": counted,
    }


def engine_tokens() -> float:
    """The tokens that vLLM itself counts, over all requests."""
    from prometheus_client import REGISTRY

    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "vllm:generation_tokens_total"
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(main(sys.argv[1]))), encoding="utf-8")
