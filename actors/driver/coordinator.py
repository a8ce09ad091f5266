"""The coordinator: an actor that drives policies over the generators and the judges.

It runs one `LiveProblem` per problem in flight, and limits their number. A system may have several
coordinators, see `shards.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from ray import serve

from actors.driver.live import LiveProblem
from actors.driver.live_trace import LiveTrace
from actors.driver.metrics import Metrics
from actors.driver.serve_client import connect_generators, connect_judges
from actors.driver.snapshot import Snapshot
from actors.driver.trace_collector import Collected, collect
from deepprune.config import EndpointGeneratorConfig, RunConfig, confidence_window
from deepprune.policy_config import PolicyConfig
from deepprune.promise import Terms
from deepprune.session import Outcome
from deepprune.traces import Problem

GENERATOR, JUDGE = "generator", "judge"
"""Names of the engines' deployments, in their applications."""


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem's outcome under `policy`, its traces by sample index, and the judge's scores.

    `scores` has P(same) by the pair of samples: the member of a cluster, and the newer trace.
    """

    outcome: Outcome
    traces: dict[int, LiveTrace]
    policy: PolicyConfig
    scores: dict[tuple[int, int], float]
    seed: int
    cancel_lags_s: tuple[float, ...] = ()
    """Seconds from each decision to cancel to the end of the engine's request."""


class Coordinator:
    """Solves problems, up to `max_problems` at a time.

    `generator_app` and `judge_app` name Serve applications, which may still be starting. Their
    deployments are called `GENERATOR` and `JUDGE`.
    """

    def __init__(
        self,
        config: RunConfig,
        generator_app: str | None,
        judge_app: str | None,
        max_problems: int,
    ) -> None:
        self._config = config
        handle = serve.get_deployment_handle(GENERATOR, generator_app) if generator_app else None
        self._generators = connect_generators(config, handle)
        handle = serve.get_deployment_handle(JUDGE, judge_app) if judge_app else None
        self._judges = connect_judges(config, handle)
        self._slots = asyncio.Semaphore(max_problems)
        self._problems: dict[str, LiveProblem] = {}
        # Part of request ids, which must be unique over all coordinators, dead or alive.
        self._name = uuid4().hex[:8]
        self._keys = count()
        self._metrics = Metrics()
        self._interrupted: str | None = None
        generator = config.generator
        self._model = (
            generator.model
            if isinstance(generator, EndpointGeneratorConfig)
            else generator.engine.model
        )

    async def solve(
        self, problem: Problem, policy: PolicyConfig, seed: int, terms: Terms | None = None
    ) -> Solved:
        """Run `policy` on `problem`, of a sweep on its `terms`, to its vote, or to `interrupt`."""
        async with self._slots:
            key = f"{self._name}-p{next(self._keys)}"
            live = self._live_problem(key, problem, policy, seed, terms)
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
        lags_s = tuple(live.cancel_lags_s)
        return Solved(outcome, live.traces, policy, live.scores, seed, lags_s)

    async def collect(
        self, problem: Problem, samples: Sequence[int], seed: int
    ) -> AsyncGenerator[list[Collected]]:
        """Sample traces of a problem to their ends, and yield them as they end."""
        async with self._slots:
            traces = collect(
                f"{self._name}-c{next(self._keys)}",
                problem,
                samples,
                seed,
                sampling=self._config.generator.sampling,
                generators=self._generators,
                confidence_window=confidence_window(self._config.generator),
                retries=self._config.limits.retries,
            )
            async with aclosing(traces) as parts:
                async for part in parts:
                    yield part

    async def interrupt(self, reason: str) -> None:
        """Stop every problem, running or waiting, with its vote so far."""
        self._interrupted = reason
        for live in self._problems.values():
            live.interrupt(reason)

    async def resume(self) -> None:
        """Accept problems again after an `interrupt`."""
        self._interrupted = None

    async def watch(self) -> list[Snapshot]:
        """Return a snapshot of each running problem."""
        return [live.snapshot() for live in self._problems.values()]

    def _live_problem(
        self, key: str, problem: Problem, policy: PolicyConfig, seed: int, terms: Terms | None
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
            confidence_window=confidence_window(config.generator),
            seed=seed,
            terms=terms,
        )
