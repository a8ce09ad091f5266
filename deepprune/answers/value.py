"""The value that an answer states, and when two values are the same.

There are two relations, on purpose. A vote needs an equivalence relation, or its groups would
depend on the order of arrival: `Value.key` is equal exactly where values are. Grading against a
reference may be laxer: `Value.matches` lets one side leave out a unit or the name of a variable,
write a percentage as a fraction, or round an exact number to six digits or more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

MAX_EXACT_CHARS = 200
"""A rational number whose text is longer is named by its first digits and a hash."""
MIN_DIGITS = 6
"""Significant digits from which a decimal number may stand for an exact one."""


@dataclass(frozen=True)
class Value:
    """A value as a tree.

    `kind` is `number`, `function`, `words`, `text`, `json`, `relation`, or a compound of `parts`:
    `tuple` (also an open interval, which is spelled the same), `closed`, `interval`, `set`,
    `matrix`, `ratio`, `quantities`, `congruence`, `not`. `text` holds what the parts do not. `unit`
    and `label` (`x` of `x = 5`) are what may be left out. `places` counts the decimals of a number
    that is written as a decimal.
    """

    kind: str
    text: str = ""
    parts: tuple[Value, ...] = ()
    unit: tuple[str, ...] = ()
    label: str = ""
    places: int | None = None

    @cached_property
    def key(self) -> str:
        """Equal for two values exactly where they are the same, units and labels aside."""
        parts = ",".join(self._part_keys())
        return f"{self.kind}:{self.text}({parts})" if self.parts else f"{self.kind}:{self.text}"

    @cached_property
    def names(self) -> str:
        """All units and labels in the tree; empty where there are none."""
        own = " ".join((self.label, *sorted(self.unit))).strip()
        parts = sorted(self.parts, key=lambda part: part.key) if self.kind == "set" else self.parts
        inner = [part.names for part in parts]
        # `1 cm, 2 cm` and `1, 2 cm` say the same.
        return ";".join(dict.fromkeys(name for name in (own, *inner) if name))

    def matches(self, other: Value) -> bool:
        """Whether one value, graded against the other, is right; symmetric, not transitive."""
        if not _compatible(self, other):
            return False
        if self.key == other.key:
            return not (self.parts and other.parts) or self._parts_match(other)
        if self.kind == other.kind == "number":
            return (
                _rounded(self, other)
                or _rounded(other, self)
                or _as_percentage(self, other)
                or _as_percentage(other, self)
            )
        same_shape = (self.kind, self.text, len(self.parts)) == (
            other.kind,
            other.text,
            len(other.parts),
        )
        return same_shape and bool(self.parts) and self._parts_match(other)

    def _parts_match(self, other: Value) -> bool:
        if self.kind != "set":
            return all(a.matches(b) for a, b in zip(self.parts, other.parts, strict=True))
        left = list(other.parts)
        for part in self.parts:
            match = next((candidate for candidate in left if part.matches(candidate)), None)
            if match is None:
                return False
            left.remove(match)
        return not left

    def _part_keys(self) -> list[str]:
        keys = [part.key for part in self.parts]
        return sorted(keys) if self.kind == "set" else keys

    @property
    def approximate(self) -> Decimal | None:
        """Thirty digits of a real number; None for anything else."""
        if self.kind != "number" or "|" in self.text or "inf" in self.text:
            return None
        over, _, under = self.text.partition("#")[0].partition("/")
        return Decimal(over) / Decimal(under or 1)


def labelled(value: Value, label: str) -> Value:
    """Return the value under a name, as in `x = 5`."""
    return replace(value, label=label)


def with_unit(value: Value, *unit: str) -> Value:
    """Return the value with a unit beside those it has."""
    return replace(value, unit=(*value.unit, *unit))


def _compatible(a: Value, b: Value) -> bool:
    """Whether units and labels agree, or one of the two leaves them out."""
    units = set(a.unit), set(b.unit)
    return (units[0] <= units[1] or units[1] <= units[0]) and (
        a.label == b.label or not (a.label and b.label)
    )


def _rounded(decimal: Value, exact: Value) -> bool:
    """Whether a decimal number is an exact one, rounded or cut after its last digit."""
    if decimal.places is None or exact.places is not None:
        return False
    near, true = decimal.approximate, exact.approximate
    if near is None or true is None or len(near.as_tuple().digits) < MIN_DIGITS:
        return False
    step = Decimal(1).scaleb(-decimal.places)
    return abs(near - true) <= step / 2 or 0 <= (true - near) * near.compare(0) < step


def _as_percentage(percentage: Value, fraction: Value) -> bool:
    if "%" not in percentage.unit or "%" in fraction.unit:
        return False
    a, b = percentage.approximate, fraction.approximate
    return a is not None and b is not None and a == b * 100
