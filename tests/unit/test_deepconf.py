from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune.events import Cancel, Failed, Finished, Launch, Progress, Stop
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policy_config import DeepConfConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM, Driver, SimulatedTrace

SEEDS = st.integers(0, 2**32)
untimed = settings(deadline=None, max_examples=60)


def deepconf(num_traces: int, name: str = "deepconf-low", **options: object):
    return make_policy(DeepConfConfig(name=name, num_traces=num_traces, **options), 0)


class Bench:
    """A session under a policy; `step` returns what follows from an event."""

    def __init__(self, num_traces: int, **options: object) -> None:
        self.session = Session(PROBLEM, deepconf(num_traces, **options), "deepconf")
        self.launched = [command.sample for command in self.session.start()]

    def reading(self, sample: int, *confidence: float):
        return self.session.handle(Progress(sample, 5, confidence))

    def finish(self, sample: int, answer: str | None, *confidence: float):
        if confidence:
            assert self.reading(sample, *confidence) == []
        return self.session.handle(Finished(sample, answer, 10))

    @property
    def decision(self):
        return self.session.decision()


def launches(*samples: int) -> list[Launch]:
    return [Launch(sample, to_end=True) for sample in samples]


# --- offline ------------------------------------------------------------------------------------


def test_offline_the_most_confident_tenth_votes_by_its_confidence():
    bench = Bench(20, online=False)
    assert bench.launched == list(range(20))
    for sample in range(19):
        assert bench.finish(sample, "wrong", 10.0 + sample / 100) == []
    assert bench.finish(19, "right", 12.0) == [Stop("all sampled")]
    # Of twenty, two are kept: sample 19 with 12.0 and sample 18 with 10.18.
    assert bench.decision.votes == (("right", (19,)), ("wrong", (18,)))
    assert bench.decision.weights == (12.0, 10.18)
    assert bench.decision.answer == "right"


def test_offline_high_keeps_nine_of_ten():
    bench = Bench(10, name="deepconf-high", online=False)
    for sample in range(10):
        bench.finish(sample, "odd" if sample % 2 else "even", 1.0 + sample)
    # Sample 0, the least confident, does not vote: 2+4+6+8+10 against 3+5+7+9.
    assert bench.decision.votes == (("odd", (1, 3, 5, 7, 9)), ("even", (2, 4, 6, 8)))
    assert bench.decision.weights == (30.0, 24.0)


def test_confidence_can_outvote_a_majority():
    bench = Bench(3, online=False, keep=1.0)
    bench.finish(0, "a", 2.0)
    bench.finish(1, "a", 2.5)
    bench.finish(2, "b", 5.0)
    assert bench.decision.answer == "b"
    assert bench.decision.weights == (5.0, 4.5)


def test_equal_weights_go_to_the_answer_of_the_earlier_sample():
    bench = Bench(2, online=False, keep=1.0)
    bench.finish(1, "late", 3.0)
    bench.finish(0, "early", 3.0)
    assert bench.decision.answer == "early"


def test_the_confidence_of_a_trace_is_its_lowest_reading_in_any_order():
    bench = Bench(2, online=False, keep=0.5)
    bench.reading(0, 9.0, 4.0)
    bench.reading(0, 8.0)
    bench.reading(1, 5.0, 5.0, 6.0)
    bench.finish(0, "a")
    bench.finish(1, "b")
    assert bench.decision.votes == (("b", (1,)),)
    assert bench.decision.weights == (5.0,)


def test_at_least_one_trace_is_kept():
    bench = Bench(3, online=False, keep=0.01)
    for sample in range(3):
        bench.finish(sample, str(sample), 3.0 - sample)
    assert bench.decision.votes == (("0", (0,)),)


def test_offline_nothing_is_dropped_before_all_have_ended():
    bench = Bench(3, online=False)
    bench.finish(0, "a", 9.0)
    bench.finish(1, "a", 8.0)
    assert bench.reading(2, 0.001) == []
    assert bench.decision.votes == (("a", (0, 1)),)


# --- online -------------------------------------------------------------------------------------


def warmed_up(num_traces: int = 20, **options: object) -> Bench:
    """Four warm-up traces of confidence 10, 9, 8, 7; half of them are kept: 9 is the threshold."""
    bench = Bench(num_traces, warmup=4, keep=0.5, wave=2, **options)
    assert bench.launched == [0, 1, 2, 3]
    for sample, answer in enumerate(["a", "b", "c"]):
        assert bench.finish(sample, answer, 10.0 - sample) == []
    return bench


def test_online_the_warm_up_sets_the_threshold_that_later_traces_must_stay_above():
    bench = warmed_up()
    assert bench.finish(3, "c", 7.0) == launches(4, 5)
    assert bench.decision.votes == (("a", (0,)), ("b", (1,)))
    assert bench.reading(4, 9.5) == []
    assert bench.reading(4, 9.0) == []  # at the threshold is not below it
    assert bench.reading(5, 12.0, 8.9) == [Cancel(5, "low confidence"), *launches(6)]
    assert bench.session.ends[5].fate is Fate.CANCELLED_BEFORE_CHECKPOINT
    assert bench.session.ends[5].num_tokens == 5


def test_online_sampling_stops_once_one_answer_holds_the_consensus():
    bench = warmed_up(consensus=0.7)
    assert bench.finish(3, "c", 7.0) == launches(4, 5)
    assert bench.finish(4, "a", 20.0) == [Cancel(5, "consensus"), Stop("consensus")]
    # 10 + 20 of 39 is 0.77.
    assert bench.decision.weights == (30.0, 9.0)
    assert bench.decision.answer == "a"


