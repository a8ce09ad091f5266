r"""The final answer of a trace: the last balanced `\boxed{}`, or the letter of a choice.

Everything here takes time linear in the text: a trace is written by a model, and may hold a
megabyte of `\boxed{`.
"""

from __future__ import annotations

import re
from typing import Literal

from deepprune.equivalence import choice_letter, equivalent

__all__ = ["AnswerKind", "equivalent", "extract_answer"]

AnswerKind = Literal["auto", "choice", "math"]

# A box opens, something is escaped, or a brace. The lookahead reads `\\boxed{5}`, as traces that
# were escaped once too often have it, as a box and not as a line break before the word "boxed".
_BRACE = re.compile(r"(\\(?:boxed|fbox)\s*\{)|\\(?!\\(?:boxed|fbox)).|[{}]", re.DOTALL)
# "The correct answer is (B)", "**Answer:** C", "Answer: $D$". Only capitals, because of "the answer
# is a number", no "I" that goes on, because of "the answer is, I think, 5", and no letter that only
# begins a longer word or formula: "A's", "A-level", "C++", "B^2".
_STATED = re.compile(
    r"\b(?i:answer)\b[\s*]*(?:(?i:is|should\s+be|must\s+be)\b|:)[\s*:$]*"
    r"(?:(?i:choice|option)\s+)?[*$]*\(?([A-HJ]\b|I\b(?!['’ ]\w))(?!['’+^/\u2011-][\w+])"
)
# The last line of a multiple-choice trace: "C" or "**C**"; "I choose (C)." or "C. Silla".
_ONLY_LETTER = re.compile(r"[*$(]*([A-J])[*$).]*")
_LAST_LINE = re.compile(r"(?:.*\s)?[*$(]*([A-J])[*$).]*|[*(]*([A-J])[.):].*")
_TAG = re.compile(r".*<[^<>\s]*>")
_STYLE = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{|[{}]")
_LEADING_LETTER = re.compile(r"\(?([A-Ja-j])(?:[).:,]|\s*$)")


def extract_answer(text: str, kind: AnswerKind = "auto") -> str | None:
    r"""The answer a trace ends in, or None where it gives none.

    That is the content of the last `\boxed{}` (or `\fbox{}`) that is not empty and whose braces
    balance. What else counts depends on `kind`:

    - `math`: nothing, and the content is returned as it is.
    - `auto`: a box that holds nothing but a choice, such as `\text{(B)}`, gives the bare letter
      A to J. Without a box, a last line that is only a letter counts, or else the last "the answer
      is (B)".
    - `choice`: only letters are answers. `\boxed{B. 12}` is B, a box without a letter is passed
      over, and the last line may also end in the letter or start with "B.".
    """
    box = _last_box(text)
    if kind == "math":
        return box
    letter = None if box is None else choice_letter(box)
    if kind == "auto":
        return letter or box or _match(_ONLY_LETTER, _last_line(text)) or _stated_letter(text)
    letter = letter or (box and _leading_letter(box))
    return letter or _match(_LAST_LINE, _last_line(text)) or _stated_letter(text)


def _last_box(text: str) -> str | None:
    """One pass from the left, with a stack of open braces, some of which opened a box."""
    last_start, last = -1, None
    stack: list[tuple[int, bool]] = []
    for token in _BRACE.finditer(text):
        if token[1] or token[0] == "{":
            stack.append((token.end(), bool(token[1])))
        elif token[0] == "}" and stack:
            start, is_box = stack.pop()
            # Nested boxes end in another order than they begin; the last to begin counts.
            if is_box and start > last_start:
                content = text[start : token.start()].strip()
                if content:
                    last_start, last = start, content
    return last


def _leading_letter(box: str) -> str | None:
    r"""B, of a box that says `\text{B. } 12` or `b`."""
    plain = _STYLE.sub("", box).strip()
    match = _LEADING_LETTER.match(plain)
    return match[1].upper() if match else None


def _match(pattern: re.Pattern[str], line: str) -> str | None:
    match = pattern.fullmatch(line)
    return next(filter(None, match.groups())) if match else None


def _last_line(text: str) -> str:
    """The last line, after the tag that ends a thought where one stands in it."""
    line = text.rstrip().rpartition("\n")[2]
    tag = _TAG.match(line)  # not a search, which would begin again at each character
    return line[tag.end() :].strip() if tag else line.strip()


def _stated_letter(text: str) -> str | None:
    letters = _STATED.findall(text)
    return letters[-1] if letters else None
