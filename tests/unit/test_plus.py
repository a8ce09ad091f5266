from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.events import (
    Continue,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Stop,
)
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policy_config import AdaptiveConfig, PlusConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM, Driver, SimulatedTrace
from tests.support.policy_worlds import SEEDS, judges, noisy, perfect, untimed, worlds

LONG_OR_SHORT = st.sampled_from([8, 14, 60]).flatmap(lambda longest: worlds(longest=longest))


def plus(num_traces: int, **options: object):
    config = PlusConfig(name="deepprune+", num_traces=num_traces, **options)
    return make_policy(config, 0)


def long_traces(*answers: str | None) -> list[SimulatedTrace]:
    return [SimulatedTrace(answer, num_tokens=60, checkpoint=4) for answer in answers]


class Bench:
    """A session under `deepprune+`; `tell` returns what follows from an event."""

    def __init__(self, num_traces: int, **options: object) -> None:
        options = {"checkpoint": "tokens:4", "auroc": 0.99, "base_rate": 0.5, **options}
        self.session = Session(PROBLEM, plus(num_traces, **options), "deepprune+")
        self.commands = self.session.start()
        self.commanded = list(self.commands)
        self.finished: set[int] = set()

    def tell(self, event):
        self.commands = self.session.handle(event)
        self.commanded += self.commands
        return self.commands

    def running(self) -> list[int]:
        """Samples that run to their end, in the order of the commands."""
        to_end = [c for c in self.commanded if isinstance(c, Continue) or getattr(c, "to_end", 0)]
        return [c.sample for c in to_end if c.sample not in self.finished]

    def finish(self, answer: str) -> int:
        """The first of them finishes."""
        sample = self.running()[0]
        self.finished.add(sample)
        self.tell(Finished(sample, answer, 60))
        return sample

    def samples(self, kind: type) -> list[int]:
        return [command.sample for command in self.commands if isinstance(command, kind)]

    def prefixes(self, same_as: dict[int, int]) -> None:
        """All that are under way reach their checkpoint; `same_as` says which group each is of."""
        for sample in self.samples(Launch):
            self.answer_questions(self.tell(PrefixReady(sample, 4)), same_as)

    def answer_questions(self, commands, same_as: dict[int, int]) -> None:
        for question in (command for command in commands if isinstance(command, Judge)):
            group = same_as[question.sample]
            p_same = {m: 0.999 if same_as[m] == group else 0.001 for m in question.members}
            self.answer_questions(self.tell(Judged(question.sample, p_same)), same_as)


# --- how good the judge is ----------------------------------------------------------------------


@pytest.mark.parametrize("settings_", [{"auroc": 0.5}, {"trust": 0.0}])
def test_a_judge_known_to_be_useless_is_never_asked_and_whole_traces_are_launched(settings_):
    for answers in (["7"] * 64, ["1", "2"] * 32, ["1", "7", "7", "7"] * 16):
        plans = long_traces(*answers)
        driver = Driver(plus(64, **settings_), plans, noisy(1))
        outcome = driver.run()
        assert not driver.commanded(Judge)
        assert all(c.to_end for c in driver.commands if isinstance(c, Launch))
        assert outcome.answer == Counter(answers).most_common(1)[0][0]

        config = AdaptiveConfig(name="adaptive", num_traces=64, wave="needed")
        adaptive = Driver(make_policy(config, 0), plans).run()
        assert outcome.ledger.launched_traces <= adaptive.ledger.launched_traces + 3


def test_a_judge_that_was_never_measured_or_does_not_pay_is_not_asked():
    """No judge, and one of unknown AUROC or base rate, of little AUROC or trust, are alike."""
    plans = long_traces(*["1", "7", "7", "7"] * 16)
    known = [{}, {"auroc": 0.99}, {"base_rate": 0.7}, {"trust": 0.0}]
    known.append({"auroc": 0.71, "base_rate": 0.7})  # measured, and known not to pay
    drivers = [Driver(plus(64, **options), plans, perfect(plans)) for options in known]
    outcomes = [driver.run() for driver in drivers]
    assert not any(driver.commanded(Judge) for driver in drivers)
    assert all(driver.commands == drivers[0].commands for driver in drivers)
    assert all(outcome.ledger == outcomes[0].ledger for outcome in outcomes)


