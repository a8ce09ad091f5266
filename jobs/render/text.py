"""Text from models made safe to look at, and cut to what a page or a line can carry.

Answers and traces are shown as plain characters: never as markup, never as control codes.
Characters are replaced one for one, so that positions stay: control characters by their pictures,
marks that change the direction of text by a replacement character. Positions in what is embedded
count UTF-16 units, as JavaScript does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys(_DIRECTIONS, 0xFFFD),
    0x2028: 0x0A,
    0x2029: 0x0A,
    0xFEFF: 0xFFFD,
}
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#$~])")
HEAD_SHARE = 0.7
"""Share of the beginning in what is kept of a text that is cut in its middle."""
MAX_ANSWER_CHARS = 60


def visible(text: str) -> str:
    """The text with everything in it visible and nothing acting."""
    return text.translate(_VISIBLE).translate(_SURROGATES)


def markdown_text(text: str) -> str:
    """One line that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", one_line(visible(text), 4000))


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters, without control codes."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown_answer(answer: str | None, limit: int = MAX_ANSWER_CHARS) -> str:
    """An answer on one line, and a dash where there is none."""
    return "–" if answer is None else one_line(answer, limit)


def excerpt(prefix: str, limit: int) -> str:
    """The end of a prefix, where traces have come to differ."""
    words = one_line(prefix, len(prefix))
    return words if len(words) <= limit else f"…{words[1 - limit :].partition(' ')[2]}"


def common_part(problem_ids: Sequence[str]) -> str:
    """The prefix that all ids share, up to a separator."""
    first, last = min(problem_ids), max(problem_ids)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return re.sub(r"[^/_-]*$", "", first[:same])


def units(text: str, position: int) -> int:
    """A position in UTF-16 units."""
    return position if text.isascii() else len(text[:position].encode("utf-16-le")) // 2


def shortened(text: str, limit: int) -> str | dict[str, Any]:
    """A text as it is embedded: whole, or its head, the length of what is left out, its tail."""
    text = visible(text)
    if len(text) <= limit:
        return text
    head = text[: round(limit * HEAD_SHARE)]
    tail = text[len(text) - (limit - len(head)) :] if limit else ""
    between = units(text, len(text)) - units(head, len(head)) - units(tail, len(tail))
    return {"head": head, "omitted": between, "tail": tail}


def limit_for(lengths: Iterable[int], budget: int) -> int:
    """The longest that texts may be so that all of them, cut to that, fit a budget."""
    ordered = sorted(lengths)
    left = budget
    for place, length in enumerate(ordered):
        fair = left // (len(ordered) - place)
        if length > fair:
            return max(0, fair)
        left -= length
    return ordered[-1] if ordered else 0
