"""A recorded order followed again, where a live run is not quite like a replay."""

from __future__ import annotations

import pytest

from deepprune.events import Command, Continue, Event, Finished, Launch, PrefixReady, Stop
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policy_config import DeepConfConfig
from deepprune.replay import Replay, ReplayTrace
from deepprune.traces import Problem

PROBLEM = Problem("recorded/1", "What is it?", "7")
POLICY = DeepConfConfig(name="deepconf-low", num_traces=4, warmup=2, wave=2)
WARM_UP = [("Progress", 0), ("Progress", 1), ("Finished", 0), ("Finished", 1)]


def told_again(lows: list[tuple[int, float]], order: list[tuple[str, int]]):
    """Samples 0 and 1 set the threshold, 5.0; sample 2 has `lows`; sample 3 finishes."""
    traces = [
        ReplayTrace(0, 10, None, "7", ((5, 5.0),)),
        ReplayTrace(1, 10, None, "8", ((5, 5.0),)),
        ReplayTrace(2, 20, None, "8", tuple(lows)),
        ReplayTrace(3, 30, None, "7", ((5, 6.0),)),
    ]
    policy = make_policy(POLICY, 0)
    outcome = Replay(PROBLEM, traces, policy, POLICY.name, order=order).run()
    return {end.sample: (end.fate, end.reason) for end in outcome.ends}


@pytest.mark.parametrize("lows", [[(5, 6.0), (10, 4.0)], [(5, 8.0), (8, 6.0), (10, 4.0)]])
def test_readings_that_came_together_are_told_together(lows):
    order = [*WARM_UP, ("Progress", 3), ("Progress", 2), ("Finished", 3)]
    ends = told_again(lows, order)
    assert ends[2] == (Fate.CANCELLED_BEFORE_CHECKPOINT, "low confidence")
    assert ends[3][0] is Fate.FINISHED


def test_readings_that_came_apart_are_told_apart():
    order = [*WARM_UP, ("Progress", 2), ("Progress", 3), ("Finished", 2), ("Finished", 3)]
    assert told_again([(5, 9.0), (10, 8.0)], order)[2][0] is Fate.FINISHED


class Scripted:
    """Launches two traces, lets the first go on, and stops when the second has ended."""

    pauses = True

    def start(self) -> list[Command]:
        return [Launch(0), Launch(1)]

    def handle(self, event: Event) -> list[Command]:
        match event:
            case PrefixReady(sample=0):
                return [Continue(0)]
            case Finished(sample=1):
                return [Stop("enough")]
        return []

    def decision(self):
        from deepprune.events import Decision

        return Decision("7", (("7", (1,)),))


def test_a_trace_that_was_cut_as_soon_as_it_went_on():
    traces = [ReplayTrace(0, 5, 5, None), ReplayTrace(1, 9, None, "7")]
    order = [("PrefixReady", 0), ("Finished", 1)]
    outcome = Replay(PROBLEM, traces, Scripted(), "scripted", order=order).run()
    fates = {end.sample: end.fate for end in outcome.ends}
    assert fates == {0: Fate.CANCELLED_AFTER_CHECKPOINT, 1: Fate.FINISHED}
