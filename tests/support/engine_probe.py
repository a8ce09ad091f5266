"""Looks into the engines of a served endpoint, from another process on its Ray cluster.

Reads what to look at on stdin, a word a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

import psutil

from tests.support.waiting import HANG_S

CALLS = 6
"""Calls that should meet every replica."""


def cluster_address(ray_folder: str) -> str:
    """The address of the cluster whose sessions lie in `ray_folder`, as its raylet was told it."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if ray_folder in line and (address := re.search(r"--gcs-address=(\S+)", line)):
            return address[1]
    raise LookupError(f"no Ray cluster runs in {ray_folder}")


def num_running(engines: dict[str, str]) -> dict[str, int]:
    """Running replicas of each engine."""
    from ray import serve

    deployments = serve.status().applications["deepprune"].deployments
    return {
        label: deployments[name].replica_states.get("RUNNING", 0) for label, name in engines.items()
    }


def main() -> None:
    import ray
    from ray import serve

    address = cluster_address(os.environ["RAY_TMPDIR"])
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    application = serve.status().applications["deepprune"]
    engines = {
        " ".join([name.partition("-")[0], name.rpartition("-")[2]]): name
        for name in application.deployments
        if name.startswith(("generator-", "judge-"))
    }
    handles = {
        label: serve.get_deployment_handle(name, "deepprune") for label, name in engines.items()
    }
    for line in sys.stdin:
        looks: dict[str, Any] = {
            "unfinished": lambda: {
                label: sum(r.result(timeout_s=HANG_S) for r in calls)
                for label, calls in [
                    (label, [h.num_unfinished.remote() for _ in range(CALLS)])
                    for label, h in handles.items()
                ]
            },
            "replicas": lambda: num_running(engines),
        }
        print(json.dumps(looks[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
