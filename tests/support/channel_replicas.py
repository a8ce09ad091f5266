"""Replicas behind channels, in this process and over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from actors.channels.frames import Address
from actors.channels.pool import ReplicaPool
from actors.channels.server import ChannelServer

STALL_S = 30.0


@dataclass(frozen=True)
class Ask:
    """A request for a number of tokens, one a tick."""

    request_id: str
    num_tokens: int = 3
    replica: str | None = None
    priority: int = 0
    error: Exception | None = None


class Counting:
    """Counts tokens, and says at the end, or at its abort, how many there were."""

    def __init__(self, ask: Ask, tick_s: float) -> None:
        self.num_tokens = 0
        self._ask = ask
        self._tick_s = tick_s
        self._aborted = False

    def abort(self) -> None:
        self._aborted = True

    async def items(self) -> AsyncGenerator[tuple[Any, bool]]:
        if self._ask.error is not None:
            raise self._ask.error
        while self.num_tokens < self._ask.num_tokens and not self._aborted:
            await asyncio.sleep(self._tick_s)
            self.num_tokens += 1
        yield ("aborted" if self._aborted else "done", self.num_tokens), True


class Replica:
    """A channel server, as a Serve replica has one."""

    def __init__(self, name: str, capacity: int = 4, tick_s: float = 0.001) -> None:
        self.name = name
        self.asked: list[Ask] = []
        self._tick_s = tick_s
        self.server = ChannelServer(self._open, capacity, STALL_S)

    def _open(self, ask: Ask) -> Counting:
        self.asked.append(ask)
        return Counting(ask, self._tick_s)

    async def address(self) -> Address:
        return replace(await self.server.address(), replica=self.name)


class Handle:
    """A Serve handle whose router introduces a caller to the replicas it does not know."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = list(replicas)
        self.address = self

    async def remote(self, known: frozenset[str]) -> Address:
        new = [replica for replica in self.replicas if replica.name not in known]
        if not (new or self.replicas):
            raise DeploymentUnavailableError("app")
        return await (new or self.replicas)[0].address()


@asynccontextmanager
async def connected(*replicas: Replica):
    made = ReplicaPool(Handle(*replicas), STALL_S)
    try:
        yield made
    finally:
        await made.close()
        for replica in replicas:
            await replica.server.close()


async def result(made: ReplicaPool, ask: Ask) -> Any:
    items = [item async for item in made.stream(ask)]
    return items[-1] if items else None


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.001)
