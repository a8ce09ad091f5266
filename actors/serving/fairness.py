"""Engine slots shared fairly between requests.

The slots of an ingress replica are its share of what the engines decode at the same time. Whoever
holds fewest gets the next one, so requests that have enough to do hold equal numbers, whatever
their size. Slots are not taken back; so that a newcomer finds one at once, the last few are kept
for those who hold less than their fair share.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import count
from typing import Generic, TypeVar

from actors.messages import (
    Generators,
    JudgeReply,
    JudgeRequest,
    Judges,
    TraceRequest,
    TraceUpdate,
)

Ticket = TypeVar("Ticket")


class FairShare(Generic[Ticket]):
    """Who gets the next slot. No I/O, no clock: tickets are whatever the caller waits on."""

    def __init__(self, num_slots: int, num_reserved: int = 0) -> None:
        self.num_slots = num_slots
        self.num_reserved = num_reserved
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[Ticket]] = {}
        self._last_served: dict[str, int] = {}
        self._clock = count(1)

    @property
    def num_held(self) -> int:
        """Slots in use."""
        return self._held.total()

    @property
    def num_waiting(self) -> int:
        """Tickets that wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def demand(self) -> int:
        """Slots in use, and tickets that wait."""
        return self.num_held + self.num_waiting

    def ask(self, owner: str, ticket: Ticket) -> None:
        """Wait for a slot."""
        self._waiting.setdefault(owner, deque()).append(ticket)

    def withdraw(self, owner: str, ticket: Ticket) -> None:
        """Wait no more, if it still waits."""
        with suppress(ValueError):
            self._waiting.get(owner, deque()).remove(ticket)
        self._forget_if_idle(owner)

    def release(self, owner: str) -> None:
        """Give a slot back."""
        self._held[owner] -= 1
        self._forget_if_idle(owner)

    def grant(self) -> tuple[str, Ticket] | None:
        """Who gets a slot now, and for which ticket; None where there is none for who waits."""
        num_free = self.num_slots - self.num_held
        owner = min(
            (owner for owner in self._waiting if self._may_take(owner, num_free)),
            key=lambda owner: (self._held[owner], self._last_served.get(owner, 0)),
            default=None,
        )
        if owner is None:
            return None
        self._held[owner] += 1
        self._last_served[owner] = next(self._clock)
        ticket = self._waiting[owner].popleft()
        if not self._waiting[owner]:
            del self._waiting[owner]
        return owner, ticket

    def _may_take(self, owner: str, num_free: int) -> bool:
        if num_free <= 0:
            return False
        # As if one more were there: it is for the next to come that slots are kept.
        fair_share = self.num_slots // (1 + len(self._held.keys() | self._waiting.keys()))
        return num_free > self.num_reserved or self._held[owner] < max(1, fair_share)

    def _forget_if_idle(self, owner: str) -> None:
        if not self._waiting.get(owner):
            self._waiting.pop(owner, None)
            if self._held[owner] <= 0:
                del self._held[owner]
                self._last_served.pop(owner, None)


class FairGate:
    """A `FairShare` that coroutines wait at."""

    def __init__(self, num_slots: int) -> None:
        self.share: FairShare[asyncio.Future[None]] = FairShare(num_slots)
        self._waited_s: defaultdict[str, float] = defaultdict(float)
        self.resize(num_slots)

    def resize(self, num_slots: int) -> None:
        """Set how many slots there are; those in use stay so."""
        self.share.num_slots = max(1, num_slots)
        self.share.num_reserved = self.share.num_slots // 16
        self._grant()

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Hold a slot, once it is our turn."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ticket: asyncio.Future[None] = loop.create_future()
        self.share.ask(owner, ticket)
        self._grant()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self.share.withdraw(owner, ticket)
                self._grant()
            else:  # it was granted in the same instant
                self._release(owner)
            raise
        finally:
            self._waited_s[owner] += loop.time() - began
        try:
            yield
        finally:
            self._release(owner)

    def take_waited_s(self, owner: str) -> float:
        """Seconds that an owner who has left had waited, over all slots."""
        return self._waited_s.pop(owner, 0.0)

    def _release(self, owner: str) -> None:
        self.share.release(owner)
        self._grant()

    def _grant(self) -> None:
        while (granted := self.share.grant()) is not None:
            owner, ticket = granted
            if ticket.cancelled():  # and its coroutine has not heard of it yet
                self.share.release(owner)
            else:
                ticket.set_result(None)


class FairGenerators:
    """Traces that start when it is their request's turn."""

    def __init__(self, generators: Generators, gate: FairGate) -> None:
        self._generators = generators
        self._gate = gate

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        async with (
            self._gate.slot(owner_of(request.request_id)),
            aclosing(self._generators.stream(request)) as updates,
        ):
            async for update in updates:
                yield update


class FairJudges:
    """Judge calls that start when it is their request's turn."""

    def __init__(self, judges: Judges, gate: FairGate) -> None:
        self._judges = judges
        self._gate = gate

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one prefix against others; see `Judges.score`."""
        async with self._gate.slot(owner_of(request.request_id)):
            return await self._judges.score(request)


def owner_of(request_id: str) -> str:
    """The request that a trace or a call to the judge belongs to."""
    return request_id.partition("/")[0]
