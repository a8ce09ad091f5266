"""The base class of generators whose traces end by cancelling a task."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from actors.messages import TraceRequest, TraceUpdate


class AbortableGenerators(ABC):
    """Implements `actors.messages.Generators`: each trace is generated in a task of its own."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Task[None]] = {}
        self._num_tokens: dict[str, int] = {}

    @abstractmethod
    def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace, as `Generators.stream`.

        An abort cancels it: it may catch `CancelledError`, and yield its last update.
        """

    async def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace; see `Generators.stream`."""
        updates: asyncio.Queue[TraceUpdate | None] = asyncio.Queue()

        async def generate() -> None:
            async for update in self.generate(request):
                updates.put_nowait(update)

        task = asyncio.create_task(generate())
        task.add_done_callback(lambda _: updates.put_nowait(None))
        self._open[request.request_id] = task
        try:
            while (update := await updates.get()) is not None:
                self._num_tokens[request.request_id] = update.num_tokens
                yield update
            if not task.cancelled():
                task.result()
        finally:
            del self._open[request.request_id]
            self._num_tokens.pop(request.request_id, None)
            task.cancel()
            await asyncio.wait([task])

    def abort(self, request_id: str) -> int:
        """End a trace soon; see `Generators.abort`."""
        if request_id in self._open:
            self._open[request_id].cancel()
        return self._num_tokens.get(request_id, 0)
