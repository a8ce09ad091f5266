"""One cluster of several hosts for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deepprune.config import RunConfig, parse_config
from tests.support.nodes.cluster import (
    assert_nothing_is_left,
    hosts_and_head,
    run_settings,
)
from tests.support.nodes.faults import GENERATORS, Scene
from tests.support.nodes.hosts import Host, why_not
from tests.support.systems import Driven, OneSystem
from tests.support.waiting import wait_for, whole


class ManyNodes(Driven):
    """Two nodes that hold a generator each and one that holds the judge; the driver is on none."""

    def __init__(self, coordinator: Any, config: RunConfig, scene: Scene) -> None:
        super().__init__(coordinator, config)
        self.scene = scene
        self.hosts = scene.hosts

    def generators(self) -> list[Host]:
        return [host for host in self.hosts.hosts.values() if host.labels == GENERATORS]

    def wait_until_whole(self) -> None:
        """Put back the nodes that are lost, and wait until all replicas and coordinators run."""
        self.scene.fill()
        wait_for(whole)
        wait_for(self.is_driven)

    def is_driven(self) -> bool:
        """Whether the coordinators answer."""
        from ray.exceptions import ActorUnavailableError

        try:
            self.coordinator.watch()
        except ActorUnavailableError:  # it is being restarted
            return False
        return True


@contextmanager
def many_nodes_system() -> Iterator[ManyNodes]:
    from actors.deploy.preflight import with_calibration
    from actors.deploy.system import running

    with hosts_and_head() as scene:
        config = with_calibration(parse_config(run_settings(), "the test's configuration"))
        with running(config) as system:
            yield ManyNodes(system.coordinator, config, scene)
        assert_nothing_is_left(scene.hosts)


@pytest.fixture
def many_nodes(one_system: OneSystem) -> ManyNodes:
    if reason := why_not():
        pytest.skip(reason)
    system: ManyNodes = one_system(many_nodes_system)
    system.wait_until_whole()
    return system
