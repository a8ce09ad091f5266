"""Counts what takes the time of live tests: clusters and engines that start."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest

from tests.support.processes import started

LOOK_S = 0.5
KINDS = {
    "Ray nodes": "raylet/raylet ",
    "Serve replicas": "ray::ServeReplica:",
    "engines": "EngineCore",
}


class Starts:
    """Looks at all that the tests have started, and says how many there were at the end."""

    def __init__(self) -> None:
        self._seen: dict[str, set[tuple[int, float]]] = defaultdict(set)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            for one in started():
                for kind, words in KINDS.items():
                    if words in one.title[:200]:
                        self._seen[kind].add((one.process.pid, one.since))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._over.set()
        self._thread.join()
        if self._seen:
            counts = ", ".join(f"{len(self._seen[kind])} {kind}" for kind in KINDS)
            terminalreporter.write_line(f"Started: {counts}.")
