"""Our generator path beside the bare engine, and how fast a cancel stops an engine.

Throughput: the same requests, with the same seeds, once through `AsyncLLM` in this process and once
through coordinator, Ray Serve and generator replica, in turn, in one run; the ratio is the figure.

Cancel lag: all problems are interrupted in mid-run. An engine's outputs carry their time, so the
tokens that came after the decision can be counted.

    python -m benchmarks.generator_path [--problems 8] [--traces 64] [--rounds 3] [--config gpu]

Two generator engines are up at the same time: on a GPU, both have to fit on it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

import ray

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="laptop")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--traces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = {
        "judge": None,
        "policy": {"name": "cons", "num_traces": options.traces},
        "limits.max_problems": options.problems,
    }
    config = load_config(resolve_config(options.config), settings)
    problems = generate_problems(11, options.problems, split="demo")
    with connected(None), running(config, cluster_ends_too=True) as system:
        bare = Bare(config)
        ours = Ours(system.coordinator)
        for path in (bare, ours):
            path.throughput(problems[:1], options.traces, seed=99)  # warm up
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        for round_ in range(options.rounds):
            for name, path in (("bare", bare), ("ours", ours)):
                rates[name].append(path.throughput(problems, options.traces, seed=round_))
        print(f"{options.problems} problems x {options.traces} traces, {options.rounds} rounds")
        for name, values in rates.items():
            print(f"{name}: {statistics.median(values):,.0f} tokens/s (median of {values})")
        ratio = statistics.median(rates["ours"]) / statistics.median(rates["bare"])
        print(f"ours / bare: {ratio:.3f}")
        bare.close()
        ours.cancel_lag(problems, options.traces)


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

    def throughput(self, problems: list[Problem], num_traces: int, seed: int) -> float:
        """Tokens generated per second, over all requests at once."""
        return self._loop.run_until_complete(self._run(problems, num_traces, seed))

    async def _run(self, problems: list[Problem], num_traces: int, seed: int) -> float:
        started = time.monotonic()
        counts = await asyncio.gather(
            *(
                self._generate(problem, sample, seed)
                for problem in problems
                for sample in range(num_traces)
            )
        )
        return sum(counts) / (time.monotonic() - started)

    async def _generate(self, problem: Problem, sample: int, seed: int) -> int:
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
        mid_run_s = min(1.5, self._round_s / 2)  # a GPU may have ended a round by then
        for seed in range(100, 105):
            refs = self._start(problems, ConsConfig(num_traces=num_traces), seed)
            time.sleep(mid_run_s)
            self._coordinator.interrupt("measured")
            ends = [end for result in ray.get(refs) for end in result.outcome.ends]
            self._coordinator.resume()
            late += [end.late_tokens for end in ends if end.reason == "measured" and end.num_tokens]
        if not late:
            print("cancel lag: no trace was running when it was cancelled; take more traces")
            return
        late.sort()
        print(
            f"cancel lag over {len(late)} traces cancelled while they ran: median "
            f"{statistics.median(late):.0f} tokens, 90% {late[int(0.9 * len(late))]}, "
            f"most {late[-1]}"
        )

    def _start(self, problems: list[Problem], policy: ConsConfig, seed: int) -> list[Any]:
        return [self._coordinator.solve(problem, policy, seed) for problem in problems]


if __name__ == "__main__":
    main()
