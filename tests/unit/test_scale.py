"""The coordinator's code on simulated engines: nothing is waited for, and everything adds up."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.scale import Cell, Run
from benchmarks.simulated import SkippingLoop
from deepprune.recordings import RecordedTrace, Recording
from deepprune.traces import Problem


@pytest.fixture
def recordings() -> list[Recording]:
    def text(answer: int, tokens: int) -> str:
        return "so " * (tokens - 4) + f"\\boxed{{{answer}}}"

    traces = tuple(
        RecordedTrace(i, text(i % 3, 400 + 40 * i), 400 + 40 * i, str(i % 3)) for i in range(30)
    )
    return [Recording(Problem("simulated/0", "What is it?", "0"), "m", traces)]


@pytest.fixture
def loop():
    loop = SkippingLoop()
    yield loop
    loop.close()


def test_the_clock_jumps_over_idle_time_in_order(loop):
    ended = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append((seconds, loop.time() - began))

    async def all_of_them() -> None:
        await asyncio.gather(*(sleep(s) for s in (7200, 60, 3600)))

    began, wall = loop.time(), time.monotonic()
    loop.run_until_complete(all_of_them())
    assert [seconds for seconds, _ in ended] == [60, 3600, 7200]
    assert all(seconds <= at < seconds + 30 for seconds, at in ended)
    assert time.monotonic() - wall < 600


def test_work_in_threads_is_waited_for(loop):
    async def main() -> float:
        began = loop.time()
        work = asyncio.create_task(asyncio.to_thread(time.sleep, 0.2))
        await asyncio.sleep(60)
        assert work.done(), "the clock did not jump ahead of the thread"
        return loop.time() - began

    assert loop.run_until_complete(main()) >= 60


@pytest.mark.parametrize("policy", ["cons", "deepprune"])
def test_every_trace_of_every_problem_ends_once(loop, recordings, policy):
    cell = Cell(policy, num_traces=1024, num_nodes=1, progress_s=10)
    run = Run(cell, recordings)
    snapshots = []

    async def watched() -> None:
        working = asyncio.create_task(run.solve_all())
        while not working.done():
            await asyncio.sleep(5)
            for problem in run.problems.values():
                snapshot = problem.snapshot()
                snapshots.append(snapshot)
                tokens = [trace.num_tokens for trace in problem.traces.values()]
                assert snapshot.num_tokens == sum(tokens)
                assert sum(snapshot.states.values()) == len(problem.traces)
        await working

    loop.run_until_complete(watched())
    assert run.num_launched == 1024
    assert run.engines.most_running > 512, "both problems were in flight together"
    assert run.engines.num_running == 0, "no engine is left with a trace"
    assert snapshots
    if policy == "deepprune":
        assert run.lags, "some were cancelled while they ran"
        assert min(run.lags) >= 0
