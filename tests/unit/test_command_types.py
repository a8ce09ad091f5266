"""What the command line says about the policy, laid over the file's."""

from __future__ import annotations

from typing import get_args

import pytest

from deepprune.policy_config import (
    POLICY_NAMES,
    ConsConfig,
    DeepPruneConfig,
    EscConfig,
    PlusConfig,
    PolicyConfig,
)
from jobs.cli.options import LivePolicy, overrides
from jobs.sample.run import RunOptions, configuration

LIVE_POLICIES = get_args(LivePolicy)


def policy(name: str | None = None, *settings: str) -> PolicyConfig:
    changed = overrides(settings, example="policy.wave=64")
    return configuration(RunOptions("laptop", name, changed)).policy


def test_every_policy_that_runs_live_can_be_asked_for():
    assert {*LIVE_POLICIES, "oracle"} == set(POLICY_NAMES)


@pytest.mark.parametrize("name", LIVE_POLICIES)
def test_what_both_policies_know_stays(name):
    asked = policy(name, "generator.confidence=true")
    assert asked.name == name
    assert asked.num_traces == 64
    assert getattr(asked, "checkpoint", "tokens:54") == "tokens:54"


def test_another_policy_takes_its_own_settings():
    assert policy("cons", "policy.num_traces=8") == ConsConfig(num_traces=8)
    assert policy("esc", "policy.window=3") == EscConfig(name="esc", num_traces=64, window=3)
    plus = policy("deepprune+", "policy.risk=0.01")
    assert isinstance(plus, PlusConfig)
    assert (plus.risk, plus.max_members) == (0.01, 20)
    assert plus.base_rate is not None and plus.auroc is not None, "the judge's own"


def test_the_files_own_policy_is_as_the_file_has_it():
    assert policy("deepprune") == policy()
    assert isinstance(policy(), DeepPruneConfig)
