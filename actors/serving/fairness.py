"""Share engine slots fairly among requests.

An ingress replica has a share of the traces that the engines decode at the same time. The request
that holds the fewest slots gets the next one, so busy requests hold equal numbers, whatever their
size. Slots are not preempted; the last few are reserved for requests below their fair share, so
that a new request starts at once.
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
    """Decides who gets the next slot, without I/O or clock. Tickets are opaque to it."""

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
        """Waiting tickets."""
        return sum(map(len, self._waiting.values()))

    @property
    def demand(self) -> int:
        """Slots in use and waiting tickets."""
        return self.num_held + self.num_waiting

    def enqueue(self, owner: str, ticket: Ticket) -> None:
        """Add a ticket to the owner's queue."""
        self._waiting.setdefault(owner, deque()).append(ticket)

    def withdraw(self, owner: str, ticket: Ticket) -> None:
        """Remove a ticket that may still wait."""
        with suppress(ValueError):
            self._waiting.get(owner, deque()).remove(ticket)
        self._forget_if_idle(owner)

    def release(self, owner: str) -> None:
        """Give a slot back."""
        self._held[owner] -= 1
        self._forget_if_idle(owner)

    def grant(self) -> tuple[str, Ticket] | None:
        """Give a free slot to a waiting ticket; None if there is no slot or nobody may take one."""
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
        # One owner more than there are: slots are reserved for the next request.
        fair_share = self.num_slots // (1 + len(self._held.keys() | self._waiting.keys()))
        return num_free > self.num_reserved or self._held[owner] < max(1, fair_share)

    def _forget_if_idle(self, owner: str) -> None:
        if not self._waiting.get(owner):
            self._waiting.pop(owner, None)
            if self._held[owner] <= 0:
                del self._held[owner]
                self._last_served.pop(owner, None)


class FairGate:
    """A `FairShare` for coroutines."""

    def __init__(self, num_slots: int) -> None:
        self.share: FairShare[asyncio.Future[None]] = FairShare(num_slots)
        self._waited_s: defaultdict[str, float] = defaultdict(float)
        self.resize(num_slots)

    def resize(self, num_slots: int) -> None:
        """Set the number of slots; those in use stay in use."""
        self.share.num_slots = max(1, num_slots)
        self.share.num_reserved = self.share.num_slots // 16
        self._grant()

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it within the context."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ticket: asyncio.Future[None] = loop.create_future()
        self.share.enqueue(owner, ticket)
        self._grant()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self.share.withdraw(owner, ticket)
                self._grant()
            else:  # granted at the same moment
                self._release(owner)
            raise
        finally:
            self._waited_s[owner] += loop.time() - began
        try:
            yield
        finally:
            self._release(owner)

    def take_waited_s(self, owner: str) -> float:
        """Remove and return the seconds that an owner waited, over all slots."""
        return self._waited_s.pop(owner, 0.0)

    def _release(self, owner: str) -> None:
        self.share.release(owner)
        self._grant()

    def _grant(self) -> None:
        while (granted := self.share.grant()) is not None:
            owner, ticket = granted
            if ticket.cancelled():  # its coroutine has not run since
                self.share.release(owner)
            else:
                ticket.set_result(None)


class FairGenerators:
    """Generators whose traces wait for a slot of their request."""

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
    """Judges whose calls wait for a slot of their request."""

    def __init__(self, judges: Judges, gate: FairGate) -> None:
        self._judges = judges
        self._gate = gate

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one prefix against others; see `Judges.score`."""
        async with self._gate.slot(owner_of(request.request_id)):
            return await self._judges.score(request)


def owner_of(request_id: str) -> str:
    """Return the id of the HTTP request that a trace or a judge call belongs to."""
    return request_id.partition("/")[0]