def test_with_a_perfect_judge_few_finish():
    answers = ["7", "1", "7", "7", "2", "7", "7", "1", "7", "7", "7", "7"] * 6
    plans = long_traces(*answers)
    policy = plus(72, auroc=1.0, base_rate=0.5, checkpoint="tokens:4")
    driver = Driver(policy, plans, perfect(plans))
    outcome = driver.run()
    assert outcome.answer == "7"
    assert outcome.ledger.finished_traces <= 4
    assert outcome.ledger.launched_traces < 40
    assert driver.commands[-1] == Stop("leader is safe")


def test_a_trace_that_the_judge_puts_behind_both_contenders_need_not_finish():
    """Its vote is as good as cast, for neither: of two that nearly tie it tells nothing."""
    answers = ["7", "1", "7", "1", "2", "3", "7", "4", "1", "5", "6", "7", "8"] * 2
    plans = long_traces(*answers)
    options = {"auroc": 1.0, "base_rate": 0.5, "trust": 0.99, "checkpoint": "tokens:4"}
    outcome = Driver(plus(len(plans), risk=0.01, **options), plans, perfect(plans)).run()
    assert outcome.answer == "7"
    assert outcome.ledger.launched_traces >= len(plans) - 2, "the vote is close"
    assert outcome.ledger.finished_traces <= 6


def test_where_hardly_any_trace_gives_an_answer_few_votes_are_enough():
    plans = long_traces(*["7", None, None, None, None, None, "7", None] * 8)
    outcome = Driver(plus(64, auroc=0.5), plans, noisy(2)).run()
    assert outcome.answer == "7"
    assert outcome.ledger.finished_traces < 64


def test_min_finish_traces_of_the_leader_finish():
    plans = long_traces(*["7"] * 40)
    policy = plus(40, auroc=1.0, base_rate=0.5, min_finish=3, checkpoint="tokens:4")
    outcome = Driver(policy, plans, perfect(plans)).run()
    assert outcome.ledger.finished_traces == 3
    assert outcome.decision.votes[0][0] == "7"


def test_a_judge_that_turns_out_wrong_loses_its_say():
    """It swears that all agree; they do not, and the answer is found all the same."""
    answers = ["1", "7", "2", "7", "3", "7", "4", "7", "7", "7"] * 6
    plans = long_traces(*answers)
    policy = plus(60, risk=0.01, auroc=0.95, base_rate=0.5)
    driver = Driver(policy, plans, lambda a, b: 0.999, in_order=True)
    outcome = driver.run()
    assert outcome.answer == "7"
    assert outcome.ledger.finished_traces >= 4


# --- what may go wrong --------------------------------------------------------------------------


def test_when_the_judge_is_lost_those_that_wait_finish_and_whole_traces_follow():
    bench = Bench(40)
    first = bench.samples(Launch)
    assert not bench.running()
    bench.tell(PrefixReady(0, 4))
    assert bench.tell(PrefixReady(1, 4)) == [Judge(1, (0,))]
    bench.tell(JudgeLost(1))
    for sample in first[2:]:
        bench.tell(PrefixReady(sample, 4))
    assert bench.running()
    while not bench.session.stopped:
        bench.finish("7")
    assert bench.session.decision().answer == "7"
    assert sum(isinstance(command, Judge) for command in bench.commanded) == 1


def test_a_judge_that_never_answers_costs_no_answer():
    plans = long_traces(*["7", "7", "1"] * 3)
    outcome = Driver(plus(9, auroc=0.99), plans, noisy(0), judge_loss=1.0).run()
    assert outcome.answer == "7"


@pytest.mark.parametrize("event", [Finished(0, None, 60), Failed(0)])
def test_when_the_only_anchor_ends_without_an_answer_those_found_alike_are_not_forgotten(event):
    bench = Bench(2)
    assert bench.samples(Launch) == [0, 1]
    bench.prefixes({0: 0, 1: 0})
    assert bench.samples(Continue)[:1] == [0]
    alone = bench.samples(Continue) == [0]
    bench.tell(event)
    if alone:
        assert bench.samples(Continue) == [1]
    bench.tell(Finished(1, "7", 60))
    assert bench.session.stopped
    assert bench.session.decision().answer == "7"


def test_two_clusters_that_end_in_one_answer_become_one():
    bench = Bench(12, risk=0.001, min_finish=12)
    groups = {sample: sample % 2 for sample in range(12)}
    while bench.samples(Launch):
        bench.prefixes(groups)
    before = bench.session.decision().clusters
    assert len(before) == 2
    while not bench.session.stopped and not {0, 1} <= bench.finished and bench.running():
        bench.finish("7")
        bench.answer_questions(bench.commands, groups)
    decision = bench.session.decision()
    assert [answer for answer, _ in decision.votes] == ["7"]
    assert {0, 1} <= set(decision.votes[0][1]) == bench.finished
    assert len(decision.clusters) == 1
    assert set(decision.clusters[0]) >= set(before[0]) | set(before[1])


def test_a_trace_that_ends_elsewhere_than_its_cluster_leaves_it():
    bench = Bench(6, min_finish=6)
    bench.prefixes(dict.fromkeys(range(6), 0))
    cluster = bench.session.decision().clusters[0]
    first, stray = bench.finish("7"), bench.finish("8")
    assert first == cluster[0] and stray in cluster
    decision = bench.session.decision()
    assert dict(decision.votes) == {"7": (first,), "8": (stray,)}
    assert [c for c in decision.clusters if stray in c] == [(stray,)]


def test_traces_that_end_before_their_checkpoint_vote_and_are_compared_with():
    plans = [SimulatedTrace("7", num_tokens=2, checkpoint=4) for _ in range(20)]
    driver = Driver(plus(20, auroc=0.99), plans, perfect(plans))
    assert driver.run().answer == "7"
    assert not driver.commanded(Judge)


# --- whatever happens ---------------------------------------------------------------------------


@st.composite
def options(draw: st.DrawFn) -> dict[str, object]:
    return {
        "risk": draw(st.sampled_from([0.01, 0.05, 0.3])),
        "base_rate": draw(st.sampled_from([0.2, 0.5, 0.9])),
        "auroc": draw(st.sampled_from([0.5, 0.7, 0.9, 1.0])),
        "least_auroc": 0.5,
        "trust": draw(st.sampled_from([0.0, 0.3, 0.7, 0.99])),
        "min_finish": draw(st.integers(1, 4)),
        "max_wave": draw(st.integers(1, 40)),
        "max_asked": draw(st.integers(1, 8)),
        "max_members": draw(st.integers(1, 6)),
        "judge_price": draw(st.sampled_from([0, 0.02, 5])),
        "checkpoint": "tokens:4",
    }


@untimed
@given(data=st.data(), plans=LONG_OR_SHORT, seed=SEEDS)
def test_it_always_comes_to_an_end_whatever_happens(data, plans, seed):
    chosen = data.draw(options())
    votes_only = chosen["trust"] == 0 or chosen["auroc"] == 0.5
    driver = Driver(
        plus(len(plans), **chosen),
        plans,
        data.draw(judges(plans)),
        seed,
        in_order=data.draw(st.booleans()),
        judge_loss=data.draw(st.sampled_from([0, 0, 0.02, 0.3, 1])),
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
        settles=data.draw(st.booleans()),
    )
    outcome = driver.run()
    decision = outcome.decision
    finished = {end.sample for end in outcome.ends if end.fate is Fate.FINISHED}
    voters = [(sample, answer) for answer, group in decision.votes for sample in group]
    assert len(voters) == len(set(voters))
    assert all(driver.traces[sample].plan.answer == answer for sample, answer in voters)
    assert len(decision.weights) == (0 if votes_only else len(decision.votes))
    assert list(decision.weights) == sorted(decision.weights, reverse=True)
    placed = [sample for cluster in decision.clusters for sample in cluster]
    assert len(placed) == len(set(placed))
    answered = {sample for sample in finished if driver.traces[sample].plan.answer is not None}
    assert {sample for sample, _ in voters} == answered
    if outcome.complete and not decision.votes:  # nothing was left that could have given an answer
        assert len(outcome.ends) == len(plans)
        assert all(end.fate in (Fate.FINISHED, Fate.LOST) for end in outcome.ends)


@untimed
@given(plans=LONG_OR_SHORT, seed=SEEDS)
def test_with_a_perfect_judge_the_leader_is_seldom_left(plans, seed):
    """With all traces seen it is the majority itself, since all that were launched are judged."""
    policy = plus(len(plans), auroc=1.0, base_rate=0.5, risk=0.001, checkpoint="tokens:4")
    plans = [SimulatedTrace(plan.answer or "0", 30, 4) for plan in plans]
    outcome = Driver(policy, plans, perfect(plans), seed).run()
    sizes = Counter(plan.answer for plan in plans)
    assert outcome.answer in sizes
    if sizes[outcome.answer] < max(sizes.values()):
        assert outcome.ledger.launched_traces < len(plans)