def test_exactly_the_consensus_is_enough():
    bench = warmed_up(consensus=0.75)
    bench.finish(3, "c", 7.0)
    bench.reading(4, 17.0)  # 10 + 17 of 36
    assert bench.finish(4, "a") == [Cancel(5, "consensus"), Stop("consensus")]


def test_a_warm_up_that_agrees_launches_nothing_more():
    bench = Bench(20, warmup=3, keep=1.0)
    bench.finish(0, "a", 5.0)
    bench.finish(1, "a", 6.0)
    assert bench.finish(2, "a", 7.0) == [Stop("consensus")]


def test_online_ends_when_all_are_sampled():
    bench = warmed_up(5)
    assert bench.finish(3, "c", 7.0) == launches(4)
    assert bench.reading(4, 1.0) == [Cancel(4, "low confidence"), Stop("all sampled")]
    assert bench.decision.answer == "a"


def test_a_budget_below_the_warm_up_is_all_warm_up():
    bench = Bench(2, warmup=16)
    assert bench.launched == [0, 1]
    bench.finish(0, "a", 3.0)
    assert bench.finish(1, "b", 4.0)[-1] == Stop("consensus")
    assert bench.decision.answer == "b"


def test_failures_leave_the_warm_up_and_are_replaced_after_it():
    bench = Bench(20, warmup=2, wave=3, keep=1.0)
    assert bench.session.handle(Failed(0)) == []
    assert bench.finish(1, "a", 5.0) == [Stop("consensus")]
    bench = Bench(20, warmup=2, wave=3, keep=1.0)
    bench.finish(0, "a", 5.0)
    assert bench.finish(1, "b", 5.0) == launches(2, 3, 4)
    assert bench.session.handle(Failed(3)) == launches(5)


def test_a_warm_up_of_which_nothing_is_left_drops_nothing():
    bench = Bench(6, warmup=2, wave=1)
    bench.session.handle(Failed(0))
    assert bench.session.handle(Failed(1)) == launches(2)
    assert bench.reading(2, 0.001) == []


def test_traces_without_an_answer_set_the_threshold_too_and_do_not_vote():
    bench = Bench(20, warmup=2, keep=0.5, wave=1)
    bench.finish(0, None, 10.0)
    assert bench.finish(1, "a", 5.0) == launches(2)
    assert bench.decision.answer is None
    assert bench.reading(2, 9.0) == [Cancel(2, "low confidence"), *launches(3)]


# --- traces without a reading -------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_nothing_speaks_against_a_trace_without_a_reading_whatever_the_scale(scale):
    bench = Bench(4, online=False, keep=0.34)
    bench.finish(0, "a", 3.0 * scale)
    bench.finish(1, "b", 2.0 * scale)
    bench.finish(2, "c", 1.0 * scale)
    bench.finish(3, "a")
    # It has no part in the threshold, is kept, and weighs what the least of those kept weighs.
    assert bench.decision.votes == (("a", (0, 3)),)
    assert bench.decision.weights == (pytest.approx(6.0 * scale),)


def test_without_any_reading_it_is_a_plain_majority():
    bench = Bench(4, online=False)
    for sample, answer in enumerate(["a", "b", "b", None]):
        bench.finish(sample, answer)
    assert bench.decision.votes == (("b", (1, 2)), ("a", (0,)))
    assert bench.decision.weights == (2.0, 1.0)


# --- whatever happens ---------------------------------------------------------------------------


@untimed
@given(
    seed=SEEDS,
    num_traces=st.integers(1, 40),
    online=st.booleans(),
    warmup=st.integers(1, 20),
    wave=st.integers(1, 20),
    interrupt_at=st.none() | st.integers(0, 100),
)
def test_it_always_comes_to_an_end(seed, num_traces, online, warmup, wave, interrupt_at):
    random = Random(seed)
    plans = [
        SimulatedTrace(
            random.choice(["1", "2", "3", None]), fails_at=random.choice([None, None, 5])
        )
        for _ in range(num_traces)
    ]
    policy = deepconf(num_traces, online=online, warmup=warmup, wave=wave)
    driver = Driver(policy, plans, seed=seed, interrupt_at=interrupt_at)
    outcome = driver.run()
    if outcome.complete and not online:
        assert outcome.ledger.launched_traces == num_traces
    assert len(outcome.decision.weights) == len(outcome.decision.votes)


@untimed
@given(seed=SEEDS, keep=st.sampled_from([0.1, 0.5, 0.9]))
def test_online_the_traces_that_vote_are_those_at_or_above_the_threshold(seed, keep):
    random = Random(seed)
    lowest = [random.uniform(1, 20) for _ in range(40)]
    bench = Bench(40, warmup=8, wave=4, keep=keep)
    running = set(bench.launched)
    threshold = -math.inf
    while not bench.session.stopped:
        sample = random.choice(sorted(running))
        commands = bench.reading(sample, lowest[sample] + 1, lowest[sample])
        if commands:
            assert lowest[sample] < threshold
            assert commands[0] == Cancel(sample, "low confidence")
        else:
            commands = bench.finish(sample, random.choice("abc"))
        running.remove(sample)
        running.update(command.sample for command in commands if isinstance(command, Launch))
        if sum(end.fate is Fate.FINISHED for end in bench.session.ends.values()) == 8 > sample:
            warm = sorted((lowest[s] for s in range(8)), reverse=True)
            threshold = warm[max(1, round(keep * 8)) - 1]
    voters = {sample for _, group in bench.decision.votes for sample in group}
    finished = {s for s, end in bench.session.ends.items() if end.fate is Fate.FINISHED}
    assert voters == {sample for sample in finished if lowest[sample] >= threshold}
    weight = sum(lowest[sample] for sample in voters)
    assert sum(bench.decision.weights) == pytest.approx(weight)
