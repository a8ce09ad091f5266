"""What `ray up` runs on its machines, on hosts: only those with the token are let in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.nodes.hosts import Hosts, why_not
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

MANIFEST = Path(__file__).parents[2] / "ray_cluster.yaml"
NUM_NODES = """
import sys
from ray._raylet import GcsClient
nodes = GcsClient(address=sys.argv[1]).get_all_node_info().values()
print(sum(node.state == 0 for node in nodes))
"""


def starts(kind: str) -> list[str]:
    """The manifest's command that starts Ray, and stays; without what only a cloud has."""
    *_, command = yaml.safe_load(MANIFEST.read_text())[f"{kind}_start_ray_commands"]
    command = command.replace("--autoscaling-config=~/ray_bootstrap_config.yaml", "")
    return ["sh", "-c", f"unset RAY_AUTH_MODE; {command} --block --disable-usage-stats"]


def home_on(host: Path, token: str | None) -> dict[str, str]:
    """Make a home folder as `ray up` leaves it; returns the environment that names it."""
    home = host / "home"
    (home / "deepprune").mkdir(parents=True)
    (home / "deepprune" / ".venv").symlink_to(Path(sys.executable).parents[1])
    if token is not None:
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(token)
    return {"HOME": f"{os.environ.get('RAY_TMPDIR', '/tmp')}/home"}


def num_nodes(address: str, token: str | None) -> int | None:
    """Nodes that are alive, asked by a client with this token; None where it gets no answer."""
    told = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", NUM_NODES, address]
    asked = subprocess.run(command, env=clean | told, capture_output=True, text=True)
    return int(asked.stdout) if asked.returncode == 0 else None


def test_only_those_with_the_token_of_ray_up_join_its_head(one_system, tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    one_system.close()
    token = "a" * 64
    hosts = Hosts(tmp_path)
    try:
        hosts.make_network()
        head = hosts.start_host("head", starts("head"), None, home_on(tmp_path / "head", token))
        address = f"{head.address}:6379"
        wait_for(lambda: num_nodes(address, token) == 1, every=1)
        given = {"RAY_HEAD_IP": head.address}
        for name, held in {"with": token, "without": None, "other": "b" * 64}.items():
            hosts.start_host(name, starts("worker"), None, home_on(tmp_path / name, held) | given)
        for name in ("without", "other"):
            wait_for(lambda name=name: hosts.hosts[name].process.poll() is not None, every=0.5)
            assert "token" in (tmp_path / f"{name}.log").read_text()
        wait_for(lambda: num_nodes(address, token) == 2, every=1)
        assert num_nodes(address, None) is None, "a client without the token gets no answer"
    finally:
        hosts.stop()
