"""Simulated engines with recorded traces, and an event loop whose clock skips idle time.

A simulated trace has the text and length of a recorded one, with a number for an answer. The times
of its tokens are simulated: each replica decodes up to `streams` traces, step by step, at the speed
of a `SpeedConfig`; further traces wait.

The clock of `SkippingLoop` is the CPU time of this process plus the idle time that it skips. So
waiting for an engine takes no time, and waiting for this process takes as long as on an idle
machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import selectors
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.generators.abortable import AbortableGenerators
from actors.messages import JudgeReply, JudgeRequest, TraceRequest, TraceUpdate
from deepprune.recordings import RecordedTrace, Recording
from deepprune.speed import SpeedConfig

REPLICAS_PER_NODE = 8
STREAMS_PER_REPLICA = 256
ROUNDS_A_LOOK = 8
"""Rounds of a busy event loop between two reads of the clock."""


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: with nothing to do, its clock jumps to the next timer."""

    def __init__(self) -> None:
        self._skipped_s = 0.0
        self._in_threads = 0
        self._now_s = time.process_time()
        super().__init__(_SkippingSelector(self))

    def time(self) -> float:
        """CPU seconds of this process, and the idle seconds skipped."""
        return self._now_s

    def look(self, skip_s: float = 0.0) -> None:
        """Read the clock, which takes an expensive system call."""
        self._skipped_s += skip_s
        self._now_s = time.process_time() + self._skipped_s

    @property
    def may_skip(self) -> bool:
        """Whether the clock may jump: not while a thread is at work."""
        return not self._in_threads

    def run_in_executor(  # type: ignore[override]  # whose types take type variables
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Count what is under way in threads."""
        self._in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, _: Any) -> None:
        self._in_threads -= 1


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop
        self._num_busy = 0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(timeout)
        if timeout <= 0:  # there is work to do: timers may wait for some rounds of it
            self._num_busy += 1
            if self._num_busy % ROUNDS_A_LOOK == 0:
                self._loop.look()
            return super().select(0)
        events = super().select(0 if self._loop.may_skip else timeout)
        self._loop.look(0 if events or not self._loop.may_skip else timeout)
        return events


@dataclass(slots=True)
class _Replica:
    slots: asyncio.Semaphore
    num_running: int = 0


class SimulatedEngines(AbortableGenerators):
    """Generators and judges at once; see the module's docstring.

    `pools` are recordings by the text of the problem asked; sample i gets one of its traces.
    """

    def __init__(
        self,
        pools: dict[str, Recording],
        checkpoint_tokens: int,
        num_replicas: int,
        *,
        speed: SpeedConfig | None = None,
        streams: int = STREAMS_PER_REPLICA,
        progress_s: float = 1.0,
    ) -> None:
        super().__init__()
        self._pools = pools
        self._checkpoint = checkpoint_tokens
        self._speed = speed or SpeedConfig()
        self._progress_s = progress_s
        replicas = [_Replica(asyncio.Semaphore(streams)) for _ in range(num_replicas)]
        self._next = itertools.cycle(replicas)
        self._answers: dict[str, str | None] = {}
        self.num_updates = 0
        self.num_running = 0
        self.most_running = 0

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace."""
        recorded = self._recorded(request)
        replica = next(self._next)
        num_tokens, ended = request.prefix_num_tokens, False
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        turn = None
        if request.checkpoint is not None and self._checkpoint < recorded.num_tokens:
            turn = self._checkpoint
        try:
            async with replica.slots:
                replica.num_running += 1
                try:
                    while not ended:
                        target = recorded.num_tokens if turn is None else turn
                        step_s = self._speed.seconds(1, replica.num_running)
                        tokens = min(target - num_tokens, max(1, int(self._progress_s / step_s)))
                        await asyncio.sleep(tokens * step_s)
                        before, num_tokens = num_tokens, num_tokens + tokens
                        at_turn, turn = num_tokens == turn, None if num_tokens == turn else turn
                        finished = num_tokens == recorded.num_tokens
                        ended = finished or (at_turn and request.pause)
                        yield self._update(recorded, before, num_tokens, at_turn, finished)
                finally:
                    replica.num_running -= 1
        except asyncio.CancelledError:  # aborted
            yield TraceUpdate("", (), num_tokens, finish_reason="abort")
        finally:
            self.num_running -= 1

    def _update(
        self, trace: RecordedTrace, before: int, now: int, at_turn: bool, finished: bool
    ) -> TraceUpdate:
        self.num_updates += 1
        start, end = self._chars(trace, before), self._chars(trace, now)
        return TraceUpdate(
            text=trace.text[start:end],
            token_ids=tuple(range(before, now)),
            num_tokens=now,
            prefix_chars=end if at_turn else None,
            finish_reason="stop" if finished else None,
        )

    @staticmethod
    def _chars(trace: RecordedTrace, tokens: int) -> int:
        return len(trace.text) * tokens // trace.num_tokens

    def _recorded(self, request: TraceRequest) -> RecordedTrace:
        traces = self._pools[request.problem].traces
        key = request.request_id.rpartition("/")[0] + request.problem
        place = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
        return traces[place % len(traces)]

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score a prefix; see `Judges.score`. This judge knows how the traces end."""
        tokens = sum(map(len, request.firsts)) // 4 + len(request.second) // 4
        await asyncio.sleep(self._speed.judge_s + tokens / self._speed.judge_tokens_per_s)
        answer = self._answer(request.problem, request.second)
        answers = (self._answer(request.problem, first) for first in request.firsts)
        return JudgeReply(tuple(0.9 if one == answer else 0.1 for one in answers), tokens, 0)

    def _answer(self, problem: str, prefix: str) -> str | None:
        """The answer of the recorded trace that begins so; generators may be elsewhere."""
        if prefix not in self._answers:
            traces = self._pools[problem].traces
            self._answers[prefix] = next(t.answer for t in traces if t.text.startswith(prefix))
        return self._answers[prefix]


def problem_texts(recordings: Sequence[Recording], num_problems: int) -> dict[str, Recording]:
    """Repeat the recorded problems up to `num_problems`, each under a text of its own."""
    plain = [_with_plain_answers(recording) for recording in recordings]
    made = (plain[number % len(plain)] for number in range(num_problems))
    return {f"{number}. {one.problem.text}": one for number, one in enumerate(made)}


def _with_plain_answers(recording: Recording) -> Recording:
    """Replace each answer by a number, which is compared without the algebra process."""
    answers = [trace.answer for trace in recording.traces if trace.answer is not None]
    numbers = {answer: str(number) for number, answer in enumerate(dict.fromkeys(answers))}
    traces = tuple(
        replace(
            trace,
            answer=numbers[trace.answer],
            text=f"{trace.text}\n\\boxed{{{numbers[trace.answer]}}}",
        )
        for trace in recording.traces
        if trace.answer is not None
    )
    return replace(recording, traces=traces)
