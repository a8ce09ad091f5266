"""The requests that the live view shows: running and past ones, of all ingress replicas.

A Serve deployment of one replica. Ingress replicas send it batches of updates and do not depend on
it: if it dies, requests go on and the history starts empty. It holds a bounded number of requests
in memory, and shows each only to the owner of the key that sent it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

MAX_EVENTS = 50_000
"""Events kept of a request; of later ones only the last batch is kept."""
MAX_REQUESTS = 10_000


@dataclass(slots=True)
class HistoryUpdate:
    """New `events` of a request, `tokens` of traces that grew, and changes to its `summary`."""

    request_id: str
    owner: str
    summary: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)
    done: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Events from an index on, as JSON texts, and `tokens` of running traces.

    `version` counts the updates of the request.
    """

    events: list[str]
    tokens: dict[int, int]
    version: int
    done: bool


@dataclass(slots=True)
class _Record:
    owner: str
    summary: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)
    version: int = 0
    done: bool = False
    cancelled: bool = False
    updated: asyncio.Event = field(default_factory=asyncio.Event)


class RequestHistory:
    """Keeps the running requests and the last `num_kept` past ones."""

    def __init__(self, num_kept: int) -> None:
        self._num_kept = num_kept
        self._records: dict[str, _Record] = {}

    async def write(self, updates: list[HistoryUpdate], running: Sequence[str] = ()) -> list[str]:
        """Add updates of an ingress replica; return those of its `running` requests to cancel."""
        for update in updates:
            record = self._records.setdefault(update.request_id, _Record(update.owner))
            record.summary |= update.summary
            if len(record.events) < MAX_EVENTS or update.done:
                record.events += [json.dumps(event) for event in update.events]
            record.tokens = {} if update.done else record.tokens | update.tokens
            record.done = update.done
            record.version += 1
            record.updated.set()
            record.updated = asyncio.Event()
        self._forget()
        records = self._records
        return [name for name in running if name in records and records[name].cancelled]

    async def cancel(self, request_id: str, owner: str) -> dict[str, Any] | None:
        """Have a request cancelled by its ingress replica; return its summary.

        None if the owner has no such request.
        """
        record = self._records.get(request_id)
        if record is None or record.owner != owner:
            return None
        record.cancelled = not record.done
        return record.summary

    async def list(self, owner: str) -> list[dict[str, Any]]:
        """Return summaries of the owner's requests, newest first."""
        return [r.summary for r in reversed(self._records.values()) if r.owner == owner]

    async def read(
        self, request_id: str, owner: str, start: int, version: int, wait_s: float
    ) -> HistoryPage | None:
        """Return events from `start` on, after an update later than `version` or `wait_s` seconds.

        None if the owner has no such request.
        """
        record = self._records.get(request_id)
        if record is None or record.owner != owner:
            return None
        if record.version <= version and not record.done:
            with suppress(TimeoutError):
                await asyncio.wait_for(record.updated.wait(), wait_s)
        return HistoryPage(record.events[start:], record.tokens, record.version, record.done)

    def _forget(self) -> None:
        past = [request_id for request_id, record in self._records.items() if record.done]
        for request_id in past[: max(0, len(past) - self._num_kept)]:
            del self._records[request_id]
        # Requests whose ingress replica died are never done.
        for request_id in list(self._records)[: max(0, len(self._records) - MAX_REQUESTS)]:
            del self._records[request_id]
