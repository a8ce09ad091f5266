r"""Where LaTeX may be split: outside of brackets, braces, environments and absolute bars."""

from __future__ import annotations

import re
from collections.abc import Sequence

OPENING = (r"\{", r"\langle", "(", "[", "{")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPEN = {*OPENING, r"\begin", r"\lfloor", r"\lceil"}
_CLOSE = {r"\}", r"\rangle", ")", "]", "}", r"\end", r"\rfloor", r"\rceil"}


def split_at(latex: str, separators: Sequence[str]) -> list[str]:
    """Split at separators outside of brackets; a bracket may close another kind, as in `[0, 1)`."""
    return split_with_separators(latex, separators)[0]


def split_with_separators(latex: str, separators: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split as `split_at` does; return the parts and the n - 1 separators between them."""
    parts, found = [""], []
    depth = 0
    for token in _TOKEN.findall(latex):
        depth = max(0, depth + (token in _OPEN) - (token in _CLOSE))
        if depth == 0 and token in separators:
            found.append(token)
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts], found


def matching_end(latex: str, start: int) -> int:
    """The last position of the bracket that closes the one ending at `start`; -1 if none does."""
    depth, position = 0, 0
    for token in _TOKEN.findall(latex):
        position += len(token)
        if position <= start:
            continue
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth <= 0:
            return position - 1
    return -1
