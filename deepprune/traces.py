"""Problems and their traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepprune.answers import AnswerKind


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a verifiable answer.

    `problem_id` is `benchmark/id`; `reference` is the known answer, None outside benchmarks;
    `answer_kind` is the form of its answers. `messages` is the prompt as a conversation, where it
    is more than `text` from the user; the judge reads `text`.
    """

    problem_id: str
    text: str
    reference: str | None = None
    answer_kind: AnswerKind = "auto"
    messages: tuple[Message, ...] = ()

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
