"""Datasheet specifications of GPUs.

Of one GPU, dense (without structured sparsity), 16-bit floats:

| GPU | memory | bandwidth | arithmetic | share | source (NVIDIA) |
|---|---|---|---|---|---|
| A100-80G SXM | 80 GB | 2,039 GB/s | 312 TFLOP/s | 0.5 | A100 datasheet, 2021 |
| H20-96G | 96 GB | 4,000 GB/s | 148 TFLOP/s | 0.75 | H20 brief, 2023, as vendors quote it |
| H200-141G SXM | 141 GB | 4,800 GB/s | 989 TFLOP/s | 0.4 | H200 datasheet, 2024: 1,979 is sparse |

Engines reach a fraction of these (`deepprune.speed.Efficiency`). `share` is that of the arithmetic,
an assumption and no measurement: the more arithmetic a GPU has for each byte that it reads, the
less of it is used (A100 153 operations a byte, H20 37, H200 206).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One GPU: memory in bytes, bandwidth in bytes/s, floating-point operations/s.

    `compute_share` is the share of `flops` that an engine reaches.
    """

    name: str
    memory_bytes: float
    bandwidth: float
    flops: float
    compute_share: float


GPU_SPECS = {
    gpu.name: gpu
    for gpu in (
        GpuSpec("A100", 80e9, 2.039e12, 312e12, 0.5),
        GpuSpec("H20", 96e9, 4.0e12, 148e12, 0.75),
        GpuSpec("H200", 141e9, 4.8e12, 989e12, 0.4),
    )
}
"""By Ray's accelerator type, as in `NodeType.accelerator`."""
