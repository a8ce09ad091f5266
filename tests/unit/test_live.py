"""The live driver without engines: what it bills when events and decisions cross."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from actors.live import LiveProblem
from actors.messages import TraceRequest, TraceUpdate
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.ledger import Fate
from deepprune.policy_config import DeepPruneConfig
from deepprune.traces import Problem


class AllAtOnce:
    """Generators whose traces all end in the same instant, after a first report."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        yield TraceUpdate("so ", (1,), 1)
        asyncio.get_running_loop().call_later(0.05, self.end.set)
        await self.end.wait()
        yield TraceUpdate("\\boxed{1}", (2, 3), 3, finish_reason="stop")


async def test_a_trace_that_ended_unheard_is_billed_in_full():
    """A vote may be decided while the ends of other traces still wait to be told."""
    live = LiveProblem(
        key="p0",
        problem=Problem("unit/0", "?"),
        policy=DeepPruneConfig(num_traces=6, checkpoint="tokens:9"),
        sampling=SamplingConfig(max_tokens=20),
        generators=AllAtOnce(),
        judges=None,
        limits=LimitsConfig(),
    )
    run = asyncio.create_task(live.run())
    await live.generators.end.wait()
    live.interrupt("decided elsewhere")
    outcome = await run
    assert {end.fate for end in outcome.ends} <= {
        Fate.FINISHED,
        Fate.CANCELLED_BEFORE_CHECKPOINT,
    }
    for end in outcome.ends:
        assert end.num_tokens == live.traces[end.sample].num_tokens
