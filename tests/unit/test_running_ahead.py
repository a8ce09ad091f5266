"""Policies that run traces ahead of what they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.events import Cancel, Finished, Launch
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policy_config import (
    EscConfig,
    PlusConfig,
)
from tests.support.memory_driver import Driver, SimulatedTrace
from tests.support.policy_worlds import SEEDS, untimed, worlds
from tests.support.stopping import adaptive, reason, run


def vote_until_safe(num_traces: int, **options: object):
    config = PlusConfig(name="deepprune+", num_traces=num_traces, trust=0, **options)
    return make_policy(config, 0)


AHEAD = {
    "esc": lambda n, ahead: make_policy(EscConfig(name="esc", num_traces=n, ahead=ahead), 0),
    "adaptive": lambda n, ahead: adaptive(n, ahead=ahead),
    "deepprune+": lambda n, ahead: vote_until_safe(n, ahead=ahead),
}


@pytest.mark.parametrize(("latency", "running"), [("tokens", 4), ("balanced", 8), ("fast", 12)])
def test_latency_says_how_many_traces_run_at_first(latency, running):
    assert len(adaptive(64, latency=latency).start()) == running
    config = EscConfig(name="esc", num_traces=64, window=4, latency=latency)
    assert len(make_policy(config, 0).start()) == running


def test_ahead_replaces_latency_and_nothing_waits_for_a_wave():
    policy = adaptive(64, latency="fast", ahead=1.5)
    assert policy.start() == [Launch(sample, to_end=True) for sample in range(6)]
    assert policy.handle(Finished(4, "7", 5)) == []  # three more could settle it: five run
    assert policy.handle(Finished(2, "1", 6)) == [  # one each: five more could settle it
        Launch(sample, to_end=True) for sample in (6, 7, 8, 9)
    ]


def test_the_rest_is_cancelled_at_the_stop():
    driver = run(adaptive(64, latency="balanced"), ["7"] * 64)
    outcome = driver.session.outcome()
    assert outcome.ledger.finished_traces == 4
    assert outcome.ledger.launched_traces == 8


@untimed
@given(plans=worlds(), seed=SEEDS, window=st.integers(1, 8), ahead=st.floats(1, 4))
def test_esc_that_runs_ahead_comes_to_the_answer_of_esc(plans, seed, window, ahead):
    plans = [SimulatedTrace(plan.answer, plan.num_tokens) for plan in plans]
    options = {"name": "esc", "num_traces": len(plans), "window": window}
    waves, ahead_ = (
        Driver(make_policy(EscConfig(**options, ahead=value), 0), plans, seed=seed).run()
        for value in (None, ahead)
    )
    assert ahead_.decision == waves.decision
    assert ahead_.ledger.launched_traces >= waves.ledger.launched_traces


@untimed
@pytest.mark.parametrize("name", AHEAD)
@given(
    plans=worlds(),
    seed=SEEDS,
    ahead=st.floats(1, 5),
    interrupt_at=st.none() | st.integers(0, 200),
)
def test_running_ahead_always_comes_to_an_end(name, plans, seed, ahead, interrupt_at):
    driver = Driver(AHEAD[name](len(plans), ahead), plans, seed=seed, interrupt_at=interrupt_at)
    outcome = driver.run()
    if outcome.complete and reason(driver) == "all sampled":
        assert outcome.ledger.launched_traces == len(plans)
        assert not driver.commanded(Cancel)
    finished = {end.sample for end in outcome.ends if end.fate is Fate.FINISHED}
    assert {sample for _, samples in outcome.decision.votes for sample in samples} <= finished


def test_without_a_judge_whole_traces_run_until_the_vote_is_safe():
    driver = run(vote_until_safe(64, latency="tokens"), ["7"] * 64)
    outcome = driver.session.outcome()
    assert reason(driver) == "leader is safe"
    assert 2 <= outcome.ledger.launched_traces <= 6
    split = run(vote_until_safe(64, latency="tokens"), ["7", "8"] * 32)
    assert split.session.outcome().ledger.launched_traces > 40
