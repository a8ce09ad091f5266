"""Paths into nested columns: `doc.problem`, `resps[0][*]`.

A path begins with a column. `.name` selects a key of an object, `[n]` an element of a list, and
`[*]` all elements of a list. A column with the whole path as its name takes precedence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from deepprune.errors import UserError

_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]+|\*)\]")
_STEP_BEGINS = re.compile(r"[.\[]")
_STEPS = re.compile(rf"(?:{_STEP.pattern})+")


def root_of(path: str, names: Collection[str]) -> str | None:
    """The longest column in `names` that the path begins with, or None."""
    if path in names:
        return path
    ends = [match.start() for match in _STEP_BEGINS.finditer(path)]
    return next(
        (
            path[:end]
            for end in reversed(ends)
            if path[:end] in names and _STEPS.fullmatch(path, end)
        ),
        None,
    )


def value_at(row: Mapping[str, Any], path: str, root: str, where: str) -> Any:
    """The value at a path that begins with the column `root`; a flat list if it has a `[*]`.

    None where the path meets a null before its first `[*]`.

    Raises:
        UserError: the path does not exist; the message begins with `where`.
    """
    if path == root:
        return row[root]
    values, is_list = [row[root]], False
    for step in _STEP.finditer(path, len(root)):
        if not is_list and values == [None]:
            return None
        at = f"{where}: {path[: step.start()]}"
        values = [found for value in values for found in _follow(value, step, at)]
        is_list = is_list or step[2] == "*"
    return values if is_list else values[0]


def short(value: Any) -> str:
    """A value, shortened for a message."""
    text = repr(value)
    return f"{text[:40]}..." if len(text) > 43 else text


def listed(names: Collection[str]) -> str:
    """The first names, as a list for a message."""
    return ", ".join(sorted(names)[:12]) or "nothing"


def _follow(value: Any, step: re.Match[str], at: str) -> list[Any]:
    key, index = step.groups()
    if value is None:
        return [None]
    if key is not None:
        if not isinstance(value, dict):
            raise UserError(f"{at} holds {short(value)}, where an object should be")
        if key not in value:
            raise UserError(f"{at} has no {key} (found {listed(value)})")
        return [value[key]]
    if not isinstance(value, list):
        raise UserError(f"{at} holds {short(value)}, where a list should be")
    if index == "*":
        return value
    if int(index) >= len(value):
        raise UserError(f"{at} has no [{index}] (its list holds {len(value)})")
    return [value[int(index)]]
