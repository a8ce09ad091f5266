"""The replay driver: recorded traces, virtual time, the same policy objects as live.

One problem is replayed on an engine that decodes up to `streams` traces at a time. All of them
advance together, at a speed that depends on how many there are, so time is kept on two clocks:
seconds, and the tokens that a trace decoding all along would have generated. A trace is due when
the token clock reaches its next milestone: a new low of its confidence, its checkpoint, its end.
Calls to the judge queue for one judge.

The same recording, policy, judge and seed give the same outcome, always.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, Protocol

from pydantic import Field

from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Event,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Progress,
)
from deepprune.policies.base import Policy
from deepprune.section import Section
from deepprune.session import Outcome, Session
from deepprune.traces import Problem


class SpeedConfig(Section):
    """How fast the replayed engines are; the defaults are round numbers, not a measurement."""

    streams: int = Field(512, ge=1)
    """Traces decoded at the same time; further ones wait for a slot."""
    step_s: float = Field(0.02, ge=0)
    """Seconds a decoding step takes however few traces there are: reading the weights."""
    step_s_per_context_token: float = Field(0.0, ge=0)
    """Seconds that each token of the traces in the batch adds: reading its keys and values."""
    compute_s_per_trace: float = Field(0.0, ge=0)
    """Seconds of arithmetic for each trace in the batch. Arithmetic and reading overlap, so a step
    takes the longer of the two."""
    step_s_per_trace: float = Field(0.0001, ge=0)
    """Seconds that each trace in the batch adds in any case."""
    prefill_tokens_per_s: float | None = Field(None, gt=0)
    """Tokens of prompts, or of prefixes that the cache has lost, read per second while decoding
    stands still. Absent: that takes no time."""
    judge_s: float = Field(0.05, ge=0)
    """Seconds before the answer to a judge call, however short."""
    judge_tokens_per_s: float = Field(50_000, gt=0)
    """Tokens a second the judge reads."""

    def step(self, num_traces: int, context_tokens: float = 0) -> float:
        """Seconds of one decoding step of so many traces, which have so many tokens in all."""
        reading = self.step_s + self.step_s_per_context_token * context_tokens
        return max(reading, self.compute_s_per_trace * num_traces) + (
            self.step_s_per_trace * num_traces
        )


@dataclass(frozen=True, slots=True)
class ReplayTrace:
    """What a replay needs of a recorded trace.

    `checkpoint` is the number of tokens at its checkpoint, None where it ends before. `lows` are
    (tokens, group confidence) of each reading that is lower than all before it.
    """

    sample: int
    num_tokens: int
    checkpoint: int | None
    answer: str | None
    lows: tuple[tuple[int, float], ...] = ()

    @property
    def prefix_tokens(self) -> int:
        """Tokens the judge reads: up to the checkpoint, or all of a trace that is shorter."""
        return self.num_tokens if self.checkpoint is None else self.checkpoint


class PairJudge(Protocol):
    """Scores pairs of recorded traces of one problem."""

    @property
    def reads(self) -> Literal["nothing", "prefixes", "pairs"]:
        """What it costs: nothing, each prefix once, or both prefixes of each pair."""
        ...

    def p_same(self, second: int, firsts: Sequence[int]) -> Sequence[float]:
        """P(same) of recorded sample `second` with each of `firsts`."""
        ...


@dataclass(slots=True)
class _Segment:
    """A stretch that a trace decodes: it had `tokens` when the token clock stood at `since`."""

    tokens: int
    since: float
    started_s: float
    milestones: deque[tuple[int, Event]]
    over: bool = False

    @property
    def due(self) -> float:
        """The token clock at its next milestone."""
        return self.since + self.milestones[0][0] - self.tokens


class Replay:
    """Replays one problem under one policy. Runs once.

    `traces[i]` is what sample i of the policy turns out to be; the outcome speaks of recorded
    samples, `traces[i].sample`. With `order`, the kinds of events and the policy's samples they
    were about, in turn, that order is followed instead of virtual time.
    """

    def __init__(
        self,
        problem: Problem,
        traces: Sequence[ReplayTrace],
        policy: Policy,
        policy_name: str,
        *,
        judge: PairJudge | None = None,
        speed: SpeedConfig | None = None,
        prompt_tokens: int = 0,
        order: Sequence[tuple[str, int]] | None = None,
    ) -> None:
        self._session = Session(problem, policy, policy_name)
        self._traces = traces
        self._pauses = policy.pauses
        self._judge = judge
        self._speed = speed or SpeedConfig()
        self._prompt_tokens = prompt_tokens
        self._given_order = None if order is None else deque(order)
        self._now_s = 0.0
        self._clock = 0.0
        self._segments: dict[int, _Segment] = {}
        self._for_a_slot: deque[tuple[int, bool]] = deque()
        self._due: list[tuple[float, int, _Segment]] = []
        self._replies: list[tuple[float, int, Judged]] = []
        self._judge_free_s = 0.0
        self._read: set[int] = set()
        self._serial = count()

    def run(self) -> Outcome:
        """Replay to the vote.

        Raises:
            ValueError: the given order departs from what the policy does.
        """
        self._carry_out(self._session.start())
        while not self._session.stopped:
            event = self._next_in_time() if self._given_order is None else self._next_in_order()
            self._carry_out(self._session.handle(event))
        self._session.add_costs(wall_s=self._now_s)
        return self._in_recorded_samples(self._session.outcome())

    # --- what happens next ----------------------------------------------------------------------

    def _next_in_time(self) -> Event:
        while self._due and self._due[0][2].over:
            heapq.heappop(self._due)  # cancelled
        reply_s = self._replies[0][0] if self._replies else None
        step_s = self._speed.step_s + self._speed.step_s_per_trace * len(self._segments)
        if self._due:
            clock, _, segment = self._due[0]
            due_s = self._now_s + (clock - self._clock) * step_s
            if reply_s is None or due_s <= reply_s:
                heapq.heappop(self._due)
                self._now_s, self._clock = due_s, clock
                return self._at_milestone(segment)
        assert reply_s is not None, "nothing is under way, and the session has not stopped"
        self._clock += (reply_s - self._now_s) / step_s
        self._now_s = reply_s
        return heapq.heappop(self._replies)[2]

    def _next_in_order(self) -> Event:
        assert self._given_order is not None
        while self._given_order:
            kind, sample = self._given_order.popleft()
            if kind in ("Judged", "JudgeLost"):
                return self._reply_about(sample, kind)
            segment = self._segments.get(sample)
            if segment is not None and kind == "Failed":
                self._end(sample, segment)
                return Failed(sample, "lost when it was recorded")
            pending = None if segment is None else type(segment.milestones[0][1]).__name__
            if segment is not None and pending in (kind, "Progress"):
                if pending != kind:  # a reading came with this event
                    self._given_order.appendleft((kind, sample))
                self._clock = max(self._clock, segment.due)
                return self._at_milestone(segment)
            if kind != "Progress":  # a reading that was no new low has no milestone
                raise ValueError(f"the recorded order has {kind} of trace {sample}, out of place")
        raise ValueError("the recorded order ends before the policy stops")

    def _reply_about(self, sample: int, kind: str) -> Event:
        entry = next((e for e in self._replies if e[2].sample == sample), None)
        if entry is None:
            raise ValueError(f"the recorded order has {kind} of trace {sample}, which nobody asked")
        self._replies.remove(entry)
        heapq.heapify(self._replies)
        return entry[2] if kind == "Judged" else JudgeLost(sample)

    def _at_milestone(self, segment: _Segment) -> Event:
        tokens, event = segment.milestones.popleft()
        ended = isinstance(event, Finished) or (self._pauses and isinstance(event, PrefixReady))
        if ended:
            self._end(event.sample, segment)
        else:
            segment.since += tokens - segment.tokens
            segment.tokens = tokens
            heapq.heappush(self._due, (segment.due, next(self._serial), segment))
        return event

    # --- carrying out commands ------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    cached = sample > 0  # all but the first find the prompt in the cache
                    self._bill_prompt(self._prompt_tokens, cached=cached)
                    self._for_a_slot.append((sample, to_end))
                case Continue(sample=sample):
                    prefix = self._traces[sample].prefix_tokens
                    self._bill_prompt(self._prompt_tokens + prefix, cached=True)
                    self._for_a_slot.append((sample, True))
                case Judge(sample=sample, members=members):
                    self._ask(sample, members)
                case Cancel(sample=sample):
                    self._cancel(sample)
        while self._for_a_slot and len(self._segments) < self._speed.streams:
            self._begin(*self._for_a_slot.popleft())

    def _begin(self, sample: int, to_end: bool) -> None:
        trace = self._traces[sample]
        start = self._session.num_tokens(sample)
        events: list[tuple[int, Event]] = [
            (tokens, Progress(sample, tokens, (low,))) for tokens, low in trace.lows
        ]
        if trace.checkpoint is not None and not to_end:
            events.append((trace.checkpoint, PrefixReady(sample, trace.checkpoint)))
        events.append((trace.num_tokens, Finished(sample, trace.answer, trace.num_tokens)))
        later = sorted((e for e in events if e[0] > start or start == 0), key=lambda e: e[0])
        segment = _Segment(start, self._clock, self._now_s, deque(later))
        self._segments[sample] = segment
        heapq.heappush(self._due, (segment.due, next(self._serial), segment))

    def _end(self, sample: int, segment: _Segment) -> None:
        segment.over = True
        del self._segments[sample]
        self._session.add_costs(trace_s=self._now_s - segment.started_s)

    def _cancel(self, sample: int) -> None:
        segment = self._segments.get(sample)
        if segment is None:
            self._for_a_slot = deque(entry for entry in self._for_a_slot if entry[0] != sample)
        else:
            tokens = segment.tokens + int(self._clock - segment.since)
            self._session.settle(sample, tokens, late_tokens=0)
            self._end(sample, segment)

    # --- judge ----------------------------------------------------------------------------------

    def _ask(self, sample: int, members: tuple[int, ...]) -> None:
        assert self._judge is not None, "the policy asks for a judge, but there is none"
        recorded = [self._traces[member].sample for member in members]
        scores = self._judge.p_same(self._traces[sample].sample, recorded)
        computed, cached = self._judge_tokens(sample, members)
        begins_s = max(self._now_s, self._judge_free_s)
        self._judge_free_s = begins_s + computed / self._speed.judge_tokens_per_s
        free = self._judge.reads == "nothing"
        reply_s = self._now_s if free else self._judge_free_s + self._speed.judge_s
        p_same = dict(zip(members, map(float, scores), strict=True))
        reply = Judged(sample, p_same, computed, cached, reply_s - self._now_s)
        heapq.heappush(self._replies, (reply_s, next(self._serial), reply))

    def _judge_tokens(self, sample: int, members: tuple[int, ...]) -> tuple[int, int]:
        """Tokens the judge computes, and those it finds in its cache.

        A pair is read first trace first, so what it computed of one is there for the next pair.
        """
        assert self._judge is not None
        own = self._traces[sample].prefix_tokens
        computed = cached = 0
        match self._judge.reads:
            case "prefixes":
                for trace in {sample, *members} - self._read:
                    computed += self._traces[trace].prefix_tokens
                self._read.update((sample, *members))
            case "pairs":
                for member in members:
                    first = self._traces[member].prefix_tokens
                    cached += first if member in self._read else 0
                    computed += own + (0 if member in self._read else first)
                    self._read.add(member)
        return computed, cached

    # --- results --------------------------------------------------------------------------------

    def _bill_prompt(self, tokens: int, *, cached: bool) -> None:
        if cached:
            self._session.add_costs(prompt_cached_tokens=tokens)
        else:
            self._session.add_costs(prompt_computed_tokens=tokens)

    def _in_recorded_samples(self, outcome: Outcome) -> Outcome:
        def recorded(samples: Sequence[int]) -> tuple[int, ...]:
            return tuple(self._traces[sample].sample for sample in samples)

        decision = replace(
            outcome.decision,
            votes=tuple((answer, recorded(samples)) for answer, samples in outcome.decision.votes),
            clusters=tuple(recorded(cluster) for cluster in outcome.decision.clusters),
        )
        ends = tuple(replace(end, sample=self._traces[end.sample].sample) for end in outcome.ends)
        return replace(outcome, decision=decision, ends=ends)
