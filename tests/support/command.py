"""Runs the `deepprune` command as its user would: another process, another folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
