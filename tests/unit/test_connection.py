"""Starting a local cluster on a machine that may be too busy for it."""

from __future__ import annotations

import pytest
import ray

from actors.connection import MOST_STARTS, connected
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
    starts += [SLOW] * MOST_STARTS
    with pytest.raises(UserError, match="the machine is too busy"), connected(None):
        pass
    assert not starts


def test_whatever_else_goes_wrong_comes_out(starts):
    starts += [RuntimeError("a bug")]
    with pytest.raises(RuntimeError, match="a bug"), connected(None):
        pass
