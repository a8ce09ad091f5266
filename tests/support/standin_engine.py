"""Drive the generator's replica, without Ray, over a stand-in model of random weights.

    python -m tests.support.standin_engine FOLDER OUT

Writes one JSON object: the traces that a test compares.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from actors.generators.detokenizer import Detokenizer
from actors.generators.generator import Generator
from actors.messages import TraceRequest
from actors.tokenizer import load_tokenizer
from deepprune.config import SamplingConfig, VllmGeneratorConfig

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
                "engine_args": {"load_format": "dummy", "block_size": 32},
            },
            "confidence": True,
            "confidence_top_k": 4,
            "confidence_window": 16,
        }
    )
    generator = Generator(config, None, 120.0)
    tokenizer = load_tokenizer(folder)
    detokenizer = Detokenizer(tokenizer)

    async def trace(prefix: list[int], num_tokens: int, **sampling: object) -> dict[str, object]:
        request = TraceRequest(
            f"k/0/{len(prefix)}-{num_tokens}-{len(sampling)}",
            PROBLEM,
            SamplingConfig.model_validate(
                {"temperature": 1.0, "top_p": 1.0, "max_tokens": len(prefix) + num_tokens}
                | sampling
            ),
            seed=1,
            prefix_text=detokenizer.decoder([]).feed(prefix),
            prefix_token_ids=tuple(prefix),
            prefix_num_tokens=len(prefix),
        )
        updates = [update async for update in generator.generate(request)]
        ids = [token_id for update in updates for token_id in update.token_ids]
        return {
            "text": "".join(update.text for update in updates),
            "decoded": detokenizer.decoder(prefix).feed(ids, final=True),
            "num_tokens": len(ids),
            "confidence": [reading for update in updates for reading in update.confidence],
            "finish_reason": updates[-1].finish_reason,
        }

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
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(main(sys.argv[1]))), encoding="utf-8")
