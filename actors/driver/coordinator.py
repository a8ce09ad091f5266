"""The coordinator: an actor that drives policies over the generators and the judge pool.

One `LiveProblem` per problem in flight; the coordinator limits how many there are, passes on what
engines report about cancelled work, and answers whoever watches. There may be several of them, see
`shards.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

import ray
from ray import serve

from actors.driver.live import LiveProblem, Snapshot
from actors.driver.live_trace import LiveTrace
from actors.driver.serve_client import ServeGenerators, ServeJudges
from actors.driver.trace_collector import Collected, collect
from actors.messages import Generators, Judges
from actors.metrics import Metrics
from deepprune.config import EndpointGeneratorConfig, RunConfig
from deepprune.policy_config import PolicyConfig
from deepprune.session import Outcome
from deepprune.traces import Problem

GENERATOR, JUDGE = "generator", "judge"
"""The deployments of the engines, in their applications."""


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem's outcome under `policy`, its traces by sample index, and what the judge said.

    `scores` holds P(same) by the samples judged, in the order the judge read them.
    """

    outcome: Outcome
    traces: dict[int, LiveTrace]
    policy: PolicyConfig
    scores: dict[tuple[int, int], float]
    seed: int


class Coordinator:
    """Solves problems, up to `max_problems` at a time.

    `generator_app` and `judge_app` are Serve applications, which may not run yet. Their deployments
    are called `GENERATOR` and `JUDGE`.
    """

    def __init__(
        self,
        config: RunConfig,
        generator_app: str | None,
        judge_app: str | None,
        max_problems: int,
    ) -> None:
        self._config = config
        self._generators = _generators(config, generator_app)
        self._judges: Judges | None = (
            ServeJudges(serve.get_deployment_handle(JUDGE, judge_app), *_patience(config))
            if judge_app
            else None
        )
        self._slots = asyncio.Semaphore(max_problems)
        self._problems: dict[str, LiveProblem] = {}
        # Engines refuse an id that they know, whichever coordinator, dead or alive, it came from.
        self._name = uuid4().hex[:8]
        self._keys = count()
        self._metrics = Metrics()
        generator = config.generator
        self._model = (
            generator.model
            if isinstance(generator, EndpointGeneratorConfig)
            else generator.engine.model
        )
        self._interrupted: str | None = None
        endpoint = isinstance(config.generator, EndpointGeneratorConfig)
        self._report_to = None if endpoint else ray.get_runtime_context().current_actor

    async def solve(self, problem: Problem, policy: PolicyConfig, seed: int) -> Solved:
        """Run `policy` on `problem` to its vote, or to `interrupt`."""
        async with self._slots:
            key = f"{self._name}-p{next(self._keys)}"
            live = self._live_problem(key, problem, policy, seed)
            self._problems[key] = live
            self._metrics.running(len(self._problems))
            if self._interrupted is not None:
                live.interrupt(self._interrupted)
            try:
                outcome = await live.run()
            finally:
                del self._problems[key]
                self._metrics.running(len(self._problems))
        self._metrics.solved(outcome, self._model)
        return Solved(outcome, live.traces, policy, live.scores, seed)

    async def collect(
        self, problem: Problem, samples: Sequence[int], seed: int
    ) -> AsyncGenerator[list[Collected]]:
        """Sample traces of a problem to their ends, and yield them as they come."""
        async with self._slots:
            traces = collect(
                f"{self._name}-c{next(self._keys)}",
                problem,
                samples,
                seed,
                sampling=self._config.generator.sampling,
                generators=self._generators,
                limits=self._config.limits,
                report_to=self._report_to,
            )
            async with aclosing(traces) as parts:
                async for part in parts:
                    yield part

    async def until_death(self) -> None:
        """Never return: whoever calls it learns of the end of this process."""
        await asyncio.Event().wait()

    async def interrupt(self, reason: str) -> None:
        """Stop every problem, running or waiting, with the vote as it is."""
        self._interrupted = reason
        for live in self._problems.values():
            live.interrupt(reason)

    async def resume(self) -> None:
        """Take problems again after an `interrupt`."""
        self._interrupted = None

    async def watch(self) -> list[Snapshot]:
        """Where each running problem stands."""
        return [live.snapshot() for live in self._problems.values()]

    async def settle(
        self, request_id: str, num_tokens: int, recent: tuple[tuple[float, int], ...]
    ) -> None:
        """A generator reports what a trace had generated when its cancel arrived."""
        key, sample, _ = request_id.split("/", 2)
        if key in self._problems:
            self._problems[key].settle(int(sample), num_tokens, recent)

    async def settle_judge(
        self, request_id: str, num_pairs: int, computed_tokens: int, cached_tokens: int
    ) -> None:
        """A judge reports what a cancelled call had cost."""
        key = request_id.split("/", 1)[0]
        if key in self._problems:
            self._problems[key].settle_judge(num_pairs, computed_tokens, cached_tokens)

    def _live_problem(
        self, key: str, problem: Problem, policy: PolicyConfig, seed: int
    ) -> LiveProblem:
        config = self._config
        return LiveProblem(
            key=key,
            problem=problem,
            policy=policy,
            sampling=config.generator.sampling,
            generators=self._generators,
            judges=self._judges,
            limits=config.limits,
            pairs_per_call=config.judge.pairs_per_call if config.judge else 1,
            seed=seed,
            report_to=self._report_to,
        )


def _generators(config: RunConfig, app: str | None) -> Generators:
    if isinstance(config.generator, EndpointGeneratorConfig):
        from actors.generators.endpoint import EndpointGenerators

        return EndpointGenerators(config.generator, config.limits.stall_s)
    assert app is not None, "a vLLM generator runs as a Serve application"
    handle = serve.get_deployment_handle(GENERATOR, app)
    return ServeGenerators(handle, *_patience(config))


def _patience(config: RunConfig) -> tuple[float, float]:
    """How long a call may wait for a replica that takes it, and for a word of one that has."""
    return config.limits.start_s, config.limits.stall_s
