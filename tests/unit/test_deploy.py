"""Waiting for engines to start, by what Serve says of them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus, DeploymentStatus, DeploymentStatusTrigger

from actors.deploy import startup
from deepprune.errors import UserError

RETRYING = "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"
RETRYING_AGAIN = RETRYING.replace("2 more", "1 more")
BROKEN = (
    "ray::ServeReplica:g:g.initialize_and_get_metadata()\n  ...\n"
    "RuntimeError: Traceback (most recent call last):\n  ...\nValueError: no such model"
)
FULL = BROKEN.replace("no such model", "3.1 of 80 GiB are free")
KILLED = RETRYING + "ActorDiedError()"
LOST = "A replica's health check failed. This deployment will be UNHEALTHY until it recovers."
GIVEN_UP = "The deployment failed to start 6 times in a row."
CUT_OFF = RETRYING + "ActorUnavailableError('RpcError: Socket closed rpc_code: 14', b'\\x84')"


@pytest.fixture
def said(monkeypatch):
    """What Serve says each time it is asked: (status, message of the deployment).

    A deployment without a message is well; one that is not, is unhealthy, or has failed where its
    application has.
    """
    moments: list[tuple[ApplicationStatus, str]] = []

    def status() -> Any:
        state, message = moments.pop(0) if len(moments) > 1 else moments[0]
        failed = state is ApplicationStatus.DEPLOY_FAILED and not message.startswith(RETRYING)
        bad = DeploymentStatus.DEPLOY_FAILED if failed else DeploymentStatus.UNHEALTHY
        ill = message == LOST
        triggers = DeploymentStatusTrigger
        deployment = SimpleNamespace(
            message=message,
            status=bad if message else DeploymentStatus.HEALTHY,
            status_trigger=triggers.HEALTH_CHECK_FAILED if ill else triggers.REPLICA_STARTUP_FAILED,
        )
        application = SimpleNamespace(status=state, message="", deployments={"g": deployment})
        return SimpleNamespace(applications={"g": application})

    monkeypatch.setattr(startup.serve, "status", status)
    monkeypatch.setattr(startup.time, "sleep", lambda _: None)
    monkeypatch.setattr(startup, "replica_nodes", lambda names: [])
    return moments


def test_what_an_engine_raises_twice_ends_the_wait(said):
    said += [
        (ApplicationStatus.DEPLOYING, message)
        for message in ("", RETRYING + BROKEN, RETRYING + BROKEN, "", RETRYING_AGAIN + BROKEN)
    ]
    with pytest.raises(UserError, match="g did not start: ValueError: no such model"):
        startup.wait_until_running(["g"], 60)
    assert len(said) == 1


def test_what_is_raised_once_is_waited_for(said):
    said += [
        (ApplicationStatus.DEPLOYING, message)
        for message in (RETRYING + FULL, RETRYING + FULL, RETRYING_AGAIN + BROKEN)
    ]
    said += [(ApplicationStatus.RUNNING, "")]
    startup.wait_until_running(["g"], 60)
    assert said == [(ApplicationStatus.RUNNING, "")]


@pytest.mark.parametrize(
    "status",
    [ApplicationStatus.DEPLOYING, ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED],
)
@pytest.mark.parametrize("message", [KILLED, CUT_OFF, LOST], ids=["killed", "cut off", "lost"])
def test_a_replica_that_is_killed_while_it_starts_is_waited_for(said, status, message):
    said += [(status, message), (status, message), (ApplicationStatus.RUNNING, "")]
    startup.wait_until_running(["g"], 60)
    assert said == [(ApplicationStatus.RUNNING, "")]


def test_replicas_that_are_killed_again_and_again_end_the_wait(said):
    given_up = f"{GIVEN_UP} See controller logs. Error:\nActorDiedError()"
    said += [(ApplicationStatus.DEPLOYING, KILLED), (ApplicationStatus.DEPLOY_FAILED, given_up)]
    with pytest.raises(UserError, match="g did not start: ActorDiedError"):
        startup.wait_until_running(["g"], 60)


def test_patience_ends(said):
    said += [(ApplicationStatus.DEPLOYING, "")]
    with pytest.raises(UserError, match=r"no node had room .* within 0 s .* `ray status` shows"):
        startup.wait_until_running(["g"], 0)


def test_the_time_to_start_counts_from_placement_and_from_the_last_byte_of_a_model(
    said, monkeypatch
):
    """One application of which a replica is placed at 8, and bytes arrive until 28."""
    said += [(ApplicationStatus.DEPLOYING, "")]
    clock, looks = itertools.count(0, 2), []
    now = [0]

    def tick() -> float:
        now[0] = next(clock)
        return now[0]

    def arrive(nodes: set[str]) -> bool:
        looks.append(now[0])
        return now[0] < 28

    monkeypatch.setattr(startup.time, "monotonic", tick)
    monkeypatch.setattr(startup, "replica_nodes", lambda names: ["node"] if now[0] >= 8 else [])
    monkeypatch.setattr(startup, "bytes_arrive_on", arrive)
    with pytest.raises(UserError, match="were placed, but not ready within 10 s"):
        startup.wait_until_running(["g"], 10)
    assert len(looks) >= 2 and looks[0] > 18 and looks[-1] >= 28
