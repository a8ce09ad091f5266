"""The result of a vote as a chat completion, whole or as stream chunks.

OpenAI clients read the standard fields and ignore `deepprune`; see docs/endpoint.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.driver.live_trace import LiveTrace
from actors.serving.responses import (
    AnswerCall,
    AnswerMessage,
    CalledFunction,
    Choice,
    Completion,
    FinishReason,
    TokenDetails,
    Usage,
    VoteResult,
    VoteShare,
)
from actors.serving.spec import RequestSpec
from deepprune.answers.reply import Spoken, spoken_parts
from deepprune.certificate import p_full_vote
from deepprune.ledger import Ledger
from deepprune.session import Outcome

CHUNK_CHARS = 512
"""Characters of the answer in one chunk of a stream."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The result of a request. `stopped_by` is the limit that ended it early, if any."""

    request_id: str
    created: int
    spec: RequestSpec
    outcome: Outcome
    traces: Mapping[int, LiveTrace]
    num_prompt_tokens: int
    stopped_by: str | None = None
    begins_in_thought: bool = False
    """Whether the prompt ends in the mark that begins a thought."""

    @property
    def answer_trace(self) -> LiveTrace | None:
        """The trace whose text is the answer; see `representative`."""
        return representative(self.outcome, self.traces)

    @property
    def stop_reason(self) -> str:
        """What ended the request: its vote, or `no_answer`, or the limit that was met."""
        return self.stopped_by or ("vote" if self.outcome.decision.votes else "no_answer")

    @property
    def finish_reason(self) -> FinishReason:
        """`length` if a limit of the request or of the answer's trace ended it, else `stop`."""
        trace = self.answer_trace
        if trace is None or trace.finish_reason != "stop" or self.stopped_by is not None:
            return "length"
        return "tool_calls" if trace.tool_calls else "stop"

    @property
    def result(self) -> VoteResult:
        """How the answer came about."""
        decision, ledger = self.outcome.decision, self.outcome.ledger
        votes = vote_shares(decision.votes)
        return VoteResult(
            answer=decision.answer,
            vote_share=votes[0].share if votes else None,
            votes=votes,
            p_full_vote=p_full_vote(self.outcome, self.spec.policy),
            policy=self.outcome.policy,
            stop_reason=self.stop_reason,
            complete=self.outcome.complete,
            num_traces=ledger.launched_traces,
            finished_traces=ledger.finished_traces,
            pruned_traces=ledger.cancelled_traces,
            num_clusters=len(decision.clusters),
            clusters=(
                [list(cluster) for cluster in decision.clusters]
                if self.spec.return_clusters
                else None
            ),
            savings=savings(ledger, self.spec.policy.num_traces),
            wall_s=round(ledger.wall_s, 3),
        )

    @property
    def usage(self) -> Usage:
        """What it cost."""
        ledger, trace = self.outcome.ledger, self.answer_trace
        completion = trace.num_tokens if trace else 0
        return Usage(
            prompt_tokens=self.num_prompt_tokens,
            completion_tokens=completion,
            total_tokens=self.num_prompt_tokens + completion,
            deepprune=TokenDetails(
                generated_tokens=ledger.generated_tokens,
                pruned_tokens=ledger.cancelled_after_checkpoint_tokens
                + ledger.cancelled_before_checkpoint_tokens,
                late_tokens=ledger.late_tokens,
                lost_tokens=ledger.lost_tokens,
                judge_tokens=ledger.judge_computed_tokens,
                judge_cached_tokens=ledger.judge_cached_tokens,
            ),
        )

    @property
    def spoken(self) -> Spoken:
        """Thought and answer of the answer's trace, as the client wants them."""
        trace = self.answer_trace
        if trace is None:
            return Spoken(None, "")
        if not self.spec.separate_reasoning:
            return Spoken(None, trace.text)
        spoken = spoken_parts(trace.text, begins_in_thought=self.begins_in_thought)
        if trace.tool_calls:
            spoken = Spoken(spoken.thought, trace.said_beside_calls or None)
        return spoken if self.spec.include_reasoning else Spoken(None, spoken.answer)

    @property
    def tool_calls(self) -> list[AnswerCall] | None:
        """The calls of the answer's trace, with ids; None where it calls nothing."""
        trace = self.answer_trace
        if trace is None or not trace.tool_calls:
            return None
        calls = json.loads(trace.tool_calls)
        name = self.request_id[:24]
        return [
            AnswerCall(id=f"call_{name}_{number}", function=CalledFunction(**call["function"]))
            for number, call in enumerate(calls)
        ]

    @property
    def completion(self) -> Completion:
        """The response in one piece."""
        spoken = self.spoken
        return Completion(
            id=completion_id(self.request_id),
            created=self.created,
            model=self.spec.model,
            choices=[
                Choice(
                    message=AnswerMessage(
                        content=spoken.answer,
                        reasoning_content=spoken.thought,
                        reasoning=spoken.thought,
                        tool_calls=self.tool_calls,
                    ),
                    finish_reason=self.finish_reason,
                )
            ],
            usage=self.usage,
            deepprune=self.result,
        )

    @property
    def headers(self) -> dict[str, str]:
        """The result as response headers."""
        result = self.result
        values = {
            "vote-share": result.vote_share,
            "p-full-vote": result.p_full_vote,
            "clusters": result.num_clusters,
            "savings": result.savings,
            "stop-reason": result.stop_reason,
            "generated-tokens": self.usage.deepprune.generated_tokens,
        }
        return {
            f"x-deepprune-{name}": f"{value:.4f}" if isinstance(value, float) else str(value)
            for name, value in values.items()
            if value is not None
        }

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The last chunks of a stream: thought, answer, finish reason, usage if wanted."""
        spoken = self.spoken
        deltas: list[dict[str, Any]] = [
            {"reasoning_content": p, "reasoning": p} for p in _pieces(spoken.thought)
        ]
        deltas += [{"content": piece} for piece in _pieces(spoken.answer)]
        calls = [call.model_dump() for call in self.tool_calls or ()]
        deltas += [{"tool_calls": [{"index": at} | call]} for at, call in enumerate(calls)]
        usage = self.usage
        for number, delta in enumerate(deltas, 1):
            yield self._chunk(delta) | self._usage_so_far(usage, number / len(deltas))
        last = self._chunk({}, self.finish_reason) | self._usage_so_far(usage)
        yield last | {"deepprune": {"result": self.result.model_dump()}}
        if self.spec.include_usage:
            yield self._chunk(None) | {"usage": usage.model_dump()}

    def _usage_so_far(self, usage: Usage, share: float = 1.0) -> dict[str, Any]:
        """The usage after a share of the answer's trace, where the client wants it all the time."""
        if not self.spec.continuous_usage:
            return {}
        completion = round(usage.completion_tokens * share)
        counts = {"completion_tokens": completion, "total_tokens": usage.prompt_tokens + completion}
        return {"usage": usage.model_copy(update=counts).model_dump()}

    def _chunk(self, delta: dict[str, Any] | None, reason: str | None = None) -> dict[str, Any]:
        return chunk(self.request_id, self.created, self.spec.model, delta, reason)


