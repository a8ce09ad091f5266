"""Engines and judges in virtual time, shared by all problems that are replayed on them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol

from deepprune.engine import Engine, Segment
from deepprune.events import Event, Judged
from deepprune.session import Outcome
from deepprune.speed import SpeedConfig

Key = tuple[Any, int]
"""A trace: the replay it belongs to, and its sample."""


class ProblemReplay(Protocol):
    """The replay of a problem, driven by the events of a fleet (`deepprune.replay.Replay`)."""

    @property
    def stopped(self) -> bool:
        """Whether the vote is final."""
        ...

    def start(self) -> None:
        """Begin, at the fleet's time."""
        ...

    def handle(self, event: Event) -> None:
        """Go on from an event of the fleet."""
        ...

    def outcome(self) -> Outcome:
        """The result, once it has stopped."""
        ...


class Fleet:
    """One engine and one judge for each speed given; the judge that is free first takes a call.

    A replay starts and ends its traces here; `next` tells events in order of time.
    """

    def __init__(self, engines: Sequence[SpeedConfig], judges: Sequence[SpeedConfig] = ()) -> None:
        self.engines = [Engine(speed) for speed in engines]
        self._judge_speeds = tuple(judges or engines[:1])
        self.now_s = 0.0
        self.busy_s = 0.0
        """Seconds that engines had something to decode, added up."""
        self._judges = [(0.0, place) for place in range(len(self._judge_speeds))]
        self._due: list[tuple[float, int, int, int]] = []
        self._replies: list[tuple[float, int, ProblemReplay, Judged]] = []
        self._changed: dict[int, None] = {}
        self._serial = count()

    @property
    def least_loaded(self) -> int:
        """The engine that has the fewest traces for its slots."""
        return min(range(len(self.engines)), key=lambda place: self.engines[place].load)

    def start(self, place: int, segment: Segment) -> None:
        """Have an engine decode a stretch of a trace, once it has a slot."""
        self._touch(place).add(segment)

    def end(self, place: int, key: Key) -> Segment | None:
        """Take a trace off an engine; see `Engine.remove`."""
        return self._touch(place).remove(key)

    def settle(self) -> None:
        """Begin what was started; call it when all that happens at this moment has been told."""
        for place in self._changed:
            engine = self.engines[place]
            engine.admit()
            if (due_s := engine.due_s()) is not None:
                heapq.heappush(self._due, (due_s, next(self._serial), place, engine.version))
        self._changed.clear()

    def judge(self, owner: ProblemReplay, asked: Judged, *, free: bool) -> None:
        """Answer `asked` once a judge has read it, or at once where that is `free`."""
        free_s, place = heapq.heappop(self._judges)
        speed = self._judge_speeds[place]
        done_s = max(self.now_s, free_s) + asked.computed_tokens / speed.judge_tokens_per_s
        heapq.heappush(self._judges, (done_s, place))
        reply_s = self.now_s if free else done_s + speed.judge_s
        reply = Judged(
            asked.sample,
            asked.p_same,
            asked.computed_tokens,
            asked.cached_tokens,
            reply_s - self.now_s,
        )
        heapq.heappush(self._replies, (reply_s, next(self._serial), owner, reply))

    def next(self) -> tuple[ProblemReplay, Event]:
        """Go to the next event; return it after the replay that it belongs to."""
        while self._due and self.engines[self._due[0][2]].version != self._due[0][3]:
            heapq.heappop(self._due)
        reply_s = self._replies[0][0] if self._replies else None
        if self._due and (reply_s is None or self._due[0][0] <= reply_s):
            due_s, _, place, _ = heapq.heappop(self._due)
            engine = self._touch(place, due_s)
            segment, event = engine.reach()
            owner: ProblemReplay = segment.key[0]
            return owner, event
        assert reply_s is not None, "nothing is under way, and a session has not stopped"
        self.now_s = reply_s
        _, _, owner, reply = heapq.heappop(self._replies)
        return owner, reply

    def reply_about(self, owner: ProblemReplay, sample: int) -> Judged | None:
        """Take a reply out of turn."""
        entry = next((e for e in self._replies if e[2] is owner and e[3].sample == sample), None)
        if entry is None:
            return None
        self._replies.remove(entry)
        heapq.heapify(self._replies)
        return entry[3]

    def forget(self, owner: ProblemReplay) -> None:
        """Drop the replies of a problem that is over."""
        self._replies = [entry for entry in self._replies if entry[2] is not owner]
        heapq.heapify(self._replies)

    def _touch(self, place: int, due_s: float | None = None) -> Engine:
        """An engine that is about to change, brought to the present."""
        engine = self.engines[place]
        before_s, busy = engine.now_s, bool(engine.segments)
        if due_s is not None:
            self.now_s = due_s
        else:
            engine.advance(self.now_s)
        self.busy_s += (self.now_s - before_s) * busy
        self._changed[place] = None
        return engine


def replay_together(
    fleet: Fleet, replays: Iterable[ProblemReplay], max_problems: int
) -> Iterator[Outcome]:
    """Replay problems on the same engines, so many at a time, and yield outcomes as they come."""
    waiting = iter(replays)
    running = 0
    while True:
        while running < max_problems and (replay := next(waiting, None)) is not None:
            running += 1
            replay.start()
            if replay.stopped:  # nothing to do
                running -= 1
                yield replay.outcome()
        if not running:
            return
        owner, event = fleet.next()
        owner.handle(event)
        if owner.stopped:
            running -= 1
            fleet.forget(owner)
            yield owner.outcome()
