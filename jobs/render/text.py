"""Text from models made safe to look at, and cut to what a page can carry.

Characters are replaced one for one, so that positions stay: control characters by their pictures,
marks that change the direction of text by a replacement character. Positions in what is embedded
count UTF-16 units, as JavaScript does.
"""

from __future__ import annotations

from collections.abc import Iterable
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
HEAD_SHARE = 0.7
"""Of a text that is cut in its middle, how much of what is kept is its beginning."""


def visible(text: str) -> str:
    """The text with everything in it visible and nothing acting."""
    return text.translate(_VISIBLE).translate(_SURROGATES)


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
