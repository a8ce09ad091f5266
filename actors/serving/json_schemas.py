"""Bound the JSON schemas that clients send: an engine compiles each into a grammar."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, JsonValue

from deepprune.answers.forms import AnswerPattern, find_pattern

MAX_CHARS = 32_768
MAX_DEPTH = 24
MAX_NODES = 2_000
MAX_REPEATS = 1_000
MAX_PATTERN_CHARS = 500
_REPEATS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is not too much for an engine.

    Raises:
        ValueError: it is too large, too deep, repeats too often, or refers to other documents.
    """
    num_nodes = 0
    nodes: list[tuple[str, Any, int]] = [("", schema, 0)]
    while nodes:
        key, value, depth = nodes.pop()
        num_nodes += 1
        if depth > MAX_DEPTH or num_nodes > MAX_NODES:
            raise ValueError(
                f"the schema is too large: at most {MAX_NODES} values, {MAX_DEPTH} levels deep"
            )
        _check(key, value)
        if isinstance(value, dict):
            nodes += [(name, inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            nodes += [("", inner, depth + 1) for inner in value]
    if len(json.dumps(schema)) > MAX_CHARS:
        raise ValueError(f"the schema is too large: at most {MAX_CHARS} characters")
    return schema


def _check(key: str, value: Any) -> None:
    if key in _REPEATS and isinstance(value, int | float) and value > MAX_REPEATS:
        raise ValueError(f"{key} is {value}; at most {MAX_REPEATS} is supported")
    if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
        raise ValueError("$ref must refer to the schema itself: '#/...'")
    if key == "pattern" and isinstance(value, str):
        if len(value) > MAX_PATTERN_CHARS:
            raise ValueError(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
        find_pattern("", AnswerPattern(value))


JsonSchema = Annotated[dict[str, JsonValue], AfterValidator(bounded)]
