"""Answers: which answer a trace gives, and which answers are the same."""

from __future__ import annotations

import re

from deepprune.answers.extract import AnswerForm, AnswerKind, TruncatedAnswers, extract_answer
from deepprune.answers.structure import read_value
from deepprune.answers.value import Value

__all__ = [
    "AnswerForm",
    "AnswerKind",
    "TruncatedAnswers",
    "Value",
    "equivalent",
    "extract_answer",
    "read_value",
]

_COMMA = re.compile(r"(?<=\d),(?=\d+\D*$)")


def equivalent(a: str, b: str) -> bool:
    """Whether an answer is right by another, as a grader takes it (Section 3.1); symmetric.

    `Value.matches` says what one of the two may leave out. A vote groups answers by `Value.key`
    instead, which is stricter and transitive; see `deepprune.voting`.

    Raises:
        RuntimeError: the algebra cannot be started here.
    """
    a, b = a.strip(), b.strip()
    if a == b:
        return True
    first, second = read_value(a), read_value(b)
    return first.matches(second) or _decimal_comma(a, second) or _decimal_comma(b, first)


def _decimal_comma(answer: str, other: Value) -> bool:
    """Whether `1,22`, which may be two numbers, is the decimal number that the other side is."""
    if other.places is None or not _COMMA.search(answer):
        return False
    return read_value(_COMMA.sub(".", answer)).matches(other)
