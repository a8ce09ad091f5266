"""Engines that run: a command which needs equal ones uses them, and leaves them running."""

from __future__ import annotations

import json

import pytest

from actors.deploy.app_names import generator_app_name, judge_app_name
from deepprune.config import load_config
from tests.command import deepprune
from tests.processes import started

pytestmark = pytest.mark.live


def replicas() -> set[int]:
    return {one.process.pid for one in started() if "ray::ServeReplica:" in one.title}


def test_a_command_uses_engines_that_run_and_leaves_them(live_system, problems, tmp_path):
    same = load_config(live_system.config_path, {"policy.num_traces": 8})
    assert generator_app_name(same) == generator_app_name(live_system.config)
    assert judge_app_name(same) == judge_app_name(live_system.config)
    before = replicas()
    done = deepprune(
        *("answer", "-", "--json", "--num-traces", "8", "--config", live_system.config_path),
        *("--address", live_system.address, "--out", "run"),
        cwd=tmp_path,
        stdin=problems[0].text,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledger"]["judge_pairs"] > 0
    assert replicas() == before, "a second start would have replaced them"
    for solved in live_system.solve(problems[:1], live_system.config.policy):
        assert solved.outcome.complete
