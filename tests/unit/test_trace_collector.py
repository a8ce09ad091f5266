"""Traces of one problem, sampled to their ends over engines that fail."""

from __future__ import annotations

import asyncio

import pytest

from actors.driver.trace_collector import collect
from actors.generators.abortable import AbortableGenerators
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.config import SamplingConfig
from deepprune.errors import UserError
from deepprune.seeds import stable_seed
from deepprune.traces import Problem
from tests.support.collected import PROBLEMS


class Scripted(AbortableGenerators):
    """Generators that do what they are told to for each sample, attempt by attempt."""

    def __init__(self, scripts: dict[int, list]) -> None:
        super().__init__()
        self.scripts = scripts
        self.requests: list[TraceRequest] = []
        self.closed = 0

    async def generate(self, request: TraceRequest):
        self.requests.append(request)
        sample = int(request.request_id.split("/")[1])
        step = self.scripts[sample].pop(0)
        try:
            if step == "dead":
                raise EngineGone("no replica")
            yield TraceUpdate("half ", (1,), request.prefix_num_tokens + 1)
            if isinstance(step, Exception):
                raise step
            if step == "hang":
                await asyncio.Event().wait()
            yield TraceUpdate(step, (2,), request.prefix_num_tokens + 2, finish_reason="stop")
        finally:
            self.closed += 1


def collecting(generators: Scripted, samples, problem: Problem = PROBLEMS[0], retries: int = 1):
    return collect(
        "c0",
        problem,
        samples,
        7,
        sampling=SamplingConfig(),
        generators=generators,
        confidence_window=None,
        retries=retries,
    )


async def test_every_sample_comes_out_once_with_the_seed_of_a_live_run():
    generators = Scripted({3: ["\\boxed{4}"], 5: ["no answer"]})
    found = [c async for part in collecting(generators, [3, 5]) for c in part]
    assert [(c.sample, c.trace.answer, c.error) for c in found] == [(3, "4", None), (5, None, None)]
    seeds = [request.seed for request in generators.requests]
    assert seeds == [stable_seed(7, "b/0", 3), stable_seed(7, "b/0", 5)]


async def test_a_trace_whose_engine_dies_is_resumed_and_given_up_in_the_end():
    gone = EngineGone("replica lost")
    generators = Scripted({0: [gone, "\\boxed{1}"], 1: [gone, "dead", "dead"]})
    found = {c.sample: c async for part in collecting(generators, [0, 1]) for c in part}
    assert found[0].error is None
    assert found[0].trace.text == "half half \\boxed{1}"
    assert found[1].error == "no replica"
    assert len({request.request_id for request in generators.requests}) == 5


async def test_a_refused_problem_is_an_error_of_each_of_its_samples():
    generators = Scripted({0: [UserError("too long\nby far")], 1: ["\\boxed{1}"]})
    found = {c.sample: c.error async for part in collecting(generators, [0, 1]) for c in part}
    assert found == {0: "too long by far", 1: None}
    empty = Problem("b/e", " \n")
    found = {c.sample: c.error async for part in collecting(generators, [0], empty) for c in part}
    assert found == {0: "the problem is empty"}


async def test_leaving_early_closes_every_stream():
    generators = Scripted({0: ["\\boxed{1}"], 1: ["hang"], 2: ["hang"]})
    traces = collecting(generators, [0, 1, 2])
    assert [c.sample for c in await anext(traces)] == [0]
    await traces.aclose()
    assert generators.closed == 3


async def test_a_bug_is_not_taken_for_a_bad_problem():
    generators = Scripted({0: [ZeroDivisionError()], 1: ["hang"]})
    with pytest.raises(ZeroDivisionError):
        async for _ in collecting(generators, [0, 1]):
            pass
    assert generators.closed == 2
