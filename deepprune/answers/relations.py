r"""Relations in answers: `x = 5`, `3x + 4y = 12`, `1 \le x < 2`, `x \equiv 3 \pmod 7`.

A relation that says what one variable is becomes that value under its name: `k = 1` is 1, named k,
and `x < 3` is an interval. Any other is a relation by itself and never the number on its right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from deepprune.answers import algebra
from deepprune.answers.splitting import split_with_separators
from deepprune.answers.units import canonical_words, split_modulus
from deepprune.answers.value import Value, labelled

_Read = Callable[[str], Value]

_RELATIONS = ("=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", r"\notin", r"\equiv", r"\approx")
_ORDERS = {"<", ">", r"\le", r"\ge"}
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_INFINITIES = Value("number", "-inf"), Value("number", "inf")
_NAME = re.compile(
    r"(?:\\(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau"
    r"|phi|chi|psi|omega|Delta|Omega|Phi|Theta|max|min|gcd|lcm|angle|triangle|overline"
    r"|measuredangle|det|deg|dim|log)(?![A-Za-z])\s*|[A-Za-z]|\s)"
    r"(?:[A-Z]|_\{[^{}]*\}|\{[A-Z]+\}|\s|'|\^\{\\circ\})*"
    r"(?:\([^()+=*/^-]*\)|\s*[a-z])?|\\text\{[^{}]*\}(?:[A-Za-z]|\s)*|\|[A-Z]+\||[A-Za-z]{4,}|\(\s*[a-z](?:,\s*[a-z])*\s*\)"
)
_PRODUCT = re.compile(r"[a-z]\s*[a-z]")


def read_relation(latex: str, read: _Read) -> Value | None:
    """Read a relation at the top of canonical LaTeX; None where there is none.

    `read` reads its sides.
    """
    sides, operators = split_with_separators(latex, _RELATIONS)
    if not operators:
        implied = split_with_separators(latex, (r"\Rightarrow", r"\to"))[0]
        return read(implied[-1]) if len(implied) > 1 and implied[-1] else None
    if r"\approx" in operators:
        return _approximation(sides, operators, read)
    if set(operators) == {"="}:
        return _equation(sides, read)
    if set(operators) <= _ORDERS:
        return _inequality(sides, operators, read)
    if len(operators) == 1 and sides[1]:
        return _single(sides[0], operators[0], sides[1], read)
    return None


def _approximation(sides: Sequence[str], operators: Sequence[str], read: _Read) -> Value | None:
    r"""`\pi \approx 3.14` states what stands before the sign, `x \approx 3.14` what comes after."""
    exact = operators.index(r"\approx") + 1
    if exact == 1 and (not sides[0] or _is_name(sides[0])):
        return labelled(read(sides[1]), _name(sides[0]))
    return read("=".join(sides[:exact])) if set(operators[: exact - 1]) <= {"="} else None


def _equation(sides: Sequence[str], read: _Read) -> Value | None:
    left, right = sides[0], sides[-1]
    if not right:
        return None
    if not left:
        return read(right)
    if left == "x" and "y" in right and (value := _of_difference(left, "=", right)):
        return value
    if _is_name(left) and not _mentions(right, left):
        return labelled(read(right), _name(left))
    return _of_difference(left, "=", right) if len(sides) == 2 else None


def _inequality(sides: Sequence[str], operators: Sequence[str], read: _Read) -> Value | None:
    if len(sides) == 2:
        return _one_sided(sides[0], operators[0], sides[1], read)
    if len(sides) != 3 or not all(sides):
        return None
    first, second = operators
    if (first in (">", r"\ge")) != (second in (">", r"\ge")):
        return None
    low, high = sides[0], sides[2]
    if first in (">", r"\ge"):
        low, high, first, second = high, low, _FLIPPED[second], _FLIPPED[first]
    if _is_name(sides[1]):
        return labelled(_interval(read(low), first, read(high), second), _name(sides[1]))
    lower = _one_sided(low, first, sides[1], read)
    upper = _one_sided(sides[1], second, high, read)
    if lower is None or upper is None:
        return None
    return Value("set", parts=(lower, upper))


def _one_sided(left: str, operator: str, right: str, read: _Read) -> Value | None:
    if not right:
        return None
    if not left or (_is_name(left) and not _mentions(right, left)):
        value = read(right)
        if not left or value.kind == "number":
            return labelled(_ray(value, operator), _name(left))
    if _is_name(right) and (value := read(left)).kind == "number":
        return labelled(_ray(value, _FLIPPED[operator]), _name(right))
    return _of_difference(left, operator, right)


def _single(left: str, operator: str, right: str, read: _Read) -> Value | None:
    if operator == r"\equiv":
        residue, modulus = split_modulus(right)
        if modulus is None or not int(modulus):
            return None
        value = read(residue)
        if value.kind == "number" and value.text.endswith("/1"):
            value = replace(value, text=f"{int(value.text[:-2]) % int(modulus)}/1")
        return Value("congruence", f"{_name(left)} mod {modulus}", (value,))
    value = read(right)
    if operator in (r"\ne", r"\notin"):
        value = Value("not", parts=(value,))
    return labelled(value, _name(left))


# --- values of relations ----------------------------------------------------------------------


def _of_difference(left: str, operator: str, right: str) -> Value | None:
    """The variable that a relation can be solved for, or else the relation; None if unreadable."""
    found = algebra.describe_relation(left, right)
    return None if found is None else _solved(found, operator) or _unsolved(found, operator)


def _solved(found: Any, operator: str) -> Value | None:
    if "solution" not in found:
        return None
    name, slope, kind, text = found["solution"]
    value = Value(kind, text)
    if operator == "=":
        return labelled(value, name)
    if kind != "number":
        return None
    return labelled(_ray(value, operator if slope == "1" else _FLIPPED[operator]), name)


def _unsolved(found: Any, operator: str) -> Value:
    if operator != "=" and found["sign"] < 0:
        operator = _FLIPPED[operator]
    return Value("relation", f"{operator} {found['fingerprint']}")


def _ray(end: Value, operator: str) -> Value:
    low, high = _INFINITIES
    if operator in ("<", r"\le"):
        return _interval(low, "<", end, operator)
    return _interval(end, _FLIPPED[operator], high, "<")


def _interval(low: Value, first: str, high: Value, second: str) -> Value:
    if first == second == "<":
        return Value("tuple", parts=(low, high))
    if first == second:
        return Value("closed", parts=(low, high))
    return Value("interval", "[)" if second == "<" else "(]", (low, high))


# --- names ------------------------------------------------------------------------------------


def _is_name(latex: str) -> bool:
    """Whether a side only names what the other side says: `x`, `f(x)`, `AB`, `\\max`."""
    return _NAME.fullmatch(latex) is not None and not _PRODUCT.fullmatch(latex)


def _name(latex: str) -> str:
    if latex.startswith("("):
        return latex.replace(" ", "")
    return canonical_words(latex.replace(r"\text", "").strip("{} ")) if len(latex) > 1 else latex


def _mentions(latex: str, name: str) -> bool:
    pattern = rf"(?<![A-Za-z\\]){re.escape(name.strip())}(?![A-Za-z])"
    return re.search(pattern, latex) is not None
