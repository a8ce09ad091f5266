"""Compare the answers of outcomes with the reference and with each other."""

from __future__ import annotations

from collections.abc import Sequence

from deepprune.answers import equivalent
from deepprune.session import Outcome
from deepprune.voting import same_answer


def is_correct(outcome: Outcome) -> bool | None:
    """Whether the answer equals the reference; None where there is no reference."""
    reference = outcome.problem.reference
    if reference is None:
        return None
    return outcome.answer is not None and equivalent(outcome.answer, reference)


def num_correct(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Count the right answers, and the outcomes that have a reference."""
    graded = [correct for correct in map(is_correct, outcomes) if correct is not None]
    return sum(graded), len(graded)


def same_outcome(a: Outcome, b: Outcome) -> bool:
    """Whether two outcomes have the same answer."""
    if a.answer is None or b.answer is None:
        return a.answer == b.answer
    return same_answer(a.answer, b.answer)