def chunk(
    request_id: str,
    created: int,
    model: str,
    delta: dict[str, Any] | None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    """Build a chunk of a stream; without a delta it has no choices."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]
    return {
        "id": completion_id(request_id),
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices if delta is not None else [],
    }


def _pieces(text: str | None) -> list[str]:
    text = text or ""
    return [text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS)]


def completion_id(request_id: str) -> str:
    """The id of a completion, in OpenAI's form."""
    return f"chatcmpl-{request_id}"


def vote_shares(votes: tuple[tuple[str, tuple[int, ...]], ...]) -> list[VoteShare]:
    """Return votes with their shares, most first."""
    num_votes = sum(len(samples) for _, samples in votes)
    return [
        VoteShare(answer=answer, count=len(samples), share=round(len(samples) / num_votes, 4))
        for answer, samples in votes
    ]


def representative(outcome: Outcome, traces: Mapping[int, LiveTrace]) -> LiveTrace | None:
    """Choose the trace whose text is the response: the first that voted for the answer.

    Without votes, choose the first finished trace; without one, the longest trace of the largest
    cluster, or of all. None if nothing was generated.
    """
    votes = outcome.decision.votes
    if votes:
        return traces[votes[0][1][0]]
    finished = [sample for sample, trace in traces.items() if trace.finish_reason is not None]
    if finished:
        return traces[min(finished)]
    largest = max(outcome.decision.clusters, key=len, default=tuple(traces))
    longest = max((traces[s] for s in largest), key=lambda t: t.num_tokens, default=None)
    return longest if longest is not None and longest.text else None


def savings(ledger: Ledger, num_traces: int) -> float | None:
    """Estimate the share of tokens saved against finishing all `num_traces` traces.

    Unfinished traces count with the mean length of finished ones. None if none finished.
    """
    if not ledger.finished_traces:
        return None
    expected = num_traces * ledger.finished_tokens / ledger.finished_traces
    return round(1 - ledger.generated_tokens / expected, 4) if expected else None
