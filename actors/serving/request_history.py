"""What the live view can see: requests under way and past, of all ingress replicas.

A Serve deployment of one replica. It is told in batches and never waited for: if it dies, requests
go on and the view begins anew. All it holds is bounded, in memory only, and shown to none but the
owner of the key that asked.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

MAX_EVENTS = 50_000
"""Events kept of a request; later ones but the last are not."""
MAX_RUNNING = 10_000


@dataclass(slots=True)
class Entry:
    """News of a request: `events` to add, `tokens` of traces that have grown, `summary` to lay over
    what is known."""

    request_id: str
    owner: str
    summary: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)
    done: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Events from a place on, as JSON texts; `tokens` of running traces; `version` counts news."""

    events: list[str]
    tokens: dict[int, int]
    version: int
    done: bool


@dataclass(slots=True)
class _Known:
    owner: str
    summary: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    tokens: dict[int, int] = field(default_factory=dict)
    version: int = 0
    done: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """Remembers `num_kept` past requests."""

    def __init__(self, num_kept: int) -> None:
        self._num_kept = num_kept
        self._known: dict[str, _Known] = {}

    async def write(self, entries: list[Entry]) -> None:
        """Take news in."""
        for entry in entries:
            known = self._known.setdefault(entry.request_id, _Known(entry.owner))
            known.summary |= entry.summary
            if len(known.events) < MAX_EVENTS or entry.done:
                known.events += [json.dumps(event) for event in entry.events]
            known.tokens = {} if entry.done else known.tokens | entry.tokens
            known.done = entry.done
            known.version += 1
            known.news.set()
            known.news = asyncio.Event()
        self._forget()

    async def list(self, owner: str) -> list[dict[str, Any]]:
        """Summaries of the owner's requests, the newest first."""
        mine = [known.summary for known in self._known.values() if known.owner == owner]
        return mine[::-1]

    async def read(
        self, request_id: str, owner: str, start: int, seen: int, wait_s: float
    ) -> Page | None:
        """Events from `start` on, as soon as there is news since version `seen`, or after `wait_s`.

        None where there is no such request of this owner.
        """
        known = self._known.get(request_id)
        if known is None or known.owner != owner:
            return None
        if known.version <= seen and not known.done:
            with suppress(TimeoutError):
                await asyncio.wait_for(known.news.wait(), wait_s)
        return Page(known.events[start:], known.tokens, known.version, known.done)

    def _forget(self) -> None:
        past = [request_id for request_id, known in self._known.items() if known.done]
        for request_id in past[: max(0, len(past) - self._num_kept)]:
            del self._known[request_id]
        # Those whose ingress died are never done.
        for request_id in list(self._known)[: max(0, len(self._known) - MAX_RUNNING)]:
            del self._known[request_id]
