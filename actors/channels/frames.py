"""The frames that a driver and a replica exchange on their channel.

A frame is a pickled message behind its length. Nothing is unpickled before the driver has shown the
replica's key, which Ray delivers: whoever may call into the cluster may connect, and nobody else.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY_BYTES = 32
HEARTBEAT_S = 1.0
"""Seconds between two frames of an idle channel."""
UNREACHABLE_S = 20.0
"""Seconds without an acknowledgement by the other node's kernel after which it is unreachable."""

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica listens; `capacity` is the number of requests that it works on at once."""

    replica: str
    host: str
    port: int
    capacity: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Start:
    """Driver to replica: work on a request; `number` names it on this channel."""

    number: int
    request: Any


@dataclass(frozen=True, slots=True)
class Abort:
    """Driver to replica: end a request. It ends with an item that says what it has cost."""

    number: int


@dataclass(frozen=True, slots=True)
class Calls:
    """A frame of the driver: calls in order, and how many requests wait for a replica."""

    calls: tuple[Start | Abort, ...]
    num_waiting: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a request: nothing follows. `error` is None if it ended by itself."""

    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A frame of the replica.

    `items` are in order. `progress` has the tokens so far of each request in progress, where the
    report has any. `load_of_others` counts the requests in progress of other drivers. A replica
    that is `draining` takes no request.
    """

    items: tuple[tuple[int, Any], ...]
    progress: Mapping[int, int]
    load_of_others: int
    draining: bool


async def read_frame(reader: asyncio.StreamReader) -> Any:
    """Read a message.

    Raises:
        EOFError: the other side has closed the channel, or died.
        OSError: the connection is lost.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def write_frame(writer: asyncio.StreamWriter, message: Any) -> None:
    """Write a message without waiting for it to be sent."""
    data = pickle.dumps(message, protocol=5)
    writer.write(_LENGTH.pack(len(data)) + data)


def detect_loss(writer: asyncio.StreamWriter) -> None:
    """Let the kernel end the connection when the other node is unreachable.

    The kernel of a node acknowledges frames for a process that is slow or stopped, too: only the
    loss of the node or of the network counts.
    """
    link: socket.socket = writer.get_extra_info("socket")
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNREACHABLE_S))
