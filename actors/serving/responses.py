"""The body of a successful chat completion.

OpenAI clients read the standard fields and ignore `deepprune`; see docs/endpoint.md.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length", "tool_calls"]


class CalledFunction(BaseModel):
    """A function with its arguments as JSON."""

    name: str
    arguments: str


class AnswerCall(BaseModel):
    """A tool call of the answer's trace."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(BaseModel):
    """The text of a trace that gave the winning answer: its thought and its answer apart."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The thought under its second name: servers and clients are divided."""
    tool_calls: list[AnswerCall] | None = None
    refusal: None = None


class Choice(BaseModel):
    """The only choice."""

    index: Literal[0] = 0
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: None = None


class TokenDetails(BaseModel):
    """The tokens that the request cost."""

    generated_tokens: int
    """By all traces."""
    pruned_tokens: int
    """Of them, by traces that were cancelled."""
    late_tokens: int
    """Of them, between the decision to cancel and its effect."""
    lost_tokens: int
    """Of them, by traces whose replica died."""
    judge_tokens: int
    """Prompt tokens that the judge computed."""
    judge_cached_tokens: int
    """Prompt tokens that the judge read from its prefix cache."""


class Usage(BaseModel):
    """`completion_tokens` are those of the answer; `deepprune` has the tokens of all traces."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    deepprune: TokenDetails


class VoteShare(BaseModel):
    """An answer and the number of traces that gave it."""

    answer: str
    count: int
    share: float


class VoteResult(BaseModel):
    """How the answer came about."""

    answer: str | None
    vote_share: float | None
    votes: list[VoteShare]
    p_full_vote: float | None
    """P(the vote over all n traces gives the same answer)."""
    policy: str
    stop_reason: str
    complete: bool
    num_traces: int
    finished_traces: int
    pruned_traces: int
    num_clusters: int
    clusters: list[list[int]] | None
    savings: float | None
    wall_s: float


class Completion(BaseModel):
    """The body of a successful response."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    deepprune: VoteResult
