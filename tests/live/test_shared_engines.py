"""Engines that run: a command which needs equal ones uses them, and leaves them running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from actors.deploy.app_names import generator_app_name, judge_app_name
from deepprune.config import load_config
from tests.support.command import deepprune
from tests.support.processes import started
from tests.support.waiting import HANG_S, wait_for

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


def test_engines_are_kept_until_an_interrupt(live_system, tmp_path):
    before = replicas()
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jobs", "engines", live_system.config_path),
                *("--address", live_system.address),
            ],
            stderr=output,
        )

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        return "ready" in log.read_text()

    wait_for(is_ready)
    process.send_signal(signal.SIGINT)
    assert process.wait(HANG_S) == 0, log.read_text()
    assert replicas() == before


def test_engines_are_not_kept_without_a_cluster(tmp_path):
    done = deepprune("engines", cwd=tmp_path)
    assert done.returncode == 2
    assert "give its --address" in done.stderr
