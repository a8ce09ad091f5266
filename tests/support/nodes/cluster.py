"""What tests and the soak share: the hosts, what runs on them, and whether anything is left."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.nodes.faults import GENERATORS, JUDGES, Scene
from tests.support.nodes.hosts import Hosts
from tests.support.waiting import wait_for


def run_settings() -> dict[str, Any]:
    """The laptop's configuration with a generator on each of two nodes and the judge on a third."""
    settings = yaml.safe_load(Path("cluster/laptop-pairwise.yaml").read_text())
    settings["nodes"] = {"laptop": 3}
    settings["generator"] |= {"replicas": {"min": 2, "max": 2}, "progress_s": 0.05}
    settings["generator"]["engine"]["node_labels"] = GENERATORS
    settings["judge"]["engine"]["node_labels"] = JUDGES
    settings["policy"]["num_traces"] = 32
    settings["limits"] |= {"stall_s": 10}
    return settings


@contextmanager
def hosts_and_head(seed: int = 0) -> Iterator[Scene]:
    """Nodes as `Scene` wants them, and this process attached to their head."""
    import ray

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as logs:
        hosts = Hosts(Path(logs))
        scene = Scene(hosts, random.Random(seed))
        try:
            hosts.start_head()
            scene.fill()
            hosts.connect()
            wait_for(scene.is_full)
            yield scene
        finally:
            ray.shutdown()
            hosts.stop()


SERVANT = re.compile(r"IDLE|ray::\w+Agent")
"""What a Ray node keeps when nothing runs on it."""


def _title(process: psutil.Process) -> str:
    """A process's command line; empty where it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def assert_nothing_is_left(hosts: Hosts) -> None:
    """No actor, placement group or engine outlives the system."""
    import ray
    from ray._private.state import actors

    def left() -> list[object]:
        groups = ray.util.placement_group_table().values()
        processes = [p for h in hosts.hosts.values() for p in h.processes("ray::")]
        engines = [p for h in hosts.hosts.values() for p in h.processes("EngineCore")]
        return [
            *(actor for actor in actors().values() if actor["State"] != "DEAD"),
            *(group for group in groups if group["state"] != "REMOVED"),
            *(title for title in map(_title, processes) if title and not SERVANT.search(title)),
            *engines,
        ]

    wait_for(lambda: not left(), every=0.5)
