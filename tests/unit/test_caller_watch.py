"""Work ends with who asked for it."""

from __future__ import annotations

import asyncio

import pytest
from ray.exceptions import RayActorError

from actors.replica.caller_watch import CallerWatch


class Caller:
    """A coordinator as a replica sees it: one call that stays open until it dies."""

    def __init__(self) -> None:
        self.death: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.until_death = self
        self.num_calls = 0

    def remote(self) -> asyncio.Future[None]:
        self.num_calls += 1
        return self.death


async def work(callers: CallerWatch, caller: Caller | None, seconds: float) -> str:
    with callers.working_for(caller):
        await asyncio.sleep(seconds)
    return "done"


async def test_what_a_dead_coordinator_asked_for_is_cancelled_and_nothing_else():
    callers, dying, living = CallerWatch(), Caller(), Caller()
    short = asyncio.create_task(work(callers, dying, 0))
    assert await short == "done"
    orphans = [asyncio.create_task(work(callers, dying, 60)) for _ in range(3)]
    others = [asyncio.create_task(work(callers, caller, 0.05)) for caller in (living, None)]
    await asyncio.sleep(0)
    dying.death.set_exception(RayActorError())
    assert await asyncio.gather(*others) == ["done", "done"]
    for orphan in orphans:
        with pytest.raises(asyncio.CancelledError):
            await orphan
    assert (dying.num_calls, living.num_calls) == (1, 1)


async def test_a_coordinator_that_comes_back_is_watched_anew():
    callers, caller = CallerWatch(), Caller()
    caller.death.set_exception(RayActorError())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work(callers, caller, 60))
    caller.death = asyncio.get_running_loop().create_future()
    assert await asyncio.create_task(work(callers, caller, 0)) == "done"
    assert caller.num_calls == 2
