"""The live driver: one problem, one policy, traces from real generators.

It carries out the session's commands and reports events to it; it decides nothing. A trace passes
`_generate` (prompt to checkpoint), `_judge` (pairs to scores), the policy (scores to clusters),
`_generate` again (prefix to answer), and the policy's vote.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from actors.driver.judge_calls import score_in_parts
from actors.driver.live_trace import LiveTrace
from actors.driver.settlement import Settlement
from actors.driver.trace_streams import TraceStreams
from actors.messages import (
    EngineGone,
    Generators,
    JudgeRequest,
    Judges,
    PromptTooLong,
)
from deepprune.answers import read_value
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Event,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
)
from deepprune.policies import Policy, make_policy
from deepprune.policy_config import PolicyConfig
from deepprune.seeds import stable_seed
from deepprune.session import Outcome, Session
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

OnStep = Callable[[Event | None, list[Command]], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a problem, for displays. `clusters` has their sizes."""

    problem_id: str
    states: dict[str, int]
    clusters: tuple[int, ...]
    votes: tuple[tuple[str, int], ...]
    num_tokens: int
    judge_tokens: int
    done: bool


@dataclass(slots=True)
class LiveProblem:
    """Drives one session. Call `run` once; other tasks may call `interrupt` and settle usage."""

    key: str
    problem: Problem
    policy: PolicyConfig
    sampling: SamplingConfig
    generators: Generators
    judges: Judges | None
    limits: LimitsConfig
    pairs_per_call: int = 256
    seed: int = 0
    report_to: Any = None
    wrap_policy: Callable[[Policy], Policy] = lambda policy: policy
    """Wraps the policy that `policy` describes."""
    on_step: OnStep | None = None
    """Called after each event with the event and the commands that follow; first with None."""
    traces: dict[int, LiveTrace] = field(default_factory=dict)
    scores: dict[tuple[int, int], float] = field(default_factory=dict)
    """P(same) by the pair of samples, in the order the judge read them."""
    first_checkpoint_s: float | None = None
    """Seconds from the start to the first trace at its checkpoint."""
    settlement: Settlement = field(default_factory=Settlement)
    session: Session = field(init=False)
    _started: float = 0.0
    _events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)
    _tasks: dict[int, set[asyncio.Task[None]]] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _streams: TraceStreams = field(init=False)
    _answers_read: set[str] = field(default_factory=set)
    _error: BaseException | None = None
    _interrupted: str | None = None

    def __post_init__(self) -> None:
        policy = make_policy(self.policy, stable_seed(self.seed, self.problem.problem_id))
        self.session = Session(self.problem, self.wrap_policy(policy), self.policy.name)
        self._streams = TraceStreams(
            name=self.key,
            problem=self.problem,
            policy=self.policy,
            sampling=self.sampling,
            generators=self.generators,
            retries=self.limits.retries,
            report_to=self.report_to,
            report_progress=self.on_step is not None,
            on_event=self._events.put_nowait,
            add_costs=self.session.add_costs,
        )

    async def run(self) -> Outcome:
        """Drive the problem to its vote.

        Raises what a trace or judge task raises, except the loss of a replica; cancels every other
        trace first.
        """
        self._started = time.monotonic()
        try:
            self._step(None, self.session.start())
            while not self.session.stopped:
                event = await self._events.get()
                if self._error is not None:
                    raise self._error
                if self._interrupted is not None:
                    self._step(None, self.session.interrupt(self._interrupted))
                elif event is not None:
                    if isinstance(event, Finished) and event.answer is not None:
                        await self._read(event.answer)
                    self._step(event, self.session.handle(event))
        finally:
            for sample in list(self._tasks):
                self._end_tasks(sample)
            await self._settle_all()
        self.session.add_costs(wall_s=time.monotonic() - self._started)
        return self.session.outcome()

    def interrupt(self, reason: str) -> None:
        """Stop as soon as possible with the vote so far."""
        self._interrupted = reason
        self._events.put_nowait(None)

    def settle(self, sample: int, num_tokens: int, recent: tuple[tuple[float, int], ...]) -> None:
        """Take a generator's usage report of a cancelled trace; see `Settlement.settle`."""
        late_tokens = self.settlement.settle(sample, num_tokens, recent)
        if late_tokens is None:
            return
        self.session.settle(sample, num_tokens, late_tokens)
        trace = self.traces[sample]
        more = max(0, num_tokens - trace.num_tokens)  # an earlier attempt's report has fewer
        trace.num_tokens += more
        self._streams.num_tokens += more

    def settle_judge(self, num_pairs: int, computed_tokens: int, cached_tokens: int) -> None:
        """Take a judge's usage report of a cancelled call."""
        self.session.add_costs(
            judge_pairs=num_pairs,
            judge_computed_tokens=computed_tokens,
            judge_cached_tokens=cached_tokens,
        )

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        decision = self.session.decision()
        ledger = self.session.ledger
        return Snapshot(
            self.problem.problem_id,
            dict(self.session.states),
            tuple(len(cluster) for cluster in decision.clusters),
            tuple((answer, len(samples)) for answer, samples in decision.votes),
            self._streams.num_tokens,
            ledger.judge_computed_tokens,
            self.session.stopped,
        )

    # --- carrying out commands ------------------------------------------------------------------

    def _step(self, event: Event | None, commands: list[Command]) -> None:
        self._carry_out(commands)
        if isinstance(event, PrefixReady) and self.first_checkpoint_s is None:
            self.first_checkpoint_s = time.monotonic() - self._started
        if self.on_step is not None:
            self.on_step(event, commands)

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    seed = stable_seed(self.seed, self.problem.problem_id, sample)
                    self.traces[sample] = LiveTrace(seed, stop=self.sampling.stop)
                    self._spawn(sample, self._generate(sample, to_checkpoint=not to_end))
                case Continue(sample=sample):
                    self._spawn(sample, self._generate(sample, to_checkpoint=False))
                case Judge(sample=sample, members=members):
                    self._spawn(sample, self._judge(sample, members))
                case Cancel(sample=sample):
                    self._cancel(sample)

    def _spawn(self, sample: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"{self.key}/{sample}")
        self._tasks.setdefault(sample, set()).add(task)
        task.add_done_callback(lambda task: self._task_ended(sample, task))

    def _task_ended(self, sample: int, task: asyncio.Task[None]) -> None:
        ours = self._tasks.get(sample, set())
        if task in ours and task.cancelled():
            self._fail(RuntimeError(f"{task.get_name()} was cancelled, and not by its problem"))
        ours.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._events.put_nowait(None)

    def _cancel(self, sample: int) -> None:
        # Count tokens received in events that are still queued.
        self.session.settle(sample, self.traces[sample].num_tokens, late_tokens=0)
        self._end_tasks(sample)

    def _end_tasks(self, sample: int) -> None:
        if self._streams.is_open(sample) and self.report_to is not None:
            self.settlement.expect(sample)
        for task in self._tasks.pop(sample, ()):
            task.cancel()
            self._ending.add(task)

    # --- work -----------------------------------------------------------------------------------

    async def _generate(self, sample: int, *, to_checkpoint: bool) -> None:
        started = time.monotonic()
        try:
            trace = self.traces[sample]
            await self._streams.generate(sample, trace, to_checkpoint=to_checkpoint)
        finally:
            self.session.add_costs(trace_s=time.monotonic() - started)

    async def _judge(self, sample: int, members: tuple[int, ...]) -> None:
        """Score a trace against members of clusters."""
        assert self.judges is not None, "the policy asks for a judge, but there is none"
        started = time.monotonic()
        request = JudgeRequest(
            request_id=f"{self.key}/{sample}",
            problem=self.problem.text,
            firsts=tuple(self.traces[member].prefix for member in members),
            second=self.traces[sample].prefix,
            report_to=self.report_to,
        )
        try:
            reply = await score_in_parts(
                self.judges,
                request,
                members,
                pairs_per_call=self.pairs_per_call,
                retries=self.limits.retries,
            )
        except (EngineGone, PromptTooLong) as error:
            logger.warning("%s: continues without a judge: %s", self._name(sample), error)
            self._events.put_nowait(JudgeLost(sample))
            return
        p_same = dict(zip(members, reply.p_same, strict=True))
        self.scores.update({(member, sample): p for member, p in p_same.items()})
        seconds = time.monotonic() - started
        self._events.put_nowait(
            Judged(sample, p_same, reply.computed_tokens, reply.cached_tokens, seconds)
        )

    async def _read(self, answer: str) -> None:
        """Read a new answer in a thread: algebra may take seconds. The vote finds it in a cache."""
        if answer not in self._answers_read:
            await asyncio.to_thread(read_value, answer)
            self._answers_read.add(answer)

    def _name(self, sample: int) -> str:
        """The trace's name in log lines."""
        return f"{self.key} {self.problem.problem_id} trace {sample}"

    async def _settle_all(self) -> None:
        """Wait until cancelled tasks have ended and their usage is known."""
        if self._ending:
            await asyncio.wait(self._ending)
        if not await self.settlement.wait():
            logger.info(
                "%s: no usage report for %d cancelled traces; counting the tokens received",
                self.problem.problem_id,
                self.settlement.num_missing,
            )
