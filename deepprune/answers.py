r"""The final answer of a trace: the last balanced `\boxed{}`, or the letter of a choice."""

from __future__ import annotations

import re

from deepprune.equivalence import equivalent

__all__ = ["equivalent", "extract_answer"]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LETTER = re.compile(r"\(?([A-J])\)?\.?", re.ASCII)
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_STATED = re.compile(
    r"\b(?:answer|choice|option)\b(?:\s+is|\s*:)?[\s:*]*\(?\b([A-J])\b\)?(?![A-Za-z])",
    re.IGNORECASE,
)


def extract_answer(text: str) -> str | None:
    r"""The answer a trace ends in, or None where it gives none.

    That is the content of the last `\boxed{}` (or `\fbox`) whose braces balance. A box that holds
    a choice, such as `\text{(B)}`, gives the bare letter. Without a box, "the answer is (B)" counts
    in the last line that says so.
    """
    content = _last_box(text)
    if content is None:
        stated = _STATED.findall(text)
        return stated[-1].upper() if stated else None
    content = content.strip()
    letter = _LETTER.fullmatch(_TEXT.sub(r"\1", content).strip())
    return letter[1] if letter else content or None


def _last_box(text: str) -> str | None:
    """One pass from the left: a stack of open braces, some of which opened a box."""
    starts = {match.end() - 1 for match in _BOX.finditer(text)}
    if not starts:
        return None
    last: tuple[int, int] | None = None
    stack: list[int] = []
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        at = brace.end() - 1
        opens = text[at] == "{" and (brace.group() == "{" or at in starts)
        if opens:
            stack.append(at)
        elif brace.group() == "}" and stack:
            start = stack.pop()
            if start in starts and (last is None or start > last[0]):
                last = (start, at)
    return None if last is None else text[last[0] + 1 : last[1]]
