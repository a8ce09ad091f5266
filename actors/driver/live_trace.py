"""A trace as it is generated live, across pauses and the engines that die under it."""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence
from dataclasses import dataclass, field
from typing import Any

from actors.generators.confidence import ConfidenceMeter
from actors.messages import TraceRequest, TraceUpdate
from deepprune.answers import extract_answer, read_value
from deepprune.answers.forms import called_functions
from deepprune.answers.reply import ANSWER_START
from deepprune.config import SamplingConfig
from deepprune.seeds import stable_seed
from deepprune.traces import Problem


@dataclass(slots=True)
class LiveTrace:
    """The state of a trace: enough to judge it, to resume it and to re-issue it."""

    seed: int
    confidence_window: int | None = None
    """Tokens of a group of which confidence is measured, if it is."""
    text: str = ""
    token_ids: MutableSequence[int] = field(default_factory=lambda: array("i"))
    """Four bytes a token: there may be billions of tokens in flight."""
    num_tokens: int = 0
    prefix_chars: int | None = None
    prefix_tokens: int | None = None
    finish_reason: str | None = None
    answer: str | None = None
    confidence: list[float] = field(default_factory=list)
    """Readings of group confidence."""
    num_reissued: int = 0
    engine_s: float = 0.0
    """Seconds from first to last token, over all requests."""
    replica: str | None = None
    """The replica that generated the last update."""
    tool_calls: str = ""
    """What the trace calls, a JSON list in OpenAI's form; empty where it calls nothing."""
    said_beside_calls: str = ""
    closing: bool = False
    """Whether its next request asks to close its thought."""
    closed_tokens: int | None = None
    """Tokens at which its thought was closed, if it was."""
    _meter: ConfidenceMeter | None = None

    def __post_init__(self) -> None:
        if self.confidence_window is not None:
            self._meter = ConfidenceMeter(self.confidence_window)

    @property
    def prefix(self) -> str:
        """The text that the judge reads: up to the checkpoint, or all of a trace without one."""
        return self.text[: self.prefix_chars]

    def request(
        self,
        name: str,
        problem: Problem,
        sampling: SamplingConfig,
        asks_for_value: bool = True,
        **options: Any,
    ) -> TraceRequest:
        """Make the request for the rest of the trace, under a name that no other request has.

        `asks_for_value` says that the answer is a value to compare; see `deepprune.answers`.
        """
        attempt = f"{self.num_tokens}-{self.num_reissued}"
        close = None
        if self.closing and self.closed_tokens is None:
            attempt += "-close"
            close = ANSWER_START if asks_for_value and isinstance(problem.answer_kind, str) else ""
        return TraceRequest(
            request_id=f"{name}/{attempt}",
            problem=problem.text,
            messages=problem.messages,
            prompt_options=problem.prompt_options,
            sampling=sampling,
            # A resumed trace is a new draw from the same distribution: its own seed, recorded.
            seed=stable_seed(self.seed, attempt) if self.num_tokens else self.seed,
            prefix_text=self.text,
            prefix_token_ids=self.token_ids,
            prefix_num_tokens=self.num_tokens,
            replica=self.replica,
            answer_tokens=0 if self.closing else sampling.answer_tokens or 0,
            close=close,
            **options,
        )

    def read_answer(self, problem: Problem, sampling: SamplingConfig) -> None:
        """Extract the answer and parse its value, which may take seconds; call it in a thread.

        A trace that calls tools answers by its calls. A vote finds the value in a cache.
        """
        self.answer = (
            called_functions(self.tool_calls)
            if self.tool_calls
            else extract_answer(
                self.text,
                problem.answer_kind,
                finish_reason=self.finish_reason,
                truncated=sampling.truncated_answers,
            )
        )
        if self.answer is not None:
            read_value(self.answer)

    def take(self, update: TraceUpdate) -> tuple[float, ...]:
        """Append what was generated since the last update; return the readings of confidence."""
        # In a local variable a string grows in place; as an attribute it would be copied each time.
        text, self.text = self.text, ""
        text += update.text
        self.text = text if update.num_chars is None else text[: update.num_chars]
        self.token_ids.extend(update.token_ids)
        self.closing |= update.before_answer
        if update.closed:
            self.closed_tokens = self.num_tokens
        self.num_tokens = update.num_tokens
        self.engine_s += update.engine_s
        self.replica = update.replica
        if update.prefix_chars is not None:
            self.prefix_chars, self.prefix_tokens = update.prefix_chars, update.num_tokens
        if update.finish_reason not in (None, "abort"):
            self.finish_reason = update.finish_reason
            self.tool_calls = update.tool_calls
            self.said_beside_calls = update.said_beside_calls
        if self._meter is None:
            return ()
        readings = self._meter.take(update.confidence, at_end=self.finish_reason is not None)
        self.confidence += readings
        return readings
