"""The leaves of an answer: one number, one expression, words, or text that nobody can evaluate."""

from __future__ import annotations

import re
from fractions import Fraction

from deepprune.answers import algebra
from deepprune.answers.units import canonical_words
from deepprune.answers.value import MAX_EXACT_CHARS, Value

INTEGER = re.compile(r"[-+]?\d+")
WORDS = re.compile(r"[A-Za-z][A-Za-z'.&-]*(?: [A-Za-z][A-Za-z'.&-]*)*")
REALS = r"\mathbb{R}"
_REALS = {REALS, "R", "all real numbers", "all reals", "real numbers", "all real values"}
_DECIMAL = re.compile(r"([-+]?)(\d*)\.(\d+)")
_FRACTION = re.compile(r"([-+]?)\s*(?:\\frac\{(-?\d+)\}\{(-?\d+)\}|(\d+)\s*/\s*(\d+))")
_INFINITY = re.compile(r"([-+]?)\s*\\infty")
_ELLIPSIS = re.compile(r"([-+]?\d*\.\d*?)((\d)\3{2,})(?:\.{3}|\\ldots)")
_MIXED = re.compile(r"(?<![\w.^{}])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}|(?<![\w.])(\d+) (\d+)/(\d+)")
# latex2sympy takes `2(3)` and `(2)(3)` for sums.
_JUXTAPOSED = re.compile(r"(?<=[\d)])\s*(?=\(|\\frac|\\sqrt)|(?<=\))\s*(?=\d)|(?<=\\pi)\s*(?=\()")
_PROSE = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}")  # a product of its letters is not meant
_ADJACENT_NUMBERS = re.compile(r"\d\s+\d")
_GROUPED_ALONE = re.compile(
    r"([-+]?\s*(?:\\?\$|[€£¥])?\s*)(\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![\d,])([^,]*)"
)
_GROUPED_IN_LIST = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_VARIABLES = frozenset("abcdkmnpqrstuvwxyz")
_PRODUCT_LIKE = re.compile(r"[a-z]{2,3}")
_SHORT_WORDS = frozenset(
    {*("an", "as", "at", "am", "be", "by", "us", "up", "my"), *("all", "any", "ask", "ran", "sun")}
)


def read_expression(latex: str) -> Value:
    """Read an expression without structure; text that cannot be evaluated stands for itself.

    Raises:
        TooMuchError: evaluating it takes more than is allowed.
    """
    if value := _read_number(latex):
        return value
    if latex in _REALS:
        return words_value(latex)
    if latex == r"\emptyset":
        return Value("set")
    if not latex or r"\text" in latex or "'" in latex:  # a prime is lost on latex2sympy
        return text_value(latex)
    expression = _explicit(latex)
    if _ADJACENT_NUMBERS.search(expression) or _PROSE.search(expression):
        return text_value(latex)
    described = algebra.describe(expression)
    return text_value(latex) if described is None else Value(*described)


def _read_number(latex: str) -> Value | None:
    """Read a number that needs no algebra."""
    if match := _INFINITY.fullmatch(latex):
        return Value("number", "-inf" if match[1] == "-" else "inf")
    if INTEGER.fullmatch(latex):
        return number(Fraction(int(latex)))
    if match := _DECIMAL.fullmatch(latex):
        exact = Fraction(int(match[2] + match[3]), 10 ** len(match[3]))
        return number(-exact if match[1] == "-" else exact, places=len(match[3]))
    if match := _ELLIPSIS.fullmatch(latex):
        start, period = Fraction(match[1] + "0" if match[1][-1] == "." else match[1]), int(match[3])
        places = len(match[1].partition(".")[2])
        sign = -1 if latex.startswith("-") else 1
        return number(start + sign * Fraction(period, 9 * 10**places))
    if (match := _FRACTION.fullmatch(latex)) and int(under := match[3] or match[5]):
        exact = Fraction(int(match[2] or match[4]), int(under))
        return number(-exact if match[1] == "-" else exact)
    return None


def number(exact: Fraction, places: int | None = None) -> Value:
    """Make the value of an exact number, which was written with `places` decimals if with any."""
    text = f"{exact.numerator}/{exact.denominator}"
    if len(text) > MAX_EXACT_CHARS:
        described = algebra.describe(rf"\frac{{{exact.numerator}}}{{{exact.denominator}}}")
        text = described[1] if described else text
    return Value("number", text, places=places)


def _explicit(latex: str) -> str:
    """Write what is meant between the lines: mixed numbers, products, decimals as fractions."""
    latex = _MIXED.sub(_mixed, latex)
    latex = re.sub(r"(?<!\d)(\d*)\.(\d+)", _decimal, latex)
    return _JUXTAPOSED.sub(r"\\cdot ", latex)


def _mixed(match: re.Match[str]) -> str:
    whole, over, under = (g for g in match.groups() if g is not None)
    if match[4] and int(over) >= int(under):
        return match[0]  # `11 6/6` is no mixed number
    operation = "+" if int(over) < int(under) else r"\cdot "
    return rf"({whole}{operation}\frac{{{over}}}{{{under}}})"


def _decimal(match: re.Match[str]) -> str:
    return rf"\frac{{{int(match[1] + match[2])}}}{{{10 ** len(match[2])}}}"


def join_groups(latex: str) -> str:
    """Join thousands: `1,000` alone and in `1,000, 2,000` but not `(1,000)`, two numbers."""
    if match := _GROUPED_ALONE.fullmatch(latex):
        return match[1] + match[2].replace(",", "") + match[3]
    if re.search(r",\s", latex) and latex[0] not in "([":
        return _GROUPED_IN_LIST.sub(lambda m: m[0].replace(",", ""), latex)
    return latex


# --- words ------------------------------------------------------------------------------------


def is_product(word: str) -> bool:
    """Tell products from words: `xy` is one; `on`, `BAC` and `HT` are words."""
    if len(word) == 1:
        return True
    is_short = _PRODUCT_LIKE.fullmatch(word) is not None
    return is_short and set(word) <= _VARIABLES and word not in _SHORT_WORDS


def words_value(text: str) -> Value:
    """Make the value of words, whatever their case."""
    words = canonical_words(text)
    return Value("words", r"\mathbb{R}" if text in _REALS or words in _REALS else words)


def text_value(latex: str) -> Value:
    """Make the value of text: equal where the text is, spaces and styles aside."""
    plain = re.sub(r"\\text\{([^{}]*)\}", lambda m: f" {m[1].casefold()} ", latex)
    plain = re.sub(r"(?<![A-Za-z0-9\\]) | (?![A-Za-z0-9])", "", " ".join(plain.split()))
    return Value("words" if WORDS.fullmatch(plain) else "text", plain.strip(". "))
