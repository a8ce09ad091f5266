"""The replica's end of its channels: accept drivers, work on their requests, report in batches."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray import serve

from actors.channels.frames import (
    HEARTBEAT_S,
    KEY_BYTES,
    Abort,
    Address,
    Calls,
    Ended,
    Report,
    Start,
    detect_loss,
    read_frame,
    write_frame,
)
from actors.channels.tls import server_context
from actors.messages import EngineGone, RequestRefused

logger = logging.getLogger(__name__)

BATCH_S = 0.05
"""Seconds that an item may wait for others, unless it is urgent."""


class Work(Protocol):
    """A request in progress."""

    @property
    def num_tokens(self) -> int:
        """Tokens generated so far."""
        ...

    def items(self) -> AsyncGenerator[tuple[Any, bool]]:
        """Yield what to send, and whether it is urgent. Closing it aborts the work."""
        ...

    def abort(self) -> None:
        """End the work soon, with a last item that has its cost."""
        ...


class ChannelServer:
    """Serves the channels of one replica.

    Args:
        open_work: makes the work of a request.
        capacity: requests that the replica works on at once.
        stall_s: seconds without a frame after which a driver is taken for dead.
    """

    def __init__(self, open_work: Callable[[Any], Work], capacity: int, stall_s: float) -> None:
        self._open_work = open_work
        self._capacity = capacity
        self._stall_s = stall_s
        self._key = secrets.token_bytes(KEY_BYTES)
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._channels: set[_Channel] = set()
        self._idle = asyncio.Event()
        self.draining = False

    @property
    def num_open(self) -> int:
        """Requests in progress, of all drivers."""
        return sum(channel.num_open for channel in self._channels)

    @property
    def demand(self) -> float:
        """Requests in progress, and this replica's share of those that wait at drivers."""
        return sum(channel.num_open + channel.num_waiting for channel in self._channels)

    async def address(self) -> Address:
        """Return where this replica listens; the first call opens the port."""
        host = ray.util.get_node_ip_address()
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(
                    self._serve, host, 0, ssl=server_context()
                )
        port = self._server.sockets[0].getsockname()[1]
        return Address(replica_name(), host, port, self._capacity, self._key)

    async def drain(self) -> None:
        """Take no more requests, and wait until those in progress have ended."""
        self.draining = True
        for channel in self._channels:
            channel.report_soon()
        while self.num_open:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Close all channels and the port."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._channels):
            await channel.close()

    def ended(self) -> None:
        """Note that a request has ended."""
        self._idle.set()

    def open_work(self, request: Any) -> Work:
        """Make the work of a request."""
        return self._open_work(request)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        detect_loss(writer)
        channel = _Channel(self, writer)
        try:
            async with asyncio.timeout(self._stall_s):
                key = await reader.readexactly(KEY_BYTES)
            if not hmac.compare_digest(key, self._key):
                logger.warning("refused a connection from %s", writer.get_extra_info("peername"))
                return
            self._channels.add(channel)
            await channel.follow(reader, self._stall_s)
        except (EOFError, OSError, TimeoutError) as error:
            if channel.num_open:
                logger.warning(
                    "a driver is gone (%s): ending %d of its requests",
                    type(error).__name__,
                    channel.num_open,
                )
        finally:
            await channel.close()
            self._channels.discard(channel)
            self._idle.set()


def replica_name() -> str:
    """Return Serve's id of the replica in this process."""
    return str(serve.get_replica_context().replica_id.unique_id)


class _Channel:
    """The replica's end of the channel to one driver."""

    def __init__(self, server: ChannelServer, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._work: dict[int, Work] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._items: list[tuple[int, Any]] = []
        self._urgent = asyncio.Event()
        self.num_waiting = 0.0

    @property
    def num_open(self) -> int:
        """Requests in progress."""
        return len(self._tasks)

    def report_soon(self) -> None:
        """Send a report at the next turn of the event loop."""
        self._urgent.set()

    async def follow(self, reader: asyncio.StreamReader, stall_s: float) -> None:
        """Carry out the driver's calls until it closes the channel or is lost."""
        reports = asyncio.create_task(self._report_forever())
        try:
            while True:
                async with asyncio.timeout(stall_s):
                    frame: Calls = await read_frame(reader)
                self.num_waiting = frame.num_waiting
                for call in frame.calls:
                    match call:
                        case Start(number, request):
                            self._start(number, request)
                        case Abort(number) if number in self._work:
                            self._work[number].abort()
        finally:
            reports.cancel()
            await asyncio.wait([reports])

    async def close(self) -> None:
        """End what is left, and the connection."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def _start(self, number: int, request: Any) -> None:
        if self._server.draining:
            self._send(number, Ended(EngineGone("the replica is draining")), urgent=True)
            return
        self._tasks[number] = asyncio.create_task(self._follow(number, request))

    async def _follow(self, number: int, request: Any) -> None:
        error: Exception | None = None
        try:
            work = self._work[number] = self._server.open_work(request)
            async for item, urgent in work.items():
                self._send(number, item, urgent=urgent)
        except (EngineGone, RequestRefused) as refusal:
            error = refusal
        except Exception as failure:
            # Any error belongs to the driver that asked, not to the other requests of the replica.
            logger.exception("a request failed")
            error = RequestRefused(f"{type(failure).__name__}: {failure}")
        finally:
            self._work.pop(number, None)
            del self._tasks[number]
            self._server.ended()
        self._send(number, Ended(error), urgent=True)

    def _send(self, number: int, item: Any, *, urgent: bool) -> None:
        self._items.append((number, item))
        if urgent:
            self._urgent.set()

    async def _report_forever(self) -> None:
        clock = asyncio.get_running_loop().time
        next_progress = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_S if self._tasks else HEARTBEAT_S):
                    await self._urgent.wait()
            self._urgent.clear()
            progress: dict[int, int] = {}
            if clock() >= next_progress:
                progress = {number: work.num_tokens for number, work in self._work.items()}
                next_progress = clock() + BATCH_S
            items, self._items = tuple(self._items), []
            others = self._server.num_open - self.num_open
            write_frame(self._writer, Report(items, progress, others, self._server.draining))
