from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.errors import UserError
from deepprune.length_ranks import length_ranks
from deepprune.policies import make_policy
from deepprune.policies.voting_plus import fewest
from deepprune.policy_config import PlusConfig
from deepprune.promise import MAX_THRESHOLD, Promise, Terms, tally, tally_of
from deepprune.session import Outcome
from deepprune.split_prior import learn, read, shipped, write
from deepprune.splits import NUM_WAYS, SPLITS, Tally, log_likelihoods, with_slopes
from tests.support.memory_driver import Driver, SimulatedTrace


def belief(*votes: float, unseen: float = 60) -> float:
    leader, runner_up, answered = votes
    return Terms(0.1, np.array(shipped())).p_wrong(Tally(leader, runner_up, answered, unseen))


def outcome(answers: list[str], risk: float = 0.05, **options: object) -> Outcome:
    config = PlusConfig(name="deepprune+", trust=0, num_traces=len(answers), risk=risk, **options)
    return Driver(make_policy(config, 0), [SimulatedTrace(a) for a in answers]).run()


# --- splits -------------------------------------------------------------------------------------


def test_a_split_is_a_decreasing_list_of_shares():
    assert (np.diff(SPLITS, axis=1) <= 1e-12).all()
    assert (SPLITS >= 0).all()
    assert (SPLITS.sum(axis=1) <= 1 + 1e-9).all()


def test_unanimous_votes_make_the_leader_safer_and_a_narrow_lead_is_not_safe():
    assert belief(2, 0, 2) > belief(4, 0, 4) > belief(10, 0, 10) > 0
    assert belief(10, 0, 10) < 0.01 < 0.2 < belief(6, 5, 11)


def test_nothing_to_come_is_no_doubt():
    assert belief(6, 5, 11, unseen=0) == 0


def test_a_tie_of_all_traces_is_settled_and_takes_nothing_from_the_account():
    promise = Promise(0.05, shipped())
    before = promise.terms.threshold
    promise.count(tally_of(outcome(["1", "2"] * 4, 0.001), 8))
    assert promise.terms.threshold > before


def test_votes_that_are_not_whole_numbers_add_up_within_rounding():
    assert 0 < belief(2.7, 0.1, 2.8 - 1e-15) < 1


def test_a_lead_that_the_traces_to_come_cannot_turn_is_safe():
    assert belief(6, 2, 8, unseen=3) < 0.01


def test_probabilities_agree_with_votes_drawn_from_the_prior():
    """Draw problems from the grid, vote, and compare P at eight votes with how the vote ends."""
    random = np.random.default_rng(0)
    terms = Terms(0.1, with_slopes(np.full(len(SPLITS), 1 / len(SPLITS))))
    told, happened = [], []
    for _ in range(1500):
        shares = SPLITS[random.integers(len(SPLITS))]
        tail = np.full(40, (1 - shares.sum()) / 40).clip(0)
        p = np.concatenate([shares, tail])
        votes = random.choice(len(p), 40, p=p / p.sum())
        counts = np.bincount(votes[:8], minlength=len(p))
        leader, runner_up = np.sort(counts)[::-1][:2]
        told.append(terms.p_wrong(Tally(int(leader), int(runner_up), 8, 32)))
        final = np.bincount(votes, minlength=len(p)) + counts * 1e-6
        happened.append(counts.argmax() != final.argmax())
    assert np.mean(told) == pytest.approx(np.mean(happened), abs=0.04)


def test_running_traces_that_are_long_make_a_leader_of_short_ones_less_safe():
    def doubt(lengths: list[int], running: list[int]) -> float:
        votes = tally([range(4), [4]], dict(enumerate(lengths)), running, 20)
        return Terms(0.1, np.array(shipped())).p_wrong(votes)

    begun = doubt([10, 20, 30, 40, 50], [1] * 10)
    assert doubt([10, 20, 30, 40, 50], [50] * 10) > begun


def test_dissent_of_long_traces_makes_a_leader_less_safe_than_dissent_of_short_ones():
    def doubt(dissenter: int) -> float:
        lengths = [10, 20, 30, 40, dissenter]
        votes = tally([range(4), [4]], dict(enumerate(lengths)), [45] * 10, 20)
        return Terms(0.1, np.array(shipped())).p_wrong(votes)

    assert doubt(45) > doubt(5)


# --- ranks by length ----------------------------------------------------------------------------


def test_ranks_count_running_traces_as_longer_than_they_are():
    ended, running = length_ranks([20, 10], [20, 20])
    assert ended.tolist() == pytest.approx([-0.125, -0.375])
    assert running == pytest.approx(0.25)


