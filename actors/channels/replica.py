"""The base class of Serve replicas that drivers reach by channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from actors.channels.frames import Address
from actors.channels.scaling import DEMAND
from actors.channels.server import ChannelServer, Work


class ChannelReplica(ABC):
    """One replica.

    Args:
        capacity: requests that it works on at once.
        stall_s: seconds without a frame after which a driver is taken for dead.
    """

    _engine: Any = None
    """The replica's engine, if it has one: it ends with the replica."""

    def __init__(self, capacity: int, stall_s: float) -> None:
        self._channels = ChannelServer(self._open, capacity, stall_s)
        self._retired = False

    @abstractmethod
    def _open(self, request: Any) -> Work:
        """Make the work of a request."""

    async def address(self, known: frozenset[str]) -> Address:
        """Return where drivers connect; see `ChannelRouter` for `known`."""
        return await self._channels.address()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the demand. Called by Serve, for `replicas_for_demand`."""
        return {DEMAND: self._channels.demand}

    async def num_unfinished(self) -> int:
        """Count the requests in progress."""
        return self._channels.num_open

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Let requests end, then the engine. Called by Serve when it retires the replica."""
        if self._retired:
            return None
        self._retired = True
        return self._retire()

    async def _retire(self) -> None:
        await self._channels.drain()
        if self._engine is not None:
            self._engine.shutdown()
