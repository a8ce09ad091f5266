"""Problems and their traces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepprune.answers import AnswerForm


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is `system`, `user`, `assistant` or `tool`.

    `reasoning` is the thought of an assistant's turn, `tool_calls` what it calls, as JSON in
    OpenAI's form; `tool_call_id` is the call that a tool's turn answers.
    """

    role: str
    content: str
    name: str | None = None
    reasoning: str | None = None
    tool_calls: str = ""
    tool_call_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The turn as OpenAI-compatible servers take it, without the fields that it lacks."""
        turn = {
            "role": self.role,
            "content": self.content,
            "name": self.name,
            "reasoning": self.reasoning,
            "reasoning_content": self.reasoning,
            "tool_calls": json.loads(self.tool_calls or "null"),
            "tool_call_id": self.tool_call_id,
        }
        return {key: value for key, value in turn.items() if value is not None}


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What shapes a prompt beside its conversation.

    `tools` is a JSON list in OpenAI's form, or empty. `template_kwargs` are arguments of the chat
    template, over those of the generator. `reasoning_effort` is OpenAI's.
    """

    tools: str = ""
    template_kwargs: tuple[tuple[str, str | int | float | bool | None], ...] = ()
    reasoning_effort: str | None = None


PLAIN_PROMPT = PromptOptions()


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a verifiable answer.

    `problem_id` is `benchmark/id`; `reference` is the known answer, None outside benchmarks;
    `answer_kind` is the form of its answers. `messages` is the prompt as a conversation, where it
    is more than `text` from the user, and `prompt_options` what else shapes it; the judge reads
    `text`.
    """

    problem_id: str
    text: str
    reference: str | None = None
    answer_kind: AnswerForm = "auto"
    messages: tuple[Message, ...] = ()
    prompt_options: PromptOptions = PLAIN_PROMPT

    @property
    def chat(self) -> tuple[Message, ...]:
        """The conversation to send to the model."""
        return self.messages or (Message("user", self.text),)


@dataclass(frozen=True, slots=True)
class Trace:
    """A finished trace: its whole text and the answer found in it (None where there is none)."""

    sample: int
    text: str
    num_tokens: int
    finish_reason: str
    answer: str | None
    confidence: tuple[float, ...] = ()
