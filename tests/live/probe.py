"""Looks into the engines of a served endpoint, from another process on its Ray cluster.

Reads what to look at on stdin, a word a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

CALLS = 6
"""Calls that should meet every replica."""


def main() -> None:
    import ray
    from ray import serve

    address = Path(os.environ["RAY_TMPDIR"], "ray", "ray_current_cluster").read_text().strip()
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
                label: sum(r.result(timeout_s=30) for r in calls)
                for label, calls in [
                    (label, [h.num_unfinished.remote() for _ in range(CALLS)])
                    for label, h in handles.items()
                ]
            },
            "replicas": lambda: {
                label: serve.status()
                .applications["deepprune"]
                .deployments[name]
                .replica_states.get("RUNNING", 0)
                for label, name in engines.items()
            },
        }
        print(json.dumps(looks[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
