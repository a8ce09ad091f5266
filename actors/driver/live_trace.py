"""A trace as it is generated live, across pauses and the engines that die under it."""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence
from dataclasses import dataclass, field
from typing import Any

from actors.messages import TraceRequest, TraceUpdate
from deepprune.answers import extract_answer
from deepprune.answers.forms import called_functions
from deepprune.config import SamplingConfig
from deepprune.seeds import stable_seed
from deepprune.traces import Problem


@dataclass(slots=True)
class LiveTrace:
    """All that is known of a trace: enough to judge it, to resume it and to re-issue it."""

    seed: int
    text: str = ""
    token_ids: MutableSequence[int] = field(default_factory=lambda: array("i"))
    """Four bytes a token: there may be billions of tokens in flight."""
    num_tokens: int = 0
    prefix_chars: int | None = None
    prefix_tokens: int | None = None
    finish_reason: str | None = None
    answer: str | None = None
    confidence: list[float] = field(default_factory=list)
    num_reissued: int = 0
    stop: tuple[str, ...] = ()
    tool_calls: str = ""
    """What the trace calls, a JSON list in OpenAI's form; empty where it calls nothing."""
    said_beside_calls: str = ""

    @property
    def prefix(self) -> str:
        """What the judge reads: up to the checkpoint, or all of a trace that is shorter."""
        return self.text[: self.prefix_chars]

    def request(
        self, name: str, problem: Problem, sampling: SamplingConfig, **options: Any
    ) -> TraceRequest:
        """What asks for the rest of the trace, under a name that no other request has."""
        attempt = f"{self.num_tokens}-{self.num_reissued}"
        return TraceRequest(
            request_id=f"{name}/{attempt}",
            problem=problem.text,
            messages=problem.messages,
            prompt_options=problem.prompt_options,
            sampling=sampling,
            # A resumed trace is a new draw from the same distribution: its own seed, recorded.
            seed=stable_seed(self.seed, attempt) if self.num_tokens else self.seed,
            prefix_text=self.text,
            prefix_token_ids=tuple(self.token_ids),
            prefix_num_tokens=self.num_tokens,
            **options,
        )

    def find_answer(self, problem: Problem, sampling: SamplingConfig) -> None:
        """Read the answer off a trace that has ended: the functions that it calls, or its text."""
        if self.tool_calls:
            self.answer = called_functions(self.tool_calls)
            return
        self.answer = extract_answer(
            self.text,
            problem.answer_kind,
            finish_reason=self.finish_reason,
            truncated=sampling.truncated_answers,
        )

    def take(self, update: TraceUpdate) -> None:
        """Append what was generated since the last update."""
        # In a local variable a string grows in place; as an attribute it would be copied each time.
        text, self.text = self.text, ""
        text += update.text
        self.text = text
        self.token_ids.extend(update.token_ids)
        self.num_tokens = update.num_tokens
        self.confidence += update.confidence
        if update.prefix_chars is not None:
            self.prefix_chars, self.prefix_tokens = update.prefix_chars, update.num_tokens
        if update.finish_reason is not None:
            self.finish_reason = update.finish_reason
            self.tool_calls = update.tool_calls
            self.said_beside_calls = update.said_beside_calls
        self._cut_at_stop(len(update.text))

    def _cut_at_stop(self, num_new: int) -> None:
        """End at a stop text that begins before a pause and ends after it: no engine sees those."""
        for stop in self.stop:
            at = self.text.find(stop, max(0, len(self.text) - num_new - len(stop) + 1))
            if at >= 0:
                self.text, self.finish_reason = self.text[:at], "stop"
