"""Whether a question asks for an answer that can be compared: a value, a choice.

A guess from its words alone, which costs nothing. The traces know better, as soon as one has ended.
"""

from __future__ import annotations

import re

_MAX_CHARS = 20_000
_FORMAL = re.compile(
    r"\\(?:boxed|frac|sqrt|text|[(\[])|\$[^$\n]+\$|\d\s*[-+*/×÷^=<>≤≥]\s*\d|\bmodulo\b"
    r"|\bfinal answer\b"
)
_CHOICES = (re.compile(r"(?:^|\s)\(?A[).]\s"), re.compile(r"\s\(?B[).]\s"))
_TEXT = re.compile(
    r"\b(?:write|compose|draft|rewrite|rephrase|paraphrase|translate|summari[sz]e|explain|describe"
    r"|discuss|outline|brainstorm|suggest|recommend|implement|refactor|debug|essay|poem|haiku|song"
    r"|story|joke|email|letter|code|function|script|python|javascript|sql|regex)\b",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\d|\b(?:how (?:many|much|old|long|far|tall|fast)|compute|calculate|evaluate|solve|simplify"
    r"|determine|find the|what is the (?:value|sum|product|probability|number|area|remainder))\b",
    re.IGNORECASE,
)


def asks_for_a_value(question: str, instructions: str = "") -> bool:
    """Guess whether a question, under the instructions, has an answer that can be compared."""
    question, instructions = question[:_MAX_CHARS], instructions[:_MAX_CHARS]
    if _is_formal(question) or _is_formal(instructions):
        return True
    return not _TEXT.search(question) and _VALUE.search(question) is not None


def _is_formal(text: str) -> bool:
    choices = all(choice.search(text) for choice in _CHOICES)
    return choices or _FORMAL.search(text) is not None
