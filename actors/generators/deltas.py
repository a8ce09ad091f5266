"""The text of a trace, out of the chunks that OpenAI-compatible servers stream.

Servers differ: one sends the thought apart from the answer, another a text in parts, a third half
of a character at a time. A trace is one text that can be written as UTF-8.
"""

from __future__ import annotations

import codecs
from typing import Any

THOUGHT_END = "</think>\n\n"
"""Ends the thought in a trace's text where the server sends thought and answer apart."""


class TraceText:
    """Joins the deltas of one stream; `prefix` is the text that the stream goes on from."""

    def __init__(self, prefix: str) -> None:
        self._may_end_thought = THOUGHT_END.rstrip() not in prefix
        self._in_thought = False
        # Holds half a surrogate pair back until the other half comes.
        self._halves = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, thought: str, answer: str, is_last: bool) -> str:
        """What a delta adds to the text of the trace."""
        self._in_thought = self._in_thought or bool(thought)
        if answer and self._in_thought and self._may_end_thought:
            thought += THOUGHT_END
            self._may_end_thought = False
        said = (thought + answer).encode("utf-16-le", "surrogatepass")
        return self._halves.decode(said, final=is_last)


def thought_and_answer(choice: Any) -> tuple[str, str]:
    """What a choice of a chunk says, as thought and as answer; either may be empty."""
    delta = getattr(choice, "delta", None)
    if delta is None:  # a plain completion, of a trace that is resumed from its tokens
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
