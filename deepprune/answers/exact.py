"""Exact values of LaTeX expressions, and fingerprints of those that hold variables.

This is the part that needs sympy, so only the worker process imports it. latex2sympy reads an
expression into an unevaluated tree; the tree is evaluated here, with bounds on the size of every
number, so that equal expressions get equal values however they are written:

- A constant is an exact rational number where it is one, else its first `KEY_DIGITS` digits.
  Closed forms that differ by 2**-2024 therefore differ.
- An expression with variables is evaluated at fixed points. Two expressions that agree at all of
  them are identical but for a chance that can be neglected (Schwartz-Zippel).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import sympy
from latex2sympy2_extended import NormalizationConfig, latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig

from deepprune.answers.arithmetic import (
    CONSTANT_DIGITS,
    Number,
    Unreadable,
    add,
    choose,
    constant_text,
    digest,
    digits_text,
    factorial,
    multiply,
    power,
    tidy,
    to_mp,
    to_rational,
)

POINT_DIGITS = 200
POINT_KEY_DIGITS = 60
NUM_POINTS = 3
IMAGINARY = "i"

_Point = Mapping[str, Number]

_READING = NormalizationConfig(basic_latex=False, boxed="none")
_CONVERSION = ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False)
_SIGN_SENSITIVE = (sympy.Abs, sympy.floor, sympy.ceiling, sympy.Max, sympy.Min)
_CONSTANTS = {sympy.pi: mpmath.pi, sympy.E: mpmath.e, sympy.EulerGamma: mpmath.euler}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    kind.__name__: getattr(mpmath, kind.__name__)
    for kind in (
        *(sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc),
        *(sympy.asin, sympy.acos, sympy.atan, sympy.acot, sympy.asec, sympy.acsc),
        *(sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch),
        *(sympy.asinh, sympy.acosh, sympy.atanh, sympy.gamma),
    )
}
_UNDONE = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


def read(latex: str) -> sympy.Basic:
    """Read a LaTeX expression into an unevaluated sympy tree.

    Raises:
        Unreadable: it is not one scalar expression. latex2sympy raises much else, also `Exception`.
    """
    tree = latex2sympy(
        latex,
        convert_degrees=True,
        normalization_config=_READING,
        conversion_config=_CONVERSION,
    )
    if not isinstance(tree, sympy.Expr):
        raise Unreadable(f"{type(tree).__name__} is no scalar")
    return tree


def describe(latex: str) -> list[str]:
    """Describe an expression: `["number", value]`, or `["function", fingerprint]`.

    Raises:
        Unreadable: the expression cannot be read or evaluated.
    """
    return _described(read(latex))


def describe_matrix(latex: str) -> list[list[list[str]]]:
    """Describe the entries of a matrix expression, such as a sum, row by row.

    Raises:
        Unreadable: the expression is no matrix, or an entry cannot be evaluated.
    """
    tree = read(latex)
    if not isinstance(tree, sympy.MatrixExpr):
        raise Unreadable(f"{type(tree).__name__} is no matrix")
    return [[_described(entry) for entry in row] for row in sympy.Matrix(tree.doit()).tolist()]


def describe_relation(left: str, right: str) -> dict[str, Any]:
    """Describe `left - right` as one side of a relation with zero.

    Returns a mapping with
    - `solution`: `[symbol, slope's sign, value...]` where the difference is linear in its only
      variable, or in y with a constant slope; the value is as `describe` gives it;
    - `fingerprint`: that of the difference up to a positive factor;
    - `sign`: 1 or -1, by which the fingerprint may be multiplied for a relation that is symmetric.

    Raises:
        Unreadable: a side cannot be read or evaluated.
    """
    a, b = read(left), read(right)
    names = sorted(_names(a) | _names(b))
    if not names:
        raise Unreadable("a relation of constants")

    def difference(point: _Point) -> Number:
        return add([_value(a, point), multiply([Fraction(-1), _value(b, point)])])

    found: dict[str, Any] = {}
    unknown = names[0] if len(names) == 1 else "y"
    if unknown in names and (solution := _solve(difference, unknown, names)):
        found["solution"] = solution
    with mpmath.workdps(POINT_DIGITS):
        values = [difference(point) for point in _points(names, signed=True)]
        scale = next((value for value in values if value != 0), None)
        if scale is None:
            raise Unreadable("a relation that always holds")
        sign = 1 if isinstance(scale, mpmath.mpc) or scale > 0 else -1
        factor = multiply([Fraction(sign), power(abs(scale), Fraction(-1))])
        ratios = (digits_text(multiply([value, factor]), POINT_KEY_DIGITS) for value in values)
        found["fingerprint"] = digest(*ratios)
        found["sign"] = sign
    return found


def _described(tree: sympy.Basic) -> list[str]:
    names = _names(tree)
    if not names:
        with mpmath.workdps(CONSTANT_DIGITS):
            return ["number", constant_text(_value(tree, {}))]
    signed = tree.has(*_SIGN_SENSITIVE)
    with mpmath.workdps(POINT_DIGITS):
        return _fingerprint([_value(tree, p) for p in _points(names, signed=signed)], signed=signed)


def _fingerprint(values: Sequence[Number], *, signed: bool) -> list[str]:
    first = values[0]
    if isinstance(first, Fraction) and all(value == first for value in values):
        return ["number", constant_text(first)]
    digits = [digits_text(value, POINT_KEY_DIGITS) for value in values]
    if len(set(digits)) == 1 and isinstance(rational := to_rational(first, POINT_DIGITS), Fraction):
        return ["number", constant_text(rational)]
    return ["function", digest("signed" if signed else "", *digits)]


def _solve(
    difference: Callable[[_Point], Number], unknown: str, names: Sequence[str]
) -> list[str] | None:
    """Solve a difference that is linear in `unknown` with a slope that is constant."""
    others = [name for name in names if name != unknown]
    solutions: list[Number] = []
    slopes: list[Number] = []
    with mpmath.workdps(POINT_DIGITS if others else CONSTANT_DIGITS):
        for point in _points(others, signed=True) if others else [{}]:
            zero, one, third = (
                difference({**point, unknown: Fraction(n)}) for n in (0, 1, Fraction(7, 3))
            )
            slope = add([one, -zero])
            curve = add([third, -zero, multiply([Fraction(-7, 3), slope])])
            if slope == 0 or curve != 0 or isinstance(slope, mpmath.mpc):
                return None
            slopes.append(slope)
            solutions.append(multiply([-zero, power(slope, Fraction(-1))]))
        if any(digits_text(slope, 40) != digits_text(slopes[0], 40) for slope in slopes):
            return None
        described = (
            _fingerprint(solutions[:NUM_POINTS], signed=False)
            if others
            else ["number", constant_text(solutions[0])]
        )
    return [unknown, "1" if slopes[0] > 0 else "-1", *described]


# --- points -----------------------------------------------------------------------------------


def _names(tree: sympy.Basic) -> set[str]:
    return {str(symbol) for symbol in tree.free_symbols} - {IMAGINARY}


def _points(names: Iterable[str], *, signed: bool) -> list[dict[str, Number]]:
    """Fixed points, positive, so that roots of variables simplify as they do on paper.

    What depends on a sign, such as an absolute value, is looked at on both sides of zero.
    """
    points = [{name: _coordinate(name, k) for name in names} for k in range(NUM_POINTS)]
    if signed:
        points += [{name: -value for name, value in point.items()} for point in points]
    return points


def _coordinate(name: str, k: int) -> Fraction:
    seed = int.from_bytes(hashlib.blake2b(f"{name}/{k}".encode(), digest_size=4).digest(), "big")
    return Fraction(1009 + seed % 99_991, 50_021)


# --- evaluation -------------------------------------------------------------------------------


def _value(node: sympy.Basic, point: _Point) -> Number:
    """The value of a tree at a point; a `Fraction` where it is rational and known to be."""
    if isinstance(node, sympy.Rational):
        return Fraction(int(node.p), int(node.q))
    if isinstance(node, sympy.Symbol):
        return mpmath.mpc(0, 1) if node.name == IMAGINARY else point[node.name]
    if node in _CONSTANTS:
        return +_CONSTANTS[node]
    if node is sympy.I:
        return mpmath.mpc(0, 1)
    if isinstance(node, sympy.Add | sympy.Mul | sympy.Pow | sympy.exp):
        values = [_value(argument, point) for argument in node.args]
        if isinstance(node, sympy.Add):
            return add(values)
        if isinstance(node, sympy.Mul):
            return multiply(values)
        base, exponent = values if isinstance(node, sympy.Pow) else (+mpmath.e, values[0])
        return power(base, exponent)
    if isinstance(node, sympy.UnevaluatedExpr):
        return _value(node.args[0], point)
    if isinstance(node, sympy.Function):
        return _function(node, [_value(argument, point) for argument in node.args])
    if isinstance(node, _UNDONE):
        done = node.doit()
        if type(done) is not type(node):
            return _value(done, point)
    raise Unreadable(f"{type(node).__name__} is not evaluated")


def _function(node: sympy.Function, values: list[Number]) -> Number:
    name = node.func.__name__
    first = values[0]
    if isinstance(node, sympy.Abs):
        return abs(first)
    if isinstance(node, sympy.Max | sympy.Min) and all(mpmath.im(v) == 0 for v in values):
        return (max if isinstance(node, sympy.Max) else min)(values)
    if isinstance(node, sympy.log):
        ratio = mpmath.log(_nonzero(first))
        return tidy(ratio / mpmath.log(_nonzero(values[1])) if len(values) > 1 else ratio)
    if isinstance(node, sympy.floor | sympy.ceiling) and not isinstance(first, mpmath.mpc):
        exact = to_rational(first, mpmath.mp.dps)
        rounding = math.floor if isinstance(node, sympy.floor) else math.ceil
        return Fraction(rounding(exact) if isinstance(exact, Fraction) else int(rounding(exact)))
    if isinstance(node, sympy.factorial):
        return factorial(first)
    if isinstance(node, sympy.binomial):
        top, bottom = values
        if all(isinstance(v, Fraction) and v.denominator == 1 and v >= 0 for v in values):
            return choose(int(top), int(bottom))
        under = multiply([factorial(bottom), factorial(add([top, -bottom]))])
        return multiply([factorial(top), power(under, Fraction(-1))])
    if name in _FUNCTIONS:
        try:
            result = _FUNCTIONS[name](to_mp(first))
        except (ValueError, ZeroDivisionError) as error:
            raise Unreadable(str(error)) from None
        precision = mpmath.mpf(10) ** (20 - mpmath.mp.dps)
        if abs(result) * precision > 1:
            raise Unreadable("a pole")
        return Fraction(0) if abs(result) <= (1 + abs(first)) * precision else tidy(result)
    if isinstance(node, sympy.core.function.AppliedUndef):
        # An unknown function: some value, the same for the same name and arguments.
        return _coordinate(name + ",".join(digits_text(v, POINT_KEY_DIGITS) for v in values), 0)
    raise Unreadable(f"{name} is not evaluated")


def _nonzero(value: Number) -> Any:
    if value == 0:
        raise Unreadable("the logarithm of zero")
    return to_mp(value)
