"""The replay driver: recorded traces, virtual time, the same policy objects as live.

A problem is replayed on a `Fleet` of engines and judges, alone on one engine, or on several beside
other problems. The same recording, policy, judge and seed give the same outcome, always.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from deepprune.config import Reads
from deepprune.engine import Milestones, Segment
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
from deepprune.fleet import Fleet
from deepprune.policies.base import Policy
from deepprune.session import Outcome, Session
from deepprune.speed import SpeedConfig
from deepprune.traces import Problem


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
    def reads(self) -> Reads:
        """What it costs: nothing, each prefix once, or both prefixes of each pair."""
        ...

    def p_same(self, second: int, firsts: Sequence[int]) -> Sequence[float]:
        """P(same) of recorded sample `second` with each of `firsts`."""
        ...


class Replay:
    """Replays one problem under one policy, once: `run`, or on a `fleet` beside others.

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
        fleet: Fleet | None = None,
        prompt_tokens: int = 0,
        order: Sequence[tuple[str, int]] | None = None,
    ) -> None:
        self._session = Session(problem, policy, policy_name)
        self._traces = traces
        self._pauses = policy.pauses
        self._judge = judge
        self._fleet = fleet or Fleet([speed or SpeedConfig()])
        self._prompt_tokens = prompt_tokens
        self._given_order = None if order is None else deque(order)
        self._began_s = 0.0
        self._places: dict[int, int] = {}
        self._prompt_at: set[int] = set()
        self._read: set[int] = set()

    def run(self) -> Outcome:
        """Replay to the vote, with the fleet to itself.

        Raises:
            ValueError: the given order departs from what the policy does.
        """
        self.start()
        while not self.stopped:
            if self._given_order is None:
                _, event = self._fleet.next()
            else:
                event = self._next_in_order(self._given_order)
            self.handle(event)
        return self.outcome()

    @property
    def stopped(self) -> bool:
        """Whether the vote is final."""
        return self._session.stopped

    def start(self) -> None:
        """Begin, at the fleet's time."""
        self._began_s = self._fleet.now_s
        self._carry_out(self._session.start())

    def handle(self, event: Event) -> None:
        """Go on from what the fleet says has happened."""
        stops = isinstance(event, Finished | Failed)
        if stops or (self._pauses and isinstance(event, PrefixReady)):
            self._end(event.sample)
        self._carry_out(self._session.handle(event))

    def outcome(self) -> Outcome:
        """The result, once it has stopped."""
        self._session.add_costs(wall_s=self._fleet.now_s - self._began_s)
        return self._in_recorded_samples(self._session.outcome())

    def _next_in_order(self, order: deque[tuple[str, int]]) -> Event:
        engine = self._fleet.engines[0]
        while order:
            kind, sample = order.popleft()
            if kind in ("Judged", "JudgeLost"):
                reply = self._fleet.reply_about(self, sample)
                if reply is None:
                    raise ValueError(
                        f"the recorded order has {kind} of trace {sample}, which nobody asked"
                    )
                return reply if kind == "Judged" else JudgeLost(sample)
            segment = engine.segments.get((self, sample))
            if segment is not None and kind == "Failed":
                return Failed(sample, "lost when it was recorded")
            pending = None if segment is None else type(segment.milestones[0][1]).__name__
            if segment is not None and pending in (kind, "Progress"):
                # A reading may have come with this event, and several with a trace's last one.
                is_last = kind == "Progress" and all(other != sample for _, other in order)
                if pending != kind or is_last:
                    order.appendleft((kind, sample))
                return engine.reach(segment)[1]
            if kind != "Progress":  # a reading that was no new low has no milestone
                raise ValueError(f"the recorded order has {kind} of trace {sample}, out of place")
        raise ValueError("the recorded order ends before the policy stops")

    # --- carrying out commands ------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    self._generate(sample, to_end=to_end)
                case Continue(sample=sample):
                    self._generate(sample, to_end=True)
                case Judge(sample=sample, members=members):
                    self._ask(sample, members)
                case Cancel(sample=sample):
                    self._cancel(sample)
        self._fleet.settle()

    def _generate(self, sample: int, *, to_end: bool) -> None:
        """Start a trace, or go on with one, on the engine that has the fewest."""
        place, before = self._fleet.least_loaded, self._places.get(sample)
        start = self._session.num_tokens(sample)
        found = place in self._prompt_at  # its engine may have the prompt in its cache
        cached = self._prompt_tokens if found else 0
        if place == before:
            cached += start
        computed = self._prompt_tokens + start - cached
        self._session.add_costs(prompt_computed_tokens=computed, prompt_cached_tokens=cached)
        self._prompt_at.add(place)
        self._places[sample] = place
        trace = self._traces[sample]
        until = trace.prefix_tokens if self._pauses and not to_end else trace.num_tokens
        self._fleet.start(
            place,
            Segment(
                (self, sample),
                start,
                self._prompt_tokens,
                computed,
                deque(self._milestones(sample, start, to_end)),
                mean_context=self._prompt_tokens + (start + until) / 2,
            ),
        )

    def _milestones(self, sample: int, start: int, to_end: bool) -> Milestones:
        trace = self._traces[sample]
        events: list[tuple[int, Event]] = [
            (tokens, Progress(sample, tokens, (low,))) for tokens, low in trace.lows
        ]
        if trace.checkpoint is not None and not to_end:
            events.append((trace.checkpoint, PrefixReady(sample, trace.checkpoint)))
        # One that was cut as soon as it went on is recorded with its prefix alone.
        end = max(trace.num_tokens, start + 1) if start else trace.num_tokens
        events.append((end, Finished(sample, trace.answer, end)))
        return sorted((e for e in events if e[0] > start or start == 0), key=lambda e: e[0])

    def _end(self, sample: int) -> Segment | None:
        segment = self._fleet.end(self._places[sample], (self, sample))
        if segment is not None:
            self._session.add_costs(trace_s=self._fleet.now_s - segment.started_s)
        return segment

    def _cancel(self, sample: int) -> None:
        segment = self._end(sample)
        if segment is not None:
            self._session.settle(sample, segment.tokens, late_tokens=0)

    # --- judge ----------------------------------------------------------------------------------

    def _ask(self, sample: int, members: tuple[int, ...]) -> None:
        assert self._judge is not None, "the policy asks for a judge, but there is none"
        recorded = [self._traces[member].sample for member in members]
        scores = self._judge.p_same(self._traces[sample].sample, recorded)
        computed, cached = self._judge_tokens(sample, members)
        p_same = dict(zip(members, map(float, scores), strict=True))
        self._fleet.judge(
            self,
            Judged(sample, p_same, computed, cached),
            free=self._judge.reads == "nothing",
        )

    def _judge_tokens(self, sample: int, members: tuple[int, ...]) -> tuple[int, int]:
        """Tokens the judge computes, and those it finds in its cache.

        Of pairs, the new prefix comes first, so that a call computes it once.
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
                computed = own + sum(self._traces[member].prefix_tokens for member in members)
                cached = own * (len(members) - 1)
        return computed, cached

    # --- results --------------------------------------------------------------------------------

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
