"""Replicas that fall silent, seen from where traces are driven."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from actors.driver.serve_client import ServeGenerators, ServeJudges
from actors.messages import (
    EngineGone,
    JudgeReply,
    JudgeRequest,
    NotStarted,
    TraceRequest,
    TraceUpdate,
)
from actors.replica.heartbeat import with_heartbeats
from deepprune.config import SamplingConfig

TRACE = TraceRequest("r/0", "1 + 1?", SamplingConfig(), 0)
PAIR = JudgeRequest("r/0/judge-1", "1 + 1?", ("a",), "b")


class Handle:
    """A handle on a deployment whose streams are as written down: items, and pauses in s."""

    def __init__(self, *course: Any) -> None:
        self.course = course
        self.num_cancelled = 0
        self.generate = self.score = self

    def options(self, *, stream: bool) -> Handle:
        assert stream
        return self

    def remote(self, _: object) -> Response:
        return Response(self)


class Response:
    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._items = self._play()

    async def _play(self) -> AsyncIterator[Any]:
        for step in self._handle.course:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._items)

    def cancel(self) -> None:
        self._handle.num_cancelled += 1


def update(num_tokens: int, finish_reason: str | None = None) -> TraceUpdate:
    return TraceUpdate("x", (1,), num_tokens, finish_reason=finish_reason)


async def followed(handle: Any, taken_s: float = 0.2) -> list[int]:
    numbers = []
    pool = ServeGenerators(handle, taken_s, 0.2)
    async with aclosing(pool.stream(TRACE)) as updates:
        async for one in updates:
            numbers.append(one.num_tokens)
    return numbers


async def judged(handle: Any, taken_s: float = 0.2) -> JudgeReply:
    return await ServeJudges(handle, taken_s, 0.2).score(PAIR)


async def test_a_trace_that_falls_silent_is_gone_and_cancelled():
    handle = Handle(update(1), 60.0, update(2, "stop"))
    with pytest.raises(EngineGone, match="nothing received") as error:
        await followed(handle)
    assert not isinstance(error.value, NotStarted)
    assert handle.num_cancelled == 1


async def test_a_call_may_wait_for_as_long_as_it_is_told_to_until_it_is_taken():
    course = (0.5, update(1), 0.02, update(2, "stop"))
    assert await followed(Handle(*course), taken_s=60) == [1, 2]
    with pytest.raises(NotStarted):
        await followed(Handle(*course), taken_s=0.2)


async def test_a_trace_that_has_ended_is_not_cancelled():
    handle = Handle(update(1), update(2, "stop"))
    assert await followed(handle) == [1, 2]
    assert handle.num_cancelled == 0


async def test_a_judgement_takes_its_time_while_there_are_signs_of_life():
    reply = JudgeReply((0.5,), 10, 5)
    course = [step for _ in range(4) for step in (0.1, None)]
    assert await judged(Handle(*course, reply)) == reply


@pytest.mark.parametrize(("course", "heard"), [((60.0,), False), ((None, 60.0), True)])
async def test_a_judgement_that_is_lost_is_cancelled(course, heard):
    handle = Handle(*course)
    with pytest.raises(EngineGone) as error:
        await judged(handle)
    assert isinstance(error.value, NotStarted) == (not heard)
    assert handle.num_cancelled == 1


async def test_who_waits_for_a_call_that_ray_cancels_goes_on():
    handle = Handle(update(1), asyncio.CancelledError())
    with pytest.raises(EngineGone, match="replica lost"):
        await followed(handle)


async def test_who_is_cancelled_while_waiting_ends():
    handle = Handle(update(1), 60.0)
    task = asyncio.create_task(followed(handle, taken_s=60))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert handle.num_cancelled == 1


async def test_a_judge_that_dies_is_gone():
    with pytest.raises(EngineGone, match="replica lost: ActorDiedError"):
        await judged(Handle(None, ActorDiedError()))


class Updates:
    """Updates of a trace, each after a pause in s; knows how it was ended."""

    def __init__(self, *pauses_s: float) -> None:
        self.stopped = False
        self._pauses_s = pauses_s

    async def all(self) -> AsyncGenerator[int]:
        try:
            for number, pause_s in enumerate(self._pauses_s, 1):
                await asyncio.sleep(pause_s)
                yield number
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped = True
            raise


async def test_a_trace_that_waits_in_the_engine_says_so_whenever_it_waits():
    items = [item async for item in with_heartbeats(Updates(0.28, 0, 0.28, 0).all(), 8 * 0.05)]
    assert [item for item in items if item is not None] == [1, 2, 3, 4]
    first, third = items.index(1), items.index(3)
    assert first > 0 and third > items.index(2) + 1


async def test_a_trace_without_an_update_ends():
    assert [item async for item in with_heartbeats(Updates().all(), 60)] == []


async def test_what_ends_a_trace_is_raised():
    async def fails() -> AsyncGenerator[int]:
        yield 1
        raise EngineGone("for some reason")

    with pytest.raises(EngineGone, match="for some reason"):
        async for _ in with_heartbeats(fails(), 60):
            pass


@pytest.mark.parametrize("pauses_s", [(60.0,), (0.0, 60.0)])
async def test_a_trace_cancelled_while_it_waits_is_stopped_at_once(pauses_s):
    updates = Updates(*pauses_s)

    async def follow() -> None:
        async with aclosing(with_heartbeats(updates.all(), 8 * 0.05)) as items:
            async for _ in items:
                pass

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.12)
    task.cancel()
    await asyncio.wait([task])
    assert updates.stopped


@pytest.mark.parametrize("pauses_s", [(60.0,), (0.0, 60.0)])
async def test_a_trace_that_is_closed_between_updates_is_stopped(pauses_s):
    updates = Updates(*pauses_s)
    async with aclosing(with_heartbeats(updates.all(), 8 * 0.05)) as items:
        await anext(items)
    assert updates.stopped
