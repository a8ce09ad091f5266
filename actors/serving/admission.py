"""Admission control: bound the running and waiting requests of a model, refuse the rest."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from actors.serving.errors import overloaded
from actors.serving.fairness import FairGate
from actors.serving.key_limits import KeyLimit
from deepprune.serve_config import QueueConfig

LONGEST_RETRY_S = 120


class Admission:
    """The bounded queue of one model in one ingress replica.

    Of the waiting requests, the first one of the key that runs the fewest gets the next turn.
    """

    def __init__(self, config: QueueConfig, num_keys: int = 1) -> None:
        self.num_running = 0
        self.num_waiting = 0
        self._config = config
        self._gate = FairGate(config.max_running)
        places = config.max_running + config.max_waiting
        share = places if num_keys < 2 else -(-places // 2)
        self._per_key = KeyLimit(config.max_per_key or share, "requests run or wait")
        self._mean_s = 1.0

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait in the queue, then hold a running slot within the context.

        Raises:
            ApiError: the queue is full, or the owner's share of it is, 429.
        """
        is_full = self.num_running + self.num_waiting >= (
            self._config.max_running + self._config.max_waiting
        )
        if is_full:
            raise overloaded(
                f"{self.num_running} requests run and {self.num_waiting} wait, the most that this "
                "server takes for this model; retry later.",
                self.retry_after_s,
            )
        with self._per_key.place(owner, self.retry_after_s):
            async with AsyncExitStack() as stack:
                self.num_waiting += 1
                try:
                    await stack.enter_async_context(self._gate.slot(owner))
                finally:
                    self.num_waiting -= 1
                self.num_running += 1
                started = time.monotonic()
                try:
                    yield
                finally:
                    self.num_running -= 1
                    self._mean_s += 0.2 * (time.monotonic() - started - self._mean_s)

    @property
    def retry_after_s(self) -> int:
        """Estimated seconds until a slot is free: the time that the waiting requests take."""
        rounds = (self.num_waiting + 1) / self._config.max_running
        return min(LONGEST_RETRY_S, max(1, math.ceil(rounds * self._mean_s)))
