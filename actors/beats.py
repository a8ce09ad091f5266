"""Signs of life: who has asked a replica for something hears of it before it would seem lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


def beat_s(stall_s: float) -> float:
    """How often to say that there is no news, where silence for `stall_s` means a loss."""
    return stall_s / 8


async def with_beats(items: AsyncGenerator[T], beat_s: float) -> AsyncGenerator[T | None]:
    """The items, and a None whenever there has been none for `beat_s`. Closing it closes them."""
    async with aclosing(items):
        while True:
            following = asyncio.ensure_future(anext(items))
            try:
                while not (await asyncio.wait([following], timeout=beat_s))[0]:
                    yield None
                item = following.result()
            except StopAsyncIteration:
                return
            finally:
                following.cancel()
                await asyncio.wait([following])  # one that is running cannot be closed
            yield item
