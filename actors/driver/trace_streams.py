"""The streams of a problem's traces: one for each trace, re-issued when its engine dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from actors.driver.live_trace import LiveTrace
from actors.messages import EngineGone, Generators, NotStarted, TraceRequest, TraceUpdate
from deepprune.config import SamplingConfig
from deepprune.events import Event, Failed, Finished, PrefixReady, Progress
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.traces import Problem

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TraceStreams:
    """Generates traces and reports their events; `name` begins the ids of its requests."""

    name: str
    problem: Problem
    policy: PolicyConfig
    sampling: SamplingConfig
    generators: Generators
    retries: int
    report_to: Any
    report_progress: bool
    on_event: Callable[[Event], None]
    add_costs: Callable[..., None]
    num_tokens: int = 0
    """Tokens of all traces."""
    _streaming: dict[int, object] = field(default_factory=dict)

    def is_open(self, sample: int) -> bool:
        """Whether a trace is being generated."""
        return sample in self._streaming

    async def generate(self, sample: int, trace: LiveTrace, *, to_checkpoint: bool) -> None:
        """Generate a trace on to its checkpoint or its end, re-issued when its engine dies."""
        log_name = f"{self.name} {self.problem.problem_id} trace {sample}"
        error: EngineGone | None = None
        in_a_row = 0
        while in_a_row <= self.retries:
            had, died = trace.num_tokens, True
            self._streaming[sample] = attempt = object()
            try:
                await self._stream(sample, trace, to_checkpoint)
            except EngineGone as gone:
                error = gone
                died = not isinstance(gone, NotStarted)
                logger.warning("%s: %s", log_name, gone)
            if self._streaming.get(sample) is not attempt:
                # The trace reached its checkpoint or end, even if the stream broke after it,
                # and may have been continued since.
                return
            trace.num_reissued += 1
            in_a_row = 0 if trace.num_tokens > had else in_a_row + died
        del self._streaming[sample]
        self.on_event(Failed(sample, str(error)))

    async def _stream(self, sample: int, trace: LiveTrace, to_checkpoint: bool) -> None:
        request = self._request(sample, trace, to_checkpoint)
        async with aclosing(self.generators.stream(request)) as updates:
            async for update in updates:
                self.num_tokens += update.num_tokens - trace.num_tokens
                trace.take(update)
                self._add_prompt_costs(update)
                watched = self.report_progress and not (trace.finish_reason or update.prefix_chars)
                if update.confidence or watched:
                    self.on_event(Progress(sample, trace.num_tokens, update.confidence))
                if trace.finish_reason is not None:
                    self._streaming.pop(sample, None)
                    trace.find_answer(self.problem, self.sampling)
                    self.on_event(Finished(sample, trace.answer, trace.num_tokens))
                    if update.finish_reason is None:
                        return  # at a stop text that its engine did not see
                elif update.prefix_chars is not None:
                    if request.pause:
                        self._streaming.pop(sample, None)
                    self.on_event(PrefixReady(sample, trace.num_tokens))

    def _request(self, sample: int, trace: LiveTrace, to_checkpoint: bool) -> TraceRequest:
        policy = self.policy
        watch = (
            policy
            if isinstance(policy, JudgingConfig) and to_checkpoint and trace.prefix_chars is None
            else None
        )
        return trace.request(
            f"{self.name}/{sample}",
            self.problem,
            self.sampling,
            checkpoint=watch.checkpoint if watch else None,
            reasoning_words=watch.reasoning_words if watch else None,
            pause=watch is not None and watch.pauses,
            report_to=self.report_to,
        )

    def _add_prompt_costs(self, update: TraceUpdate) -> None:
        if update.prompt_computed_tokens or update.prompt_cached_tokens:
            self.add_costs(
                prompt_computed_tokens=update.prompt_computed_tokens,
                prompt_cached_tokens=update.prompt_cached_tokens,
            )