def test_ranks_of_traces_that_have_just_begun_say_nothing():
    ended, running = length_ranks([10, 20, 30], [1, 2])
    assert ended.mean() == pytest.approx(0)
    assert running == pytest.approx(0)


@given(ended=st.lists(st.integers(1, 50)), running=st.lists(st.integers(0, 50)))
def test_ranks_stay_within_half(ended, running):
    ranks, behind = length_ranks(ended, running)
    for rank in (*ranks, behind):
        assert -0.5 - 1e-9 <= rank <= 0.5 + 1e-9


# --- prior --------------------------------------------------------------------------------------


def test_learning_from_easy_problems_makes_two_votes_worth_more():
    easy = np.array([log_likelihoods(Tally(60, 2, 64, 0)) for _ in range(30)])
    learned = learn(easy, np.array(shipped()), 5)
    assert learned.sum() == pytest.approx(1)
    assert Terms(0.1, learned).p_wrong(Tally(2, 0, 2, 62)) < belief(2, 0, 2) / 2


def test_a_sweep_learns_whether_short_traces_or_long_ones_dissent():
    lengths = {s: s for s in range(16)}
    long_dissent = log_likelihoods(tally([range(12), range(12, 16)], lengths, [], 48))
    short_dissent = log_likelihoods(tally([range(4, 16), range(4)], lengths, [], 48))
    prior = np.array(shipped())
    after = {}
    for name, row in (("long", long_dissent), ("short", short_dissent)):
        learned = learn(np.array([row] * 20), prior, 5)
        votes = tally([range(4), [4]], dict.fromkeys(range(5), 10), [20] * 10, 20)
        after[name] = Terms(0.1, learned).p_wrong(votes)
    assert after["short"] > after["long"]  # the leader so far is that of short traces


def test_a_prior_is_read_from_a_file_or_given_as_weights(tmp_path):
    path = tmp_path / "prior.json"
    path.write_text(json.dumps({"weights": [2.0] * len(SPLITS)}))
    from_file = PlusConfig(name="deepprune+", prior=str(path))
    assert from_file.prior == pytest.approx(with_slopes(np.full(len(SPLITS), 1 / len(SPLITS))))
    assert len(from_file.prior) == NUM_WAYS
    assert PlusConfig(name="deepprune+", prior=from_file.prior) == from_file


def test_a_prior_of_many_problems_can_be_read_again(tmp_path):
    weights = np.full(NUM_WAYS, 1e-8)
    weights[0] = 1 - weights[1:].sum()
    write(tmp_path / "prior.json", tuple(weights.tolist()))
    assert read(tmp_path / "prior.json") == pytest.approx(weights)


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "no", '{"weights": [1]}', '{"weights": "x"}'])
def test_what_is_no_prior_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "prior.json"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="there is no prior"):
        read(tmp_path / "none.json")


# --- the account --------------------------------------------------------------------------------


def test_what_easy_problems_leave_of_the_risk_raises_the_threshold_and_hard_ones_lower_it():
    risk, random = 0.05, Random(0)
    easy, hard = Promise(risk, shipped()), Promise(risk, shipped())
    for _ in range(8):
        easy.count(tally_of(outcome(["1"] * 64, risk), 64))
        hard.count(tally_of(outcome([random.choice("1234") for _ in range(64)], 0.4), 64))
    fresh = Promise(risk, shipped()).terms.threshold
    assert hard.terms.threshold < fresh < easy.terms.threshold <= MAX_THRESHOLD


def test_a_problem_with_a_judge_changes_the_account_and_not_the_prior():
    promise = Promise(0.05, shipped())
    before = promise.terms
    promise.take(0.0)
    assert promise.terms.threshold > before.threshold
    assert promise.terms.weights is before.weights


def test_the_terms_of_a_problem_stay_as_they_were_when_it_began():
    promise = Promise(0.05, shipped())
    terms = promise.terms
    before = terms.p_wrong(Tally(2, 0, 2, 62))
    promise.count(tally_of(outcome(["1"] * 64), 64))
    assert terms.p_wrong(Tally(2, 0, 2, 62)) == before


# --- how many more ------------------------------------------------------------------------------


@given(answer=st.integers(1, 80), most=st.integers(1, 60), guess=st.integers(-3, 90))
def test_fewest_finds_the_smallest_number_that_is_enough_or_all_there_is(answer, most, guess):
    assert fewest(lambda n: n >= answer, most, guess) == min(answer, most)
