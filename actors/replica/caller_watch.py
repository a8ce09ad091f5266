"""Work that nobody waits for any more, ended in the replica that does it.

When a coordinator dies, Ray tells no replica: traces would be decoded to their ends for nobody. So
a replica leaves one call open at every coordinator that asked something of it; the call fails when
the coordinator's process ends, whether Ray restarts it or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray.exceptions import RayError

logger = logging.getLogger(__name__)


class Askers:
    """The tasks of this replica by the actor that asked for them."""

    def __init__(self) -> None:
        self._work: dict[Any, set[asyncio.Task[Any]]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    @contextmanager
    def working_for(self, asker: Any) -> Iterator[None]:
        """While it lasts, the death of `asker` cancels the current task. None never dies."""
        task = asyncio.current_task()
        if asker is None or task is None:
            yield
            return
        if asker not in self._work:
            self._work[asker] = set()
            watch = asyncio.create_task(self._watch(asker))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
        tasks = self._work[asker]
        tasks.add(task)
        try:
            yield
        finally:
            tasks.discard(task)

    async def _watch(self, asker: Any) -> None:
        with suppress(RayError):
            await asker.until_death.remote()
        tasks = self._work.pop(asker)
        if tasks:
            logger.warning("a coordinator is gone: %d of its requests end", len(tasks))
        for task in tasks:
            task.cancel()
