"""Signs of life: who has asked a replica for something hears of it before it would seem lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


BEATS = 8
"""How many signs of life there are in the time after which silence means a loss."""


async def with_beats(items: AsyncGenerator[T], stall_s: float) -> AsyncGenerator[T | None]:
    """The items, and a None for every eighth of `stall_s` without one. Closing it closes them."""
    async with aclosing(items):
        while True:
            following = asyncio.ensure_future(anext(items))
            try:
                while not (await asyncio.wait([following], timeout=stall_s / BEATS))[0]:
                    yield None
                item = following.result()
            except StopAsyncIteration:
                return
            finally:
                following.cancel()
                await asyncio.wait([following])  # one that is running cannot be closed
            yield item
