"""Sample traces of one problem to their ends, without a policy, for `deepprune collect`.

Each sample is returned exactly once, finished or with an error. It has the same seed as in a live
run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial

from actors.driver.live_trace import LiveTrace
from actors.driver.trace_run import TraceRun
from actors.messages import EngineGone, Generators, RequestRefused
from deepprune.config import SamplingConfig
from deepprune.errors import UserError
from deepprune.seeds import stable_seed
from deepprune.traces import Problem


@dataclass(frozen=True, slots=True)
class Collected:
    """A trace that finished, or failed with an `error` of one line."""

    sample: int
    trace: LiveTrace
    error: str | None = None


async def collect(
    key: str,
    problem: Problem,
    samples: Sequence[int],
    seed: int,
    *,
    sampling: SamplingConfig,
    generators: Generators,
    confidence_window: int | None,
    retries: int,
) -> AsyncGenerator[list[Collected]]:
    """Sample `samples` of a problem, and yield batches of ended ones.

    Closing the iterator ends running traces.
    """
    ended: asyncio.Queue[asyncio.Task[Collected]] = asyncio.Queue()

    async def follow(sample: int) -> Collected:
        trace = LiveTrace(stable_seed(seed, problem.problem_id, sample), confidence_window)
        error = await _run(f"{key}/{sample}", problem, trace, sampling, generators, retries)
        return Collected(sample, trace, error)

    tasks = [asyncio.create_task(follow(sample)) for sample in samples]
    for task in tasks:
        task.add_done_callback(ended.put_nowait)
    try:
        num_left = len(samples)
        while num_left:
            some = [(await ended.get()).result()]
            while not ended.empty():
                some.append(ended.get_nowait().result())
            num_left -= len(some)
            yield some
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(
    name: str,
    problem: Problem,
    trace: LiveTrace,
    sampling: SamplingConfig,
    generators: Generators,
    retries: int,
) -> str | None:
    """Generate a trace to its end and read its answer; return the error, if any."""
    if not problem.text.strip():
        return "the problem is empty"
    make_request = partial(trace.request, name, problem, sampling)
    try:
        async for _ in TraceRun(trace, make_request, generators, retries).updates():
            pass
    except (EngineGone, RequestRefused, UserError) as error:
        return _one_line(error)
    await asyncio.to_thread(trace.read_answer, problem, sampling)
    return None


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
