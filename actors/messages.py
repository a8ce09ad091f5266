"""What travels between the coordinator, the generators and the judges."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from deepprune.config import SamplingConfig
from deepprune.traces import Message


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One trace to generate, from its start or from a prefix it already has.

    `prefix_text`, its `prefix_num_tokens` and, where the generator reveals them, their ids are
    what the trace generated before: it was paused at its checkpoint, or its replica died. They
    count against `sampling.max_tokens`. With `checkpoint` the stream reports where the checkpoint
    falls, and ends there if `pause`. Where there are `messages`, they are asked, not `problem`.
    """

    request_id: str
    problem: str
    sampling: SamplingConfig
    seed: int
    prefix_text: str = ""
    prefix_token_ids: tuple[int, ...] = ()
    prefix_num_tokens: int = 0
    checkpoint: str | None = None
    reasoning_words: tuple[str, ...] | None = None
    pause: bool = False
    report_to: Any = None
    """Handle of the actor that is told, through `settle`, what a cancelled trace had generated."""
    messages: tuple[Message, ...] = ()

    @property
    def chat(self) -> tuple[Message, ...]:
        """What the model is asked."""
        return self.messages or (Message("user", self.problem),)


@dataclass(frozen=True, slots=True)
class TraceUpdate:
    """What a trace has generated since its last update, at most one a second and at its turns.

    `num_tokens` counts all tokens generated for the trace, its prefix included. `token_ids` may be
    empty where a generator does not reveal them. `prefix_chars` is set once, at the checkpoint:
    the prefix is that many characters of the trace's text. `finish_reason` is set on the last
    update of a trace that ended by itself (`stop`, `length`).
    """

    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    prefix_chars: int | None = None
    finish_reason: str | None = None
    confidence: tuple[float, ...] = ()
    prompt_computed_tokens: int = 0
    prompt_cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """Compare the prefix `second` with each of `firsts`, all of the same problem."""

    request_id: str
    problem: str
    firsts: tuple[str, ...]
    second: str
    report_to: Any = None

    @property
    def vote(self) -> str:
        """The problem's run that it belongs to: what `request_id` begins with, up to a slash."""
        return self.request_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """P(same) for each of the request's `firsts`, in order, and the prompt tokens it took."""

    p_same: tuple[float, ...]
    computed_tokens: int
    cached_tokens: int


class EngineGone(Exception):
    """A generator died, hung or dropped the connection; the trace may be re-issued."""


class NotStarted(EngineGone):
    """Nothing has come of a request, as if no generator had taken it; none need have died."""


class PromptTooLong(Exception):
    """A problem leaves a judge no room for prefixes: it would refuse it again."""


class Generators(Protocol):
    """Wherever traces come from. Closing the iterator cancels the trace."""

    def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace.

        Raises:
            EngineGone: the trace ended through no decision of anybody.
        """
        ...


class Judges(Protocol):
    """Wherever P(same) comes from."""

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one prefix against others. Cancelling the call cancels the work.

        Raises:
            EngineGone: the judge died, and the call may be repeated.
            PromptTooLong: it may not.
        """
        ...
