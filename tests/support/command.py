"""Runs the `deepprune` command as its user would, and helpers in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.waiting import HANG_S


def deepprune(*arguments: str, cwd: Path, stdin: str = "", timeout: float = HANG_S):
    """Run the command and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def written_by(module: str, folder: Path) -> dict[str, Any]:
    """Run a module in a process of its own, and read the JSON file that it is told to write."""
    out = folder / "written.json"
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder), str(out)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found
