"""`deepprune fetch`: download a configuration's models on each node that will run them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from actors.hub_models import ModelFiles, fetch_models
from cluster.configs import shipped_configs, shipped_serve_configs
from cluster.placement import ReplicaPlacement, models, one_bundle
from deepprune.config import parse_config
from deepprune.errors import UserError
from deepprune.loading import find, read_yaml, validated
from deepprune.section import is_hub_name
from deepprune.serve_config import parse_serve_config
from training.config import TrainConfig
from training.config import shipped_configs as shipped_trainings

LINE_S = 5.0
HERE = "this machine"
Updates = Iterator[tuple[str, ModelFiles]]


def fetch(name: str, overrides: dict[str, Any], address: str | None, download: bool) -> None:
    """Say what is there of each model of a run, an endpoint or a training, and fetch the rest.

    Raises:
        UserError: the configuration does not validate, or a model cannot be fetched.
    """
    needed = needed_models(name, overrides)
    if not needed:
        sys.stderr.write("the configuration has no model of a hub: there is nothing to fetch\n")
        return
    from actors.deploy.connection import connected, running_cluster

    address = running_cluster(address)
    try:
        if address is None:
            _show(((HERE, found) for found in fetch_models(list(needed), None, download)), download)
            return
        with connected(address):
            _show(_on_nodes(needed, download), download)
    except KeyboardInterrupt:
        sys.stderr.write("deepprune: interrupted: whole files are kept\n")
        sys.stderr.flush()
        os._exit(130)  # otherwise Python waits for the downloads' threads


def needed_models(name: str, overrides: dict[str, Any]) -> dict[str, ReplicaPlacement]:
    """List the hub models of a run's, an endpoint's or a training's configuration.

    Raises:
        UserError: it does not validate.
    """
    path = find(name, [*shipped_configs(), *shipped_serve_configs(), *shipped_trainings()])
    data, source = read_yaml(path, overrides), str(path)
    if "models" in data:
        endpoint = parse_serve_config(data, source)
        found = [each for model in endpoint.models for each in models(endpoint.run(model))]
    elif "generator" in data:
        found = list(models(parse_config(data, source)))
    else:
        training = validated(TrainConfig, data, source)
        found = [(training.model, one_bundle(training.resources))]
    return {model: placement for model, placement in found if is_hub_name(model)}


def _on_nodes(needed: Mapping[str, ReplicaPlacement], download: bool) -> Updates:
    """Fetch on all nodes at the same time, with this machine's token where there is one."""
    import ray
    from huggingface_hub import get_token
    from ray.exceptions import RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from actors.deploy.shared_folders import fitting_nodes

    on_node: dict[str, list[str]] = {}
    for model, placement in needed.items():
        for node in fitting_nodes(placement):
            on_node.setdefault(node["NodeID"], []).append(model)
    if not on_node:
        raise UserError(
            "no node that can hold these models runs: start one, or set HF_HOME to a disk that all "
            "nodes share and fetch without --address"
        )
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    task = ray.remote(num_cpus=0, num_returns="streaming", max_retries=0)(fetch_models)
    streams = {}
    for node_id, names in on_node.items():
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        stream = task.options(scheduling_strategy=there).remote(names, get_token(), download)
        streams[stream] = addresses[node_id]
    failures = []
    while streams:
        (ready,), _ = ray.wait(list(streams), num_returns=1)
        try:
            yield streams[ready], ray.get(next(ready))
        except StopIteration:
            del streams[ready]
        except RayTaskError as error:
            if not isinstance(error.cause, UserError):
                raise
            failures.append(f"node {streams.pop(ready)}: {error.cause}")
    if failures:
        raise UserError("; ".join(sorted(failures)))


def _show(updates: Updates, download: bool) -> None:
    """Print a line for each model that is there, and for others every few seconds."""
    last: dict[tuple[str, str], float] = {}
    for place, found in updates:
        key, now = (place, found.model), time.monotonic()
        if not found.missing:
            sys.stdout.write(f"{place}: {found.model}: here, {_size(found.num_bytes)}\n")
        elif now - last.get(key, -LINE_S) >= LINE_S:
            last[key] = now
            of = f"{_size(found.missing)} to fetch of {_size(found.num_bytes)}"
            (sys.stderr if download else sys.stdout).write(f"{place}: {found.model}: {of}\n")
        sys.stdout.flush()


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
