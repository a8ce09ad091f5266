"""Waiting for engines to start, by what Serve says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus

from actors import deploy
from deepprune.errors import UserError

RETRYING = "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"
BROKEN = RETRYING + (
    "ray::ServeReplica:g:g.initialize_and_get_metadata()\n  ...\n"
    "RuntimeError: Traceback (most recent call last):\n  ...\nValueError: no such model"
)
KILLED = RETRYING + "ActorDiedError()"
CUT_OFF = RETRYING + "ActorUnavailableError('RpcError: Socket closed rpc_code: 14', b'\\x84')"


@pytest.fixture
def said(monkeypatch):
    """What Serve says each time it is asked: (status, message of the deployment)."""
    moments: list[tuple[ApplicationStatus, str]] = []

    def status() -> Any:
        state, message = moments.pop(0) if len(moments) > 1 else moments[0]
        deployment = SimpleNamespace(message=message)
        application = SimpleNamespace(status=state, message="", deployments={"g": deployment})
        return SimpleNamespace(applications={"g": application})

    monkeypatch.setattr(deploy.serve, "status", status)
    monkeypatch.setattr(deploy.time, "sleep", lambda _: None)
    return moments


def test_what_an_engine_raises_ends_the_wait(said):
    said += [(ApplicationStatus.DEPLOYING, ""), (ApplicationStatus.DEPLOYING, BROKEN)]
    with pytest.raises(UserError, match="g did not start: ValueError: no such model"):
        deploy.wait_until_running(["g"], 60)


@pytest.mark.parametrize("status", [ApplicationStatus.DEPLOYING, ApplicationStatus.UNHEALTHY])
@pytest.mark.parametrize("message", [KILLED, CUT_OFF])
def test_a_replica_that_is_killed_while_it_starts_is_waited_for(said, status, message):
    said += [(status, message), (status, message), (ApplicationStatus.RUNNING, "")]
    deploy.wait_until_running(["g"], 60)
    assert said == [(ApplicationStatus.RUNNING, "")]


def test_replicas_that_are_killed_again_and_again_end_the_wait(said):
    said += [(ApplicationStatus.DEPLOYING, KILLED), (ApplicationStatus.DEPLOY_FAILED, KILLED)]
    with pytest.raises(UserError, match="g did not start: ActorDiedError"):
        deploy.wait_until_running(["g"], 60)


def test_patience_ends(said):
    said += [(ApplicationStatus.DEPLOYING, "")]
    with pytest.raises(UserError, match="not ready within 0 s"):
        deploy.wait_until_running(["g"], 0)
