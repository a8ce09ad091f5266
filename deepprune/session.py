"""One policy on one problem: the in-flight table and the ledger, without I/O.

Both drivers, live and replay, run a `Session`: they carry out the commands it returns and report
the events that follow. It guarantees, for events in any order:

- every launched trace ends exactly once, with one `TraceEnd`;
- a cancelled trace leaves the table before its command is returned; later events of it are dropped,
  so that the policy never receives them;
- at any moment the ledger is the sum of the ends.
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
    """The state of a trace in flight."""

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
    """The result of a policy on a problem. `complete` is False if it was interrupted."""

    problem: Problem
    policy: str
    decision: Decision
    ends: tuple[TraceEnd, ...]
    ledger: Ledger
    complete: bool
    rounds: int = 0
    """Length of the longest chain of generations that each waited for the one before."""
    sequential_tokens: int = 0
    """Tokens of the longest such chain, up to the last event: what cannot be run in parallel."""
    events: tuple[tuple[str, int], ...] = ()
    """The policy's events in order: kind and sample index."""

    @property
    def answer(self) -> str | None:
        """The answer that won the vote."""
        return self.decision.answer


class Session:
    """Runs `policy` on `problem`; the module's docstring has its guarantees."""

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
        self._waited_tokens: dict[int, int] = {}  # of the chain before each trace
        self._sequential_tokens = 0
        self._events: list[tuple[str, int]] = []

    def start(self) -> list[Command]:
        """Return the first commands."""
        return self._apply(self._policy.start(), 1, 0)

    def handle(self, event: Event) -> list[Command]:
        """Handle an event and return the commands to carry out."""
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
        chain = self._waited_tokens[event.sample] + self._tokens_of(event.sample)
        self._sequential_tokens = max(self._sequential_tokens, chain)
        return self._apply(self._policy.handle(event), self._rounds[event.sample] + 1, chain)

    def interrupt(self, reason: str) -> list[Command]:
        """Stop early: cancel every trace in flight and keep the vote so far."""
        if self.stopped:
            return []
        self._interrupted = True
        return self._apply([Stop(reason)], 0, 0)

    def settle(self, sample: int, num_tokens: int, late_tokens: int) -> None:
        """Correct the tokens of a cancelled trace to `num_tokens`, as its engine reports them.

        `late_tokens` of them were generated after the decision to cancel.
        """
        end = self.ends[sample]
        settled = replace(end, num_tokens=max(end.num_tokens, num_tokens), late_tokens=late_tokens)
        self.ends[sample] = settled
        self._bill[f"{end.fate.value}_tokens"] += settled.num_tokens - end.num_tokens
        self._bill["late_tokens"] += late_tokens - end.late_tokens

    def add_costs(self, **costs: float) -> None:
        """Add to ledger fields that are not counted from traces; names are those of `Ledger`.

        Raises:
            KeyError: the ledger has no such field.
        """
        for name, cost in costs.items():
            self._bill[name] += cost

    @property
    def states(self) -> Counter[str]:
        """Number of traces in each state, in flight or ended."""
        return +self._states

    def num_tokens(self, sample: int) -> int:
        """Tokens of a trace in flight, as of its last event."""
        return self._in_flight[sample].num_tokens

    def decision(self) -> Decision:
        """The policy's conclusion so far."""
        return self._policy.decision()

    @property
    def ledger(self) -> Ledger:
        """The ledger so far; a trace is counted when it ends."""
        return Ledger(**self._bill)  # type: ignore[arg-type]

    def outcome(self) -> Outcome:
        """The result.

        Raises:
            AssertionError: a trace is still in flight; call it only after `stopped`.
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
            sequential_tokens=self._sequential_tokens,
            events=tuple(self._events),
        )

    def _concerns_policy(self, event: Event) -> bool:
        if event.sample in self._in_flight:
            return True
        end = self.ends.get(event.sample)
        assert end is not None, f"{event} is about a trace that was never launched"
        # A trace may end before its checkpoint and be judged on its whole text.
        return end.fate is Fate.FINISHED and isinstance(event, Judged | JudgeLost)

    def _tokens_of(self, sample: int) -> int:
        trace = self._in_flight.get(sample)
        return self.ends[sample].num_tokens if trace is None else trace.num_tokens

    def _apply(self, commands: list[Command], round_: int, chain: int) -> list[Command]:
        carried: list[Command] = []
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    assert sample not in self._in_flight and sample not in self.ends
                    state = TraceState.FINISHING if to_end else TraceState.PREFIX
                    self._in_flight[sample] = _InFlight(state)
                    self._states[state.value] += 1
                    self._rounds[sample] = round_
                    self._waited_tokens[sample] = chain
                case Continue(sample=sample):
                    if self._in_flight[sample].state is not TraceState.PAUSED:
                        continue  # it never stopped
                    self._move(self._in_flight[sample], TraceState.FINISHING)
                    self._rounds[sample] = max(self._rounds[sample], round_)
                    before = chain - self._in_flight[sample].num_tokens
                    self._waited_tokens[sample] = max(self._waited_tokens[sample], before)
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
