"""Answers in a form that a request asks for: JSON, or what a pattern finds.

Texts and patterns are those of strangers: everything here takes time linear in both.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

MAX_CHARS = 20_000
"""A pattern is looked for in the last so many characters."""
MAX_FOUND = 1000
_FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_MARK = "\x00"


@dataclass(frozen=True, slots=True)
class AnswerPattern:
    """A regular expression (RE2) for answers: its first group counts, or all that it matches."""

    pattern: str


def find_json(content: str) -> str | None:
    """Find the JSON of an answer part: the whole, or its last fenced block, or its braces."""
    content = content.strip()
    fenced = _FENCED.findall(content)
    inner = min((at for at in (content.find("{"), content.find("[")) if at >= 0), default=0)
    end = max(content.rfind("}"), content.rfind("]")) + 1
    candidates = [content, *fenced[-1:], content[inner:end]]
    found = (canonical_json(candidate) for candidate in candidates)
    return next((text for text in found if text is not None), None)


def canonical_json(text: str) -> str | None:
    """Spell JSON in one way: equal values have equal texts. None where it is no JSON."""
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_refuse)
        spelled = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        spelled.encode()  # halves of a character cannot be sent
    except (ValueError, RecursionError):
        return None
    return spelled


def find_pattern(content: str, pattern: AnswerPattern) -> str | None:
    """Find the last match of a pattern.

    Raises:
        ValueError: it is no valid pattern.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = content[-MAX_CHARS:].replace(_MARK, "").encode("utf-8", "replace").decode()
    error: Exception | None = None
    for group in (2, 1):  # ours is the first; the second is the pattern's own, if it has one
        try:
            marked = pc.replace_substring_regex(
                pa.scalar(text),
                pattern=f"({pattern.pattern})",
                replacement=f"{_MARK}\\{group}{_MARK}",
            ).as_py()
        except (pa.ArrowInvalid, UnicodeEncodeError) as invalid:
            error = invalid
        else:
            found = [match for match in marked.split(_MARK)[1::2] if match.strip()]
            return found[-1].strip()[:MAX_FOUND] if found else None
    raise ValueError(f"it is no valid pattern: {error}")


def called_functions(tool_calls: str) -> str | None:
    """The answer of a trace that calls tools: which functions, with which arguments.

    `tool_calls` is a JSON list in OpenAI's form. Arguments that are no JSON count as a text.
    """
    functions = [call["function"] for call in json.loads(tool_calls)]
    answers = []
    for function in functions:
        arguments = function["arguments"]
        spelled = canonical_json(arguments or "{}") or json.dumps(arguments)
        answers.append({"name": function["name"], "arguments": json.loads(spelled)})
    return canonical_json(json.dumps(answers))


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return int(value) if value.is_integer() else value


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
