"""Policies that stop early, driven in memory."""

from __future__ import annotations

from deepprune.events import Stop
from deepprune.policies import make_policy
from deepprune.policy_config import AdaptiveConfig, EscConfig
from tests.support.memory_driver import Driver, SimulatedTrace


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
