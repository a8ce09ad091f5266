"""A session, event by event: how traces end, and what the ledger bills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from deepprune.events import (
    Cancel,
    Continue,
    Event,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Progress,
    Stop,
)
from deepprune.ledger import Fate, Ledger
from deepprune.policies import Cons, DeepPrune, Esc
from deepprune.policy_config import ConsConfig, DeepPruneConfig, EscConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM, Driver, SimulatedTrace
from tests.support.sessions import all_over, cons, deepprune, some_cancelled


def test_a_pruned_problem_event_by_event():
    session = deepprune(3, stop_when_decided=False)
    assert session.start() == [Launch(0), Launch(1), Launch(2)]
    assert session.handle(PrefixReady(1, 5)) == []
    assert session.handle(PrefixReady(0, 5)) == [Judge(0, (1,))]
    assert session.handle(PrefixReady(2, 5)) == [Judge(2, (1,))]
    assert session.handle(Judged(2, {1: 0.1})) == []  # 0 arrived before it
    assert session.handle(Judged(0, {1: 0.9})) == [Judge(2, (0,))]
    assert session.handle(Judged(2, {0: 0.2})) == [
        Cancel(2, "minority"),
        Continue(1),
        Continue(0),
    ]
    assert session.handle(Finished(0, "4", 20)) == []
    assert not session.stopped
    assert session.handle(Finished(1, "4", 30)) == [Stop("decided")]
    assert session.stopped

    outcome = session.outcome()
    assert outcome.answer == "4"
    assert outcome.complete
    assert outcome.policy == "deepprune"
    assert outcome.problem is PROBLEM
    assert (outcome.rounds, outcome.sequential_tokens) == (2, 30)
    assert outcome.decision.clusters == ((1, 0), (2,))
    assert [(end.sample, end.fate, end.num_tokens) for end in outcome.ends] == [
        (0, Fate.FINISHED, 20),
        (1, Fate.FINISHED, 30),
        (2, Fate.CANCELLED_AFTER_CHECKPOINT, 5),
    ]


def test_sequential_tokens_are_those_of_the_longest_chain_of_traces():
    policy = Esc(EscConfig(name="esc", num_traces=6, window=2))
    session = Session(PROBLEM, policy, "esc")
    session.start()
    for sample, num_tokens in ((0, 20), (1, 50), (3, 10), (2, 30), (4, 5)):
        session.handle(Finished(sample, str(sample), num_tokens))
    session.handle(Finished(5, "4", 40))
    outcome = session.outcome()
    assert (outcome.rounds, outcome.sequential_tokens) == (3, 50 + 30 + 40)


def test_the_states_of_all_traces_are_counted():
    session = deepprune(4)
    session.start()
    session.handle(PrefixReady(0, 5))
    session.handle(Failed(3))
    assert session.states == {"prefix": 2, "paused": 1, "lost": 1}


def test_the_ledger_bills_each_fate_apart():
    session = deepprune(5, max_clusters=2)
    session.start()
    session.handle(Progress(4, 3))
    session.handle(Progress(3, 2))
    session.handle(Failed(3, "its node died"))
    session.handle(PrefixReady(0, 5))
    session.handle(PrefixReady(1, 5))
    session.handle(Judged(1, {0: 0.9}, computed_tokens=40, cached_tokens=30, seconds=0.25))
    session.handle(PrefixReady(2, 5))
    session.handle(Judged(2, {0: 0.1, 1: 0.1}, computed_tokens=20, cached_tokens=60, seconds=0.5))
    session.handle(Finished(0, "4", 20))
    session.handle(Finished(1, "4", 21))
    assert session.outcome().ledger == Ledger(
        finished_tokens=41,
        cancelled_after_checkpoint_tokens=5,
        cancelled_before_checkpoint_tokens=3,
        lost_tokens=2,
        judge_computed_tokens=60,
        judge_cached_tokens=90,
        judge_pairs=3,
        finished_traces=2,
        cancelled_after_checkpoint_traces=1,
        cancelled_before_checkpoint_traces=1,
        lost_traces=1,
        judge_s=0.75,
    )
    assert session.ends[3].reason == "its node died"
    assert session.ends[4].reason == "saturated"


def test_an_unknown_trace_is_a_programming_error():
    session = cons(2)
    session.start()
    with pytest.raises(AssertionError, match="never launched"):
        session.handle(Finished(7, "4", 10))


def test_there_is_no_outcome_before_the_end():
    session = cons(1)
    session.start()
    with pytest.raises(AssertionError, match="not stopped"):
        session.outcome()


def some_lost() -> Session:
    """Trace 2 was lost before its checkpoint, 0 and 1 are on their way to theirs."""
    session = deepprune(3)
    session.start()
    session.handle(Failed(2))
    return session


@pytest.mark.parametrize("situation", [some_cancelled, some_lost, all_over])
@pytest.mark.parametrize(
    "late",
    [
        Progress(2, 9),
        PrefixReady(2, 9),
        Judged(2, {0: 0.9}),
        JudgeLost(2),
        Finished(2, "9", 50),
        Failed(2, "died"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_whatever_arrives_for_a_trace_that_was_ended_finds_nothing(
    situation: Callable[[], Session], late: Event
):
    session = situation()
    ends, decision, states = dict(session.ends), session.decision(), session.states
    assert session.handle(late) == []
    assert (session.ends, session.decision(), session.states) == (ends, decision, states)


def test_the_judges_late_work_is_still_paid_for():
    session = all_over()
    session.handle(Judged(2, {0: 0.9}, computed_tokens=11, cached_tokens=5, seconds=1.0))
    ledger = session.outcome().ledger
    assert (ledger.judge_computed_tokens, ledger.judge_cached_tokens) == (11, 5)
    assert (ledger.judge_pairs, ledger.judge_s) == (1, 1.0)


def test_a_trace_may_end_while_it_waits_at_its_checkpoint():
    session = deepprune(2)
    session.start()
    session.handle(PrefixReady(0, 5))
    session.handle(PrefixReady(1, 5))
    assert session.handle(Finished(0, "4", 5)) == []
    assert session.handle(Failed(1)) == [Stop("decided")]
    assert session.outcome().answer == "4"


def test_a_verdict_counts_although_its_trace_ended_meanwhile():
    session = deepprune(2, at_checkpoint="run", stop_when_decided=False)
    session.start()
    session.handle(PrefixReady(0, 5))
    assert session.handle(PrefixReady(1, 5)) == [Judge(1, (0,))]
    assert session.handle(Finished(1, "4", 9)) == []
    assert session.handle(Judged(1, {0: 0.9})) == []
    assert session.decision().clusters == ((0, 1),)
    assert session.handle(Finished(0, "4", 9)) == [Stop("decided")]


def test_the_simulated_driver_notices_a_deadlock():
    class Idle(Cons):
        def start(self):
            return []

    with pytest.raises(AssertionError, match="deadlock"):
        Driver(Idle(ConsConfig(num_traces=1)), [SimulatedTrace("1")]).run()


def test_the_simulated_driver_notices_a_trace_that_is_launched_twice():
    class Twice(Cons):
        def start(self):
            return [Launch(0), Launch(0)]

    with pytest.raises(AssertionError):
        Driver(Twice(ConsConfig(num_traces=1)), [SimulatedTrace("1")]).run()


def test_the_simulated_driver_delivers_late_events():
    plans = [replace(SimulatedTrace(str(index % 2)), num_tokens=40) for index in range(12)]
    config = DeepPruneConfig(num_traces=12, max_finish=1)
    late = [
        Driver(DeepPrune(config, 0), plans, lambda a, b: 0.9, seed).run().ledger.late_tokens
        for seed in range(40)
    ]
    assert any(late)
