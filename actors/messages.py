"""Messages and protocols between the drivers, the generators and the judges."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    prefix_token_ids: Sequence[int] = ()
    prefix_num_tokens: int = 0
    checkpoint: str | None = None
    reasoning_words: tuple[str, ...] | None = None
    pause: bool = False
    messages: tuple[Message, ...] = ()
    prompt_options: PromptOptions = PLAIN_PROMPT
    replica: str | None = None
    """The replica whose cache holds the prefix."""
    priority: int = 0
    """The engine decodes requests with a lower number first."""
    answer_tokens: int = 0
    """Above 0 the trace stops where only so many tokens of its budget are left, so that its thought
    may be closed."""
    close: str | None = None
    """Close the thought that the prefix is in, and begin the answer with this text."""

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
    characters. `finish_reason` is set on the last update of a trace that has ended: `stop`,
    `length`, or `abort` for one that its driver aborted. `num_chars` is set where the trace's text
    is shorter than what was sent: up to its stop text. `confidence` has one value for each token,
    where it is measured. `engine_s` is set on the last update: seconds since the request's first
    token. `before_answer` is set on the last update of a trace that has stopped so that its thought
    may be closed. `closed` says that `text` and `token_ids` begin with what closed the thought;
    those tokens are part of the prompt, and `num_tokens` does not count them.
    """

    text: str
    token_ids: Sequence[int]
    num_tokens: int
    prefix_chars: int | None = None
    finish_reason: str | None = None
    num_chars: int | None = None
    confidence: Sequence[float] = ()
    prompt_computed_tokens: int = 0
    prompt_cached_tokens: int = 0
    tool_calls: str = ""
    """On the last update of a trace that calls tools: a JSON list in OpenAI's form, without ids."""
    said_beside_calls: str = ""
    """What its answer part says besides."""
    engine_s: float = 0.0
    replica: str | None = None
    before_answer: bool = False
    closed: bool = False

    @property
    def prompt_costs(self) -> dict[str, int]:
        """What the prompt cost, by the names of the ledger."""
        return {
            "prompt_computed_tokens": self.prompt_computed_tokens,
            "prompt_cached_tokens": self.prompt_cached_tokens,
        }


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """Compare the newer prefix `second` with each of `firsts`, all of the same problem."""

    request_id: str
    problem: str
    firsts: tuple[str, ...]
    second: str
    replica: str | None = None
    priority: int = 0

    @property
    def vote(self) -> str:
        """The key of the problem's run: `request_id` up to its first slash."""
        return self.request_id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """P(same) for each of the request's `firsts`, in order, and the prompt tokens read for it.

    An aborted call has no P(same), but the cost of what it did: `num_pairs` were scored.
    """

    p_same: tuple[float, ...]
    computed_tokens: int
    cached_tokens: int
    num_pairs: int = -1

    def __post_init__(self) -> None:
        """Count the pairs of a call that was not aborted."""
        if self.num_pairs < 0:
            object.__setattr__(self, "num_pairs", len(self.p_same))


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What a generator knows of a prompt: its length, and that of the model's context, in tokens.

    `begins_in_thought` says that it ends in the mark that begins a thought.
    """

    num_tokens: int
    context: int
    begins_in_thought: bool


class EngineGone(Exception):
    """A generator or judge died, hung or dropped the connection; a retry may succeed.

    With `back_off` the retry should wait.
    """

    def __init__(self, message: str, back_off: bool = False) -> None:
        super().__init__(message)
        self.back_off = back_off


class Busy(EngineGone):
    """A generator asks for a later retry, after `retry_after_s` where it says so; it is alive."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, back_off=True)
        self.retry_after_s = retry_after_s


class RequestRefused(Exception):
    """A replica cannot serve a request; a retry would fail too."""


class PromptTooLong(RequestRefused):
    """A problem leaves no room for prefixes in the judge's prompt."""


class PromptRefused(RequestRefused):
    """The model cannot honour a prompt; the arguments are the reason and the parameter at fault."""


class Generators(Protocol):
    """A source of traces."""

    def stream(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace. Closing the iterator ends it, too, without its last update.

        Raises:
            EngineGone: the stream ended before the trace did.
            RequestRefused: a retry would fail too.
        """
        ...

    def abort(self, request_id: str) -> int:
        """End a trace soon: its stream ends with what it has generated until then.

        Return the tokens of the trace, its prefix included, as last reported.
        """
        ...


class Judges(Protocol):
    """A source of P(same)."""

    async def score(self, request: JudgeRequest) -> JudgeReply:
        """Score one prefix against others.

        Raises:
            EngineGone: the judge died; a retry may succeed.
            PromptTooLong: a retry would fail too.
        """
        ...

    def abort(self, request_id: str) -> object:
        """End a call soon: it returns what it has cost until then."""
        ...
