"""A driver's channels to all replicas of a deployment: discover them, and choose among them."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError

from actors.channels.client import Channel, Stream
from actors.channels.frames import Address, Ended
from actors.messages import EngineGone

logger = logging.getLogger(__name__)

DISCOVER_S = 1.0
"""Seconds between two looks for new replicas."""
ASK_S = 10.0
"""Seconds after which a replica that does not tell its address is left for the next look."""
OVERCOMMIT = 2
"""Requests that a replica holds, as a multiple of its capacity. Those above wait at the driver, so
that a replica that is added finds work."""

REPLICA_GONE = (
    RayActorError,
    DeploymentUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""Errors of a Serve call whose replica died."""


class Request(Protocol):
    """A request, as a pool looks at it."""

    @property
    def request_id(self) -> str:
        """Unique among those in progress."""
        ...

    @property
    def replica(self) -> str | None:
        """The replica whose cache holds its prefix, if any."""
        ...

    @property
    def priority(self) -> int:
        """Requests with a lower number get a replica first."""
        ...


@dataclass(eq=False)
class _Pending:
    """A request that waits for a replica, or is in progress on one."""

    request: Request
    decided: asyncio.Future[bool]
    """Whether it got a replica; false if it was aborted while it waited."""
    channel: Channel | None = None
    stream: Stream | None = None
    order: int = field(default_factory=count().__next__)

    def __lt__(self, other: _Pending) -> bool:
        """Order the line."""
        return (self.request.priority, self.order) < (other.request.priority, other.order)


class ReplicaPool:
    """Sends requests to the replicas of the deployment behind `handle`.

    Args:
        handle: a Serve handle, whose deployment has a method `address` and `ChannelRouter`.
        stall_s: seconds without a frame after which a replica is taken for dead.
    """

    def __init__(self, handle: Any, stall_s: float) -> None:
        self._handle = handle
        self._stall_s = stall_s
        self._channels: dict[str, Channel] = {}
        self._pending: dict[str, _Pending] = {}
        self._line: list[_Pending] = []
        self._discovery: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    @property
    def num_replicas(self) -> int:
        """Replicas that take requests."""
        return sum(not channel.draining for channel in self._channels.values())

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a replica with room."""
        return sum(not pending.decided.done() for pending in self._line)

    def start(self) -> None:
        """Connect to the replicas, and to those that Serve adds. The first request does it, too."""
        if self._discovery is None:
            self._discovery = asyncio.create_task(self._discover_forever())
            self._discovery.add_done_callback(self._discovery_ended)

    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        """Yield the items of a request; closing it aborts the request.

        A request that is aborted while it waits for a replica has no items.

        Raises:
            EngineGone: the replica was lost before the request ended.
            RequestRefused: the replica cannot serve the request.
        """
        self.start()
        pending = _Pending(request, asyncio.get_running_loop().create_future())
        self._pending[request.request_id] = pending
        heapq.heappush(self._line, pending)
        self._assign()
        try:
            if not await pending.decided:
                return
            assert pending.stream is not None
            while not isinstance(item := await pending.stream.items.get(), Ended):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            pending.decided.cancel()
            del self._pending[request.request_id]
            if pending.channel is not None and pending.stream is not None:
                pending.channel.abort(pending.stream)

    def abort(self, request_id: str) -> int:
        """End a request soon; return the tokens that it has generated, as last reported."""
        pending = self._pending.get(request_id)
        if pending is None:
            return 0
        if not pending.decided.done():
            pending.decided.set_result(False)
        if pending.channel is None or pending.stream is None:
            return 0
        pending.channel.abort(pending.stream)
        return pending.channel.num_tokens(pending.stream)

    async def close(self) -> None:
        """Close all channels."""
        if self._discovery is not None:
            self._discovery.cancel()
            await asyncio.wait([self._discovery])
        for channel in list(self._channels.values()):
            await channel.close()

    def _changed(self) -> None:
        """A channel has room, or is lost."""
        lost = [replica for replica, channel in self._channels.items() if channel.lost]
        for replica in lost:
            del self._channels[replica]
            self._look.set()
        self._assign()

    def _assign(self) -> None:
        """Start the requests in the line on replicas with room."""
        while self._line:
            pending = self._line[0]
            if not pending.decided.done():
                channel = self._choose(pending.request)
                if channel is None:
                    break
                pending.channel, pending.stream = channel, channel.start(pending.request)
                pending.decided.set_result(True)
            heapq.heappop(self._line)
        for channel in self._channels.values():
            channel.num_waiting = len(self._line) / len(self._channels)

    def _choose(self, request: Request) -> Channel | None:
        """The replica that holds the request's prefix, else the one with the least load."""
        able = [channel for channel in self._channels.values() if not channel.draining]
        home = self._channels.get(request.replica or "")
        if home in able and home.load < home.capacity:
            return home
        best = min(able, key=lambda channel: channel.load / channel.capacity, default=None)
        if best is None or best.load >= OVERCOMMIT * best.capacity:
            return None
        return best

    async def _discover_forever(self) -> None:
        while True:
            try:
                found = await self._discover()
            except TimeoutError:
                logger.info("no replica has told its address within %g s", ASK_S)
                continue
            except DeploymentUnavailableError as error:
                if not self._channels:
                    self._fail_waiting(EngineGone(f"no replica: {error}"))
            except REPLICA_GONE as error:
                logger.info("a replica died while it was asked for its address: %s", error)
            except OSError as error:
                logger.warning(
                    "cannot connect to a replica (%s): do the nodes accept each other's connections"
                    " on all ports?",
                    error,
                )
            else:
                if found:
                    continue
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCOVER_S):
                    await self._look.wait()

    async def _discover(self) -> bool:
        """Connect to a replica that is not known yet; return whether there was one."""
        async with asyncio.timeout(ASK_S):
            known = frozenset(self._channels)
            address: Address = await await_reply(self._handle.address.remote(known=known))
            if address.replica in self._channels:
                return False
            channel = await Channel.connect(address, self._stall_s, self._changed)
        self._channels[address.replica] = channel
        self._assign()
        return True

    def _discovery_ended(self, discovery: asyncio.Task[None]) -> None:
        """Let the waiting requests fail with the error that ended the discovery."""
        if not discovery.cancelled() and (error := discovery.exception()):
            self._discovery = None  # the next request begins anew
            self._fail_waiting(error)

    def _fail_waiting(self, error: BaseException) -> None:
        line, self._line = self._line, []
        for pending in line:
            if not pending.decided.done():
                pending.decided.set_exception(error)


async def await_reply(call: Any) -> Any:
    """Wait for the reply to a Serve call.

    When a replica dies, Ray may raise CancelledError in its callers, which would silently end
    their tasks. Raise TaskCancelledError instead, unless the task really was cancelled.

    Raises:
        one of REPLICA_GONE.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TaskCancelledError from None
