"""Figures as people read them: a true minus sign, no more digits than mean something."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepprune.statistics import Estimate

DASH = "–"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 problem`, `1,234 problems`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def fewer(tokens: int, baseline: int) -> str:
    """How many per cent less `tokens` are than `baseline`, in words."""
    share = 1 - tokens / max(1, baseline)
    return f"{share:.0%} fewer" if share >= 0 else f"{-share:.0%} more"


def clock_time(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; two digits where there is little left of it."""
    if math.isnan(share):
        return DASH
    shown = 100 * share
    return _signed(f"{shown:.2f}%" if 0 < abs(shown) < 1 else f"{shown:.{digits}f}%")


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    shown = f"{100 * difference:+.1f}"
    return _signed(shown if float(shown) else "0.0")


def change(ratio: float) -> str:
    """A ratio as a change in per cent: 0.2 is −80%."""
    return _signed(f"{100 * (ratio - 1):+.1f}%")


def amount(number: float) -> str:
    """A count in three digits or so: 950, 12.3k, 4.56M."""
    if math.isnan(number):
        return DASH
    for limit, factor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "B")):
        if abs(number) < limit * 0.9995:
            return f"{_three(number / factor, whole=not unit)}{unit}"
    return f"{number:.3g}"


def tick(number: float) -> str:
    """A round count at an axis: 500, 20k, 1M."""
    for factor, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor * 0.9995:
            return _signed(f"{number / factor:g}{unit}")
    return _signed(f"{number:g}")


def interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """The interval of a figure: 50.0–60.0%, and −1.0 to 2.0 of figures with a sign."""
    low, high = show(estimate.low), show(estimate.high)
    if show in (points, change):
        return f"{low} to {high}"
    return f"{low.removesuffix('%')}–{high}"


def published_tokens(tokens: float) -> str:
    """As the paper's tables print tokens."""
    return f"{tokens / 1e8:.3g}×10⁸"


def seconds(number: float) -> str:
    """Seconds, minutes or hours."""
    if number < 100:
        return f"{_three(number)} s"
    return f"{_three(number / 60)} min" if number < 7200 else f"{number / 3600:.1f} h"


def rate(number: float) -> str:
    """A mean of small counts."""
    return _three(number)


def _three(number: float, *, whole: bool = False) -> str:
    if number == 0:
        return "0"
    size = abs(number)
    if whole and (size >= 10 or number == int(number)):
        return _signed(f"{number:.0f}")
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return _signed(f"{number:.{digits}f}")


def _signed(text: str) -> str:
    return text.replace("-", "−")
