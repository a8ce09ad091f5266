"""Folders that only the head has: refused before anything starts, with what to do instead."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from actors.deploy.shared_folders import check_folder, check_model_folders, marked
from cluster.placement import ReplicaPlacement, replica_placement
from deepprune.config import EngineConfig, load_config
from deepprune.errors import UserError
from jobs.judge.pairs import _check_folders as check_pairs_folders
from jobs.judge.train import STORAGE, _check_folders
from tests.support.nodes.hosts import Hosts, why_not
from tests.support.waiting import wait_for
from training.config import TrainConfig, load

pytestmark = pytest.mark.faults

MODELS = Path(__file__).parents[2] / "miniature" / "models"
"""On the disk that this host and the hosts of a test share; they do not share /tmp."""


def replica(gpus: float = 0, **labels: str) -> ReplicaPlacement:
    return replica_placement(EngineConfig(model="m", gpus_per_shard=gpus, node_labels=labels))


@pytest.fixture
def host(one_system, tmp_path):
    import ray

    if reason := why_not():
        pytest.skip(reason)
    one_system.close()
    hosts = Hosts(tmp_path)
    try:
        hosts.start_head()
        found = hosts.add("worker", {"pool": "workers"})
        hosts.connect()
        wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
        yield found
    finally:
        ray.shutdown()
        hosts.stop()


def test_what_a_node_does_not_see_is_refused_with_what_to_do(host, tmp_path):
    here = tmp_path / "checkpoints"
    with marked(here), pytest.raises(UserError, match=rf"node {host.address} does not see.*do it"):
        check_folder(here, replica(), "do it")
    with marked(here):
        check_folder(here, replica(pool="!workers"), "do it")  # only on the head
    assert not list(here.iterdir())
    check_folder(MODELS, replica(), "do it")

    # Of nodes that have yet to start, only the disk is known.
    with pytest.raises(UserError, match="yet to start will not see: do it"):
        check_folder(here, replica(gpus=1), "do it")

    copy = tmp_path / "judge"
    subprocess.run(["cp", "-r", MODELS / "judge", copy], check=True)
    for setting in ({"judge.engine.model": str(copy)}, {"generator.engine.model": str(copy)}):
        config = load_config("cluster/laptop-pairwise.yaml", setting)
        with pytest.raises(UserError, match="a disk that all nodes share"):
            check_model_folders([config])
    check_model_folders([load_config("cluster/laptop-pairwise.yaml")])

    with pytest.raises(UserError, match="or leave --address out"):
        check_pairs_folders({MODELS}, tmp_path / "pairs")

    config = load(TrainConfig, "tiny")
    with pytest.raises(UserError, match=r"give --storage a URI .* gs://BUCKET/FOLDER"):
        _check_folders(config, str(here))
    with pytest.raises(UserError, match=r"--storage nowhere://a: "):
        _check_folders(config, "nowhere://a")
    assert "s3://" in STORAGE
