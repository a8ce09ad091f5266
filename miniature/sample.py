"""Sample traces of generated problems from a reasoner, with vLLM on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepprune.answers import extract_answer
from deepprune.traces import Problem, Trace
from miniature.tokenizer import CONTEXT, load_tokenizer, prompt_of

TEMPERATURE = 1.0
MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Sampled:
    """A problem, its traces, and the tokens of each, which is where prefixes are cut."""

    problem: Problem
    traces: list[Trace]
    token_ids: list[list[int]]


def sample_traces(
    folder: Path,
    problems: Sequence[Problem],
    num_traces: int,
    temperature: float = TEMPERATURE,
    seed: int = 0,
) -> list[Sampled]:
    """Sample every problem `num_traces` times; trace i of problem j has its own fixed seed."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=str(folder),
        dtype="float32",
        enforce_eager=True,
        max_model_len=CONTEXT,
        max_num_seqs=256,
        enable_chunked_prefill=False,  # half a prompt would rewind a seeded request: CPU cannot
        seed=seed,
    )
    tokenizer = load_tokenizer(folder)
    prompts, params = [], []
    for j, problem in enumerate(problems):
        for i in range(num_traces):
            prompts.append(prompt_of(tokenizer, problem.text))
            params.append(
                SamplingParams(
                    temperature=temperature, max_tokens=MAX_TOKENS, seed=seed + j * 10_000 + i
                )
            )
    outputs = [output.outputs[0] for output in engine.generate(prompts, params, use_tqdm=False)]
    sampled = []
    for j, problem in enumerate(problems):
        mine = outputs[j * num_traces : (j + 1) * num_traces]
        traces = [
            Trace(i, out.text, len(out.token_ids), reason, extract_answer(out.text, "math"))
            for i, out in enumerate(mine)
            for reason in [str(out.finish_reason)]
        ]
        sampled.append(Sampled(problem, traces, [list(out.token_ids) for out in mine]))
    return sampled
