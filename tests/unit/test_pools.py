"""Replicas that fall silent, seen from where traces are driven."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

import actors.generator
from actors.generator import with_beats
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from actors.pools import ServeGenerators
from deepprune.config import SamplingConfig

REQUEST = TraceRequest("r/0", "1 + 1?", SamplingConfig(), 0)


class Handle:
    """A handle on a deployment whose streams are as written down: updates, and pauses in s."""

    def __init__(self, *course: TraceUpdate | float) -> None:
        self.course = course
        self.num_cancelled = 0
        self.generate = self

    def options(self, *, stream: bool) -> Handle:
        assert stream
        return self

    def remote(self, _: TraceRequest) -> Response:
        return Response(self)


class Response:
    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._items = self._play()

    async def _play(self) -> AsyncIterator[TraceUpdate]:
        for step in self._handle.course:
            if isinstance(step, TraceUpdate):
                yield step
            else:
                await asyncio.sleep(step)

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> TraceUpdate:
        return await anext(self._items)

    def cancel(self) -> None:
        self._handle.num_cancelled += 1


def update(num_tokens: int, finish_reason: str | None = None) -> TraceUpdate:
    return TraceUpdate("x", (1,), num_tokens, finish_reason=finish_reason)


async def heard(handle: Any, *, may_queue: bool) -> list[int]:
    numbers = []
    pool = ServeGenerators(handle, 0.2, may_queue=may_queue)
    async with aclosing(pool.stream(REQUEST)) as updates:
        async for one in updates:
            numbers.append(one.num_tokens)
    return numbers


@pytest.mark.parametrize("may_queue", [False, True])
async def test_a_trace_that_falls_silent_is_gone_and_cancelled(may_queue):
    handle = Handle(update(1), 60.0, update(2, "stop"))
    with pytest.raises(EngineGone, match="nothing heard"):
        await heard(handle, may_queue=may_queue)
    assert handle.num_cancelled == 1


async def test_a_call_may_wait_for_a_replica_where_replicas_may_be_full():
    course = (0.5, update(1), 0.02, update(2, "stop"))
    assert await heard(Handle(*course), may_queue=True) == [1, 2]
    with pytest.raises(EngineGone):
        await heard(Handle(*course), may_queue=False)


async def test_a_trace_that_has_ended_is_not_cancelled():
    handle = Handle(update(1), update(2, "stop"))
    assert await heard(handle, may_queue=False) == [1, 2]
    assert handle.num_cancelled == 0


class Engine:
    """Outputs, the first of them late; knows whether it was told to stop."""

    def __init__(self, first_s: float, num: int) -> None:
        self.aborted = False
        self._first_s = first_s
        self._num = num

    async def outputs(self) -> AsyncGenerator[int]:
        try:
            await asyncio.sleep(self._first_s)
            for i in range(self._num):
                yield i
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted = True
            raise


async def test_a_trace_that_waits_in_the_engine_says_so(monkeypatch):
    monkeypatch.setattr(actors.generator, "BEAT_S", 0.05)
    items = [item async for item in with_beats(Engine(0.28, 3).outputs())]
    assert items[-3:] == [0, 1, 2]
    assert set(items[:-3]) == {None}


async def test_an_engine_without_an_output_ends_the_trace():
    assert [item async for item in with_beats(Engine(0, 0).outputs())] == []


async def test_a_trace_cancelled_while_it_waits_is_aborted_in_the_engine(monkeypatch):
    monkeypatch.setattr(actors.generator, "BEAT_S", 0.05)
    engine = Engine(60, 1)

    async def follow() -> None:
        async for _ in with_beats(engine.outputs()):
            pass

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.12)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert engine.aborted
