"""Messages and protocols between the drivers, the generators and the judges."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from deepprune.config import SamplingConfig
from deepprune.traces import PLAIN_PROMPT, Message, PromptOptions


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One trace to generate, from its start or from a prefix.

    The prefix (text, number of tokens, and token ids where the generator reveals them) was
    generated before the trace paused at its checkpoint or lost its replica. It counts against
    `sampling.max_tokens`. With `checkpoint` the stream reports the checkpoint's position, and ends
    there if `pause`. The prompt is `messages` where given, else `problem`.
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
    """Handle of the actor that receives a cancelled trace's usage, through `settle`."""
    messages: tuple[Message, ...] = ()
    prompt_options: PromptOptions = PLAIN_PROMPT

    @property
    def chat(self) -> tuple[Message, ...]:
        """The conversation to send to the model."""
        return self.messages or (Message("user", self.problem),)


@dataclass(frozen=True, slots=True)
class TraceUpdate:
    """What a trace has generated since its last update.

    There is one about every second, one at the checkpoint and one at the end. `num_tokens` counts
    all tokens of the trace, its prefix included. `token_ids` is empty where the generator does not
    reveal them. `prefix_chars` is set once, at the checkpoint: the length of the prefix in
    characters. `finish_reason` (`stop`, `length`) is set on the last update of a finished trace.
    """

    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    prefix_chars: int | None = None
    finish_reason: str | None = None
    confidence: tuple[float, ...] = ()
    prompt_computed_tokens: int = 0
    prompt_cached_tokens: int = 0
    tool_calls: str = ""
    """On the last update of a trace that calls tools: a JSON list in OpenAI's form, without ids."""
    said_beside_calls: str = ""
    """What its answer part says besides."""


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
        """The key of the problem's run: `request_id` up to its first slash."""
        return self.request_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """P(same) for each of the request's `firsts`, in order, and the prompt tokens read for it."""

    p_same: tuple[float, ...]
    computed_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What a generator knows of a prompt: its length, and that of the model's context, in tokens.

    `begins_in_thought` says that it ends in the mark that begins a thought.
    """

    num_tokens: int
    context: int
    begins_in_thought: bool


class PromptRefused(ValueError):
    """The model cannot honour a prompt; the arguments are the reason and the parameter at fault."""


class EngineGone(Exception):
    """A generator died, hung or dropped the connection; the request may be re-issued."""


class NotStarted(EngineGone):
    """No replica took a request in time; none need have died."""


class PromptTooLong(Exception):
    """A problem leaves no room for prefixes in the judge's prompt; a retry would fail too."""


class Generators(Protocol):
    """A source of traces. Closing the iterator cancels the trace."""

    def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace.

        Raises:
            EngineGone: the stream ended before the trace did.
        """
        ...


class Judges(Protocol):
    """A source of P(same)."""

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one prefix against others. Cancelling the call cancels the work.

        Raises:
            EngineGone: the judge died; a retry may succeed.
            PromptTooLong: a retry would fail too.
        """
        ...
