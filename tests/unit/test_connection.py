"""Starting a local cluster on a machine that may be too busy for it."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
import ray
from ray._private import services

from actors.deploy.connection import MAX_STARTS, connected, extended_start_timeout
from deepprune.errors import UserError

SLOW = Exception("The current node timed out during startup. This could happen because ...")


@pytest.fixture
def starts(monkeypatch):
    """What each start of Ray raises, None for nothing; those that were made are taken off."""
    outcomes: list[Exception | None] = []

    def init(**options) -> None:
        assert options["address"] == "local"
        if (error := outcomes.pop(0)) is not None:
            raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return outcomes


def test_a_start_that_takes_too_long_is_made_again(starts):
    starts += [SLOW, None, None]
    with connected(None):
        assert len(starts) == 1


def test_a_machine_that_is_too_busy_is_told_in_one_line(starts):
    starts += [SLOW] * MAX_STARTS
    with (
        pytest.raises(UserError, match=r"3 attempts.*when the machine"),
        connected(None),
    ):
        pass
    assert not starts


def test_whatever_else_goes_wrong_comes_out(starts):
    starts += [RuntimeError("a bug")]
    with pytest.raises(RuntimeError, match="a bug"), connected(None):
        pass


def test_a_node_is_waited_for_as_long_as_its_raylet_runs(monkeypatch, tmp_path):
    program = tmp_path / "raylet"  # a process has the name of its file
    program.symlink_to(sys.executable)
    raylet = subprocess.Popen([program, "-c", "import time; time.sleep(600)"])
    outcomes = ["not yet", "not yet", None, "not yet"]
    children = psutil.Process.children
    # Another test of this process may have started a raylet that still runs.
    monkeypatch.setattr(
        psutil.Process, "children", lambda self: [c for c in children(self) if c.pid == raylet.pid]
    )

    def get_node(*_: str) -> str:
        if len(outcomes) == 1:
            raylet.kill()
            raylet.wait()
        if (error := outcomes.pop(0)) is not None:
            raise RuntimeError(error)
        return "the node"

    monkeypatch.setattr(services, "get_node", get_node)
    with extended_start_timeout():
        assert services.get_node("address", "id") == "the node"
        with pytest.raises(RuntimeError, match="not yet"):
            services.get_node("address", "id")
    assert services.get_node is get_node
