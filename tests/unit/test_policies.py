"""Self-consistency, and what holds of every policy whatever happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepprune.events import (
    Cancel,
    Continue,
    Judge,
    Launch,
    Stop,
)
from deepprune.ledger import Fate
from deepprune.policies import Cons, make_policy
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from tests.support.memory_driver import Driver
from tests.support.policy_worlds import (
    SEEDS,
    deepprune_settings,
    judges,
    majority,
    traces,
    untimed,
    worlds,
)


@untimed
@given(data=st.data(), plans=worlds(), seed=SEEDS)
def test_deepprune_always_comes_to_an_end_whatever_happens(data, plans, seed):
    config = DeepPruneConfig(num_traces=len(plans), **data.draw(deepprune_settings()))
    driver = Driver(
        make_policy(config, seed),
        plans,
        data.draw(judges(plans)),
        seed,
        in_order=data.draw(st.booleans()),
        judge_loss=data.draw(st.sampled_from([0, 0, 0.02, 0.3])),
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
        settles=data.draw(st.booleans()),
    )
    outcome = driver.run()
    check_outcome(driver, outcome)
    placed = [sample for cluster in outcome.decision.clusters for sample in cluster]
    assert len(placed) == len(set(placed))
    assert all(driver.traces[sample].has_prefix for sample in placed)
    assert len(outcome.decision.clusters) <= config.max_clusters
    limit = max(config.max_finish, config.singletons_finish)
    assert len(set(driver.commanded(Continue))) <= limit


@untimed
@given(data=st.data(), plans=worlds(), seed=SEEDS)
def test_self_consistency_always_comes_to_an_end_whatever_happens(data, plans, seed):
    config = ConsConfig(num_traces=len(plans), stop_when_decided=data.draw(st.booleans()))
    driver = Driver(
        make_policy(config, seed),
        plans,
        seed=seed,
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
        settles=data.draw(st.booleans()),
    )
    check_outcome(driver, driver.run())
    assert not driver.commanded(Judge)


def check_outcome(driver: Driver, outcome) -> None:
    """What holds of every outcome; the driver itself checks each step on the way."""
    assert [end.sample for end in outcome.ends] == sorted(driver.traces)
    launches = [command for command in driver.commands if isinstance(command, Launch)]
    assert outcome.ledger.launched_traces == len(launches)
    assert isinstance(driver.commands[-1], Stop)
    assert sum(isinstance(command, Stop) for command in driver.commands) == 1
    finished = {end.sample for end in outcome.ends if end.fate is Fate.FINISHED}
    voters = {sample: answer for answer, group in outcome.decision.votes for sample in group}
    assert set(voters) <= finished
    assert all(driver.traces[sample].plan.answer == voters[sample] for sample in voters)
    assert outcome.answer == majority(voters)
    cancelled = {end.sample for end in outcome.ends if end.fate.value.startswith("cancelled")}
    assert cancelled == set(driver.commanded(Cancel))


@untimed
@given(plans=worlds(), seed=SEEDS, stop_when_decided=st.booleans())
def test_self_consistency_gives_the_full_majority_in_whatever_order_traces_end(
    plans, seed, stop_when_decided
):
    config = ConsConfig(num_traces=len(plans), stop_when_decided=stop_when_decided)
    outcome = Driver(Cons(config), plans, seed=seed).run()
    answers = {
        sample: plan.answer
        for sample, plan in enumerate(plans)
        if plan.fails_at is None or plan.fails_at > plan.num_tokens
    }
    assert outcome.answer == majority(answers)


def test_self_consistency_lets_every_trace_finish():
    plans = traces("1", "1", "1", "2")
    outcome = Driver(Cons(ConsConfig(num_traces=4)), plans).run()
    assert outcome.decision.votes == (("1", (0, 1, 2)), ("2", (3,)))
    assert outcome.ledger.finished_traces == 4
    assert outcome.ledger.generated_tokens == 40


def test_a_decided_majority_launches_no_more_than_it_takes():
    plans = traces(*["7"] * 9)
    config = ConsConfig(num_traces=9, stop_when_decided=True)
    outcome = Driver(Cons(config), plans).run()
    assert outcome.answer == "7"
    assert outcome.ledger.launched_traces == outcome.ledger.finished_traces == 5
