"""Datasheet specifications of GPUs.

Of one GPU, dense (without structured sparsity), 16-bit floats:

| GPU | memory | bandwidth | arithmetic | source |
|---|---|---|---|---|
| A100-80G SXM | 80 GB | 2,039 GB/s | 312 TFLOP/s | NVIDIA A100 datasheet, 2021 |
| H20-96G | 96 GB | 4,000 GB/s | 148 TFLOP/s | NVIDIA H20 product brief, 2023, as vendors quote it |
| H200-141G SXM | 141 GB | 4,800 GB/s | 989 TFLOP/s | NVIDIA H200 datasheet, 2024: 1,979 is sparse |

Engines reach a fraction of these: see `deepprune.speed.Efficiency`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One GPU: memory in bytes, bandwidth in bytes/s, floating-point operations/s."""

    name: str
    memory_bytes: float
    bandwidth: float
    flops: float


GPU_SPECS = {
    gpu.name: gpu
    for gpu in (
        GpuSpec("A100", 80e9, 2.039e12, 312e12),
        GpuSpec("H20", 96e9, 4.0e12, 148e12),
        GpuSpec("H200", 141e9, 4.8e12, 989e12),
    )
}
"""By Ray's accelerator type, as in `NodeType.accelerator`."""
