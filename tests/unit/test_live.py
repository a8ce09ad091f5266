"""The live driver without engines: what it bills when events and decisions cross."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live import LiveProblem
from actors.generators.abortable import AbortableGenerators
from actors.messages import (
    Busy,
    EngineGone,
    Generators,
    JudgeReply,
    JudgeRequest,
    Judges,
    PromptTooLong,
    TraceRequest,
    TraceUpdate,
)
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.ledger import Fate
from deepprune.policy_config import ConsConfig, DeepPruneConfig, PolicyConfig
from deepprune.session import Outcome
from deepprune.traces import Problem


def live_problem(
    policy: PolicyConfig,
    generators: Generators,
    *,
    judges: Judges | None = None,
    sampling: SamplingConfig | None = None,
    limits: LimitsConfig | None = None,
) -> LiveProblem:
    return LiveProblem(
        key="p0",
        problem=Problem("unit/0", "?"),
        policy=policy,
        sampling=sampling or SamplingConfig(max_tokens=20),
        generators=generators,
        judges=judges,
        limits=limits or LimitsConfig(),
    )


class AllAtOnce(AbortableGenerators):
    """Generators whose traces all end in the same instant, after a first report."""

    def __init__(self) -> None:
        super().__init__()
        self.end = asyncio.Event()

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        yield TraceUpdate("so ", (1,), 1)
        asyncio.get_running_loop().call_later(0.05, self.end.set)
        await self.end.wait()
        yield TraceUpdate("\\boxed{1}", (2, 3), 3, finish_reason="stop")


class Dying(AbortableGenerators):
    """Generators that die under every trace after so many tokens."""

    def __init__(self, tokens_each: int) -> None:
        super().__init__()
        self.tokens_each = tokens_each

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        had = request.prefix_num_tokens
        for num_tokens in range(had + 1, had + 1 + self.tokens_each):
            end = "stop" if num_tokens == 10 else None
            yield TraceUpdate("a", (7,), num_tokens, finish_reason=end)
            if end:
                return
        raise EngineGone("replica lost")


class Deaf(AbortableGenerators):
    """Generators that do not answer to the first so many calls for a trace."""

    def __init__(self, num_calls: int) -> None:
        super().__init__()
        self.num_calls = num_calls

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        self.num_calls -= 1
        if self.num_calls >= 0:
            raise Busy("later", retry_after_s=0)
        yield TraceUpdate("\\boxed{1}", (7,), 1, finish_reason="stop")


async def test_a_trace_that_nobody_takes_is_asked_for_until_somebody_does():
    policy, limits = ConsConfig(num_traces=1), LimitsConfig(retries=1)
    outcome = await live_problem(policy, Deaf(10), limits=limits).run()
    assert [end.fate for end in outcome.ends] == [Fate.FINISHED]


class Cancelled:
    """Generators whose traces end as if somebody had cancelled them."""

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        yield TraceUpdate("so ", (7,), 1)
        raise asyncio.CancelledError

    def abort(self, request_id: str) -> int:
        return 0


async def test_a_trace_that_is_cancelled_by_nobody_fails_loudly():
    live = live_problem(ConsConfig(num_traces=1), Cancelled())
    with pytest.raises(RuntimeError, match="p0/0 was cancelled, and not by its problem"):
        async with asyncio.timeout(10):
            await live.run()


class Pausing(AbortableGenerators):
    """Generators of traces that all say the same, half of it before their checkpoint."""

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        if request.checkpoint:
            yield TraceUpdate("so ", (7,), 1, prefix_chars=3)
        else:
            yield TraceUpdate("\\boxed{1}", (8,), 2, finish_reason="stop")


class Unabortable:
    """Judges whose calls are over before they can be aborted."""

    def abort(self, request_id: str) -> None:
        pass


class DeafJudges(Unabortable):
    """Judges that do not answer to the first so many calls."""

    def __init__(self, num_calls: int) -> None:
        self.num_calls = num_calls

    async def score(self, request: JudgeRequest) -> JudgeReply:
        self.num_calls -= 1
        if self.num_calls >= 0:
            raise EngineGone("replica lost")
        return JudgeReply((1.0,) * len(request.firsts), 1, 0)


async def test_a_judgement_that_nobody_makes_is_asked_for_until_somebody_does():
    policy = DeepPruneConfig(num_traces=2, checkpoint="tokens:1", tau=0.5)
    judges, limits = DeafJudges(10), LimitsConfig(retries=10)
    outcome = await live_problem(policy, Pausing(), judges=judges, limits=limits).run()
    assert outcome.ledger.judge_pairs == 1
    assert outcome.answer == "1"


@pytest.mark.parametrize(("tokens_each", "fate"), [(1, Fate.FINISHED), (0, Fate.LOST)])
async def test_deaths_count_only_while_a_trace_gets_nowhere(tokens_each: int, fate: Fate):
    policy, limits = ConsConfig(num_traces=2), LimitsConfig(retries=3)
    live = live_problem(policy, Dying(tokens_each), limits=limits)
    outcome = await live.run()
    assert [end.fate for end in outcome.ends] == [fate, fate]
    assert {trace.num_tokens for trace in live.traces.values()} == {10 * tokens_each}


async def test_a_trace_that_ended_unheard_is_billed_in_full():
    """A vote may be decided while the ends of other traces still wait to be told."""
    live = live_problem(DeepPruneConfig(num_traces=6, checkpoint="tokens:9"), AllAtOnce())
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


class Greedy(AbortableGenerators):
    """Generators without chance: what a trace says next depends on what it has said, only.

    A request dies after so many tokens as `lives` says, in turn, and lives on where that is empty.
    """

    def __init__(self, lives: list[int]) -> None:
        super().__init__()
        self.lives = iter(lives)

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        sample = int(request.request_id.split("/")[1])
        text = f"step {sample} so \\boxed{{{sample % 3}}}"
        left = next(self.lives, len(text))
        for place in range(request.prefix_num_tokens, len(text)):
            if left == 0:
                raise EngineGone("replica lost")
            left -= 1
            await asyncio.sleep(0)
            end = "stop" if place == len(text) - 1 else None
            yield TraceUpdate(text[place], (place,), place + 1, finish_reason=end)


@given(st.lists(st.integers(0, 25), max_size=40))
def test_without_chance_deaths_change_nothing(lives: list[int]):
    def outcome(lives: list[int]) -> Outcome:
        live = live_problem(
            ConsConfig(num_traces=7),
            Greedy(lives),
            sampling=SamplingConfig(max_tokens=100, temperature=0),
            limits=LimitsConfig(retries=len(lives)),
        )
        return asyncio.run(live.run())

    disturbed, undisturbed = outcome(lives), outcome([])
    assert disturbed.answer == undisturbed.answer == "0"
    assert set(disturbed.ends) == set(undisturbed.ends)
    assert sorted(len(samples) for _, samples in disturbed.decision.votes) == [2, 2, 3]


class Cramped(Unabortable):
    """Judges that have no room for the problem."""

    def __init__(self) -> None:
        self.num_calls = 0

    async def score(self, request: JudgeRequest) -> JudgeReply:
        self.num_calls += 1
        raise PromptTooLong("the problem is too long")


async def test_a_judge_without_room_is_asked_once_and_the_vote_comes_without_it():
    policy = DeepPruneConfig(num_traces=2, checkpoint="tokens:1", tau=0.5)
    judges, limits = Cramped(), LimitsConfig(retries=5)
    outcome = await live_problem(policy, Pausing(), judges=judges, limits=limits).run()
    assert judges.num_calls == 1
    assert outcome.complete
    assert outcome.answer == "1"


class PausedThenGone(AbortableGenerators):
    """Generators whose replicas die after a pause, once the rest has begun elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.continued = asyncio.Event()

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        if request.pause:
            yield TraceUpdate("so ", (1,), 1, prefix_chars=3)
            await self.continued.wait()
            raise EngineGone("replica lost")
        self.continued.set()
        await asyncio.sleep(0.05)
        yield TraceUpdate("\\boxed{1}", (2, 3), 3, finish_reason="stop")


class Agreeing(Unabortable):
    """A judge to whom all traces are the same."""

    async def score(self, request: JudgeRequest) -> JudgeReply:
        return JudgeReply((0.9,) * len(request.firsts), 1, 0)


async def test_a_replica_that_dies_after_a_pause_is_no_reason_to_begin_again():
    policy = DeepPruneConfig(num_traces=4, checkpoint="tokens:1")
    live = live_problem(policy, PausedThenGone(), judges=Agreeing())
    outcome = await live.run()
    finished = [live.traces[end.sample] for end in outcome.ends if end.fate is Fate.FINISHED]
    assert finished
    assert {trace.text for trace in finished} == {"so \\boxed{1}"}
    assert {trace.num_reissued for trace in live.traces.values()} == {0}
