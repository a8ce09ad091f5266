"""A request at work, over generators that are scripted: bounds, leaving, and what is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from actors.generators.abortable import AbortableGenerators
from actors.messages import TraceRequest, TraceUpdate
from actors.serving.admission import Admission
from actors.serving.errors import ApiError
from actors.serving.request_runner import RequestRunner, ServedModel
from actors.serving.spec import Offer
from deepprune.config import SamplingConfig
from deepprune.policy_config import ConsConfig
from deepprune.serve_config import CeilingsConfig, QueueConfig, parse_serve_config
from tests.unit.test_chat_request import read

CONFIG = parse_serve_config(
    {
        "nodes": {"laptop": 1},
        "models": {
            "m": {
                "generator": {"engine": {"model": "miniature/reasoner", "gpus_per_shard": 0}},
                "policy": {"name": "cons"},
            }
        },
    },
    "x",
)


class Ticking(AbortableGenerators):
    """Each trace gains ten tokens a tick, and answers 7 after `num_ticks`; None: it never ends."""

    def __init__(self, num_ticks: int | None) -> None:
        super().__init__()
        self.num_ticks = num_ticks
        self.num_running = 0

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        self.num_running += 1
        try:
            tick = 0
            while self.num_ticks is None or tick < self.num_ticks:
                tick += 1
                yield TraceUpdate("so ", (1,) * 10, 10 * tick)
                await asyncio.sleep(0.001)
            yield TraceUpdate("\\boxed{7}", (1,), 10 * tick + 1, finish_reason="stop")
        finally:
            self.num_running -= 1


def model(engines: AbortableGenerators, queue: QueueConfig | None = None) -> ServedModel:
    offer = Offer({"cons": ConsConfig(num_traces=6)}, "cons", SamplingConfig(), CeilingsConfig())
    return ServedModel(
        config=CONFIG.run("m"),
        offer=offer,
        generators=engines,
        judges=None,
        replica=None,
        pool=None,
        admission=Admission(queue or QueueConfig()),
    )


def start(served: ServedModel, **controls: Any) -> RequestRunner:
    spec = read({"m": served.offer}, deepprune=controls)
    return RequestRunner("r1", "me", spec, served)


async def test_a_vote_is_told_from_its_start_to_its_end():
    engines = Ticking(3)
    runner = start(model(engines))
    solution = await runner.solution()
    assert solution.result.answer == "7" and solution.finish_reason == "stop"
    runner.event_log.end(solution, runner.stopped_by)
    events, grown = runner.event_log.take()
    kinds = [event["type"] for event in events]
    assert kinds.count("launch") == kinds.count("finish") == 6
    assert kinds[-1] == "end" and events[-1]["status"] == "done"
    assert events[-1]["tokens"] == dict.fromkeys(range(6), 31)
    assert [e["votes"] for e in events if e["type"] == "vote"][-1] == [
        {"answer": "7", "count": 6, "share": 1.0}
    ]
    assert grown == dict.fromkeys(range(6), 30)
    assert runner.event_log.take() == ([], {})


async def test_tokens_over_all_traces_are_bounded():
    engines = Ticking(None)
    solution = await start(model(engines), max_total_tokens=200).solution()
    assert solution.stopped_by == "max_total_tokens"
    assert solution.finish_reason == "length"
    assert 200 <= solution.usage.deepprune.generated_tokens < 300
    assert solution.completion.choices[0].message.content.startswith("so so")
    assert engines.num_running == 0


async def test_a_deadline_ends_the_vote_as_it_stands():
    engines = Ticking(None)
    solution = await start(model(engines), deadline_s=0.05).solution()
    assert solution.stopped_by == "deadline" and not solution.outcome.complete
    assert engines.num_running == 0


class Thinking(AbortableGenerators):
    """Traces that think on until they are asked to close their thoughts."""

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        if request.close is None:
            yield TraceUpdate("<think>", (1,), 1)
            await asyncio.Event().wait()
        yield TraceUpdate(f"</think>{request.close}7}}", (1, 1), 2, finish_reason="stop")


@pytest.mark.parametrize("asks", [True, False])
async def test_when_the_deadline_is_near_thoughts_are_closed(asks):
    served = model(Thinking())
    sampling = SamplingConfig(answer_tokens=100)
    served = replace(served, offer=replace(served.offer, sampling=sampling))
    question = "What is 3 + 4?" if asks else "Write a poem."
    spec = read(
        {"m": served.offer},
        deepprune={"deadline_s": 2.0},
        messages=[{"role": "user", "content": question}],
    )
    solution = await RequestRunner("r1", "me", spec, served).solution()
    assert solution.stopped_by is None and solution.finish_reason == "stop"
    assert solution.completion.choices[0].message.content == (
        "Thus the final answer is \\boxed{7}" if asks else "7}"
    )


async def test_who_stops_waiting_stops_the_traces_and_is_billed():
    engines = Ticking(None)
    served = model(engines)
    runner = start(served)
    waiting = asyncio.create_task(runner.solution())
    await runner.admitted
    await asyncio.sleep(0.01)
    assert engines.num_running == 6
    waiting.cancel()
    await asyncio.wait([waiting, runner.task])
    assert runner.stopped_by == "disconnected" and engines.num_running == 0
    assert runner.task.result().usage.deepprune.generated_tokens > 0
    assert served.admission.num_running == 0


async def test_who_leaves_the_queue_never_reaches_the_engines():
    engines = Ticking(None)
    served = model(engines, QueueConfig(max_running=1, max_waiting=1))
    first = start(served)
    await first.admitted
    second = start(served)
    waiting = asyncio.create_task(second.solution())
    await asyncio.sleep(0.01)
    assert served.admission.num_waiting == 1
    third = start(served)
    with pytest.raises(ApiError) as refused:
        await third.solution()
    assert refused.value.status == 429 and not third.is_admitted
    waiting.cancel()
    await asyncio.wait([waiting, second.task])
    assert served.admission.num_waiting == 0 and not second.is_admitted
    first.stop("deadline")
    await first.solution()


async def test_a_deadline_that_passes_before_the_start_leaves_an_empty_vote():
    served = model(Ticking(None), QueueConfig(max_running=1, max_waiting=1))
    alone = await start(served, deadline_s=1e-9).solution()
    first = start(served)
    await first.admitted
    queued = await start(served, deadline_s=0.02).solution()
    for found in (alone, queued):
        assert (found.stopped_by, found.finish_reason) == ("deadline", "length")
        assert found.result.num_traces == 0 and not found.result.complete
        assert found.completion.choices[0].message.content == ""
    first.stop("deadline")
    await first.solution()
    assert served.admission.num_running == served.admission.num_waiting == 0


async def test_whoever_waits_for_a_cancelled_request_gets_the_vote_as_it_stands():
    served = model(Ticking(None), QueueConfig(max_running=1, max_waiting=1))
    first, queued = start(served), start(served)
    await first.admitted
    waiting = [asyncio.create_task(runner.solution()) for runner in (first, queued)]
    await asyncio.sleep(0.02)
    for runner in (queued, first):
        runner.stop("cancelled")
    found, empty = await asyncio.gather(*waiting)
    assert found.stopped_by == empty.stopped_by == "cancelled"
    assert found.completion.choices[0].message.content.startswith("so so")
    assert empty.result.num_traces == 0 and queued.is_admitted
    assert served.admission.num_running == served.admission.num_waiting == 0


class Talking(Ticking):
    """Traces that end in words: nothing to compare."""

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        async for update in super().stream(request):
            text = "The sea is wide." if update.finish_reason else update.text
            yield replace(update, text=text)


async def test_a_question_without_an_answer_to_compare_costs_one_trace():
    served = model(Talking(3))
    spec = read({"m": served.offer}, messages=[{"role": "user", "content": "A poem, please."}])
    found = await RequestRunner("r1", "me", spec, served).solution()
    assert (found.stop_reason, found.finish_reason) == ("no_answer", "stop")
    assert found.result.num_traces == 1 and found.result.p_full_vote is None
    assert found.completion.choices[0].message.content.endswith("The sea is wide.")


async def test_a_defect_is_said_to_be_one(caplog):
    class Broken(Ticking):
        async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
            raise ZeroDivisionError
            yield

    with pytest.raises(ApiError) as failed:
        await start(model(Broken(1))).solution()
    assert failed.value.status == 500
    assert "r1 failed" in caplog.text


async def test_the_events_of_a_vote_are_bounded_whatever_the_answers():
    """One event a vote, and none repeats hundreds of long answers."""

    class Verbose(AbortableGenerators):
        async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
            sample = int(request.request_id.split("/")[1])
            answer = f"\\text{{{sample:05d} {'x' * 2000}}}"
            yield TraceUpdate(f"\\boxed{{{answer}}}", (1,), 1, finish_reason="stop")

    engines = Verbose()
    served = model(engines)
    runner = start(served, n=200)
    solution = await runner.solution()
    events, _ = runner.event_log.take()
    assert len(solution.result.votes) == 200
    votes = [event for event in events if event["type"] == "vote"]
    assert (votes[-1]["num_votes"], votes[-1]["num_answers"]) == (200, 200)
    assert max(len(json.dumps(event)) for event in events) < 20_000
