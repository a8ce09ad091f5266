"""The end of a GPU set-up, on machines made of stand-ins: a driver, torch and vLLM's kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def checked(folder: Path, *, driver="580.95.05", cuda="13.0", sees=True, kernels="") -> tuple:
    """Run the check on such a machine; its exit code and what it says."""
    smi = folder / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho {driver}\n" if driver else "#!/bin/sh\nexit 9\n")
    smi.chmod(0o755)
    (folder / "torch.py").write_text(
        "from types import SimpleNamespace as N\n__version__ = '2.13.0'\n"
        f"version = N(cuda={cuda!r})\n"
        f"cuda = N(is_available=lambda: {sees})\n"
    )
    (folder / "vllm" / "platforms").mkdir(parents=True)
    for package in (folder / "vllm", folder / "vllm" / "platforms"):
        (package / "__init__.py").touch()
    (folder / "vllm" / "platforms" / "cuda.py").write_text(kernels)
    done = subprocess.run(
        [sys.executable, "-m", "actors.import_check"],
        cwd=ROOT,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_a_machine_that_can_run_vllm_passes(tmp_path):
    code, said = checked(tmp_path)
    assert code == 0 and "vLLM can use" in said


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"driver": ""}, "no GPU"),
        ({"driver": "570.124.06"}, "driver 570.124.06 is too old for CUDA 13: install 580"),
        (
            {"cuda": "12.8"},
            "built for 12.8, vLLM's wheel for CUDA 13: set up again with PyPI's",
        ),
        ({"cuda": None}, "built for CPUs"),
        ({"sees": False}, "sees no GPU"),
        (
            {"kernels": "raise ImportError('libcudart.so.13: cannot open shared object file')"},
            "do not load (libcudart.so.13: cannot open shared object file)",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(machine, expected, tmp_path):
    code, said = checked(tmp_path, **machine)
    assert code == 1
    assert expected in said and said.count("\n") == 1
