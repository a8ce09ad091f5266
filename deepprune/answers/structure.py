r"""What an answer states: numbers, lists, intervals, relations, quantities, words.

`read_value` takes an answer apart down to expressions without structure, which `algebra` evaluates.
It knows no policy: two answers that state the same get the same `Value`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from deepprune.answers import algebra
from deepprune.answers.expressions import (
    INTEGER,
    REALS,
    WORDS,
    is_product,
    join_groups,
    number,
    read_expression,
    text_value,
    words_value,
)
from deepprune.answers.forms import canonical_json
from deepprune.answers.relations import read_relation
from deepprune.answers.spelling import canonical_latex, strip_wrappers
from deepprune.answers.splitting import OPENING, matching_end, split_at
from deepprune.answers.units import split_unit
from deepprune.answers.value import Value, labelled, with_unit

MAX_CHARS = 1000
"""Longer answers are equal only when they are the same text."""
MAX_DEPTH = 12
MAX_PARTS = 64
"""A longer list is compared as text."""

_JSON_STARTS = ('{"', '[{"', '["')
_LETTER = re.compile(r"\(?([A-Ja-dfgh])\)?[.:]?")
_CONNECTIVE = re.compile(r"\\text\{\s*,?\s*(and|or|und|or also)\s*,?\s*\}|(?<=\W)(?:and|or)(?=\W)")
_CLOSING = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}
_MATRIX = re.compile(
    r"\[?\s*\\begin\{([pbvBV]?matrix|smallmatrix|array)\}(?:\{[clr|\s]*\})?(.*)"
    r"\\end\{\1\}\s*\]?"
)
_QUANTITIES = re.compile(r"([-+]?[\d.]+)\s*(?:\\text\{([^{}]*)\}|([A-Za-z]{2,}))\s*")
_CHOICE_LABEL = re.compile(r"(?:\\text\{\s*)?(?:\(([A-J])\)|([A-J])[.):])(?:\s*\})?\s*(?=\S)")


@lru_cache(maxsize=65536)
def read_value(answer: str) -> Value:
    """Read an answer; whatever it holds, there is a value, if only the text itself.

    Mostly microseconds; ten milliseconds for an expression that is new; a second for the first of
    those; and at most `algebra.CPU_LIMIT_S` for each expression in it.

    Raises:
        RuntimeError: the algebra cannot be started here.
    """
    answer = answer.strip()
    if len(answer) > MAX_CHARS:
        return Value("text", answer)
    if answer.startswith(_JSON_STARTS) and (spelled := canonical_json(answer)) is not None:
        return Value("json", spelled)
    plain = strip_wrappers(answer)
    if INTEGER.fullmatch(plain):
        return number(Fraction(int(plain)))
    try:
        return read_latex(canonical_latex(plain))
    except algebra.TooMuchError:
        return Value("text", plain)


def read_latex(latex: str, depth: int = 0) -> Value:
    """Read canonical LaTeX, whose structure may be `depth` levels inside an answer."""
    latex = strip_wrappers(latex)
    if depth > MAX_DEPTH:
        return text_value(latex)
    if latex.startswith(r"\text{") and matching_end(latex, 5) == len(latex) - 1:
        return _outer_text(latex[6:-1].strip(), depth)
    if depth == 0 and (letter := _LETTER.fullmatch(latex)):
        return Value("words", letter[1].casefold())
    if WORDS.fullmatch(latex) and not is_product(latex):
        return words_value(latex)
    latex = join_groups(latex) if depth <= 1 else latex
    readers = (_read_union, _read_list, _read_relation, _read_signs, _read_brackets, _read_matrix)
    for reader in readers:
        value = reader(latex, depth + 1)
        if value is not None:
            return value
    return _read_quantity(latex, depth + 1)


def _outer_text(content: str, depth: int) -> Value:
    r"""`\text{13}` is 13, `\text{(B)}` is B, and `\text{Sunday}` is a word."""
    if depth == 0 and (letter := _LETTER.fullmatch(content)):
        return Value("words", letter[1].casefold())
    if re.search(r"\d", content):
        return read_latex(content, depth + 1)
    parts = [part.strip() for part in re.split(r",|;|\band\b|\bor\b", content) if part.strip()]
    return words_value(content) if len(parts) < 2 else set_of(map(words_value, parts))


# --- compounds --------------------------------------------------------------------------------


def _read_union(latex: str, depth: int) -> Value | None:
    if len(parts := split_at(latex, (r"\setminus",))) == 2:
        whole, without = (read_latex(part, depth) for part in parts)
        return Value("not", parts=(without,)) if whole.text == REALS else None
    parts = split_at(latex, (r"\cup",))
    if len(parts) < 2:
        return None
    first, *others = (read_latex(part, depth) for part in parts)
    values = [replace(first, label=""), *others]  # the name is that of the whole union
    return labelled(_without_points(values) or set_of(values), first.label)


def _without_points(values: Sequence[Value]) -> Value | None:
    """The reals without the points at which open intervals meet, where that is what they are."""
    if not all(v.kind == "tuple" and len(v.parts) == 2 for v in values):
        return None
    ends = {v.parts[0].text: v.parts[1].text for v in values}
    points, reached = [], "-inf"
    while reached in ends:
        reached = ends.pop(reached)
        points.append(Value("number", reached))
    if ends or reached != "inf" or len(points) < 2:
        return None
    return Value("not", parts=(set_of(points[:-1]),))


def _read_list(latex: str, depth: int) -> Value | None:
    latex = _CONNECTIVE.sub(",", latex)
    parts = [part for part in split_at(latex, (",", ";")) if part]
    if len(parts) > MAX_PARTS:
        return text_value(latex)
    if len(parts) < 2:
        return read_latex(parts[0], depth) if parts and parts[0] != latex else None
    values = [read_latex(part, depth) for part in parts]
    labels = [value.label for value in values]
    if all(labels) and len(set(labels)) == len(labels):  # x = 1, y = 2
        named = sorted(values, key=lambda value: value.label)
        coordinates = tuple(replace(value, label="") for value in named)
        return Value("tuple", parts=coordinates, label=f"({','.join(sorted(labels))})")
    # The name before a list is that of all of it: `n = 2, 3`; also where each repeats it.
    if labels[0] and set(labels) <= {labels[0], ""}:
        return labelled(set_of(replace(value, label="") for value in values), labels[0])
    return set_of(values)


def set_of(values: Iterable[Value]) -> Value:
    """Make a set, in no order; one element alone is that element."""
    parts: list[Value] = []
    for value in values:
        nested = value.kind == "set" and value.parts and not value.label
        parts.extend(value.parts if nested else [value])
    return parts[0] if len(parts) == 1 else Value("set", parts=tuple(parts))


def _read_relation(latex: str, depth: int) -> Value | None:
    return read_relation(latex, lambda part: read_latex(part, depth))


def _read_signs(latex: str, depth: int) -> Value | None:
    r"""`1 \pm \sqrt 2` stands for two values."""
    if r"\pm" not in latex and r"\mp" not in latex:
        return None
    upper = latex.replace(r"\pm", "+").replace(r"\mp", "-")
    lower = latex.replace(r"\pm", "-").replace(r"\mp", "+")
    return set_of(read_latex(sign, depth) for sign in (upper, lower))


def _read_brackets(latex: str, depth: int) -> Value | None:
    opening = next((mark for mark in OPENING if latex.startswith(mark)), None)
    if opening is None or opening == "{":
        return _read_braces(latex, depth) if opening else None
    end = matching_end(latex, len(opening) - 1)
    closing = next((c for c in _CLOSING.values() if latex.endswith(c)), None)
    if closing is None or end != len(latex) - 1:
        return None
    inner = latex[len(opening) : -len(closing)].strip()
    if opening == r"\{":
        return _read_set(inner, depth)
    parts = split_at(inner, (",", ";"))
    if len(parts) == 1:
        return read_latex(inner, depth) if inner and _CLOSING[opening] == closing else None
    values = tuple(read_latex(part, depth) for part in parts)
    if (opening, closing) in (("(", ")"), (r"\langle", r"\rangle")):
        if [value.text for value in values] == ["-inf", "inf"]:
            return words_value(REALS)
        return Value("tuple", parts=values)
    if (opening, closing) == ("[", "]"):
        return Value("closed", parts=values)
    return Value("interval", opening + closing, values)


def _read_braces(latex: str, depth: int) -> Value | None:
    if matching_end(latex, 0) != len(latex) - 1 or not latex[1:-1].strip():
        return None
    return read_latex(latex[1:-1], depth)


def _read_set(inner: str, depth: int) -> Value:
    if not inner:
        return Value("set")
    conditions = split_at(inner, (r"\mid", "|", ":"))
    if len(conditions) == 2:  # {x | x > 1}
        return read_latex(conditions[1], depth)
    values = (read_latex(part, depth) for part in split_at(inner, (",", ";")))
    return set_of({value.key: value for value in values}.values())


def _read_matrix(latex: str, depth: int) -> Value | None:
    if latex.count(r"\begin") > 1 and "matrix" in latex:
        entries = algebra.describe_matrix(latex) or ()
        computed = [tuple(Value(*entry) for entry in row) for row in entries]
        return _matrix(computed) if computed else None
    match = _MATRIX.fullmatch(latex)
    if not match:
        return None
    rows = [row for row in match[2].split(r"\\") if row.strip()]
    cells = [tuple(read_latex(cell, depth) for cell in row.split("&")) for row in rows]
    determinant = "det" if match[1] == "vmatrix" else ""
    return _matrix(cells, determinant)


def _matrix(rows: Sequence[tuple[Value, ...]], determinant: str = "") -> Value:
    return Value("matrix", determinant, tuple(Value("tuple", parts=row) for row in rows))


def _read_quantity(latex: str, depth: int) -> Value:
    if len(found := _QUANTITIES.findall(latex)) > 1 and not _QUANTITIES.sub("", latex):
        return Value("quantities", parts=tuple(_quantity(n, a or b, depth) for n, a, b in found))
    if label := _CHOICE_LABEL.match(latex):
        return labelled(read_latex(latex[label.end() :], depth), label[1] or label[2])
    bare, unit = split_unit(latex)
    if not unit:
        return _read_ratio(latex, depth) or read_expression(latex)
    if not re.search(r"[\d\\]|^-?[a-z]$", bare):
        return text_value(latex)
    return with_unit(read_latex(bare, depth), *unit)


def _quantity(amount: str, unit: str, depth: int) -> Value:
    return with_unit(read_latex(amount, depth), *split_unit(rf"1\text{{{unit}}}")[1])


def _read_ratio(latex: str, depth: int) -> Value | None:
    parts = split_at(latex, (":",))
    if len(parts) < 2 or not all(parts):
        return None
    if len(parts) == 2 and WORDS.fullmatch(parts[0]):  # answer: 5
        return labelled(read_latex(parts[1], depth), parts[0].casefold())
    return Value("ratio", parts=tuple(read_latex(part, depth) for part in parts))
