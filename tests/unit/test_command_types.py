"""What the command line says about the policy, laid over the file's."""

from __future__ import annotations

import argparse

import pytest

from deepprune.policy_config import (
    POLICY_NAMES,
    ConsConfig,
    DeepPruneConfig,
    EscConfig,
    PlusConfig,
    PolicyConfig,
)
from jobs.commands.options import LIVE_POLICIES, add_run_options
from jobs.sample.run import configuration


def policy(*arguments: str) -> PolicyConfig:
    parser = argparse.ArgumentParser()
    add_run_options(parser)
    return configuration(parser.parse_args(["--config", "laptop", *arguments])).policy


def test_every_policy_that_runs_live_can_be_asked_for():
    assert {*LIVE_POLICIES, "oracle"} == set(POLICY_NAMES)


@pytest.mark.parametrize("name", LIVE_POLICIES)
def test_what_both_policies_know_stays(name):
    asked = policy("--policy", name, *(("--set", "generator.confidence=true")))
    assert asked.name == name
    assert asked.num_traces == 64
    assert getattr(asked, "checkpoint", "tokens:54") == "tokens:54"


def test_another_policy_takes_its_own_settings():
    assert policy("--policy", "cons", "--num-traces", "8") == ConsConfig(num_traces=8)
    assert policy("--policy", "esc", "--set", "policy.window=3") == EscConfig(
        name="esc", num_traces=64, window=3
    )
    plus = policy("--policy", "deepprune+", "--set", "policy.risk=0.01")
    assert isinstance(plus, PlusConfig)
    assert (plus.risk, plus.max_members) == (0.01, 20)
    assert plus.base_rate is not None and plus.auroc is not None, "the judge's own"


def test_the_files_own_policy_is_as_the_file_has_it():
    assert policy("--policy", "deepprune") == policy()
    assert isinstance(policy(), DeepPruneConfig)
