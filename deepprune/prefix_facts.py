"""Facts that a prefix states: numbers, equations, conclusions, and a candidate answer.

Traces that state the same values tend to end in the same answer; traces that give one quantity
different values do not. All functions take linear time and use the text of the prefix only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from deepprune.answers import extract_answer
from deepprune.answers.reply import split_reply

NEAR_THE_END = 400
"""Characters before the end of a thought in which its result is looked for."""
MAX_EXPRESSION = 60

_THOUSANDS = re.compile(r"(?<=\d)(?:,|,\\!|\{,\})(?=\d{3}(?!\d))")
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)}\]])-\s?)?"
    r"(?:\\[dt]?frac\{?(?P<over>\d{1,15})\}?\{?(?P<under>\d{1,15})\}?"
    r"|(?<![\d.])(?P<left>\d{1,15})\s?/\s?(?P<right>\d{1,15})(?![\d.])"
    r"|(?<![\d.])(?P<plain>\d{1,40}(?:\.\d{1,40})?|\.\d{1,40}))"
    r"(?P<unit>\s?\\pi|\s?π|\s?\\?%|_\{?\d{1,3}\}?)?"
)
_CHOICE = re.compile(
    r"\((?P<a>[A-J])\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer(?: is)?):? (?P<b>[A-J])\b"
)
_BREAK = re.compile(r"(\\[()\[\]]|\$+|\n|[;:]|[,.!?]\s|\\\\)")
_RELATION = re.compile(r"\\approx|\\equiv|\\implies|\\Rightarrow|[=≈→⇒]")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}(?![A-Za-z{])")
_LAYOUT = re.compile(
    r"\\(?:left|right|quad|displaystyle|boxed|cdot|times|text\{[^{}]*\}|[,!;: ])|\*|[\s{}&]"
)
_SENTENCE_END = re.compile(r"((?<=[.!?])\s+|\n+)")
_CONCLUDES = re.compile(
    r"\b(?:answer|therefore|thus|hence|so|total|final|finally|conclusion|must be|minimum|maximum"
    r"|result|gives|means|closest)\b|\*\*|boxed",
    re.IGNORECASE,
)
_DOUBTS = re.compile(
    r"\b(?:wait|hmm|actually|alternatively|maybe|perhaps|however|but|mistake|error|check|verify"
    r"|confus\w{1,10}|approximately|estimate)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statements:
    """The facts of one prefix. Values and expressions are normalised: 11/2 and 5.5 are the same.

    Mappings to `int` give the position of the last occurrence, in characters.
    """

    text: str
    numbers: dict[str, int]
    results: dict[str, int]
    """Right-hand sides of equations."""
    claims: dict[str, str]
    """The last value of each left-hand side."""
    conclusions: dict[str, int]
    """The last number of each sentence that concludes something."""
    boxed: str | None
    thought: str | None
    """The last number before the end of a thought, when it has ended."""
    thought_end: int | None
    num_doubts: int
    num_numbers: int
    num_equations: int

    @property
    def last_result(self) -> str | None:
        """The right-hand side of the last equation."""
        return _latest(self.results)

    @property
    def last_conclusion(self) -> str | None:
        """The number concluded last."""
        return _latest(self.conclusions)

    @property
    def candidate(self) -> str | None:
        """The best guess at the answer, from the surest sign to the weakest."""
        return self.boxed or self.thought or self.last_conclusion or self.last_result


@lru_cache(maxsize=4096)  # a live prefix is compared with each that comes after it
def read_statements(prefix: str) -> Statements:
    """Read a prefix once."""
    text = _THOUSANDS.sub("", prefix)
    numbers = list(_numbers(text))
    results: dict[str, int] = {}
    claims: dict[str, str] = {}
    num_equations = 0
    for parts, end in _equations(text):
        num_equations += 1
        for part in parts[1:]:
            if part:
                results.pop(part, None)  # so that the dictionary is in order of last appearance
                results[part] = end
        if parts[0] and parts[-1]:
            claims[parts[0]] = parts[-1]
    end_of_thought = split_reply(text).end
    box = extract_answer(text, "auto")
    return Statements(
        text,
        _last_positions(numbers),
        results,
        claims,
        _last_positions(_conclusions(text)),
        None if box is None else normalised(box),
        None
        if end_of_thought is None
        else _last_number(text[max(0, end_of_thought - NEAR_THE_END) : end_of_thought]),
        end_of_thought,
        len(_DOUBTS.findall(text)),
        len(numbers),
        num_equations,
    )


def numbers_in(text: str) -> set[str]:
    """The normalised numbers and choices of a text."""
    return {value for value, _ in _numbers(_THOUSANDS.sub("", text))}


def normalised(expression: str) -> str:
    """Normalise an expression: remove its layout; write a single number as its value."""
    bare = expression.strip().strip(".$()[]: ")
    match = _NUMBER.fullmatch(bare)
    if match and (value := _value(match)) is not None:
        return value
    plain = bare.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    return _LAYOUT.sub("", plain).strip(".()[]:")[:MAX_EXPRESSION]


def _numbers(text: str) -> Iterator[tuple[str, int]]:
    found = [(value, m.end()) for m in _NUMBER.finditer(text) if (value := _value(m)) is not None]
    found += [(f"({m['a'] or m['b']})", m.end()) for m in _CHOICE.finditer(text)]
    return iter(sorted(found, key=lambda entry: entry[1]))


def _value(match: re.Match[str]) -> str | None:
    over, under = match["over"] or match["left"], match["under"] or match["right"]
    if over is not None and under is not None:
        if int(under) == 0:
            return None
        number = int(over) / int(under)
    else:
        number = float(match["plain"])
    unit = (match["unit"] or "").strip().replace("\\pi", "π").replace("\\%", "%")
    return f"{'-' if match['sign'] else ''}{number:.6g}{unit}"


def _equations(text: str) -> Iterator[tuple[list[str], int]]:
    """Chains such as a = b = c as normalised [a, b, c], each with its end position."""
    position = 0
    for piece in _BREAK.split(text):
        position += len(piece)
        parts = _RELATION.split(piece)
        if len(parts) > 1:
            first = _PROSE.split(parts[0])[-1]
            rest = [_PROSE.split(part)[0] for part in parts[1:]]
            yield [normalised(part) for part in (first, *rest)], position


def _conclusions(text: str) -> Iterator[tuple[str, int]]:
    position = 0
    for sentence in _SENTENCE_END.split(text):
        position += len(sentence)
        if _CONCLUDES.search(sentence) and (value := _last_number(sentence)) is not None:
            yield value, position


def _last_number(text: str) -> str | None:
    return next(reversed([value for value, _ in _numbers(text)]), None)


def _last_positions(found: Iterator[tuple[str, int]] | list[tuple[str, int]]) -> dict[str, int]:
    """In order of last appearance."""
    positions: dict[str, int] = {}
    for value, position in found:
        positions.pop(value, None)
        positions[value] = position
    return positions


def _latest(positions: dict[str, int]) -> str | None:
    return next(reversed(positions), None)
