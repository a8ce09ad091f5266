"""One policy at work on one problem: the in-flight table and the ledger, without I/O.

Both drivers, live and replay, run a `Session`: they carry out the commands it returns and hand it
the events that follow. What it guarantees, whatever order events come in:

- every launched trace ends exactly once, with one `TraceEnd`;
- a cancelled trace leaves the table before its command is returned, and whatever arrives for it
  later is dropped, so that the policy never hears of it again;
- the ledger adds up to the ends, at any moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Decision,
    Event,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Progress,
    Stop,
)
from deepprune.ledger import Fate, Ledger, TraceEnd
from deepprune.traces import Problem

if TYPE_CHECKING:
    from deepprune.policies.base import Policy


class TraceState(Enum):
    """Where a trace that is in flight stands."""

    PREFIX = "prefix"
    PAUSED = "paused"
    FINISHING = "finishing"


@dataclass(slots=True)
class _InFlight:
    state: TraceState
    num_tokens: int = 0
    passed_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a problem. `complete` is False when it was interrupted."""

    problem: Problem
    policy: str
    decision: Decision
    ends: tuple[TraceEnd, ...]
    ledger: Ledger
    complete: bool
    rounds: int = 0
    """The longest chain of generations each of which had to wait for the one before."""
    events: tuple[tuple[str, int], ...] = ()
    """What the policy was told, in order: the kind of event and the sample it was about."""

    @property
    def answer(self) -> str | None:
        """The answer voted for."""
        return self.decision.answer


