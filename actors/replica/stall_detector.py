"""Detect a hung engine: it holds requests and produces no output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StallDetector:
    """Reports a stall when an engine holds requests and outputs nothing for `stall_s` seconds."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._num_running = 0
        self._last_output = time.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as held by the engine within the context."""
        if self._num_running == 0:
            self._last_output = time.monotonic()
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1

    def record_output(self) -> None:
        """Restart the stall clock: the engine has produced output."""
        self._last_output = time.monotonic()

    @property
    def stalled(self) -> bool:
        """Whether the engine hangs."""
        return self._num_running > 0 and time.monotonic() - self._last_output > self._stall_s
