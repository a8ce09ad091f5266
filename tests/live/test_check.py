"""`deepprune check` on real engines: those that run on a cluster, and its exit code."""

from __future__ import annotations

import pytest

from tests.support.command import deepprune

pytestmark = pytest.mark.live


def test_a_cluster_with_engines_is_in_order(live_system, tmp_path):
    done = deepprune(
        *("check", live_system.config_path, "--address", live_system.address), cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    states = {line.split()[0] for line in lines if line[0] != " "}
    assert states == {"ok", "-", "all"}, done.stdout
    for name in ("judge", "versions", "disks", "engines", "pause", "resume", "cancel", "speed"):
        assert any(line.split()[:2] == ["ok", name] for line in lines), done.stdout
    assert "tokens/s alone" in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_what_is_wrong_is_the_exit_code_and_starts_no_engine(live_system, tmp_path):
    done = deepprune(
        *("check", live_system.config_path, "--address", live_system.address),
        *("--set", "policy.checkpoint=tokens:256"),
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stdout
    assert "WRONG checkpoint" in done.stdout
    assert "not started: set right first" in done.stdout
    assert "checks failed: checkpoint" in done.stderr
