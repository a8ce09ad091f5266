"""Sample traces of one problem to their ends, without a policy, for `deepprune collect`.

Each sample is returned exactly once, finished or with an error. It has the same seed as in a live
run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from actors.driver.live_trace import LiveTrace
from actors.messages import EngineGone, Generators
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.errors import UserError
from deepprune.seeds import stable_seed
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

REFUSED = (RayError, RayServeException, UserError)
"""Errors of a request that no generator will ever serve, such as one with too long a prompt."""


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
    limits: LimitsConfig,
    report_to: Any = None,
) -> AsyncGenerator[list[Collected]]:
    """Sample `samples` of a problem, and yield batches of ended ones.

    Closing the iterator cancels running traces; so does the death of the actor `report_to`.
    """
    ended: asyncio.Queue[asyncio.Task[Collected]] = asyncio.Queue()

    async def follow(sample: int) -> Collected:
        trace = LiveTrace(stable_seed(seed, problem.problem_id, sample), stop=sampling.stop)
        try:
            error = await _to_its_end(
                f"{key}/{sample}", problem, trace, sampling, generators, limits.retries, report_to
            )
        except REFUSED as refusal:
            error = _one_line(refusal)
        if error is None:
            trace.find_answer(problem, sampling)
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


async def _to_its_end(
    name: str,
    problem: Problem,
    trace: LiveTrace,
    sampling: SamplingConfig,
    generators: Generators,
    retries: int,
    report_to: Any,
) -> str | None:
    """Generate a trace to its end, re-issued when its engine dies; return the error, if any."""
    if not problem.text.strip():
        return "the problem is empty"
    error, in_a_row = "", 0
    while in_a_row <= retries:
        had = trace.num_tokens
        request = trace.request(name, problem, sampling, report_to=report_to)
        try:
            async with aclosing(generators.stream(request)) as updates:
                async for update in updates:
                    trace.take(update)
        except EngineGone as gone:
            error = str(gone)
            logger.warning("%s: %s", name, gone)
        if trace.finish_reason is not None:
            return None
        trace.num_reissued += 1
        in_a_row = 0 if trace.num_tokens > had else in_a_row + 1
    return error or "the generator ended it without a reason"


def _one_line(error: Exception) -> str:
    """Return the last line of an error that has another process's traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[-1] if lines else type(cause).__name__)[:300]
