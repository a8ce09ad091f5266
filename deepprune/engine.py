"""An engine in virtual time: traces that decode side by side, and the moments that matter.

All traces in the batch advance together, at a speed that depends on how many there are and how long
they have grown, so time is kept on two clocks: seconds, and the steps that a trace decoding all
along would have made. A trace is due when the step clock reaches its next milestone: a new low of
its confidence, its checkpoint, its end. Between two changes of the batch nothing is computed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from deepprune.events import Event
from deepprune.speed import SpeedConfig

Milestones = Sequence[tuple[int, Event]]
"""(tokens, event): what a trace becomes known for when it has so many tokens, in order."""


ROUNDING = 1e-6
"""Of a step: what the step clock may lack of a whole one."""


@dataclass(slots=True)
class Segment:
    """A stretch that a trace decodes: it had `tokens` when the step clock stood at `since`."""

    key: Any
    tokens: int
    prompt_tokens: int
    prefill_tokens: int
    milestones: deque[tuple[int, Event]]
    mean_context: float = 0.0
    """Tokens that it holds in the cache while it decodes, on average."""
    since: float = 0.0
    started_s: float = 0.0
    over: bool = False

    @property
    def due(self) -> float:
        """The step clock at its next milestone."""
        return self.since + self.milestones[0][0] - self.tokens

    @property
    def context_at_zero(self) -> float:
        """Tokens it would have had when the step clock stood at zero."""
        return self.prompt_tokens + self.tokens - self.since


class Engine:
    """Decodes up to `speed.streams` traces at a time; further ones wait, first come first served.

    Times are absolute seconds. `advance` before telling it anything at a later time.
    """

    def __init__(self, speed: SpeedConfig) -> None:
        self.speed = speed
        self.segments: dict[Hashable, Segment] = {}
        self.now_s = 0.0
        self.clock = 0.0
        self.version = 0
        """Changes whenever `due_s` may have."""
        self._waiting: dict[Hashable, Segment] = {}
        self._due: list[tuple[float, int, Segment]] = []
        self._serial = count()
        self._context_at_zero = 0.0
        self._cached = 0.0
        self._prefill_s = 0.0

    @property
    def load(self) -> float:
        """Traces that it decodes, or that wait for it, for each of its slots."""
        return (len(self.segments) + len(self._waiting)) / self.speed.streams

    def add(self, segment: Segment) -> None:
        """Take a trace in; call `admit` once all that come together have been added."""
        self._waiting[segment.key] = segment

    def admit(self) -> None:
        """Begin as many waiting traces as there are slots for."""
        while self._waiting and len(self.segments) < self.speed.streams:
            key = next(iter(self._waiting))
            if self._is_full_for(self._waiting[key]):
                return
            segment = self._waiting.pop(key)
            segment.since, segment.started_s = self.clock, self.now_s
            self._prefill_s += self.speed.prefill_s(segment.prefill_tokens)
            self._context_at_zero += segment.context_at_zero
            self._cached += segment.mean_context
            self.segments[segment.key] = segment
            heapq.heappush(self._due, (segment.due, next(self._serial), segment))
            self.version += 1

    def remove(self, key: Hashable) -> Segment | None:
        """End a trace; returns its segment with the tokens it has now, None if it never began."""
        segment = self.segments.pop(key, None)
        if segment is None:
            self._waiting.pop(key, None)
            return None
        self._context_at_zero -= segment.context_at_zero
        self._cached -= segment.mean_context
        segment.tokens += int(self.clock - segment.since + ROUNDING)
        segment.over = True
        self.version += 1
        return segment

    def due_s(self) -> float | None:
        """When the next milestone is reached, if nothing changes until then."""
        while self._due and self._due[0][2].over:
            heapq.heappop(self._due)
        if not self._due:
            return None
        steps = max(0.0, self._due[0][0] - self.clock)
        spent_s = self.speed.seconds(steps, len(self.segments), self._context)
        return self.now_s + self._prefill_s + spent_s

    def advance(self, now_s: float) -> None:
        """Decode until `now_s`, which no milestone comes before."""
        elapsed_s = now_s - self.now_s
        prefill_s = min(self._prefill_s, elapsed_s)
        self._prefill_s -= prefill_s
        if elapsed_s > prefill_s and self.segments:
            seconds = elapsed_s - prefill_s
            self.clock += self.speed.steps(seconds, len(self.segments), self._context)
        self.now_s = now_s

    def reach(self, segment: Segment | None = None) -> tuple[Segment, Event]:
        """Go to the next milestone, or to that of a given trace, and take it off."""
        if segment is None:
            due_s = self.due_s()
            assert due_s is not None, "no trace is under way"
            clock, _, segment = heapq.heappop(self._due)
            self.now_s, self._prefill_s = due_s, 0.0
            self.clock = max(self.clock, clock)
        else:
            self.clock = max(self.clock, segment.due)
        tokens, event = segment.milestones.popleft()
        segment.since += tokens - segment.tokens
        segment.tokens = tokens
        if segment.milestones:
            heapq.heappush(self._due, (segment.due, next(self._serial), segment))
        self.version += 1
        return segment, event

    def _is_full_for(self, segment: Segment) -> bool:
        room = self.speed.cache_tokens
        return bool(self.segments and room and self._cached + segment.mean_context > room)

    @property
    def _context(self) -> float:
        return self._context_at_zero + len(self.segments) * self.clock
