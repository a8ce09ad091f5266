"""Assemble the text of a trace from the chunks that OpenAI-compatible servers stream.

Servers differ: some send the thought apart from the answer, some send text in parts, some split
characters. A trace is one text that can be encoded as UTF-8.
"""

from __future__ import annotations

import codecs
import json
from typing import Any

THOUGHT_END = "</think>\n\n"
"""Separates thought and answer in a trace's text, where the server sends them apart."""


class TraceText:
    """Joins the deltas of one stream; `prefix` is the text that the stream continues."""

    def __init__(self, prefix: str) -> None:
        self._may_end_thought = THOUGHT_END.rstrip() not in prefix
        self._in_thought = False
        # Buffers half a surrogate pair until the other half arrives.
        self._halves = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, thought: str, answer: str, is_last: bool) -> str:
        """Return the text that a delta adds to the trace."""
        self._in_thought = self._in_thought or bool(thought)
        if answer and self._in_thought and self._may_end_thought:
            thought += THOUGHT_END
            self._may_end_thought = False
        said = (thought + answer).encode("utf-16-le", "surrogatepass")
        return self._halves.decode(said, final=is_last)


def thought_and_answer(choice: Any) -> tuple[str, str]:
    """Return the thought and the answer in a chunk's choice; either may be empty."""
    delta = getattr(choice, "delta", None)
    if delta is None:  # a plain completion, which resumes a trace from its tokens
        return "", _joined(getattr(choice, "text", None))
    thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
    content = getattr(delta, "content", None)
    parts = content if isinstance(content, list) else [content]
    thoughts = [part for part in parts if _is_thought(part)]
    return _joined([thought, *thoughts]), _joined([p for p in parts if not _is_thought(p)])


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "thinking"


def _joined(said: Any) -> str:
    match said:
        case str():
            return said
        case list():
            return "".join(map(_joined, said))
        case {"type": "thinking", "thinking": inner} | {"text": inner}:
            return _joined(inner)
    return ""


class CallDeltas:
    """Joins the deltas of the tool calls in one stream."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, choice: Any) -> None:
        """Add the calls in a chunk's choice."""
        delta = getattr(choice, "delta", None)
        for number, call in enumerate(getattr(delta, "tool_calls", None) or ()):
            index = getattr(call, "index", None)
            function = getattr(call, "function", None)
            joined = self._calls.setdefault(
                number if index is None else index, {"name": "", "arguments": ""}
            )
            for field in joined:
                joined[field] += getattr(function, field, None) or ""

    def as_json(self) -> str:
        """The calls as a JSON list in OpenAI's form, without ids; empty where there are none."""
        calls = [{"type": "function", "function": self._calls[i]} for i in sorted(self._calls)]
        return json.dumps(calls) if calls else ""
