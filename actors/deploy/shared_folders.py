"""Folders that other nodes need: refuse, before anything starts, one that they do not see.

The machines that `ray up` starts share no disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.placement import ReplicaPlacement, models
from deepprune.config import RunConfig
from deepprune.errors import UserError

OWN_DISKS = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""Types of file systems that one machine has to itself."""
TIMEOUT_S = 120.0
COPY = "copy it to a disk that all nodes share, or give the model's name on the hub"


def check_model_folders(configs: Sequence[RunConfig]) -> None:
    """Check that the nodes that may hold a replica see the folder of its model or judge.

    Raises:
        UserError: one does not.
    """
    found = dict(each for config in configs for each in models(config))
    for model, placement in found.items():
        if Path(model).is_absolute():  # else of a hub, or installed
            check_folder(Path(model), placement, COPY)


def check_folder(folder: Path, placement: ReplicaPlacement, advice: str) -> None:
    """Check that all nodes that can hold the bundles of `placement` see `folder` as this one does.

    Raises:
        UserError: one does not, or such nodes have yet to start and the folder is on a disk of this
            machine alone; `advice` says what to do.
    """
    nodes = fitting_nodes(placement)
    if not nodes and _disk_type(folder) in OWN_DISKS:
        raise UserError(f"{folder} is on a disk that nodes yet to start will not see: {advice}")
    files = _files(folder)
    look = ray.remote(num_cpus=0)(_files)
    looks = {
        node["NodeManagerAddress"]: look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(folder)
        for node in nodes
    }
    for address, found in zip(looks, ray.get(list(looks.values()), timeout=TIMEOUT_S), strict=True):
        if not files.items() <= found.items():
            raise UserError(f"node {address} does not see the files in {folder}: {advice}")


def fitting_nodes(placement: ReplicaPlacement) -> list[dict[str, Any]]:
    """List the nodes that can hold a bundle of `placement`, as Ray describes them."""
    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and all(node["Resources"].get(name, 0) >= least for name, least in placement.needs.items())
        and all(_matches(node["Labels"].get(key), value) for key, value in placement.node_labels)
    ]


@contextmanager
def marked(folder: Path) -> Iterator[None]:
    """Make `folder`, and put a file into it that no other folder has."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".{uuid4().hex}"
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def _matches(label: str | None, wanted: str) -> bool:
    return label != wanted[1:] if wanted.startswith("!") else label == wanted


def _files(folder: Path) -> dict[str, int]:
    """Sizes of the files in `folder`, by their paths in it; empty where there is none."""
    paths = folder.rglob("*") if folder.is_dir() else ()
    return {str(p.relative_to(folder)): p.stat().st_size for p in paths if p.is_file()}


def _disk_type(folder: Path) -> str:
    """The type of the file system that holds `folder`."""
    above = {str(folder), *map(str, folder.parents)}
    mounts = [part for part in psutil.disk_partitions(all=True) if part.mountpoint in above]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype
