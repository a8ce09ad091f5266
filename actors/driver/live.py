"""The live driver: one problem, one policy, traces from real generators.

It carries out what the session commands and tells it what happens. It decides nothing: a trace
from prompt to vote is `_generate` (prompt to checkpoint), `_judge` (pairs to scores), the policy
(scores to clusters), `_generate` again (prefix to answer), and the policy's vote.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from actors.driver.live_trace import LiveTrace
from actors.messages import (
    EngineGone,
    Generators,
    JudgeReply,
    JudgeRequest,
    Judges,
    NoRoom,
    TraceRequest,
    TraceUpdate,
    Unheard,
)
from deepprune.answers import read_value
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
from deepprune.policies import make_policy
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.seeds import stable_seed
from deepprune.session import Outcome, Session
from deepprune.traces import Problem

logger = logging.getLogger(__name__)

OnStep = Callable[[Event | None, list[Command]], None]

SETTLE_S = 1.0
"""How long to wait, after the vote, for engines to report what cancelled traces had generated."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a problem stands, for whoever watches. `clusters` holds sizes."""

    problem_id: str
    states: dict[str, int]
    clusters: tuple[int, ...]
    votes: tuple[tuple[str, int], ...]
    num_tokens: int
    judge_tokens: int
    done: bool


@dataclass(slots=True)
class LiveProblem:
    """Drives one session. `run` once; `interrupt` and the settling calls from elsewhere."""

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
    on_step: OnStep | None = None
    """Called after each event, with it and the commands that followed; at the start with None."""
    traces: dict[int, LiveTrace] = field(default_factory=dict)
    scores: dict[tuple[int, int], float] = field(default_factory=dict)
    """P(same) by the samples judged, in the order the judge read them."""
    first_checkpoint_s: float | None = None
    """Seconds from the start to the first trace at its checkpoint."""
    cancel_lags_s: list[float] = field(default_factory=list)
    """Seconds from each decision to cancel to the last token generated in spite of it."""
    session: Session = field(init=False)
    _started: float = 0.0
    _events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)
    _tasks: dict[int, set[asyncio.Task[None]]] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _streaming: dict[int, object] = field(default_factory=dict)
    _unsettled: dict[int, float] = field(default_factory=dict)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _num_tokens: int = 0
    _answers_read: set[str] = field(default_factory=set)
    _error: BaseException | None = None
    _interrupted: str | None = None

    def __post_init__(self) -> None:
        policy = make_policy(self.policy, stable_seed(self.seed, self.problem.problem_id))
        self.session = Session(self.problem, policy, self.policy.name)

    async def run(self) -> Outcome:
        """Drive the problem to its vote.

        Raises whatever a trace or judge task raises that is not the loss of a replica; every other
        trace is cancelled first.
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
        """Stop as soon as possible with the vote as it is."""
        self._interrupted = reason
        self._events.put_nowait(None)

    def settle(self, sample: int, num_tokens: int, recent: tuple[tuple[float, int], ...]) -> None:
        """An engine reports what a trace had generated when its cancel arrived.

        `recent` holds (unix time, tokens so far) of the trace's last engine outputs.
        """
        cancelled_at = self._unsettled.pop(sample, None)
        if cancelled_at is None:
            return
        before = max((count for when, count in recent if when <= cancelled_at), default=num_tokens)
        last_output = recent[-1][0] if recent else cancelled_at
        self.cancel_lags_s.append(max(0.0, last_output - cancelled_at))
        self.session.settle(sample, num_tokens, late_tokens=num_tokens - before)
        trace = self.traces[sample]
        more = max(0, num_tokens - trace.num_tokens)  # a report of an earlier attempt has less
        trace.num_tokens += more
        self._num_tokens += more
        if not self._unsettled:
            self._settled.set()

    def settle_judge(self, num_pairs: int, computed_tokens: int, cached_tokens: int) -> None:
        """A judge reports what a cancelled call had cost."""
        self.session.add_costs(
            judge_pairs=num_pairs,
            judge_computed_tokens=computed_tokens,
            judge_cached_tokens=cached_tokens,
        )

    def snapshot(self) -> Snapshot:
        """Where the problem stands now."""
        decision = self.session.decision()
        ledger = self.session.ledger
        return Snapshot(
            self.problem.problem_id,
            dict(self.session.states),
            tuple(len(cluster) for cluster in decision.clusters),
            tuple((answer, len(samples)) for answer, samples in decision.votes),
            self._num_tokens,
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
        # What has come in but not been told yet: events queue up while the policy decides.
        self.session.settle(sample, self.traces[sample].num_tokens, late_tokens=0)
        self._end_tasks(sample)

    def _end_tasks(self, sample: int) -> None:
        if sample in self._streaming and self.report_to is not None:
            self._unsettled[sample] = time.time()
        for task in self._tasks.pop(sample, ()):
            task.cancel()
            self._ending.add(task)

    # --- work -----------------------------------------------------------------------------------

    async def _generate(self, sample: int, *, to_checkpoint: bool) -> None:
        """Generate a trace from where it is, to its checkpoint or its end, whoever dies."""
        trace = self.traces[sample]
        started = time.monotonic()
        error: EngineGone | None = None
        try:
            in_a_row = 0
            while in_a_row <= self.limits.retries:
                had, died = trace.num_tokens, True
                self._streaming[sample] = attempt = object()
                try:
                    await self._stream(sample, trace, to_checkpoint)
                except EngineGone as gone:
                    error = gone
                    died = not isinstance(gone, Unheard)
                    logger.warning("%s: %s", self._name(sample), gone)
                if self._streaming.get(sample) is not attempt:
                    # It came to its turn, whatever happened to the stream after that, and may
                    # have been continued in the meantime.
                    return
                trace.num_reissued += 1
                in_a_row = 0 if trace.num_tokens > had else in_a_row + died
            del self._streaming[sample]
            self._tell(Failed(sample, str(error)))
        finally:
            self.session.add_costs(trace_s=time.monotonic() - started)

    async def _stream(self, sample: int, trace: LiveTrace, to_checkpoint: bool) -> None:
        request = self._request(sample, trace, to_checkpoint)
        async with aclosing(self.generators.stream(request)) as updates:
            async for update in updates:
                self._num_tokens += update.num_tokens - trace.num_tokens
                trace.take(update)
                self._bill_prompt(update)
                watched = self.on_step and not (trace.finish_reason or update.prefix_chars)
                if update.confidence or watched:
                    self._tell(Progress(sample, trace.num_tokens, update.confidence))
                if trace.finish_reason is not None:
                    self._streaming.pop(sample, None)
                    trace.find_answer(self.problem, self.sampling)
                    self._tell(Finished(sample, trace.answer, trace.num_tokens))
                    if update.finish_reason is None:
                        return  # at a stop text that its engine did not see
                elif update.prefix_chars is not None:
                    if request.pause:
                        self._streaming.pop(sample, None)
                    self._tell(PrefixReady(sample, trace.num_tokens))

    def _request(self, sample: int, trace: LiveTrace, to_checkpoint: bool) -> TraceRequest:
        policy = self.policy
        watch = (
            policy
            if isinstance(policy, JudgingConfig) and to_checkpoint and trace.prefix_chars is None
            else None
        )
        return trace.request(
            f"{self.key}/{sample}",
            self.problem,
            self.sampling,
            checkpoint=watch.checkpoint if watch else None,
            reasoning_words=watch.reasoning_words if watch else None,
            pause=watch is not None and watch.pauses,
            report_to=self.report_to,
        )

    async def _judge(self, sample: int, members: tuple[int, ...]) -> None:
        """Score a trace against members of clusters, in as many calls as it takes."""
        started = time.monotonic()
        size = self.pairs_per_call
        parts = [members[start : start + size] for start in range(0, len(members), size)]
        try:
            replies = await asyncio.gather(*(self._score(sample, part) for part in parts))
        except (EngineGone, NoRoom) as error:
            logger.warning("%s: goes on without a judge: %s", self._name(sample), error)
            self._tell(JudgeLost(sample))
            return
        scores = [p for reply in replies for p in reply.p_same]
        self.scores.update({(m, sample): p for m, p in zip(members, scores, strict=True)})
        self._tell(
            Judged(
                sample,
                dict(zip(members, scores, strict=True)),
                sum(reply.computed_tokens for reply in replies),
                sum(reply.cached_tokens for reply in replies),
                time.monotonic() - started,
            )
        )

    async def _score(self, sample: int, members: tuple[int, ...]) -> JudgeReply:
        assert self.judges is not None, "the policy asks for a judge, but there is none"
        request = JudgeRequest(
            request_id=f"{self.key}/{sample}/judge-{members[0]}",
            problem=self.problem.text,
            firsts=tuple(self.traces[member].prefix for member in members),
            second=self.traces[sample].prefix,
            report_to=self.report_to,
        )
        deaths = 0
        while True:
            try:
                return await self.judges.score(request)
            except EngineGone as error:
                logger.warning("%s: judge: %s", self._name(sample), error)
                deaths += not isinstance(error, Unheard)
                if deaths > self.limits.retries:
                    raise

    async def _read(self, answer: str) -> None:
        """Read an answer that is new. Algebra may take seconds; the vote finds what it found."""
        if answer not in self._answers_read:
            await asyncio.to_thread(read_value, answer)
            self._answers_read.add(answer)

    def _name(self, sample: int) -> str:
        """The trace, as a line in a log tells it."""
        return f"{self.key} {self.problem.problem_id} trace {sample}"

    def _tell(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _bill_prompt(self, update: TraceUpdate) -> None:
        if update.prompt_computed_tokens or update.prompt_cached_tokens:
            self.session.add_costs(
                prompt_computed_tokens=update.prompt_computed_tokens,
                prompt_cached_tokens=update.prompt_cached_tokens,
            )

    async def _settle_all(self) -> None:
        """Wait until what was cancelled has ended, here and in the engines, and is billed."""
        if self._ending:
            await asyncio.wait(self._ending)
        if not self._unsettled:
            return
        try:
            await asyncio.wait_for(self._settled.wait(), SETTLE_S)
        except TimeoutError:
            logger.info(
                "%s: no final count for %d cancelled traces; they are billed as last heard of",
                self.problem.problem_id,
                len(self._unsettled),
            )
