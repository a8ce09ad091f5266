"""Policies that stop when the vote is safe: esc, adaptive, short votes, certificates."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.belief import p_ahead
from deepprune.events import Cancel, Failed, Finished, Launch, Progress, Stop
from deepprune.policies import make_policy
from deepprune.policies.mmc import log_wealth
from deepprune.policy_config import (
    EscConfig,
)
from deepprune.stopping_config import CertificateConfig, ShortConfig
from tests.support.memory_driver import Driver, SimulatedTrace
from tests.support.policy_worlds import SEEDS, untimed, worlds
from tests.support.stopping import adaptive, esc, reason, run


def test_esc_stops_after_the_first_window_whose_traces_all_agree():
    driver = run(esc(9), ["1", "2", "1", "2", "2", "2", "1", "1", "1"])
    assert driver.commanded(Launch) == [0, 1, 2, 3, 4, 5]
    assert reason(driver) == "window agrees"


def test_esc_lets_all_traces_sampled_so_far_vote_not_the_last_window_alone():
    outcome = Driver(
        esc(8, window=2),
        [SimulatedTrace(answer) for answer in ["1", "2", "1", "2", "1", "3", "3", "3"]],
    ).run()
    assert outcome.decision.votes == (("1", (0, 2, 4)), ("3", (5, 6, 7)), ("2", (1, 3)))
    assert outcome.answer == "1"


def test_esc_launches_a_window_only_when_the_one_before_is_complete():
    policy = esc(6)
    assert policy.start() == [Launch(sample, to_end=True) for sample in range(3)]
    assert policy.handle(Finished(2, "1", 5)) == []
    assert policy.handle(Progress(1, 3)) == []
    assert policy.handle(Failed(0)) == []
    assert policy.handle(Finished(1, "1", 5)) == [
        Launch(sample, to_end=True) for sample in range(3, 6)
    ]


@pytest.mark.parametrize("window", [["1", "1", None], [None, None, None]])
def test_esc_counts_a_trace_without_an_answer_as_a_dissenter(window):
    driver = run(esc(6), [*window, "1", "1", "1"])
    assert driver.commanded(Launch) == list(range(6))


def test_esc_goes_on_after_a_window_of_one_trace_that_gave_no_answer():
    driver = run(esc(3, window=1), [None, "4", "4"])
    assert driver.commanded(Launch) == [0, 1]
    assert driver.session.decision().answer == "4"


def test_esc_ends_when_all_are_sampled_and_takes_a_last_window_that_is_short():
    driver = run(esc(5), ["1", "2", "3", "2", "1"])
    assert driver.commanded(Launch) == [0, 1, 2, 3, 4]
    assert reason(driver) == "all sampled"
    assert driver.session.outcome().rounds == 2


def test_esc_says_nothing_where_no_trace_gave_an_answer():
    driver = run(esc(4, window=2), [None] * 4)
    assert driver.session.decision().answer is None
    assert driver.session.decision().votes == ()


def test_esc_compares_what_answers_state():
    policy = make_policy(EscConfig(name="esc", num_traces=4, window=2), 0)
    driver = run(policy, ["1/2", "0.5", "b", "b"])
    assert driver.commanded(Launch) == [0, 1]


@untimed
@given(plans=worlds(), window=st.integers(1, 60), seed=SEEDS, interrupt_at=st.none() | SEEDS)
def test_esc_stops_exactly_where_the_rule_says_in_whatever_order_traces_end(
    plans, window, seed, interrupt_at
):
    interrupt_at = None if interrupt_at is None else interrupt_at % 200
    driver = Driver(esc(len(plans), window), plans, seed=seed, interrupt_at=interrupt_at)
    outcome = driver.run()
    answers = [
        None if plan.fails_at is not None and plan.fails_at <= plan.num_tokens else plan.answer
        for plan in plans
    ]
    sampled = 0
    while sampled < len(plans):
        seen = answers[sampled : sampled + window]
        sampled += len(seen)
        if len(set(seen)) == 1 and seen[0] is not None:
            break
    launched = len(driver.commanded(Launch))
    assert launched == sampled if outcome.complete else launched <= sampled
    if outcome.complete:
        assert not driver.commanded(Cancel)


def test_adaptive_stops_after_four_votes_that_agree():
    # P(phi > 1/2) is 1 - 2^-(n+1) after n of n: 0.9375 after three, 0.969 after four.
    driver = run(adaptive(20), ["7"] * 20)
    assert driver.commanded(Launch) == [0, 1, 2, 3]
    assert reason(driver) == "leader is safe"
    assert driver.session.outcome().rounds == 4


def test_adaptive_after_one_dissenter_takes_seven_votes():
    # 6 to 1: P = 247/256 = 0.965; 5 to 1: P = 120/128 = 0.9375.
    assert p_ahead(6, 1) == 247 / 256
    assert p_ahead(5, 1) == 120 / 128
    driver = run(adaptive(20), ["1", *["7"] * 19])
    assert driver.commanded(Launch) == list(range(7))
    assert driver.session.decision().answer == "7"


def test_adaptive_in_waves_looks_only_when_a_wave_is_complete():
    policy = adaptive(20, wave=6)
    assert len(policy.start()) == 6
    for sample in range(5):
        assert policy.handle(Finished(sample, "7", 3)) == []
    assert policy.handle(Finished(5, "7", 3)) == [Stop("leader is safe")]


def test_adaptive_gets_no_vote_from_a_failure_or_a_missing_answer():
    driver = run(adaptive(20), [None, "7", None, "7", "7", "7", "7"] + ["7"] * 13)
    assert driver.commanded(Launch) == list(range(6))
    assert driver.session.decision().votes == (("7", (1, 3, 4, 5)),)


def test_adaptive_never_sure_samples_all():
    driver = run(adaptive(6), ["1", "2"] * 3)
    assert driver.commanded(Launch) == list(range(6))
    assert reason(driver) == "all sampled"
    assert driver.session.decision().answer == "1"


def test_needed_starts_with_as_many_as_could_suffice_and_then_with_what_is_missing():
    policy = adaptive(20, wave="needed")
    assert len(policy.start()) == 4
    for sample, answer in enumerate(["1", "7", "7"]):
        assert policy.handle(Finished(sample, answer, 3)) == []
    # 3 to 1 stands; 6 to 1 would be safe, and nothing less.
    more = policy.handle(Finished(3, "7", 3))
    assert more == [Launch(sample, to_end=True) for sample in (4, 5, 6)]


@untimed
@given(plans=worlds(), seed=SEEDS, threshold=st.floats(0.51, 0.999))
def test_needed_asks_for_exactly_the_traces_of_one_at_a_time_in_no_more_rounds(
    plans, seed, threshold
):
    single, needed = (
        Driver(adaptive(len(plans), threshold=threshold, wave=wave), plans, seed=seed)
        for wave in (1, "needed")
    )
    one_by_one, at_once = single.run(), needed.run()
    assert needed.commanded(Launch) == single.commanded(Launch)
    assert at_once.decision == one_by_one.decision
    assert at_once.ledger.finished_tokens == one_by_one.ledger.finished_tokens
    assert at_once.ledger.launched_traces == one_by_one.ledger.launched_traces
    assert at_once.rounds <= one_by_one.rounds == len(single.commanded(Launch))


@untimed
@given(
    plans=worlds(),
    seed=SEEDS,
    wave=st.integers(1, 60) | st.just("needed"),
    interrupt_at=st.none() | st.integers(0, 200),
)
def test_adaptive_always_comes_to_an_end_and_a_safe_leader_is_safe(plans, seed, wave, interrupt_at):
    driver = Driver(adaptive(len(plans), wave=wave), plans, seed=seed, interrupt_at=interrupt_at)
    outcome = driver.run()
    counts = [len(samples) for _, samples in outcome.decision.votes] + [0, 0]
    if outcome.complete:
        assert (reason(driver) == "leader is safe") == (p_ahead(*counts[:2]) > 0.95)
        assert reason(driver) == "leader is safe" or outcome.ledger.launched_traces == len(plans)


def short(num_traces: int, m: int = 3):
    return make_policy(ShortConfig(name="short-m@k", num_traces=num_traces, m=m), 0)


def test_the_first_m_to_end_vote_and_the_rest_is_cancelled():
    policy = short(5)
    assert policy.start() == [Launch(sample, to_end=True) for sample in range(5)]
    assert policy.handle(Finished(4, "7", 3)) == []
    assert policy.handle(Finished(1, "2", 4)) == []
    assert policy.handle(Finished(3, "2", 5)) == [Stop("first ended")]
    assert policy.decision().votes == (("2", (1, 3)), ("7", (4,)))


def test_a_tie_goes_to_the_answer_that_came_first():
    policy = short(4, m=2)
    policy.start()
    policy.handle(Finished(3, "9", 3))
    policy.handle(Finished(0, "1", 4))
    assert policy.decision().answer == "9"


def test_fewer_than_m_vote_where_the_others_are_lost():
    policy = short(3)
    policy.start()
    assert policy.handle(Failed(0)) == []
    assert policy.handle(Finished(1, "2", 4)) == []
    assert policy.handle(Finished(2, None, 4)) == [Stop("all sampled")]
    assert policy.decision().answer == "2"


def certificate(num_traces: int, delta: float = 0.05):
    return make_policy(CertificateConfig(name="mmc", num_traces=num_traces, delta=delta), 0)


def test_a_bet_on_a_fair_coin_gains_nothing_on_average():
    for rounds in (1, 4, 9):
        mean = sum(
            math.comb(rounds, votes) * 0.5**rounds * math.exp(log_wealth(votes, rounds - votes))
            for votes in range(rounds + 1)
        )
        assert mean == pytest.approx(1)


def test_the_certificate_is_wrong_less_often_than_it_says():
    random, wrong = Random(0), 0
    for _ in range(300):
        driver = run(certificate(60, delta=0.2), [random.choice("12") for _ in range(60)])
        wrong += reason(driver) == "certified"
    assert wrong <= 60


def test_the_certificate_needs_votes_against_the_runner_up_and_against_the_others():
    unanimous = run(certificate(64), ["7"] * 64)
    assert reason(unanimous) == "certified"
    contested = run(certificate(64), ["7", "8", "7", "8", *["7"] * 60])
    assert reason(contested) == "certified"
    assert len(contested.commanded(Launch)) > len(unanimous.commanded(Launch)) + 2
    assert contested.session.decision().answer == "7"
    assert reason(run(certificate(64), ["7", "8", "9", "6"] * 16)) == "all sampled"
