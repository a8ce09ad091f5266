"""A driver in memory: simulated traces, a simulated judge, and chance to say who moves next.

It carries out a session's commands as the real drivers do, and checks on the way what a real
driver relies on: a command is about a trace that can take it, no pair is judged twice, and what
arrives for a cancelled trace, or after the end, is met with silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

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
    Stop,
)
from deepprune.ledger import Fate
from deepprune.policies import Policy
from deepprune.session import Outcome, Session
from deepprune.traces import Problem

PROBLEM = Problem("simulated/1", "What is the answer?")
MAX_STEPS = 50_000

PSame = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class SimulatedTrace:
    """A trace that is yet to be sampled. `fails_at` tokens its generator dies for good."""

    answer: str | None
    num_tokens: int = 10
    checkpoint: int = 4
    fails_at: int | None = None


@dataclass(slots=True)
class _Launched:
    plan: SimulatedTrace
    to_end: bool
    num_tokens: int = 0
    reported_tokens: int = 0
    has_prefix: bool = False
    paused: bool = False
    ended: bool = False
    late_events: int | None = None
    """Events it still delivers although it is cancelled or lost; None while it is neither."""

    @property
    def moves(self) -> bool:
        if self.late_events is not None:
            return self.late_events > 0
        return not self.ended and not self.paused


class Driver:
    """Drives one session to its end. Runs once; what happened is left in the attributes.

    With `in_order`, traces move one after another, so that they arrive in order of their samples;
    the judge still answers in any order. The session is interrupted at step `interrupt_at`, and
    engines report what they generated for cancelled traces if `settles`.
    """

    def __init__(
        self,
        policy: Policy,
        plans: Sequence[SimulatedTrace],
        p_same: PSame = lambda a, b: 0.0,
        seed: int = 0,
        *,
        in_order: bool = False,
        judge_loss: float = 0.0,
        interrupt_at: int | None = None,
        settles: bool = True,
        after_each_step: Callable[[Driver], None] = lambda driver: None,
    ) -> None:
        self.session = Session(PROBLEM, policy, "simulated")
        self.commands: list[Command] = []
        self.traces: dict[int, _Launched] = {}
        self.pairs_asked: set[tuple[int, int]] = set()
        self.num_pairs_judged = 0
        self._policy = policy
        self._plans = plans
        self._p_same = p_same
        self._random = Random(seed)
        self._in_order = in_order
        self._judge_loss = judge_loss
        self._interrupt_at = interrupt_at
        self._settles = settles
        self._after_each_step = after_each_step
        self._questions: list[Judge] = []

    def run(self) -> Outcome:
        """Drive to the end, then deliver all that is late."""
        self._carry_out(self.session.start())
        for step in range(MAX_STEPS):
            if step == self._interrupt_at:
                self._carry_out(self.session.interrupt("deadline"))
            if self.session.stopped:
                break
            ready = self._ready()
            assert ready, "deadlock: nothing is under way, and the session has not stopped"
            self._random.choice(ready)()
            self._after_each_step(self)
        assert self.session.stopped, "the session never stops"
        outcome = self.session.outcome()
        ends = outcome.ends
        while late := self._ready():
            self._random.choice(late)()
        assert self.session.decision() == outcome.decision
        assert [(end.sample, end.fate, end.reason) for end in ends] == [
            (end.sample, end.fate, end.reason) for end in self.session.outcome().ends
        ]
        return self.session.outcome()

    def commanded(self, kind: type[Command]) -> list[int]:
        """The samples that commands of one kind were about, in order."""
        return [command.sample for command in self.commands if isinstance(command, kind)]

    # --- what may happen next -------------------------------------------------------------------

    def _ready(self) -> list[Callable[[], None]]:
        moving = [sample for sample in sorted(self.traces) if self.traces[sample].moves]
        if self._in_order:
            moving = moving[:1]
        return [
            *((lambda question=question: self._reply(question)) for question in self._questions),
            *((lambda sample=sample: self._move(sample)) for sample in moving),
        ]

    def _reply(self, question: Judge) -> None:
        self._questions.remove(question)
        if self._random.random() < self._judge_loss:
            self._tell(JudgeLost(question.sample))
            return
        p_same = {member: self._p_same(question.sample, member) for member in question.members}
        self.num_pairs_judged += len(p_same)
        self._tell(Judged(question.sample, p_same, 7 * len(p_same), 3 * len(p_same), 0.5))

    def _move(self, sample: int) -> None:
        trace, plan = self.traces[sample], self.traces[sample].plan
        milestones = [plan.num_tokens]
        if plan.fails_at is not None:
            milestones.append(plan.fails_at)
        if not trace.to_end and not trace.has_prefix:
            milestones.append(plan.checkpoint)
        step = self._random.randint(1, 4)
        trace.num_tokens = min(trace.num_tokens + step, *milestones)
        event: Event
        if trace.num_tokens == plan.fails_at:
            event = Failed(sample, "its generator died")
        elif trace.num_tokens == plan.num_tokens:
            event = Finished(sample, plan.answer, trace.num_tokens)
        elif trace.num_tokens == plan.checkpoint and not (trace.to_end or trace.has_prefix):
            event = PrefixReady(sample, trace.num_tokens)
        else:
            event = Progress(sample, trace.num_tokens)

        if trace.late_events is not None:
            trace.late_events -= 1
            self._tell(event)
            if self._settles and self.session.ends[sample].fate is not Fate.LOST:
                late = trace.num_tokens - trace.reported_tokens
                self.session.settle(sample, trace.num_tokens, late)
        elif isinstance(event, Failed):
            trace.ended = True
            self._tell(event)
            trace.late_events = self._random.randint(0, 2)
        else:
            trace.reported_tokens = trace.num_tokens
            trace.ended = isinstance(event, Finished)
            trace.has_prefix |= isinstance(event, PrefixReady | Finished)
            trace.paused = isinstance(event, PrefixReady) and self._policy.pauses
            self._tell(event)

    def _tell(self, event: Event) -> None:
        late = self.session.stopped or self.traces[event.sample].late_events is not None
        before = self.session.decision() if late else None
        commands = self.session.handle(event)
        if late:
            assert commands == [], f"{event} is late, and still moves the session"
            assert self.session.decision() == before
        self._carry_out(commands)

    # --- commands -------------------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        self.commands += commands
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    assert sample not in self.traces, "launched twice"
                    self.traces[sample] = _Launched(self._plans[sample], to_end)
                case Continue(sample=sample):
                    trace = self._in_flight(sample)
                    assert trace.paused
                    trace.paused = False
                case Judge(sample=sample, members=members):
                    self._check_question(sample, members)
                    self._questions.append(command)
                case Cancel(sample=sample):
                    trace = self._in_flight(sample)
                    trace.late_events = 0 if trace.paused else self._random.randint(0, 3)
                    trace.ended = True
                case Stop():
                    assert command is commands[-1], "commanded after the end"
                    assert all(trace.ended for trace in self.traces.values())
        in_flight = {sample for sample, trace in self.traces.items() if not trace.ended}
        assert in_flight == self.traces.keys() - self.session.ends.keys()
        self._check_ledger()

    def _in_flight(self, sample: int) -> _Launched:
        trace = self.traces[sample]
        assert not trace.ended, f"trace {sample} is not in flight"
        return trace

    def _check_question(self, sample: int, members: tuple[int, ...]) -> None:
        assert members
        end = self.session.ends.get(sample)
        assert end is None or end.fate is Fate.FINISHED, "judged although it is gone"
        for index in (sample, *members):
            assert self.traces[index].has_prefix, f"trace {index} has no prefix to judge"
        for member in members:
            pair = (min(sample, member), max(sample, member))
            assert sample != member
            assert pair not in self.pairs_asked, f"{pair} is judged twice"
            self.pairs_asked.add(pair)

    def _check_ledger(self) -> None:
        ledger, ends = self.session.ledger, self.session.ends
        for fate in Fate:
            of_this_fate = [end for end in ends.values() if end.fate is fate]
            assert getattr(ledger, f"{fate}_traces") == len(of_this_fate)
            assert getattr(ledger, f"{fate}_tokens") == sum(end.num_tokens for end in of_this_fate)
        assert ledger.launched_traces == len(ends)
        assert ledger.judge_pairs == self.num_pairs_judged
        assert ledger.judge_computed_tokens == 7 * self.num_pairs_judged
        assert ledger.judge_cached_tokens == 3 * self.num_pairs_judged
        on_time = sum(self.traces[sample].reported_tokens for sample in ends)
        assert ledger.generated_tokens - ledger.late_tokens == on_time
        generated = sum(self.traces[sample].num_tokens for sample in ends)
        assert ledger.generated_tokens <= generated
