"""Drive replicas over one engine of miniature weights, without Ray, with many tokenizers.

    python -m tests.support.text_formats FOLDER OUT

Writes one JSON object: by model, what a test checks.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from array import array
from functools import partial
from pathlib import Path
from typing import Any

from actors.channels import server
from actors.driver.live_trace import LiveTrace
from actors.driver.trace_collector import Collected, collect
from actors.driver.trace_run import TraceRun
from actors.generators import generator as generator_module
from actors.generators.detokenizer import Detokenizer
from actors.generators.generator import Generator
from actors.judges import pairwise
from actors.judges.pairwise import Judge
from actors.messages import JudgeRequest
from actors.models import MINIATURE, load_prompt
from actors.tokenizer import load_tokenizer
from deepprune.answers.reply import closing_text
from deepprune.config import JudgePrompt, SamplingConfig, VllmGeneratorConfig, VllmJudgeConfig
from deepprune.traces import Problem
from miniature.problems import generate_problems
from tests.support.in_process import InProcess, judged
from tests.support.standin_models import STANDINS, Standin

ENGINE = {
    "gpus_per_shard": 0,
    "dtype": "bfloat16",
    "max_model_len": 512,
    "max_num_seqs": 16,
    "kv_cache_gib": 0.1,
    "enforce_eager": True,
}
SAMPLING = {"temperature": 1.0, "top_p": 1.0}
PROBLEM = Problem("k/0", "What is 6 times 7?", "42")
MARKS = JudgePrompt(
    template="{problem}\n{first}\n{second}",
    same_token="<think>",
    different_token="</think>",
    chat=True,
)


def engine_of(model: Path, tokenizer: Path) -> dict[str, Any]:
    arguments = {"block_size": 32, "tokenizer": str(tokenizer)}
    return ENGINE | {"model": str(model), "engine_args": arguments}


def thinking_miniature(folder: Path) -> Path:
    """The miniature reasoner with a prompt that begins its thought."""
    shutil.copytree(MINIATURE / "reasoner", folder)
    file = folder / "chat_template.jinja"
    template = file.read_text("utf-8").replace("'<|assistant|>'", "'<|assistant|><think>'")
    file.write_text(template, encoding="utf-8")
    return folder


async def collected(
    generators: InProcess, problem: Problem, num_traces: int, sampling: SamplingConfig
) -> list[LiveTrace]:
    traces = collect(
        problem.problem_id,
        problem,
        range(num_traces),
        0,
        sampling=sampling,
        generators=generators,
        confidence_window=None,
        retries=0,
    )
    ended: list[Collected] = [each async for part in traces for each in part]
    assert not any(each.error for each in ended), ended
    return [each.trace for each in sorted(ended, key=lambda each: each.sample)]


def told(trace: LiveTrace, detokenizer: Detokenizer) -> dict[str, Any]:
    shown = trace.token_ids[:-1] if trace.finish_reason == "stop" else trace.token_ids
    ended = trace.finish_reason is not None
    return {
        "text": trace.text,
        "decoded": detokenizer.decoder([]).feed(shown, final=ended),
        "num_tokens": trace.num_tokens,
        "num_ids": len(trace.token_ids),
        "closed_tokens": trace.closed_tokens,
        "finish_reason": trace.finish_reason,
        "prefix_tokens": trace.prefix_tokens,
        "prefix": trace.prefix,
        "answer": trace.answer,
    }


async def miniature(model: Path) -> dict[str, Any]:
    """Collect traces whose budget ends inside their thoughts, with and without closing them."""
    config = VllmGeneratorConfig.model_validate({"engine": engine_of(model, model)})
    generators = InProcess(Generator(config, None, 120.0))
    detokenizer = Detokenizer(load_tokenizer(str(model)))
    found: dict[str, Any] = {"closed": [], "cut": []}
    for problem in generate_problems(7, 4, split="demo"):
        for name, kept in (("closed", 20), ("cut", 0)):
            sampling = SamplingConfig.model_validate(
                SAMPLING | {"max_tokens": 130, "answer_tokens": kept}
            )
            traces = await collected(generators, problem, 4, sampling)
            found[name] += [told(trace, detokenizer) for trace in traces]
    return found


async def standin(folder: Path, model: Path, made: Standin) -> dict[str, Any]:
    """Pause a trace inside its thought, resume it, close it; judge, collect and extract."""
    made.make(folder)
    tokenizer = load_tokenizer(str(folder))
    detokenizer = Detokenizer(tokenizer)
    config = VllmGeneratorConfig.model_validate({"engine": engine_of(model, folder)})
    generators = InProcess(Generator(config, None, 120.0))

    def begun(seed: int, text: str) -> LiveTrace:
        ids = tokenizer.encode(text, add_special_tokens=False)
        return LiveTrace(seed, None, text, array("i", ids), len(ids))

    async def followed(name: str, trace: LiveTrace, sampling: SamplingConfig, **options: Any):
        make = partial(trace.request, name, PROBLEM, sampling, **options)
        async for _ in TraceRun(trace, make, generators, 0).updates():
            pass

    sampling = SamplingConfig.model_validate(SAMPLING | {"max_tokens": 160, "answer_tokens": 60})
    paused = [begun(seed, made.opening) for seed in range(4)]
    for number, trace in enumerate(paused):
        await followed(f"{number}", trace, sampling, checkpoint="tokens:60", pause=True)
    prefixes = [told(trace, detokenizer) for trace in paused]
    asked = VllmJudgeConfig.model_validate({"engine": engine_of(model, folder)})
    judge = Judge(asked, MARKS, None, 120.0)
    judge._retired = True
    first, *others = [trace.prefix for trace in paused]
    reply = await judged(judge, JudgeRequest("p/0", PROBLEM.text, tuple(others), first))
    for number, trace in enumerate(paused):
        await followed(f"{number}", trace, sampling)
    answered = begun(7, f"{made.opening}{closing_text(made.opening)}So it is \\boxed{{42}}. ")
    await followed("a", answered, SamplingConfig(max_tokens=answered.num_tokens + 8))
    answered.read_answer(PROBLEM, sampling)
    traces = await collected(generators, PROBLEM, 2, SamplingConfig(max_tokens=30))
    return {
        "prefixes": prefixes,
        "closed": [told(trace, detokenizer) for trace in paused],
        "p_same": reply.p_same,
        "judge_tokens": reply.computed_tokens + reply.cached_tokens,
        "answered": told(answered, detokenizer),
        "collected": [told(trace, detokenizer) for trace in traces],
    }


async def nearby_pairs(judge: Judge, num: int) -> tuple[float, ...]:
    """P(same) of pairs that differ in a few digits."""
    firsts = tuple(f"First, 3 × {n % 10} gives {n // 10}. Then 7 plus 5." for n in range(num))
    reply = await judged(judge, JudgeRequest("n/0", "", firsts, "First, 3 × 4 gives 2."))
    return reply.p_same


async def main(folder: Path) -> dict[str, Any]:
    server.replica_name = lambda: "standin"  # there is no Ray
    model = thinking_miniature(folder / "miniature")
    config = VllmJudgeConfig.model_validate({"engine": engine_of(model, model)})
    judge = Judge(config, load_prompt("miniature/judge"), None, 120.0)
    judge._retired = True
    # The replicas that follow share its engine.
    pairwise.start_engine = generator_module.start_engine = lambda *_: judge._engine
    found = {"miniature": await miniature(model), "nearby": await nearby_pairs(judge, 60)}
    for number, (name, made) in enumerate(STANDINS.items()):
        found[name] = await standin(folder / str(number), model, made)
    return found


if __name__ == "__main__":
    out = json.dumps(asyncio.run(main(Path(sys.argv[1]))))
    Path(sys.argv[2]).write_text(out, encoding="utf-8")
