"""The bill of a live problem is exact, whatever crosses on the way; and a deadline is a bound."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from actors.driver.live_trace import LiveTrace
from actors.driver.trace_run import TraceRun
from actors.generators.abortable import AbortableGenerators
from actors.messages import (
    Busy,
    EngineGone,
    JudgeReply,
    JudgeRequest,
    PromptTooLong,
    TraceRequest,
    TraceUpdate,
)
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.ledger import Fate
from deepprune.policy_config import ConsConfig, DeepConfConfig, DeepPruneConfig
from deepprune.traces import Problem
from tests.unit.test_live import Pausing, live_problem

PROBLEM = Problem("unit/0", "?")


class Decoding:
    """Engines that decode on until an abort arrives: it takes `late` more tokens."""

    def __init__(self, late: int = 0) -> None:
        self.late = late
        self.aborts: dict[str, asyncio.Event] = {}
        self.ended: dict[int, int] = {}

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        sample = int(request.request_id.split("/")[1])
        aborted = self.aborts[request.request_id] = asyncio.Event()
        had = request.prefix_num_tokens
        yield TraceUpdate("a", (1,) * 10, had + 10)
        await aborted.wait()
        await asyncio.sleep(0.05)  # the last output is on its way
        self.ended[sample] = had + 10 + self.late
        yield TraceUpdate(
            "b", (1,) * self.late, self.ended[sample], finish_reason="abort", engine_s=2.0
        )

    def abort(self, request_id: str) -> int:
        self.aborts[request_id].set()
        return 0


async def running(live, num_traces: int) -> asyncio.Task:
    task = asyncio.create_task(live.run())
    while sum(t.num_tokens > 0 for t in live.traces.values()) < num_traces:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return task


async def test_tokens_generated_after_the_decision_are_billed_and_said_to_be_late():
    engines = Decoding(late=50)
    live = live_problem(ConsConfig(num_traces=4), engines)
    run = await running(live, 4)
    live.interrupt("deadline")
    outcome = await run
    assert [end.num_tokens for end in outcome.ends] == [60] * 4
    assert [end.late_tokens for end in outcome.ends] == [50] * 4
    assert outcome.ledger.generated_tokens == sum(engines.ended.values())
    assert outcome.ledger.late_tokens == 200
    assert outcome.ledger.trace_s == 8.0
    assert len(live.cancel_lags_s) == 4


class Unsure(Decoding):
    """Two traces that finish and are sure, one that is not, and others that are."""

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        sample = int(request.request_id.split("/")[1])
        if sample < 2:
            yield TraceUpdate(f"\\boxed{{{sample}}}", (1,), 1, None, "stop", confidence=(4.0,))
            self.ended[sample] = 1
            return
        async for update in super().stream(request):
            sure = (0.1 if sample == 2 else 5.0,) * len(update.token_ids)
            yield replace(update, confidence=sure)


async def test_an_early_cancel_does_not_hide_the_later_ones():
    """DeepConf cancels one trace for its confidence, and the others end at the deadline."""
    engines = Unsure(late=45)
    policy = DeepConfConfig(name="deepconf-low", num_traces=8, warmup=2, consensus=1)
    live = live_problem(policy, engines)
    live.confidence_window = 2
    run = await running(live, 8)
    while len(live.cancel_lags_s) < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    live.interrupt("deadline")
    outcome = await run
    assert {end.sample: end.num_tokens for end in outcome.ends} == engines.ended
    assert [end.reason for end in outcome.ends].count("deadline") == 5
    assert outcome.ledger.late_tokens == 6 * 45


class Replying:
    """Judges whose reply comes with something else: `then` is called in the same turn."""

    def __init__(self, then) -> None:
        self.then = then
        self.num_replies = 0

    async def score(self, request: JudgeRequest) -> JudgeReply:
        self.num_replies += 1
        self.then()
        return JudgeReply((0.1,) * len(request.firsts), 100, 7)

    def abort(self, request_id: str) -> None:
        pass


async def test_a_judgement_that_arrives_with_the_deadline_is_billed():
    policy = DeepPruneConfig(num_traces=2, checkpoint="tokens:1", tau=0.5)
    judges = Replying(lambda: live.interrupt("deadline"))
    live = live_problem(policy, Pausing(), judges=judges)
    outcome = await live.run()
    assert judges.num_replies == 1
    assert outcome.ledger.judge_computed_tokens == 100
    assert outcome.ledger.judge_cached_tokens == 7
    assert outcome.ledger.judge_pairs == 1


class InTwoParts:
    """Judges that refuse one call of two; the other one is aborted, and has a cost by then."""

    def __init__(self) -> None:
        self.aborted = asyncio.Event()

    async def score(self, request: JudgeRequest) -> JudgeReply:
        if request.request_id.startswith("p0/2/"):
            if request.request_id.endswith("judge-0"):
                await asyncio.sleep(0.01)
                raise PromptTooLong("too long")
            await self.aborted.wait()
            return JudgeReply((), 60, 40, num_pairs=3)
        return JudgeReply((0.1,) * len(request.firsts), 100, 0)

    def abort(self, request_id: str) -> None:
        if request_id.startswith("p0/2/"):
            self.aborted.set()


class OneAfterTheOther(AbortableGenerators):
    """Traces that reach their checkpoints in order; the last one when the others are placed."""

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        sample = int(request.request_id.split("/")[1])
        if request.checkpoint:
            await asyncio.sleep(0.05 * sample)
            yield TraceUpdate("so ", (7,), 1, prefix_chars=3)
        else:
            yield TraceUpdate("\\boxed{1}", (8,), 2, finish_reason="stop")


async def test_no_call_to_the_judge_goes_on_after_its_sibling_failed():
    policy = DeepPruneConfig(num_traces=3, checkpoint="tokens:1", tau=0.5)
    live = live_problem(policy, OneAfterTheOther(), judges=InTwoParts())
    live.pairs_per_call = 1
    before = asyncio.all_tasks()
    outcome = await live.run()
    assert asyncio.all_tasks() == before
    assert outcome.ledger.judge_computed_tokens == 100 + 60
    assert outcome.ledger.judge_pairs == 1 + 3


class Finishing(AbortableGenerators):
    """Traces that end at once, each with an answer of its own."""

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        yield TraceUpdate(f"\\boxed{{{request.seed}}}", (1,), 1, finish_reason="stop")


async def test_a_deadline_does_not_wait_for_answers_that_take_long_to_read(monkeypatch):
    hostile, reading = threading.Event(), threading.Event()

    def read_answer(*_: object) -> None:
        reading.set()
        hostile.wait(60)

    monkeypatch.setattr(LiveTrace, "read_answer", read_answer)
    live = live_problem(ConsConfig(num_traces=2), Finishing())
    run = asyncio.create_task(live.run())
    await asyncio.to_thread(reading.wait, 60)
    live.interrupt("deadline")
    outcome = await run
    hostile.set()
    assert not outcome.complete and outcome.ledger.generated_tokens == 2


class Overloaded(AbortableGenerators):
    """An endpoint that is busy for the first requests of a trace, and then has a slot."""

    def __init__(self, num_refusals: int, retry_after_s: float) -> None:
        super().__init__()
        self.num_requests = 0
        self._num_refusals = num_refusals
        self._retry_after_s = retry_after_s

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        self.num_requests += 1
        if self.num_requests <= self._num_refusals:
            raise Busy("429", retry_after_s=self._retry_after_s)
        yield TraceUpdate("\\boxed{1}", (1,), 1, finish_reason="stop")


async def test_a_busy_endpoint_loses_no_trace():
    engines, limits = Overloaded(20, retry_after_s=0.001), LimitsConfig(retries=0)
    outcome = await live_problem(ConsConfig(num_traces=1), engines, limits=limits).run()
    assert [end.fate for end in outcome.ends] == [Fate.FINISHED]
    assert engines.num_requests == 21


async def test_a_trace_that_backs_off_is_aborted_at_once():
    engines = Overloaded(10**9, retry_after_s=3600)
    live = live_problem(ConsConfig(num_traces=8), engines)
    run = asyncio.create_task(live.run())
    while engines.num_requests < 8:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    live.interrupt("deadline")
    outcome = await run
    assert engines.num_requests == 8
    assert outcome.ledger.generated_tokens == 0


def run_of(engines, trace: LiveTrace, retries: int = 3) -> TraceRun:
    sampling = SamplingConfig(max_tokens=1000)
    return TraceRun(trace, lambda: trace.request("k/0", PROBLEM, sampling), engines, retries)


class DyingOnce(AbortableGenerators):
    """A replica that dies five tokens before the end of a trace; another one goes on."""

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        if not request.prefix_num_tokens:
            yield TraceUpdate("a" * 100, (1,) * 100, 100, confidence=(10.0,) * 100)
            raise EngineGone("replica lost")
        yield TraceUpdate("a" * 5, (1,) * 5, 105, finish_reason="stop", confidence=(2.0,) * 5)


async def test_a_window_of_confidence_goes_on_when_its_replica_dies():
    trace = LiveTrace(1, confidence_window=64)
    async for _ in run_of(DyingOnce(), trace).updates():
        pass
    assert trace.num_reissued == 1
    assert min(trace.confidence) == pytest.approx((59 * 10 + 5 * 2) / 64)


class Lost(Decoding):
    """A replica that dies after the abort; it had reported 37 tokens before."""

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        aborted = self.aborts[request.request_id] = asyncio.Event()
        yield TraceUpdate("a", (1,) * 10, 10)
        await aborted.wait()
        raise EngineGone("replica lost")

    def abort(self, request_id: str) -> int:
        super().abort(request_id)
        return 37


async def test_what_a_lost_replica_had_reported_is_billed():
    trace = LiveTrace(1)
    run = run_of(Lost(), trace)
    async for _ in run.updates():
        run.abort()
    assert (trace.num_tokens, run.late_tokens) == (37, 0)
    assert run.cancel_lag_s is not None
