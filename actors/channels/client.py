"""The driver's end of a channel to one replica."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from actors.channels.frames import (
    HEARTBEAT_S,
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
from actors.channels.tls import client_context
from actors.messages import EngineGone

logger = logging.getLogger(__name__)

SILENT_S = 3.0
"""Seconds without a frame after which an aborted request is not waited for."""


class Stream:
    """One request on a channel: its items in order, then `Ended`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = False


class Channel:
    """A connection to a replica. `on_change` is called when it may take more, or is lost."""

    def __init__(
        self,
        address: Address,
        writer: asyncio.StreamWriter,
        stall_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self.replica = address.replica
        self.capacity = address.capacity
        self.draining = False
        self.lost = False
        self.num_waiting = 0.0
        """This replica's share of the requests that wait; reported to it."""
        self._writer = writer
        self._stall_s = stall_s
        self._on_change = on_change
        self._streams: dict[int, Stream] = {}
        self._numbers = count()
        self._load_of_others = 0
        self._progress: dict[int, int] = {}
        self._calls: list[Start | Abort] = []
        self._has_calls = asyncio.Event()
        self._last_heard = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def connect(
        cls, address: Address, stall_s: float, on_change: Callable[[], None]
    ) -> Channel:
        """Connect to a replica.

        Raises:
            OSError: it cannot be reached.
        """
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=client_context()
        )
        detect_loss(writer)
        writer.write(address.key)
        channel = cls(address, writer, stall_s, on_change)
        channel._tasks = [
            asyncio.create_task(channel._follow(reader)),
            asyncio.create_task(channel._call_forever()),
        ]
        return channel

    @property
    def load(self) -> int:
        """Requests in progress at the replica: ours, and those of other drivers as last heard."""
        return len(self._streams) + self._load_of_others

    def start(self, request: Any) -> Stream:
        """Send a request."""
        stream = Stream(next(self._numbers))
        self._streams[stream.number] = stream
        self._call(Start(stream.number, request))
        return stream

    def abort(self, stream: Stream) -> None:
        """End a request: its last items follow, unless the replica has fallen silent."""
        if not stream.ended:
            self._call(Abort(stream.number))
            asyncio.get_running_loop().call_later(SILENT_S, self._give_up_if_silent, stream)

    def num_tokens(self, stream: Stream) -> int:
        """Tokens of a request in progress, as last reported."""
        return self._progress.get(stream.number, 0)

    async def close(self) -> None:
        """Close the channel; requests in progress end with `EngineGone`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _call(self, call: Start | Abort) -> None:
        self._calls.append(call)
        self._has_calls.set()

    async def _call_forever(self) -> None:
        while True:
            with suppress(TimeoutError):  # an empty frame is a heartbeat
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._has_calls.wait()
            self._has_calls.clear()
            calls, self._calls = tuple(self._calls), []
            write_frame(self._writer, Calls(calls, self.num_waiting))

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        reason = "closed"
        try:
            while True:
                async with asyncio.timeout(self._stall_s):
                    report: Report = await read_frame(reader)
                self._take(report)
        except TimeoutError:
            reason = f"nothing received for {self._stall_s:g} s"
        except (EOFError, OSError) as error:
            reason = type(error).__name__
        finally:
            self.lost = True
            self._tasks[1].cancel()
            self._writer.close()
            for stream in list(self._streams.values()):
                self._end(stream, Ended(EngineGone(f"replica lost: {reason}")))
            self._on_change()

    def _take(self, report: Report) -> None:
        self._last_heard = asyncio.get_running_loop().time()
        self.draining = report.draining
        self._load_of_others = report.load_of_others
        if report.progress:
            self._progress = dict(report.progress)
        for number, item in report.items:
            stream = self._streams.get(number)
            if stream is None:
                continue  # given up
            if isinstance(item, Ended):
                self._end(stream, item)
            else:
                stream.items.put_nowait(item)
        self._on_change()

    def _end(self, stream: Stream, ended: Ended) -> None:
        del self._streams[stream.number]
        stream.ended = True
        stream.items.put_nowait(ended)

    def _give_up_if_silent(self, stream: Stream) -> None:
        silent_s = asyncio.get_running_loop().time() - self._last_heard
        if stream.ended:
            return
        if silent_s >= SILENT_S:
            self._end(stream, Ended(EngineGone(f"nothing received for {silent_s:.1f} s")))
        else:
            asyncio.get_running_loop().call_later(SILENT_S, self._give_up_if_silent, stream)
