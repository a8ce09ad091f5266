"""`deepprune check`: what to look at before a night's run."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from cluster.configs import shipped_configs, shipped_serve_configs
from deepprune.config import (
    RunConfig,
    VllmGeneratorConfig,
    parse_config,
)
from deepprune.errors import UserError
from deepprune.loading import find, read_yaml
from deepprune.serve_config import parse_serve_config
from deepprune.traces import Problem
from jobs.check.cache import check_cache
from jobs.check.checklist import Checklist

EXAMPLE = Problem("check/0", "What is 6 × 7 + 5?")


def check(config_name: str, overrides: dict[str, Any], address: str | None) -> None:
    """Check a configuration, each node of the cluster, and a short trace on the real engines.

    Raises:
        UserError: the configuration does not validate, nothing answers at `address`, or a check
            failed.
    """
    began = time.monotonic()
    runs = _runs(config_name, overrides)
    checklist = Checklist()
    for run in runs:
        check_configuration(checklist, run)
    # Ray Serve sets its loggers when it is imported: before `connected` quiets them.
    import actors.deploy.system  # noqa: F401
    from actors.deploy.connection import connected, running_cluster

    address = running_cluster(address)
    with connected(address):
        from jobs.check.nodes import check_nodes

        check_nodes(checklist, runs)
        if checklist.failed:
            checklist.skip("engines", "not started: set right first what is wrong above")
        else:
            for run in runs:
                _check_engines(checklist, run, cluster_ends_too=address is None)
    if checklist.failed:
        raise UserError(
            f"{len(checklist.failed)} of {checklist.num_checks} checks failed: "
            f"{', '.join(checklist.failed)}"
        )
    seconds = time.monotonic() - began
    sys.stdout.write(f"all {checklist.num_checks} checks passed in {seconds:.0f} s\n")


def check_configuration(checklist: Checklist, config: RunConfig) -> None:
    """Check what needs no cluster."""
    from actors.deploy.preflight import checks

    for name, run in checks(config, [EXAMPLE]):
        checklist.run(name, run)
    if isinstance(config.generator, VllmGeneratorConfig):
        checklist.run("cache of a replica", partial(check_cache, config.generator))


def _check_engines(checklist: Checklist, config: RunConfig, *, cluster_ends_too: bool) -> None:
    """Start the engines, or use those that run, and put a trace through them."""
    from actors.deploy.system import running
    from jobs.check.traces import check_traces

    began = time.monotonic()
    with ExitStack() as stack:

        def start() -> str:
            stack.enter_context(running(config, cluster_ends_too=cluster_ends_too))
            return f"ready after {time.monotonic() - began:.0f} s"

        if checklist.run("engines", start):
            check_traces(checklist, config, EXAMPLE)


def _runs(name: str, overrides: dict[str, Any]) -> list[RunConfig]:
    """Load a run's configuration, or those of the models of an endpoint's."""
    path = find(name, [*shipped_configs(), *shipped_serve_configs()])
    data, source = read_yaml(path, overrides), str(path)
    if isinstance(data, dict) and "models" in data:
        endpoint = parse_serve_config(data, source)
        return [endpoint.run(model) for model in endpoint.models]
    return [parse_config(data, source)]
