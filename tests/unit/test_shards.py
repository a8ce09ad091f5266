"""Who drives which problem, without Ray; the live tests run on two shards."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.driver.shards import PROBLEMS_PER_SHARD, num_shards, shard_of, shares
from deepprune.config import LimitsConfig
from deepprune.traces import Problem


@given(st.integers(1, 5000), st.integers(1, 64))
def test_slots_are_all_given_out_and_evenly(total, parts):
    given_out = shares(total, parts)
    assert len(given_out) == parts and sum(given_out) == total
    assert max(given_out) - min(given_out) <= 1


def test_problems_spread_over_all_shards():
    shards = Counter(shard_of(Problem(f"aime24/{i}", "?"), "cons", 0, 8) for i in range(800))
    assert sorted(shards) == list(range(8))
    assert max(shards.values()) < 2 * min(shards.values())


def test_seeds_and_policies_of_one_problem_spread_too():
    problem = Problem("aime24/0", "?")
    assert {shard_of(problem, "cons", seed, 4) for seed in range(40)} == set(range(4))
    assert len({shard_of(problem, name, 0, 64) for name in ("cons", "esc", "deepprune")}) > 1


def test_every_process_finds_the_same_shard():
    code = (
        "from actors.driver.shards import shard_of; from deepprune.traces import Problem;"
        "print([shard_of(Problem(f'a/{i}', '?'), 'cons', 3, 7) for i in range(20)])"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    here = [shard_of(Problem(f"a/{i}", "?"), "cons", 3, 7) for i in range(20)]
    assert elsewhere.strip() == str(here)


class TestHowManyThereAre:
    @pytest.mark.parametrize(
        ("problems", "coordinators"),
        [(1, 1), (PROBLEMS_PER_SHARD, 1), (PROBLEMS_PER_SHARD + 1, 2), (512, 16)],
    )
    def test_by_the_problems_in_flight(self, problems, coordinators):
        assert num_shards(LimitsConfig(max_problems=problems)) == coordinators

    def test_as_configured(self):
        assert num_shards(LimitsConfig(max_problems=8, coordinators=8)) == 8

    def test_none_without_a_problem_to_drive(self):
        with pytest.raises(ValidationError, match="coordinators 9 is above max_problems 8"):
            LimitsConfig(max_problems=8, coordinators=9)
