"""Measure our generator path beside the bare engine, and the lag of cancels.

Throughput: the same requests, with the same seeds, through `AsyncLLM` in this process (as text, and
as token ids only) and through coordinator, channel and generator replica, in turn, in one run; the
ratios are the figures. With `--long`, traces are 2,000 tokens long, of a model with random weights.

Cancel lag: all problems are interrupted in mid-run. Each trace ends with the engine's own last
output, so every token after the decision is counted.

    python -m benchmarks.generator_path [--problems 8] [--traces 64] [--rounds 3] [--long]

Two generator engines are up at the same time: on a GPU, both have to fit on it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import ray
import typer

from actors.deploy.connection import connected
from actors.deploy.system import running
from actors.driver.shards import Shards
from actors.replica.engine import start_engine
from actors.tokenizer import prompt_token_ids
from cluster.configs import resolve_config
from deepprune.config import RunConfig, VllmGeneratorConfig, load_config
from deepprune.policy_config import ConsConfig
from deepprune.seeds import stable_seed
from deepprune.traces import Problem
from miniature.problems import generate_problems
from tests.support.standin_models import byte_level


def main(
    config: str = "laptop",
    problems: int = 8,
    traces: int = 64,
    rounds: int = 3,
    long: Annotated[bool, typer.Option("--long", help="Traces of 2,000 tokens.")] = False,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = (long_traces(Path(folder)) if long else {}) | {
            "judge": None,
            "policy": {"name": "cons", "num_traces": traces},
            "limits.max_problems": problems,
        }
        measure(load_config(resolve_config(config), settings), problems, traces, rounds)


def long_traces(folder: Path) -> dict[str, Any]:
    """Settings of an engine whose model never ends a trace."""
    model = byte_level(folder / "model", "Qwen2Tokenizer", (), eos_token_id=None)
    shape = json.loads((model / "config.json").read_text()) | {"eos_token_id": None}
    (model / "config.json").write_text(json.dumps(shape))
    return {
        "generator.engine.model": str(model),
        "generator.engine.max_model_len": 2304,
        "generator.engine.max_num_seqs": 64,
        "generator.engine.kv_cache_gib": 0.5,
        "generator.engine.engine_args": {"block_size": 32, "load_format": "dummy"},
        "generator.sampling.max_tokens": 2000,
    }


def measure(config: RunConfig, num_problems: int, num_traces: int, num_rounds: int) -> None:
    """Print throughput and cancel lag."""
    problems = generate_problems(11, num_problems, split="demo")
    with connected(None), running(config, cluster_ends_too=True) as system:
        bare = Bare(config)
        ours = Ours(system.coordinator)
        paths: dict[str, Callable[..., float]] = {
            "bare": bare.throughput,
            "bare, token ids only": partial(bare.throughput, text=False),
            "ours": ours.throughput,
        }
        for throughput in paths.values():
            throughput(problems[:1], num_traces, seed=99)  # warm up
        rates: dict[str, list[float]] = {name: [] for name in paths}
        for round_ in range(num_rounds):
            for name, throughput in paths.items():
                rates[name].append(throughput(problems, num_traces, seed=round_))
        print(f"{num_problems} problems x {num_traces} traces, {num_rounds} rounds")
        for name, values in rates.items():
            each = ", ".join(f"{value:,.0f}" for value in values)
            print(f"{name}: {statistics.median(values):,.0f} tokens/s (median of {each})")
        for name in list(paths)[:-1]:
            ratio = statistics.median(rates["ours"]) / statistics.median(rates[name])
            print(f"ours / {name}: {ratio:.3f}")
        bare.close()
        ours.cancel_lag(problems, num_traces)


class Bare:
    """The engine alone."""

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.generator, VllmGeneratorConfig)
        self._generator = config.generator
        self._loop = asyncio.new_event_loop()
        self._engine = self._loop.run_until_complete(self._start())
        self._tokenizer = self._engine.get_tokenizer()

    async def _start(self) -> Any:
        return start_engine(self._generator.engine, None)

    def throughput(
        self, problems: list[Problem], num_traces: int, seed: int, text: bool = True
    ) -> float:
        """Tokens generated per second, over all requests at once."""
        return self._loop.run_until_complete(self._run(problems, num_traces, seed, text))

    async def _run(self, problems: list[Problem], num_traces: int, seed: int, text: bool) -> float:
        started = time.monotonic()
        counts = await asyncio.gather(
            *(
                self._generate(problem, sample, seed, text)
                for problem in problems
                for sample in range(num_traces)
            )
        )
        return sum(counts) / (time.monotonic() - started)

    async def _generate(self, problem: Problem, sample: int, seed: int, as_text: bool) -> int:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = self._generator.sampling
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=stable_seed(seed, problem.problem_id, sample),
            output_kind=RequestOutputKind.DELTA,
            detokenize=as_text,
            stream_interval=self._generator.stream_interval,
        )
        prompt = tokens_input(prompt_token_ids(self._tokenizer, problem.chat))
        request_id = f"{problem.problem_id}/{sample}/{seed}"
        count, text = 0, ""
        async for output in self._engine.generate(prompt, params, request_id):
            count += len(output.outputs[0].token_ids)
            text += output.outputs[0].text
        return count

    def close(self) -> None:
        """End the engine."""
        self._engine.shutdown()


class Ours:
    """The whole path."""

    def __init__(self, coordinator: Shards) -> None:
        self._coordinator = coordinator
        self._round_s = 0.0

    def throughput(self, problems: list[Problem], num_traces: int, seed: int) -> float:
        """Tokens generated per second, over all requests at once."""
        started = time.monotonic()
        solved = ray.get(self._start(problems, ConsConfig(num_traces=num_traces), seed))
        self._round_s = time.monotonic() - started
        tokens = sum(result.outcome.ledger.generated_tokens for result in solved)
        return float(tokens / self._round_s)

    def cancel_lag(self, problems: list[Problem], num_traces: int) -> None:
        """Print how many tokens a trace is given after the decision to cancel it."""
        late: list[int] = []
        lags_ms: list[float] = []
        mid_run_s = min(1.5, self._round_s / 2)  # a GPU may have ended a round by then
        for seed in range(100, 105):
            refs = self._start(problems, ConsConfig(num_traces=num_traces), seed)
            time.sleep(mid_run_s)
            self._coordinator.interrupt("measured")
            solved = ray.get(refs)
            ends = [end for result in solved for end in result.outcome.ends]
            lags_ms += [1000 * lag for result in solved for lag in result.cancel_lags_s]
            self._coordinator.resume()
            late += [end.late_tokens for end in ends if end.reason == "measured" and end.num_tokens]
        if not late:
            print("cancel lag: no trace was running when it was cancelled; take more traces")
            return
        print(
            f"cancel lag, {len(problems) * num_traces} traces at once, {len(late)} of all running:"
            f" {_spread(late)} tokens, {_spread(lags_ms)} ms"
        )

    def _start(self, problems: list[Problem], policy: ConsConfig, seed: int) -> list[Any]:
        return [self._coordinator.solve(problem, policy, seed) for problem in problems]


def _spread(values: Sequence[float]) -> str:
    ranked = sorted(values)
    most = f"99% {ranked[int(0.99 * len(ranked))]:.0f}, most {ranked[-1]:.0f}"
    return f"median {statistics.median(ranked):.0f}, {most}"


if __name__ == "__main__":
    typer.run(main)
