"""Questions without an answer to compare cost one trace; all others are answered as before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from deepprune.answers.question import asks_for_a_value
from deepprune.events import Launch
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policies.first_trace import ENOUGH, FirstTrace
from deepprune.policy_config import PolicyConfig
from tests.support.memory_driver import Driver, SimulatedTrace
from tests.support.policy_worlds import SEEDS, judges, traces, worlds

POLICIES = [
    {"name": "cons"},
    {"name": "cons", "stop_when_decided": True},
    {"name": "esc"},
    {"name": "adaptive"},
    {"name": "adaptive", "wave": "needed"},
    {"name": "deepconf-high", "warmup": 4, "wave": 4},
    {"name": "short-m@k"},
    {"name": "mmc"},
    {"name": "adaptive", "ahead": 2},
    {"name": "deepprune"},
    {"name": "deepprune", "at_checkpoint": "run"},
    {"name": "deepprune+"},
    {"name": "deepprune+", "trust": 0},
]


def policy_of(described: dict[str, object], num_traces: int, seed: int = 0):
    config: PolicyConfig = TypeAdapter(PolicyConfig).validate_python(
        {**described, "num_traces": num_traces}
    )
    return make_policy(config, seed)


def never(_: int) -> bool:
    return False


@settings(deadline=None)
@given(
    data=st.data(),
    described=st.sampled_from(POLICIES),
    plans=worlds(),
    ask_first=st.booleans(),
    seed=SEEDS,
)
def test_any_policy_comes_to_an_end_behind_its_first_trace(data, described, plans, ask_first, seed):
    policy = FirstTrace(policy_of(described, len(plans), seed), ask_first=ask_first, is_cut=never)
    driver = Driver(
        policy,
        plans,
        data.draw(judges(plans)),
        seed,
        judge_loss=data.draw(st.sampled_from([0, 0.3])),
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
    )
    outcome = driver.run()
    finished = {end.sample for end in outcome.ends if end.fate is Fate.FINISHED}
    voters = {sample: answer for answer, group in outcome.decision.votes for sample in group}
    assert set(voters) <= finished
    assert all(driver.traces[sample].plan.answer == voters[sample] for sample in voters)


@pytest.mark.parametrize("described", POLICIES, ids=str)
def test_where_nothing_can_be_compared_one_trace_is_enough(described):
    policy = FirstTrace(policy_of(described, 64), ask_first=True, is_cut=never)
    driver = Driver(policy, traces(*[None] * 64))
    outcome = driver.run()
    assert (outcome.ledger.launched_traces, outcome.ledger.finished_traces) == (1, 1)
    assert outcome.answer is None and outcome.complete


@pytest.mark.parametrize("described", POLICIES, ids=str)
def test_where_the_first_trace_has_an_answer_the_policy_votes_with_it(described):
    policy = FirstTrace(policy_of(described, 16), ask_first=True, is_cut=never)
    driver = Driver(policy, traces(*["7"] * 16), lambda a, b: 0.9)
    outcome = driver.run()
    assert outcome.answer == "7"
    assert 0 in dict(outcome.decision.votes)["7"]
    launches = [command for command in driver.commands if isinstance(command, Launch)]
    assert len(launches) == len({launch.sample for launch in launches})


def test_a_question_that_seems_to_have_an_answer_ends_after_two_traces_without():
    policy = FirstTrace(policy_of({"name": "cons"}, 64), ask_first=False, is_cut=never)
    outcome = Driver(policy, traces(*[None] * 64), in_order=True).run()
    assert outcome.ledger.launched_traces == 64
    assert outcome.ledger.finished_traces == ENOUGH


def test_traces_that_were_cut_show_nothing():
    policy = FirstTrace(
        policy_of({"name": "cons"}, 8), ask_first=True, is_cut=lambda sample: sample < 4
    )
    plans = traces(*[None] * 4, *["7"] * 4)
    outcome = Driver(policy, plans, in_order=True).run()
    assert outcome.ledger.finished_traces == 8 and outcome.answer == "7"


def test_a_lost_first_trace_is_a_lost_trace_of_the_policy():
    policy = FirstTrace(policy_of({"name": "cons"}, 3), ask_first=True, is_cut=never)
    plans = [SimulatedTrace("7", fails_at=1), *traces("7", "7")]
    outcome = Driver(policy, plans).run()
    assert outcome.answer == "7" and outcome.ledger.lost_traces == 1


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is 3 × 4 + 2 modulo 10?", True),
        ("Find all functions $f$ such that $f(x) = x$.", True),
        ("How many primes are there below one hundred?", True),
        ("Which is right?\n(A) yes\n(B) no", True),
        ("Solve for x: 2x + 3 = 9", True),
        ("Write the sum of the roots; put your final answer in \\boxed{}.", True),
        ("A train leaves at 3 pm and covers 120 km in two hours. What is its speed?", True),
        ("Hello!", False),
        ("Write a poem about the sea.", False),
        ("Write a Python function that reverses a list of 10 items.", False),
        ("Explain why the sky is blue.", False),
        ("Translate into French: I have 2 cats.", False),
        ("", False),
    ],
)
def test_a_question_says_whether_it_asks_for_a_value(question, expected):
    assert asks_for_a_value(question) is expected
