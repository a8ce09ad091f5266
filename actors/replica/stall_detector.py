"""What a replica sees to by itself: whether its engine still works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Vigil:
    """Notices an engine that holds requests and puts nothing out for `stall_s` seconds."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._num_running = 0
        self._last_output = time.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """While it lasts, the engine has something to do."""
        if self._num_running == 0:
            self._last_output = time.monotonic()
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1

    def heard(self) -> None:
        """The engine has put something out."""
        self._last_output = time.monotonic()

    @property
    def stalled(self) -> bool:
        """Whether the engine hangs."""
        return self._num_running > 0 and time.monotonic() - self._last_output > self._stall_s
