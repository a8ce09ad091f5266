"""`deepprune fetch --address`: each node that can hold an engine has the model, downloaded once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from actors.models import MINIATURE
from tests.support.nodes.hosts import Hosts, why_not
from tests.support.standin_hub import TOKEN, Hub, serving
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.faults

MODEL = "someone/gated"
CONFIG = f"""
nodes: {{laptop: 2}}
generator:
  engine: {{model: {MODEL}, gpus_per_shard: 0, node_labels: {{pool: engines}}}}
policy: {{name: cons, num_traces: 8}}
"""


def test_a_model_is_fetched_on_each_node_that_can_hold_its_engine(
    one_system, tmp_path, monkeypatch
):
    import ray

    if reason := why_not():
        pytest.skip(reason)
    one_system.close()
    files = {path.name: path.read_bytes() for path in (MINIATURE / "reasoner").iterdir()}
    hub = Hub({MODEL: files}, gated=(MODEL,))
    hosts = Hosts(tmp_path)
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)

    def fetch(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs", "fetch", str(config), "--address", hosts.address]
        told = os.environ | {"RAY_AUTH_MODE": "token"} | environment
        return subprocess.run(command, env=told, capture_output=True, text=True, timeout=HANG_S)

    # Each host has a /tmp of its own, so a cache of its own.
    monkeypatch.setenv("HF_HOME", f"{os.environ.get('RAY_TMPDIR', '/tmp')}/hub")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        hosts.make_network()
        with serving(hub, hosts.gateway):
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            hosts.start_head()
            pool = {"pool": "engines"}
            addresses = {hosts.add(name, pool, cpus=1).address for name in ("one", "two")}
            hosts.add("other", {"pool": "none"})
            hosts.connect()
            wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 4)

            refused = fetch()
            assert refused.returncode == 2
            assert refused.stderr.count("set HF_TOKEN") == 2, refused.stderr
            assert not hub.downloads

            done = fetch(HF_TOKEN=TOKEN)
            assert done.returncode == 0, done.stderr
            lines = set(done.stdout.splitlines())
            assert {line.partition(":")[0] for line in lines} == addresses
            assert all(f"{MODEL}: here, " in line for line in lines)
            assert hub.downloads == {f"{MODEL}/{name}": 2 for name in files}, "once on each node"

            again = fetch(HF_TOKEN=TOKEN)
            assert set(again.stdout.splitlines()) == lines
            assert set(hub.downloads.values()) == {2}
    finally:
        ray.shutdown()
        hosts.stop()
