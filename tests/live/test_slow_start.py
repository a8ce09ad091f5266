"""Replicas that take longer than `limits.start_s`: while a model arrives, they are waited for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.waiting import HANG_S

pytestmark = pytest.mark.live

PROGRAM = """
import time
from pathlib import Path
from huggingface_hub import constants
from ray import serve
from actors.deploy import startup
from actors.deploy.connection import connected
from deepprune.errors import UserError

startup.ARRIVE_S = 5.0
START_S = 15.0
STOP = Path(constants.HF_HOME) / "stop"
arrive_on = startup.bytes_arrive_on

def noted(nodes):
    found = arrive_on(nodes)
    if found:
        STOP.touch()  # the download ends once it was noticed
    return found

startup.bytes_arrive_on = noted

class Slow:
    def __init__(self, downloads: bool) -> None:
        blobs = Path(constants.HF_HUB_CACHE) / "models--a--b" / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        while not (downloads and STOP.exists()):
            if downloads:
                with (blobs / "x.incomplete").open("ab") as file:
                    file.write(b"x")
            time.sleep(0.2)

def started(name: str, downloads: bool, **resources: float) -> str:
    app = serve.deployment(Slow).options(ray_actor_options=resources).bind(downloads)
    serve.run_many(
        [serve.RunTarget(app, name=name, route_prefix=None)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    while "num_cpus" not in resources and not startup.replica_nodes([name]):
        time.sleep(0.2)  # its process starts
    try:
        startup.wait_until_running([name], START_S)
    except UserError as error:
        return str(error)
    return "runs"

with connected(None, num_cpus=4):
    serve.start(proxy_location="Disabled")
    print(started("downloads", True))
    print(started("hangs", False))
    print(started("large", True, num_cpus=99))
"""


def test_a_replica_that_still_downloads_is_waited_for_and_others_are_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    downloads, hangs, large = done.stdout.splitlines()
    assert downloads == "runs"
    assert hangs.startswith("the engines were placed, but not ready within 15 s (limits.start_s)")
    assert large.startswith("no node had room for the engines within 15 s")
