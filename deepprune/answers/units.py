"""Units and other words that qualify a number: `5 cm`, `20\\% increase`, `10:30 p.m.`, `25_8`."""

from __future__ import annotations

import re

_ALIASES = {
    "percent": "%",
    "percentage": "%",
    "pct": "%",
    "dollar": "$",
    "usd": "$",
    "euro": "€",
    "eur": "€",
    "pound": "lb",
    "degree": "°",
    "deg": "°",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "kilometer": "km",
    "kilometre": "km",
    "gram": "g",
    "kilogram": "kg",
    "inch": "in",
    "inche": "in",
    "feet": "ft",
    "foot": "ft",
    "yard": "yd",
    "mile": "mi",
    "ounce": "oz",
    "liter": "l",
    "litre": "l",
    "hr": "hour",
    "h": "hour",
    "min": "minute",
    "sec": "second",
    "s": "second",
    "yr": "year",
    "sq": "square",
    "unit": "",
}
_KNOWN = frozenset(
    {
        *("mm", "cm", "m", "km", "g", "kg", "mg", "lb", "oz", "in", "ft", "yd", "mi", "l"),
        *("ml", "hr", "min", "sec", "s", "h", "am", "pm", "mph", "kmh", "rad"),
    }
)
_AMBIGUOUS = {"m", "g", "l", "s", "h", "in", "mi", "am"}
"""Bare, these are units only after a space or with a raised 2 or 3: `5m` is five times m."""
_CURRENCY = r"\\?\$|[€£¥₹]"
_NO_UNITS = frozenset(
    {
        *("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "alpha"),
        *("beta", "gamma", "delta", "theta", "and", "or", "mod", "frac"),
    }
)

_PERCENT = re.compile(r"\s*\\?%$")
_DEGREE = re.compile(r"\s*\^\{\s*\\circ\s*\}\s*(?:\\text\{\s*([CF])\s*\}|([CF]))?$")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_TEXT = re.compile(r"\s*\\text\{([^{}]*)\}(?:\^\{(-?\d)\})?$")
_BARE = re.compile(
    r"(?<=[\d}).])(\s*)([A-Za-z]+(?:[ -][A-Za-z]+)*(?:/[A-Za-z]+)?\.?)(?:\^\{(\d)\})?$"
)
_CURRENCY_BEFORE = re.compile(rf"([-+]?)\s*({_CURRENCY})\s*(?=[\d.])")
_CURRENCY_AFTER = re.compile(rf"\s*({_CURRENCY})$")
_BASE = re.compile(r"(\d+)_\{\s*(\d{1,2})\s*\}")
_MODULUS = re.compile(
    r"\s*(?:\(\s*)?(?:\\[pb]?mod|\\text\{\s*\(?\s*mod\s*\}|\bmod)\s*\{?\s*(\d+)\s*\}?\s*\)?$"
)


def split_unit(latex: str) -> tuple[str, tuple[str, ...]]:
    """Split an expression into what is measured and its unit, in canonical words; maybe none."""
    units: list[str] = []
    while found := _last_unit(latex):
        latex, unit = found
        units[:0] = unit
        if not latex:
            break
    return latex, tuple(word for word in units if word)


def split_modulus(latex: str) -> tuple[str, str | None]:
    r"""Split `3 \pmod 7` into 3 and 7."""
    match = _MODULUS.search(latex)
    return (latex[: match.start()].strip(), match[1]) if match else (latex, None)


def canonical_words(text: str) -> str:
    """Words without case, dots of abbreviations and double spaces."""
    return " ".join(text.replace(".", "").casefold().split())


def _last_unit(latex: str) -> tuple[str, list[str]] | None:
    if match := _PERCENT.search(latex):
        return latex[: match.start()], ["%"]
    if (match := _DEGREE.search(latex)) and not _TRIGONOMETRY.search(latex):
        return latex[: match.start()], ["°" + (match[1] or match[2] or "")]
    if match := _CURRENCY_AFTER.search(latex):
        return latex[: match.start()], [match[1][-1]]
    if match := _CURRENCY_BEFORE.match(latex):
        return match[1] + latex[match.end() :], [match[2][-1]]
    if match := _TEXT.search(latex):
        rest = latex[: match.start()].rstrip()
        unit = _words(match[1], match[2])
        if rest.endswith("/"):
            rest, unit = rest[:-1].rstrip(), ["per", *unit]
        return rest, unit
    if (match := _BARE.search(latex)) and _is_unit(match):
        return latex[: match.start()].rstrip(), _words(match[2], match[3])
    if match := _BASE.fullmatch(latex):
        return match[1], ["base", match[2]]
    if (split := split_modulus(latex))[1] is not None:
        return split[0], ["mod", str(split[1])]
    return None


def _is_unit(match: re.Match[str]) -> bool:
    words = [word for word in re.split(r"[ /.-]", match[2]) if word]
    if len(words) == 1 and words[0].lower() in _AMBIGUOUS:
        return bool(match[1]) or match[3] in ("2", "3")
    spaced = bool(match[1]) or len(words[0]) > 3
    return all(
        word.lower() in _KNOWN
        or word.lower() in _ALIASES
        or (spaced and len(word) >= 3 and word.lower() not in _NO_UNITS)
        for word in words
    )


def _words(text: str, power: str | None) -> list[str]:
    words = re.split(r"[ /-]+", canonical_words(text))
    singular = [_singular(word) for word in words if word]
    return [*singular, *([f"^{power}"] if power else [])]


def _singular(word: str) -> str:
    if word in _ALIASES:
        return _ALIASES[word]
    bare = word[:-1] if word.endswith("s") and len(word) > 2 and not word.endswith("ss") else word
    return _ALIASES.get(bare, bare)
