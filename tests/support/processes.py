"""What this process has started, and what that has started."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Started:
    """A process that this one has started, or one of its own has."""

    process: psutil.Process
    parent: int
    since: float
    title: str


def started() -> list[Started]:
    """All of them that still run, by age."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            about = (process.ppid(), process.create_time(), " ".join(process.cmdline()))
            found.append(Started(process, *about))
    return sorted(found, key=lambda one: one.since)
