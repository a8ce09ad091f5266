"""What is sampled: a problem, and the traces of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepprune.answers import AnswerKind


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with a verifiable answer.

    `problem_id` is `benchmark/id`; `reference` is the known answer, or None outside benchmarks;
    `answer_kind` says what counts as an answer in a trace of it.
    """

    problem_id: str
    text: str
    reference: str | None = None
    answer_kind: AnswerKind = "auto"


@dataclass(frozen=True, slots=True)
class Trace:
    """A finished trace: its whole text and the answer found in it (None where there is none)."""

    sample: int
    text: str
    num_tokens: int
    finish_reason: str
    answer: str | None
    confidence: tuple[float, ...] = ()
