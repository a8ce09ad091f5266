"""Numbers of answers: exact while they are rational, else with many digits, and bounded in size.

A `Fraction` is a number that is known to be rational; an mpmath number is anything else, computed
with the digits of mpmath's present context. The operations keep a result exact where they can, and
find zero where all digits of a sum cancel.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath
from sympy import integer_nthroot

from deepprune.answers.value import MAX_EXACT_CHARS

CONSTANT_DIGITS = 2000
"""Digits that constants are computed with; a sum may cancel all but `KEY_DIGITS` of them."""
KEY_DIGITS = 800
MAX_BITS = 1 << 18
"""The largest exact number; a larger one is not evaluated."""
MAX_DEGREE = 64
MAX_FACTORIAL = 20_000

Number: TypeAlias = Any
"""A `Fraction`, or an mpmath number, real or complex; mpmath has no types."""


class Unreadable(ValueError):
    """An expression that cannot be read, or is too large to evaluate."""


def add(values: Sequence[Number]) -> Number:
    """Add numbers; exactly zero where all of their digits cancel."""
    if all(isinstance(value, Fraction) for value in values):
        return _bounded(sum(values, Fraction(0)))
    terms = [to_mp(value) for value in values]
    total = mpmath.fsum(terms)
    largest = max(abs(term) for term in terms)
    # All digits cancelled: the sum is zero, and what is left is rounding.
    if abs(total) <= largest * mpmath.mpf(10) ** (20 - mpmath.mp.dps):
        return Fraction(0)
    return tidy(total)


def multiply(values: Sequence[Number]) -> Number:
    """Multiply numbers."""
    if any(value == 0 for value in values):
        return Fraction(0)
    exact = _bounded(math.prod((v for v in values if isinstance(v, Fraction)), start=Fraction(1)))
    rest = [value for value in values if not isinstance(value, Fraction)]
    return tidy(mpmath.fprod([to_mp(exact), *rest])) if rest else exact


def power(base: Number, exponent: Number) -> Number:
    """Raise to a power; odd roots of negative numbers are real, as on paper.

    Raises:
        Unreadable: the result would be too large, or is not defined.
    """
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base == 0:
            if exponent > 0:
                return Fraction(0)
            raise Unreadable("zero to the power of zero or less")
        if exponent.denominator == 1:
            if abs(exponent) * (_bits(base) - 1) > MAX_BITS:
                raise Unreadable("too large a power")
            return base ** int(exponent)
        if base < 0 and exponent.denominator % 2:  # the real root, as in the cube root of -8
            root = power(-base, exponent)
            return root if exponent.numerator % 2 == 0 else -root
        if (root := _exact_root(base, exponent.denominator)) is not None:
            return power(root, Fraction(exponent.numerator))
    if base == 0:
        return Fraction(0)
    base, exponent = to_mp(base), to_mp(exponent)
    size = abs(exponent) * (abs(mpmath.log(abs(base), 2)) + 4)
    if size > MAX_BITS:
        raise Unreadable("too large a power")
    return tidy(mpmath.power(base, exponent))


def _exact_root(base: Fraction, degree: int) -> Fraction | None:
    if base < 0 or degree > MAX_DEGREE:
        return None
    (over, exact), (under, exact_too) = (
        integer_nthroot(part, degree) for part in (base.numerator, base.denominator)
    )
    return Fraction(int(over), int(under)) if exact and exact_too else None


def factorial(value: Number) -> Number:
    """Compute n!, and the gamma function between whole numbers."""
    if isinstance(value, Fraction) and value.denominator == 1:
        if not 0 <= value <= MAX_FACTORIAL:
            raise Unreadable("a factorial out of bounds")
        return Fraction(math.factorial(int(value)))
    return tidy(mpmath.gamma(to_mp(value) + 1))


def choose(total: int, chosen: int) -> Fraction:
    """Compute a binomial coefficient of whole numbers.

    Raises:
        Unreadable: it would be too large.
    """
    if min(chosen, abs(total - chosen)) * total.bit_length() > MAX_BITS:
        raise Unreadable("too large a binomial coefficient")
    return Fraction(math.comb(total, chosen))


def to_mp(value: Number) -> Any:
    """Convert to an mpmath number."""
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def tidy(value: Any) -> Number:
    """Drop a real or an imaginary part that is only rounding; refuse infinities."""
    if not mpmath.isfinite(value):
        raise Unreadable("not a finite number")
    if isinstance(value, mpmath.mpc):
        tiny = abs(value) * mpmath.mpf(10) ** (20 - mpmath.mp.dps)
        if abs(value.imag) <= tiny:
            return value.real
        if abs(value.real) <= tiny:
            return mpmath.mpc(0, value.imag)
    return value


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > MAX_BITS:
        raise Unreadable("too large a number")
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def constant_text(value: Number) -> str:
    """Name a constant: `3/4`, `1.4142...#hash`, or two of them with `|` if it is complex."""
    if isinstance(value, mpmath.mpc):
        return f"{constant_text(value.real)}|{constant_text(value.imag)}"
    exact = to_rational(value, CONSTANT_DIGITS)
    if isinstance(exact, Fraction):
        text = f"{exact.numerator}/{exact.denominator}"
        if len(text) <= MAX_EXACT_CHARS:
            return text
    else:
        text = digits_text(exact, KEY_DIGITS)
    return f"{digits_text(exact, 30)}#{digest(text)}"


def to_rational(value: Number, digits: int) -> Number:
    """Find the rational number that `value` is to `digits`, if its denominator is short."""
    if isinstance(value, Fraction | mpmath.mpc):
        return value
    sign, mantissa, exponent, _ = value._mpf_
    full = Fraction(mantissa) * Fraction(2) ** exponent * (-1 if sign else 1)
    near = full.limit_denominator(10 ** (digits // 8))
    close = abs(near - full) <= abs(full) * Fraction(1, 10 ** (digits // 2))
    return near if close and near else value


def digits_text(value: Number, digits: int) -> str:
    """Write so many significant digits."""
    if isinstance(value, mpmath.mpc):
        return f"{digits_text(value.real, digits)}|{digits_text(value.imag, digits)}"
    return str(mpmath.nstr(to_mp(value), digits, strip_zeros=True, min_fixed=0, max_fixed=0))


def digest(*parts: str) -> str:
    """Hash texts to a short name."""
    return hashlib.blake2b("/".join(parts).encode(), digest_size=16).hexdigest()
