"""Run a short trace on the real engines: pause, resume, judge, cancel, and tokens a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from actors.deploy.app_names import generator_app_name, judge_app_name
from actors.driver.coordinator import GENERATOR, JUDGE
from actors.driver.judge_calls import JudgeRun
from actors.driver.live_trace import LiveTrace
from actors.driver.serve_client import connect_generators, connect_judges
from actors.driver.trace_run import TraceRun
from actors.messages import (
    EngineGone,
    Generators,
    JudgeRequest,
    Judges,
    PromptTooLong,
    RequestRefused,
)
from cluster.gpu_specs import GPU_SPECS
from cluster.model_shapes import model_shape
from cluster.roofline import replica_speed
from cluster.settings import settled
from deepprune.config import RunConfig, SamplingConfig, VllmGeneratorConfig
from deepprune.errors import UserError
from deepprune.speed import Efficiency
from deepprune.traces import Problem
from jobs.check.checklist import Checklist

PAUSE_TOKENS = 16
MORE_TOKENS = 16
SPEED_TOKENS = 128
MOST_TRACES = 64
STEP_S = 60.0
"""Seconds that one step may take."""


def check_traces(checklist: Checklist, config: RunConfig, problem: Problem) -> None:
    """Run all steps on the engines of a system that runs."""
    from ray import serve

    def handle(deployment: str, app: str | None) -> Any:
        return serve.get_deployment_handle(deployment, app) if app else None

    generators = connect_generators(config, handle(GENERATOR, generator_app_name(config)))
    judges = connect_judges(config, handle(JUDGE, judge_app_name(config)))
    TraceCheck(config, problem, generators, judges).run(checklist)


class TraceCheck:
    """Short traces of one problem through the channels, as a driver runs them."""

    def __init__(
        self, config: RunConfig, problem: Problem, generators: Generators, judges: Judges | None
    ) -> None:
        self._config = config
        self._problem = problem
        self._generators = generators
        self._judges = judges
        self._name = f"check-{uuid4().hex[:8]}"
        self._trace = LiveTrace(seed=1)

    def run(self, checklist: Checklist) -> None:
        """Run all steps; those after one that fails are left out."""
        with asyncio.Runner() as runner:
            steps: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, str]]]] = (
                ("pause", self._pause),
                ("resume", self._resume),
                *([("judge call", self._judge)] if self._judges else []),
                ("cancel", self._cancel),
                ("speed", self._speed),
            )
            for place, (name, step) in enumerate(steps):
                if not checklist.run(name, partial(runner.run, self._timed(step))):
                    for later, _ in steps[place + 1 :]:
                        checklist.skip(later, f"not tried, since {name} failed")
                    break

    async def _timed(self, step: Callable[[], Coroutine[Any, Any, str]]) -> str:
        try:
            async with asyncio.timeout(STEP_S):
                return await step()
        except TimeoutError:
            raise UserError(
                f"no end within {STEP_S:.0f} s: see `serve status` and the replica's log"
            ) from None
        except (EngineGone, RequestRefused, PromptTooLong) as error:
            raise UserError(f"the engine failed: {error}; see the replica's log") from None

    async def _generate(
        self, trace: LiveTrace, name: str, max_tokens: int, **options: Any
    ) -> TraceRun:
        """Run a trace on to its pause or its end."""
        run = self._trace_run(trace, name, max_tokens, **options)
        async for _ in run.updates():
            pass
        return run

    def _trace_run(self, trace: LiveTrace, name: str, max_tokens: int, **options: Any) -> TraceRun:
        sampling: SamplingConfig = self._config.generator.sampling
        sampling = sampling.model_copy(update={"max_tokens": max_tokens})

        def request() -> Any:
            return trace.request(f"{self._name}-{name}/0", self._problem, sampling, **options)

        return TraceRun(trace, request, self._generators, self._config.limits.retries)

    async def _pause(self) -> str:
        checkpoint = {"checkpoint": f"tokens:{PAUSE_TOKENS}", "pause": True}
        run = await self._generate(self._trace, "pause", 4 * PAUSE_TOKENS, **checkpoint)
        if not run.paused:
            raise UserError(
                f"the trace ended ({self._trace.finish_reason}) before its checkpoint of "
                f"{PAUSE_TOKENS} tokens: its text was {self._trace.text[:80]!r}; see the rendered "
                "prompt above"
            )
        return f"after {self._trace.num_tokens} tokens: {self._trace.text!r}"

    async def _resume(self) -> str:
        before = self._trace.text
        await self._generate(self._trace, "resume", PAUSE_TOKENS + MORE_TOKENS)
        if not self._trace.text.startswith(before) or self._trace.num_tokens <= PAUSE_TOKENS:
            raise UserError(f"it does not go on from its prefix: {self._trace.text!r}")
        return f"{self._trace.num_tokens} tokens, its prefix unchanged"

    async def _judge(self) -> str:
        assert self._judges is not None
        prefix = self._trace.prefix
        firsts = (prefix, self._trace.text)
        request = JudgeRequest(self._name, self._problem.text, firsts, prefix)
        run = JudgeRun(self._judges, request, (0, 1), pairs_per_call=2, retries=0)
        scores = await run.p_same()
        if scores is None or not all(0 <= p <= 1 for p in scores):
            raise UserError(f"it gave {scores} as P(same): evaluate it with `deepprune evaluate`")
        shown = ", ".join(f"{p:.3f}" for p in scores)
        return f"P(same) {shown}; {run.computed_tokens} tokens computed, {run.cached_tokens} cached"

    async def _cancel(self) -> str:
        most = self._config.generator.sampling.max_tokens
        trace = LiveTrace(seed=2)
        run = self._trace_run(trace, "cancel", most, checkpoint=f"tokens:{PAUSE_TOKENS}")
        async for update, _ in run.updates():
            if update.prefix_chars is not None:
                run.abort()
        if run.cancel_lag_s is None:
            return f"the trace ended by itself after {trace.num_tokens} tokens"
        return f"ended {1000 * run.cancel_lag_s:.0f} ms and {run.late_tokens} tokens after it"

    async def _speed(self) -> str:
        generator = self._config.generator
        slots, replicas = 1, 1
        if isinstance(generator, VllmGeneratorConfig):
            slots, replicas = settled(generator).engine.slots, generator.replicas.min
        count = min(MOST_TRACES, slots * replicas)
        alone, _ = await self._tokens_a_second(1)
        together, tokens = await self._tokens_a_second(count)
        estimate = _estimate(generator, count / replicas) if count > 1 else None
        planned = f" (the plan expects {estimate * replicas:,.0f})" if estimate else ""
        return (
            f"{alone:,.0f} tokens/s alone, {together:,.0f} of {count} traces at once{planned}, "
            f"{tokens:,} tokens"
        )

    async def _tokens_a_second(self, count: int) -> tuple[float, int]:
        traces = [LiveTrace(seed=100 * count + i) for i in range(count)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for i, trace in enumerate(traces):
                group.create_task(self._generate(trace, f"speed-{count}-{i}", SPEED_TOKENS))
        tokens = sum(trace.num_tokens for trace in traces)
        return tokens / (time.monotonic() - began), tokens


def _estimate(generator: Any, traces: float) -> float | None:
    """Tokens a second of a replica on a known GPU, as `deepprune plan` computes them."""
    if not isinstance(generator, VllmGeneratorConfig):
        return None
    gpu = GPU_SPECS.get(generator.engine.accelerator or "")
    if gpu is None:
        return None
    try:
        speed = replica_speed(
            gpu,
            generator.engine.shards,
            model_shape(generator.engine.model),
            Efficiency(),
            max_num_seqs=settled(generator).engine.slots,
            trace_tokens=SPEED_TOKENS,
        )
    except UserError:
        return None
    return traces / speed.seconds(1, round(traces), traces * SPEED_TOKENS / 2)
