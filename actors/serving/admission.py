"""Admission control: bound the running and waiting requests of a model, refuse the rest."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.serving.errors import overloaded
from deepprune.serve_config import QueueConfig

LONGEST_RETRY_S = 120


class Admission:
    """The bounded FIFO queue of one model in one ingress replica."""

    def __init__(self, config: QueueConfig) -> None:
        self.num_running = 0
        self.num_waiting = 0
        self._config = config
        self._slots = asyncio.Semaphore(config.max_running)
        self._mean_s = 1.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait in the queue, then hold a running slot within the context.

        Raises:
            ApiError: the queue is full, 429.
        """
        if self._slots.locked() and self.num_waiting >= self._config.max_waiting:
            raise overloaded(
                f"{self.num_running} requests run and {self.num_waiting} wait, the most that this "
                "server takes for this model; retry later.",
                self.retry_after_s,
            )
        self.num_waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.num_waiting -= 1
        self.num_running += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self.num_running -= 1
            self._slots.release()
            self._mean_s += 0.2 * (time.monotonic() - started - self._mean_s)

    @property
    def retry_after_s(self) -> int:
        """Estimated seconds until a slot is free: the time that the waiting requests take."""
        rounds = (self.num_waiting + 1) / self._config.max_running
        return min(LONGEST_RETRY_S, max(1, math.ceil(rounds * self._mean_s)))
