r"""Letters of multiple-choice answers: in a box, in a statement, in the last line.

Text is first made plain: no markdown, no math delimiters, no `\text{}`. Then a letter is an answer
only where it stands by itself: "the answer is A very large number" gives none, "is not B" neither,
and "B, C" is no single choice.
"""

from __future__ import annotations

import re
import unicodedata

STATEMENT_CHARS = 2000
"""How far before the end of a text an answer is looked for that is stated."""
LINE_CHARS = 300

_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*(?=\{)")
_MARKS = re.compile(r"\*+|__+|[`$\"{}]|\\[()\[\]]|(?<![A-Za-z])'|'(?![A-Za-z])")
_ONLY = re.compile(r"[(\[]?([A-J])[)\]]?[.:]?")
_NAMED = re.compile(r"(?i:option|choice|answer)\s*:?\s*\(?([A-J])\)?[.:]?")
_LEADING = re.compile(r"[(\[]?([A-Ja-j])(?:[)\].:]|\s*$|\s+[-–—]\s)")
# Not one of several; not the beginning of a longer word or formula: "A's", "A-level", "C++", "B^2".
_ENDS = r"(?![\w'’+^/\u2011-][\w+]|\w)(?!\s*(?:,|;|&|and|or)\s*\(?[A-J]\b(?!['’]))"
# No article, "A very large number", and no "I" that goes on.
_CAPITAL = (
    r"(?!A\s+(?!because|since|as\b|for\b|with\b|due\b)[a-z])(?!I['’ ]\w)"
    rf"[(\[]?([A-J])\b[)\]]?{_ENDS}"
)
_STATED = re.compile(
    r"(?:\b(?i:answer)\b|答案)\s*(?:(?i:is|should\s+be|must\s+be)\b|[:=是])[\s:]*(?:(?i:option|choice)\s+)?"
    rf"(?:{_CAPITAL}|\(?([a-j])\)?\.?[ \t]*$)"
    r"|\b(?i:option|choice|answer)\s+\(?([A-J])\)?\s+is\s+(?:the\s+)?(?:correct|right|best|true)",
    re.MULTILINE,
)
_LAST_WORD = re.compile(r"(?:.*\s)?[(\[]?([A-J])[)\].]*")
_FIRST_WORD = re.compile(r"[(\[]?([A-J])[)\].:](?:\s.*)?")
_NO_CHOICE = re.compile(
    r"\b(?i:not|never|incorrect|wrong|except|neither|nor)\b|n['’]t\b"
    r"|[A-J]\)?\s*(?:,|;|&|and|or)\s*\(?[A-J]\W*$"
)
_TAG = re.compile(r".*<[^<>\s]*>")


def choice_letter(box: str) -> str | None:
    r"""The letter of a box that holds nothing but a choice, such as `\text{(B)}` or `Option B`."""
    text = _plain(box).strip()
    match = _ONLY.fullmatch(text) or _NAMED.fullmatch(text)
    return match[1] if match else None


def boxed_letter(box: str) -> str | None:
    r"""The letter of a box where only letters count: also `b`, `B. 12` and `E - a score`."""
    letter = choice_letter(box)
    match = None if letter else _LEADING.match(_plain(box[:LINE_CHARS]).strip())
    return letter or (match[1].upper() if match else None)


def said_letter(content: str, *, strict: bool) -> str | None:
    """The letter of the last line, or else of the last statement, near the end of a text.

    With `strict` the last line must hold nothing but the letter, and all letters be capitals.
    """
    tail = _plain(content[-STATEMENT_CHARS:]).rstrip()
    line = tail.rpartition("\n")[2]
    tag = _TAG.match(line)  # not a search, which would begin again at each character
    line = line[tag.end() :].strip() if tag else line.strip()
    if strict:
        match = _ONLY.fullmatch(line)
    elif _NO_CHOICE.search(line[-LINE_CHARS:]):
        match = None
    else:
        match = _LAST_WORD.fullmatch(line[-LINE_CHARS:]) or _FIRST_WORD.fullmatch(line)
    if match:
        return match[1]
    stated = [next(filter(None, match.groups())) for match in _STATED.finditer(tail)]
    stated = [letter for letter in stated if letter.isupper() or not strict]
    return stated[-1].upper() if stated else None


def _plain(text: str) -> str:
    return _MARKS.sub("", _COMMAND.sub("", unicodedata.normalize("NFKC", text)))
