"""Send heartbeats on a stream, so that a slow stream is not mistaken for a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")

HEARTBEATS_PER_STALL = 8
"""Heartbeats sent in the time after which the caller takes a silent stream for lost."""


async def with_heartbeats(items: AsyncGenerator[T], stall_s: float) -> AsyncGenerator[T | None]:
    """Yield the items, and None for each eighth of `stall_s` without one. Closing closes both."""
    async with aclosing(items):
        while True:
            following = asyncio.ensure_future(anext(items))
            try:
                interval_s = stall_s / HEARTBEATS_PER_STALL
                while not (await asyncio.wait([following], timeout=interval_s))[0]:
                    yield None
                item = following.result()
            except StopAsyncIteration:
                return
            finally:
                following.cancel()
                await asyncio.wait([following])  # a running generator cannot be closed
            yield item
