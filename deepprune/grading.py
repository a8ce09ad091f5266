"""Compare the answers of outcomes with the reference and with each other."""

from __future__ import annotations

from collections.abc import Sequence

from deepprune.answers import equivalent
from deepprune.session import Outcome
from deepprune.voting import same_answer


def is_right(answer: str | None, reference: str) -> bool:
    """Whether an answer equals the reference."""
    return answer is not None and equivalent(answer, reference)


def is_correct(outcome: Outcome) -> bool | None:
    """Whether the answer equals the reference; None where there is no reference."""
    reference = outcome.problem.reference
    return None if reference is None else is_right(outcome.answer, reference)


def num_correct(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Count the right answers, and the outcomes that have a reference."""
    graded = [correct for correct in map(is_correct, outcomes) if correct is not None]
    return sum(graded), len(graded)


def agree(a: str | None, b: str | None) -> bool:
    """Whether two answers count as one in a vote, or both are missing."""
    return a == b if a is None or b is None else same_answer(a, b)
