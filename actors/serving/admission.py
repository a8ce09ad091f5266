"""Admission control: bound the running and waiting requests of a model, refuse the rest."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from actors.serving.errors import overloaded
from actors.serving.key_limits import KeyLimit
from deepprune.serve_config import QueueConfig

LONGEST_RETRY_S = 120


class Admission:
    """The bounded queue of one model in one ingress replica.

    Of the waiting requests, the first one of the key that runs the fewest gets the next turn, and
    of keys that run equally many the one whose last turn is longest ago.
    """

    def __init__(self, config: QueueConfig, num_keys: int = 1) -> None:
        self._config = config
        places = config.max_running + config.max_waiting
        share = places if num_keys < 2 else -(-places // 2)
        self._per_key = KeyLimit(config.max_per_key or share, "requests run or wait")
        self._running: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._turns = count(1)
        self._last_turn: dict[str, int] = {}
        self._mean_s = 1.0

    @property
    def num_running(self) -> int:
        """Requests at work."""
        return self._running.total()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait in the queue, then hold a running slot within the context.

        Raises:
            ApiError: the queue is full, or the owner's share of it is, 429.
        """
        running, waiting = self.num_running, self.num_waiting
        if running >= self._config.max_running and waiting >= self._config.max_waiting:
            raise overloaded(
                f"{running} requests run and {waiting} wait, the most that this server takes for "
                "this model; retry later.",
                self.retry_after_s,
            )
        with self._per_key.place(owner, self.retry_after_s):
            await self._wait(owner)
            started = time.monotonic()
            try:
                yield
            finally:
                self._release(owner)
                self._mean_s += 0.2 * (time.monotonic() - started - self._mean_s)

    async def _wait(self, owner: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # granted at the same moment
                self._release(owner)
            elif (owner, granted) in self._waiting:
                self._waiting.remove((owner, granted))
            raise

    def _grant(self) -> None:
        while self._waiting and self.num_running < self._config.max_running:
            owner, granted = min(self._waiting, key=self._urgency)
            self._waiting.remove((owner, granted))
            if not granted.cancelled():
                granted.set_result(None)
                self._running[owner] += 1
                self._last_turn[owner] = next(self._turns)

    def _urgency(self, waiting: tuple[str, asyncio.Future[None]]) -> tuple[int, int]:
        return self._running[waiting[0]], self._last_turn.get(waiting[0], 0)

    def _release(self, owner: str) -> None:
        self._running[owner] -= 1
        self._running += Counter()  # forget who runs nothing
        self._grant()

    @property
    def retry_after_s(self) -> int:
        """Estimated seconds until a slot is free: the time that the waiting requests take."""
        rounds = (self.num_waiting + 1) / self._config.max_running
        return min(LONGEST_RETRY_S, max(1, math.ceil(rounds * self._mean_s)))
