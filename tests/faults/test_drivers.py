"""Drivers that share an application die or end; it goes with the last of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from actors.deploy.app_reaper import KEY, NAMESPACE
from tests.support.processes import started
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.faults

DRIVER = """
import sys
import ray
from ray import serve
from actors.deploy.app_reaper import used

ray.init(sys.argv[1], log_to_driver=False)
app = sys.argv[2]
with used([app]):
    serve.start(proxy_location="Disabled")
    if "waits" in sys.argv:
        print(ray.get_runtime_context().get_job_id(), flush=True)
        sys.stdin.readline()
    if app not in serve.status().applications:
        light = serve.deployment(type("Light", (), {})).options(ray_actor_options={"num_cpus": 0})
        serve.run(light.bind(), name=app, route_prefix=None)
    print(ray.get_runtime_context().get_job_id(), flush=True)
    sys.stdin.readline()
"""


def driver(address: str, app: str = "shared", *options: str) -> tuple[subprocess.Popen[str], str]:
    """A process that uses the application until it is sent a line, and its job id.

    With `waits`, it deploys the application only once it is sent a line before.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, address, app, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def users() -> dict[str, list[str]]:
    from ray.experimental.internal_kv import _internal_kv_get

    found: dict[str, list[str]] = json.loads(_internal_kv_get(KEY, namespace=NAMESPACE))
    return found


def is_served() -> bool:
    return any("ray::ServeReplica:shared" in one.title for one in started())


def test_an_application_stays_until_its_last_driver_ends(bare_cluster):
    first, first_job = driver(bare_cluster)
    second, second_job = driver(bare_cluster)
    assert users() == {"shared": [first_job, second_job]}
    first.kill()
    wait_for(lambda: users() == {"shared": [second_job]})
    assert is_served()
    assert second.communicate("\n", timeout=HANG_S) == ("", None)
    assert second.returncode == 0
    wait_for(lambda: not is_served())
    assert users() == {}

    third, _ = driver(bare_cluster)  # the reaper has ended, or is about to
    assert is_served()
    third.kill()
    wait_for(lambda: not is_served())


def test_serve_stays_while_a_driver_is_about_to_deploy(bare_cluster):
    first, _ = driver(bare_cluster)
    second, second_job = driver(bare_cluster, "late", "waits")
    first.kill()
    wait_for(lambda: users() == {"late": [second_job]})
    assert second.communicate("\n\n", timeout=HANG_S) == (f"{second_job}\n", None)
    assert second.returncode == 0
