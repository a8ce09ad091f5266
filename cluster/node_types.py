"""The node types of a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeType:
    """The resources of one node; memory is in GiB.

    `accelerator` is Ray's accelerator type of its GPUs; None for no GPUs or GPUs of any type.
    """

    name: str
    cpus: int
    memory_gib: int
    gpus: int = 0
    accelerator: str | None = None
    gpu_memory_gib: int = 0


NODE_TYPES = {
    node_type.name: node_type
    for node_type in (
        NodeType("laptop", cpus=2, memory_gib=8),
        NodeType("head", cpus=8, memory_gib=32),
        NodeType("gpu", 4, 16, gpus=1, gpu_memory_gib=16),
        NodeType("a100x4", 48, 680, gpus=4, accelerator="A100", gpu_memory_gib=80),
        NodeType("h20x8", 176, 1500, gpus=8, accelerator="H20", gpu_memory_gib=96),
        NodeType("h200x8", 192, 2000, gpus=8, accelerator="H200", gpu_memory_gib=141),
    )
}
"""Every node type that a configuration may name; `ray_cluster.yaml` has those of a cluster."""
