"""`deepprune` beyond the paper: waves, lost judges, traces that finish."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from deepprune.events import (
    Cancel,
    Continue,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
)
from deepprune.policies import Cons, DeepPrune
from deepprune.policies.finishing import Finishing
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM, Driver
from tests.support.policy_worlds import (
    everything_allowed,
    noisy,
    perfect,
    traces,
)


def test_no_more_traces_than_a_wave_are_ahead_of_their_verdict():
    plans = traces(*["1"] * 30)
    config = everything_allowed(30, wave=3, max_finish=5)
    ahead = []

    def look(driver: Driver) -> None:
        placed = sum(map(len, driver.session.decision().clusters))
        ahead.append(len(driver.traces) - placed)

    Driver(DeepPrune(config, 0), plans, lambda a, b: 0.9, after_each_step=look).run()
    assert max(ahead) == 3


def test_a_saturated_problem_launches_no_further_waves():
    plans = traces(*["1"] * 40)
    config = everything_allowed(40, max_finish=5, wave=1)
    outcome = Driver(DeepPrune(config, 0), plans, lambda a, b: 0.9).run()
    assert outcome.ledger.launched_traces == 20  # 20 in one cluster: another 20 cannot overtake


@pytest.mark.parametrize("at_checkpoint", ["pause", "run"])
def test_a_trace_shorter_than_the_checkpoint_is_judged_whole_and_votes(at_checkpoint):
    plans = traces("1", "1", "1", "2")
    plans[1] = replace(plans[1], num_tokens=2)
    config = everything_allowed(4, at_checkpoint=at_checkpoint, stop_when_decided=False)
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((0, 1, 2), (3,))
    assert outcome.decision.votes == (("1", (0, 1, 2)),)
    assert 1 not in driver.commanded(Continue)


def test_a_short_trace_without_an_answer_is_excluded():
    plans = traces(None, "1", "1")
    plans[0] = replace(plans[0], num_tokens=2)
    driver = Driver(DeepPrune(everything_allowed(3), 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((1, 2),)
    assert driver.pairs_asked == {(1, 2)}


def test_a_lost_judge_costs_the_pruning_not_the_answer():
    plans = traces(*["4"] * 6)
    config = everything_allowed(6, stop_when_decided=False)
    outcome = Driver(DeepPrune(config, 0), plans, perfect(plans), judge_loss=1.0).run()
    assert outcome.answer == "4"
    assert outcome.ledger.finished_traces == 6
    assert outcome.complete


def test_a_lost_judge_leaves_no_cluster_privileged():
    policy = DeepPrune(everything_allowed(4, stop_when_decided=False), 0)
    policy.start()
    for sample in range(3):
        policy.handle(PrefixReady(sample, 4))
    policy.handle(Judged(1, {0: 0.9}))
    commands = policy.handle(JudgeLost(2))
    assert policy.decision().clusters == ((0, 1),)
    assert sorted(commands, key=str) == [Continue(0), Continue(1), Continue(2)]
    assert policy.handle(PrefixReady(3, 4)) == [Continue(3)]


def test_after_a_lost_judge_the_largest_cluster_keeps_its_share_of_the_sample():
    """Its redundant traces were cancelled; others of the cluster vote in their place."""
    shares = [_share_after_a_lost_judge(seed) for seed in range(200)]
    assert sum(shares) / 200 == pytest.approx(0.75, abs=0.03), "three in four traces say A"


def _share_after_a_lost_judge(seed: int) -> float:
    answers = ["A" if sample % 4 else f"B{sample % 8}" for sample in range(80)]
    config = DeepPruneConfig(
        num_traces=80, max_finish=10, wave=4, singletons_finish=12, stop_when_decided=False
    )
    session = Session(PROBLEM, DeepPrune(config, seed), "deepprune")
    lost, commands = False, session.start()
    while commands and not session.stopped:
        match commands.pop(0):
            case Launch(sample=sample, to_end=False):
                commands += session.handle(PrefixReady(sample, 4))
            case Launch(sample=sample) | Continue(sample=sample):
                commands += session.handle(Finished(sample, answers[sample], 10))
            case Judge(sample=sample, members=members) if not lost:
                if sample < 45:
                    same = {m: 0.99 * (answers[m] == answers[sample]) for m in members}
                    commands += session.handle(Judged(sample, same))
                else:
                    lost = True
                    commands += session.handle(JudgeLost(sample))
    assert lost and session.stopped
    votes = session.decision().votes
    return sum(len(samples) for answer, samples in votes if answer == "A") / 12


def test_a_judge_is_lost_only_once():
    policy = DeepPrune(everything_allowed(5, singletons_finish=3, stop_when_decided=False), 0)
    policy.start()
    for sample in range(5):
        policy.handle(PrefixReady(sample, 4))
    chosen = [c.sample for c in policy.handle(JudgeLost(1)) if isinstance(c, Continue)]
    assert len(chosen) == 3
    for sample in chosen:
        assert policy.handle(JudgeLost(sample)) == []


def test_after_a_lost_judge_no_more_traces_finish_than_the_vote_needs():
    plans = traces(*["4"] * 9)
    outcome = Driver(DeepPrune(everything_allowed(9), 0), plans, judge_loss=1.0).run()
    assert outcome.answer == "4"
    assert outcome.ledger.finished_traces == 5


def test_a_sample_of_all_begins_with_traces_whose_prefix_is_paid_for():
    plans = traces(*["4"] * 40)
    config = DeepPruneConfig(num_traces=40, wave=1)
    drawn, finished = (
        Driver(
            DeepPrune(config.model_copy(update={"stop_when_decided": stops}), 0),
            plans,
            lambda a, b: 0.1,
        )
        for stops in (False, True)
    )
    assert drawn.run().ledger.finished_traces == 32
    assert finished.run().ledger.finished_traces == 17  # of 32
    assert 0 < len(drawn.commanded(Continue)) < 16
    assert finished.commanded(Continue) == drawn.commanded(Continue)


def test_a_trace_at_its_checkpoint_that_was_not_placed_is_cancelled_as_saturated():
    policy = DeepPrune(everything_allowed(4, max_clusters=2), 0)
    policy.start()
    for sample in range(4):
        policy.handle(PrefixReady(sample, 4))
    policy.handle(Judged(1, {0: 0.9}))
    policy.handle(Judged(2, {0: 0.1}))
    assert policy.handle(Judged(2, {1: 0.1}))[:2] == [
        Cancel(2, "minority"),
        Cancel(3, "saturated"),
    ]


def test_a_trace_is_not_redundant_while_those_before_it_gave_no_answer():
    config = everything_allowed(8, max_finish=1, wave=1, at_checkpoint="run")
    policy = DeepPrune(config, 0)
    policy.start()
    policy.handle(PrefixReady(0, 4))
    policy.handle(PrefixReady(1, 4))
    policy.handle(Finished(0, None, 99))
    assert policy.handle(Judged(1, {0: 0.9})) == [Launch(2)]
    policy.handle(PrefixReady(2, 4))
    assert policy.handle(Judged(2, {0: 0.9, 1: 0.9})) == [Cancel(2, "redundant"), Launch(3)]


def test_traces_that_cannot_vote_do_not_settle_who_finishes():
    config = everything_allowed(3, max_finish=2, wave=1, at_checkpoint="run")
    policy = DeepPrune(config, 0)
    policy.start()
    policy.handle(PrefixReady(0, 4))
    policy.handle(PrefixReady(1, 4))
    policy.handle(Failed(0))
    assert policy.handle(Judged(1, {0: 0.9})) == [Launch(2)]
    policy.handle(Finished(1, "5", 50))
    policy.handle(PrefixReady(2, 4))
    policy.handle(Judged(2, {0: 0.9, 1: 0.9}))
    policy.handle(Finished(2, "5", 50))
    assert policy.decision().votes == (("5", (1, 2)),)


def test_no_answer_from_anybody_is_no_answer():
    plans = [replace(plan, fails_at=2) for plan in traces("1", "2", "3")]
    for policy in (Cons(ConsConfig(num_traces=3)), DeepPrune(everything_allowed(3), 0)):
        outcome = Driver(policy, plans).run()
        assert outcome.answer is None
        assert outcome.ledger.lost_traces == 3


def test_running_through_the_checkpoint_needs_no_continue():
    plans = traces("1", "1", "2")
    config = everything_allowed(3, at_checkpoint="run")
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans))
    assert driver.run().answer == "1"
    assert driver.commanded(Continue) == []


def test_the_same_seed_gives_the_same_run():
    random = Random(1)
    plans = traces(*(str(random.randrange(3)) for _ in range(30)))
    config = DeepPruneConfig(num_traces=30, max_members=2, max_clusters=4, wave=5)
    runs = [
        Driver(DeepPrune(config, seed), plans, noisy(0), seed=5, judge_loss=0.01)
        for seed in (1, 1, 2)
    ]
    first, again, other = [(driver.run(), driver.commands) for driver in runs]
    assert first == again
    assert first != other


def test_as_many_run_at_a_time_as_could_settle_the_vote_together():
    finishing = Finishing([4, 2, 7, 1, 3], {}, stop_when_decided=True)
    assert finishing.next() == [4, 2, 7]
    finishing.ended(2, "1")
    assert finishing.next() == []
    finishing.ended(7, "2")
    assert finishing.next() == [1]
    finishing.ended(4, None)
    assert finishing.next() == [3]
    finishing.ended(1, "1")
    assert not finishing.done
    finishing.ended(3, "1")
    assert finishing.done


def test_one_that_ends_before_it_was_told_to_counts_and_starts_no_other():
    finishing = Finishing(range(7), {}, stop_when_decided=True)
    assert finishing.next() == [0, 1, 2, 3]
    finishing.ended(6, "1")
    assert finishing.next() == []
    assert finishing.runs(0)
    assert not finishing.runs(6)


def test_answers_that_are_known_already_are_counted_at_once():
    finishing = Finishing([0, 1, 2, 3, 4], {1: "5", 3: "5", 4: "5", 9: "6"}, stop_when_decided=True)
    assert finishing.done
    assert finishing.vote.groups == (("5", (1, 3, 4)),)


def test_who_was_not_chosen_cannot_vote():
    with pytest.raises(AssertionError, match="not among those chosen"):
        Finishing([0, 1], {}, stop_when_decided=False).ended(2, "1")
