"""Share the running requests of a model fairly among API keys."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class FairGate:
    """A semaphore whose next slot goes to the waiting owner that holds the fewest.

    Among those that hold equally many, it goes to the one that was served longest ago.
    """

    def __init__(self, num_slots: int) -> None:
        self._num_free = num_slots
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._last_served: dict[str, int] = {}
        self._clock = count(1)

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it within the context."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(ticket)
        self._grant()
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled():  # granted at the same moment
                self._release(owner)
            self._grant()
            raise
        try:
            yield
        finally:
            self._release(owner)

    def _release(self, owner: str) -> None:
        self._num_free += 1
        self._held[owner] -= 1
        self._grant()
        if self._held[owner] <= 0 and owner not in self._waiting:
            del self._held[owner]
            self._last_served.pop(owner, None)

    def _grant(self) -> None:
        for owner in list(self._waiting):
            self._drop_cancelled(owner)
        while self._num_free and self._waiting:
            owner = min(self._waiting, key=lambda o: (self._held[o], self._last_served.get(o, 0)))
            self._waiting[owner].popleft().set_result(None)
            self._num_free -= 1
            self._held[owner] += 1
            self._last_served[owner] = next(self._clock)
            self._drop_cancelled(owner)

    def _drop_cancelled(self, owner: str) -> None:
        """Drop tickets at the head whose coroutine was cancelled, and a line that is empty."""
        line = self._waiting[owner]
        while line and line[0].done():
            line.popleft()
        if not line:
            del self._waiting[owner]
