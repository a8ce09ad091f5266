"""The live driver: one problem, one policy, traces from real generators.

It carries out the session's commands and reports events to it; it decides nothing. A trace passes
`_generate` (prompt to checkpoint), `_judge` (pairs to scores), the policy (scores to clusters),
`_generate` again (prefix to answer), and the policy's vote.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.driver.control_events import Crashed, Interrupted
from actors.driver.judge_calls import JudgeRun
from actors.driver.live_trace import LiveTrace
from actors.driver.snapshot import Snapshot
from actors.driver.trace_run import TraceRun
from actors.messages import (
    EngineGone,
    Generators,
    JudgeRequest,
    Judges,
    PromptTooLong,
    TraceRequest,
    TraceUpdate,
)
from deepprune.config import LimitsConfig, SamplingConfig
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
from deepprune.policies import Policy, make_policy
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.promise import Terms
from deepprune.seeds import stable_seed
from deepprune.session import Outcome, Session
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

OnStep = Callable[[Event | None, list[Command]], None]


@dataclass(slots=True)
class LiveProblem:
    """Drives one session. Call `run` once; other tasks may call `interrupt`."""

    key: str
    problem: Problem
    policy: PolicyConfig
    sampling: SamplingConfig
    generators: Generators
    judges: Judges | None
    limits: LimitsConfig
    pairs_per_call: int = 256
    confidence_window: int | None = None
    """Tokens of a group, where the generators measure confidence."""
    seed: int = 0
    terms: Terms | None = None
    """What a sweep holds the problem to. Absent: the problem is by itself."""
    share_fairly: bool = False
    """Give each further trace less priority: problems then hold equal numbers of engine slots."""
    asks_for_value: bool = True
    """Whether the answer is a value to compare."""
    wrap_policy: Callable[[Policy], Policy] = lambda policy: policy
    """Wraps the policy that `policy` describes."""
    on_step: OnStep | None = None
    """Called after each event with the event and the commands that follow; first with None."""
    traces: dict[int, LiveTrace] = field(default_factory=dict)
    scores: dict[tuple[int, int], float] = field(default_factory=dict)
    """P(same) by the pair of samples, in the order the judge read them."""
    first_checkpoint_s: float | None = None
    """Seconds from the start to the first trace at its checkpoint."""
    cancel_lags_s: list[float] = field(default_factory=list)
    """Seconds from each decision to cancel to the end of the engine's request."""
    session: Session = field(init=False)
    _started: float = 0.0
    _events: asyncio.Queue[Event | Interrupted | Crashed] = field(default_factory=asyncio.Queue)
    _running: dict[int, TraceRun] = field(default_factory=dict)
    _judging: dict[int, set[JudgeRun]] = field(default_factory=lambda: defaultdict(set))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _reading: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        seed = stable_seed(self.seed, self.problem.problem_id)
        policy = make_policy(self.policy, seed, self.terms)
        self.session = Session(self.problem, self.wrap_policy(policy), self.policy.name)

    async def run(self) -> Outcome:
        """Drive the problem to its vote.

        Raises what a trace or judge task raises, except the loss of a replica; ends every other
        trace first.
        """
        self._started = time.monotonic()
        try:
            self._step(None, self.session.start())
            while not self.session.stopped:
                match await self._events.get():
                    case Crashed(error):
                        raise error
                    case Interrupted(reason):
                        self._step(None, self.session.interrupt(reason))
                    case event:
                        self._step(event, self.session.handle(event))
        finally:
            await self._end()
        self._bill_unheard()
        self.session.add_costs(wall_s=time.monotonic() - self._started)
        return self.session.outcome()

    def interrupt(self, reason: str) -> None:
        """Stop as soon as possible with the vote so far."""
        self._events.put_nowait(Interrupted(reason))

    def close_thoughts(self) -> None:
        """Ask each trace that is in its thought for its answer, where `sampling` allows it."""
        if not self.sampling.answer_tokens:
            return
        for run in self._running.values():
            run.close_thought()
        for trace in self.traces.values():
            trace.closing = True  # also those that are paused

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        return Snapshot.of(self.session, self.traces)

    # --- carrying out commands ------------------------------------------------------------------

    def _step(self, event: Event | None, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(sample=sample, to_end=to_end):
                    seed = stable_seed(self.seed, self.problem.problem_id, sample)
                    self.traces[sample] = LiveTrace(seed, self.confidence_window)
                    self._generate(sample, to_checkpoint=not to_end)
                case Continue(sample=sample):
                    self._generate(sample, to_checkpoint=False)
                case Judge(sample=sample, members=members):
                    self._judge(sample, members)
                case Cancel(sample=sample):
                    self._cancel(sample)
        if isinstance(event, PrefixReady) and self.first_checkpoint_s is None:
            self.first_checkpoint_s = time.monotonic() - self._started
        if self.on_step is not None:
            self.on_step(event, commands)

    def _cancel(self, sample: int) -> None:
        # Count tokens received in events that are still queued.
        self.session.settle(sample, self.traces[sample].num_tokens, late_tokens=0)
        if run := self._running.get(sample):
            run.abort()
        for judge_run in self._judging[sample]:
            judge_run.abort()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task in self._reading:
            self._reading.discard(task)
        elif task.cancelled():
            error = RuntimeError(f"{task.get_name()} was cancelled, and not by its problem")
            self._events.put_nowait(Crashed(error))
        if not task.cancelled() and (failure := task.exception()):
            self._events.put_nowait(Crashed(failure))

    async def _end(self) -> None:
        """End all tasks; wait until the costs of each request are known."""
        for run in self._running.values():
            run.abort()
        for judge_run in itertools.chain(*self._judging.values()):
            judge_run.abort()
        for task in self._reading:
            task.cancel()  # nobody needs the answer any more
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _bill_unheard(self) -> None:
        """Bill the judgements that arrived after the last event."""
        while not self._events.empty():
            if isinstance(event := self._events.get_nowait(), Judged):
                self.session.handle(event)

    # --- traces ---------------------------------------------------------------------------------

    def _generate(self, sample: int, *, to_checkpoint: bool) -> None:
        policy, trace = self.policy, self.traces[sample]
        options: dict[str, Any] = {"priority": len(self._running) if self.share_fairly else 0}
        if isinstance(policy, JudgingConfig) and to_checkpoint:
            options["checkpoint"] = policy.checkpoint
            options["reasoning_words"] = policy.reasoning_words
            options["pause"] = policy.pauses
        name = f"{self.key}/{sample}"
        make_request = partial(self._request, trace, name, options)
        run = TraceRun(trace, make_request, self.generators, self.limits.retries)
        self._running[sample] = run
        self._spawn(self._follow(sample, run), name)

    def _request(self, trace: LiveTrace, name: str, options: dict[str, Any]) -> TraceRequest:
        if trace.prefix_chars is not None or trace.closing:  # it has passed its checkpoint
            options = {"priority": options["priority"]}
        return trace.request(name, self.problem, self.sampling, self.asks_for_value, **options)

    async def _follow(self, sample: int, run: TraceRun) -> None:
        """Report the events of a trace."""
        trace = run.trace
        engine_s = trace.engine_s
        lost: EngineGone | None = None
        try:
            async for update, readings in run.updates():
                self._report(sample, trace, update, readings)
        except EngineGone as error:
            lost = error
        self.session.add_costs(trace_s=trace.engine_s - engine_s)
        if self._running.get(sample) is run:
            del self._running[sample]
        if run.cancel_lag_s is not None:
            self.cancel_lags_s.append(run.cancel_lag_s)
        if sample in self.session.ends:  # cancelled: bill it as its engine ended it
            self.session.settle(sample, trace.num_tokens, run.late_tokens)
        elif lost is not None:
            self._events.put_nowait(Failed(sample, str(lost)))
        elif not run.paused:
            task = asyncio.current_task()
            assert task is not None
            self._reading.add(task)
            await asyncio.to_thread(trace.read_answer, self.problem, self.sampling)
            self._events.put_nowait(Finished(sample, trace.answer, trace.num_tokens))

    def _report(
        self, sample: int, trace: LiveTrace, update: TraceUpdate, readings: tuple[float, ...]
    ) -> None:
        self.session.add_costs(**update.prompt_costs)
        at_milestone = update.prefix_chars is not None or update.finish_reason is not None
        if readings or (self.on_step is not None and not at_milestone):
            self._events.put_nowait(Progress(sample, trace.num_tokens, readings))
        if update.prefix_chars is not None and trace.finish_reason is None:
            self._events.put_nowait(PrefixReady(sample, trace.num_tokens))

    # --- judge ----------------------------------------------------------------------------------

    def _judge(self, sample: int, members: tuple[int, ...]) -> None:
        assert self.judges is not None, "the policy asks for a judge, but there is none"
        name = f"{self.key}/{sample}"
        request = JudgeRequest(
            request_id=name,
            problem=self.problem.text,
            firsts=tuple(self.traces[member].prefix for member in members),
            second=self.traces[sample].prefix,
        )
        pairs_per_call, retries = self.pairs_per_call, self.limits.retries
        run = JudgeRun(
            self.judges, request, members, pairs_per_call=pairs_per_call, retries=retries
        )
        self._judging[sample].add(run)
        self._spawn(self._score(sample, members, run), f"{name}/judge")

    async def _score(self, sample: int, members: tuple[int, ...], run: JudgeRun) -> None:
        """Report the scores of a trace, or bill what was done for them."""
        started = time.monotonic()
        event: Event | None = None
        try:
            p_same = await run.p_same()
        except (EngineGone, PromptTooLong) as error:
            name = f"{self.key} {self.problem.problem_id} trace {sample}"
            logger.warning("%s: continues without a judge: %s", name, error)
            event = JudgeLost(sample)
        else:
            if p_same is not None:
                scores = dict(zip(members, p_same, strict=True))
                self.scores.update({(member, sample): p for member, p in scores.items()})
                seconds = time.monotonic() - started
                event = Judged(sample, scores, run.computed_tokens, run.cached_tokens, seconds)
        self._judging[sample].discard(run)
        if not isinstance(event, Judged):
            self.session.add_costs(judge_s=time.monotonic() - started, **run.costs)
        if event is not None:
            self._events.put_nowait(event)
