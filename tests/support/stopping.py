"""Policies that stop early, driven in memory."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st

from deepprune.events import Stop
from deepprune.policies import make_policy
from deepprune.policy_config import (
    AdaptiveConfig,
    EscConfig,
)
from tests.support.memory_driver import Driver, SimulatedTrace

SEEDS = st.integers(0, 2**32)
untimed = settings(deadline=None, max_examples=60)


def esc(num_traces: int, window: int = 3):
    return make_policy(EscConfig(name="esc", num_traces=num_traces, window=window), 0)


def adaptive(num_traces: int, **options: object):
    return make_policy(AdaptiveConfig(name="adaptive", num_traces=num_traces, **options), 0)


def run(policy, answers, seed: int = 0) -> Driver:
    driver = Driver(policy, [SimulatedTrace(answer) for answer in answers], seed=seed)
    driver.run()
    return driver


def reason(driver: Driver) -> str:
    stop = driver.commands[-1]
    assert isinstance(stop, Stop)
    return stop.reason


@st.composite
def worlds(draw: st.DrawFn) -> list[SimulatedTrace]:
    random = Random(draw(SEEDS))
    num_answers = draw(st.integers(1, 4))
    silent, failing = draw(st.sampled_from([(0, 0), (0.3, 0), (0, 0.3), (0.3, 0.3), (1, 0)]))
    return [
        SimulatedTrace(
            None if random.random() < silent else str(random.randrange(num_answers)),
            num_tokens=random.randint(1, 9),
            fails_at=random.randint(1, 9) if random.random() < failing else None,
        )
        for _ in range(draw(st.integers(1, 50)))
    ]
