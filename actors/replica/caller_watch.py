"""Cancel the work of a replica when the actor that called for it dies.

Ray does not tell a replica that a coordinator died: its traces would decode to their ends for
nobody. So the replica keeps one call open at each coordinator that it works for. The call fails
when the coordinator's process ends, whether or not Ray restarts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray.exceptions import RayError

logger = logging.getLogger(__name__)


class CallerWatch:
    """The running tasks of this replica, by the actor that called for them."""

    def __init__(self) -> None:
        self._work: dict[Any, set[asyncio.Task[Any]]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    @contextmanager
    def working_for(self, caller: Any) -> Iterator[None]:
        """Cancel the current task if `caller` dies within the context; None is not watched."""
        task = asyncio.current_task()
        if caller is None or task is None:
            yield
            return
        if caller not in self._work:
            self._work[caller] = set()
            watch = asyncio.create_task(self._watch(caller))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
        tasks = self._work[caller]
        tasks.add(task)
        try:
            yield
        finally:
            tasks.discard(task)

    async def _watch(self, caller: Any) -> None:
        with suppress(RayError):
            await caller.until_death.remote()
        tasks = self._work.pop(caller)
        if tasks:
            logger.warning("a coordinator died: cancelling %d of its requests", len(tasks))
        for task in tasks:
            task.cancel()