class Session:
    """Runs `policy` on `problem`; see the module's docstring for what it guarantees."""

    def __init__(self, problem: Problem, policy: Policy, policy_name: str) -> None:
        self.problem = problem
        self.ends: dict[int, TraceEnd] = {}
        self.stopped = False
        self._policy = policy
        self._policy_name = policy_name
        self._in_flight: dict[int, _InFlight] = {}
        self._states: Counter[str] = Counter()
        self._bill: dict[str, float] = asdict(Ledger())
        self._interrupted = False
        self._rounds: dict[int, int] = {}
        self._events: list[tuple[str, int]] = []

    def start(self) -> list[Command]:
        """The commands to begin with."""
        return self._apply(self._policy.start(), 1)

    def handle(self, event: Event) -> list[Command]:
        """Take an event in and return the commands to carry out now."""
        if isinstance(event, Judged):
            self.add_costs(
                judge_computed_tokens=event.computed_tokens,
                judge_cached_tokens=event.cached_tokens,
                judge_pairs=len(event.p_same),
                judge_s=event.seconds,
            )
        if self.stopped or not self._concerns_policy(event):
            return []
        match event:
            case Progress(sample=sample, num_tokens=num_tokens, confidence=confidence):
                self._in_flight[sample].num_tokens = num_tokens
                if not confidence:
                    return []
            case PrefixReady(sample=sample, num_tokens=num_tokens):
                trace = self._in_flight[sample]
                trace.num_tokens = num_tokens
                trace.passed_checkpoint = True
                pauses = self._policy.pauses
                self._move(trace, TraceState.PAUSED if pauses else TraceState.FINISHING)
            case Finished(sample=sample, num_tokens=num_tokens):
                self._in_flight[sample].num_tokens = num_tokens
                self._end(sample, Fate.FINISHED, "finished")
            case Failed(sample=sample, error=error):
                self._end(sample, Fate.LOST, error or "lost")
        self._events.append((type(event).__name__, event.sample))
        return self._apply(self._policy.handle(event), self._rounds[event.sample] + 1)

    def interrupt(self, reason: str) -> list[Command]:
        """Stop early, from outside: everything in flight is cancelled, the vote stays as it is."""
        if self.stopped:
            return []
        self._interrupted = True
        return self._apply([Stop(reason)], 0)

    def settle(self, sample: int, num_tokens: int, late_tokens: int) -> None:
        """Correct the bill of a cancelled trace to what its engine says it generated in all.

        `late_tokens` of them came after the decision to cancel.
        """
        end = self.ends[sample]
        settled = replace(end, num_tokens=max(end.num_tokens, num_tokens), late_tokens=late_tokens)
        self.ends[sample] = settled
        self._bill[f"{end.fate.value}_tokens"] += settled.num_tokens - end.num_tokens
        self._bill["late_tokens"] += late_tokens - end.late_tokens

    def add_costs(self, **costs: float) -> None:
        """Add to the ledger's entries that are not counted from traces; names are the ledger's.

        Raises:
            KeyError: the ledger has no such entry.
        """
        for name, cost in costs.items():
            self._bill[name] += cost

    @property
    def states(self) -> Counter[str]:
        """How many traces are in each state, in flight or ended."""
        return +self._states

    def num_tokens(self, sample: int) -> int:
        """Tokens a trace that is in flight has generated, as far as has been heard."""
        return self._in_flight[sample].num_tokens

    def decision(self) -> Decision:
        """The policy's conclusion so far."""
        return self._policy.decision()

    @property
    def ledger(self) -> Ledger:
        """The bill so far; a trace in flight is billed when it ends."""
        return Ledger(**self._bill)  # type: ignore[arg-type]

    def outcome(self) -> Outcome:
        """The result.

        Raises:
            AssertionError: a trace is still in flight; a driver must not ask before `stopped`.
        """
        assert self.stopped and not self._in_flight, "the session has not stopped"
        ends = tuple(self.ends[sample] for sample in sorted(self.ends))
        return Outcome(
            self.problem,
            self._policy_name,
            self._policy.decision(),
            ends,
            self.ledger,
            complete=not self._interrupted,
            rounds=max(self._rounds.values(), default=0),
            events=tuple(self._events),
        )

    def _concerns_policy(self, event: Event) -> bool:
        if event.sample in self._in_flight:
            return True
        end = self.ends.get(event.sample)
        assert end is not None, f"{event} is about a trace that was never launched"
        # A trace may end before its checkpoint and be judged on its whole text.
        return end.fate is Fate.FINISHED and isinstance(event, Judged | JudgeLost)

    def _apply(self, commands: list[Command], round_: int) -> list[Command]:
        carried: list[Command] = []
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    assert sample not in self._in_flight and sample not in self.ends
                    state = TraceState.FINISHING if to_end else TraceState.PREFIX
                    self._in_flight[sample] = _InFlight(state)
                    self._states[state.value] += 1
                    self._rounds[sample] = round_
                case Continue(sample=sample):
                    if self._in_flight[sample].state is not TraceState.PAUSED:
                        continue  # it never stopped
                    self._move(self._in_flight[sample], TraceState.FINISHING)
                    self._rounds[sample] = max(self._rounds[sample], round_)
                case Cancel(sample=sample, reason=reason):
                    self._cancel(sample, reason)
                case Stop(reason=reason):
                    carried.extend(Cancel(sample, reason) for sample in self._in_flight)
                    for sample in list(self._in_flight):
                        self._cancel(sample, reason)
                    self.stopped = True
                case Judge():
                    pass
            carried.append(command)
        return carried

    def _cancel(self, sample: int, reason: str) -> None:
        after = self._in_flight[sample].passed_checkpoint
        fate = Fate.CANCELLED_AFTER_CHECKPOINT if after else Fate.CANCELLED_BEFORE_CHECKPOINT
        self._end(sample, fate, reason)

    def _end(self, sample: int, fate: Fate, reason: str) -> None:
        trace = self._in_flight.pop(sample)
        self.ends[sample] = TraceEnd(sample, fate, reason, trace.num_tokens)
        self._states[trace.state.value] -= 1
        self._states[fate.value] += 1
        self._bill[f"{fate.value}_tokens"] += trace.num_tokens
        self._bill[f"{fate.value}_traces"] += 1

    def _move(self, trace: _InFlight, state: TraceState) -> None:
        self._states[trace.state.value] -= 1
        self._states[state.value] += 1
        trace.state = state
