"""Bootstrap confidence intervals over problems.

A table of values has one row per problem, its seeds averaged before. Problems are drawn with
replacement, as often as there are problems, and what is asked for is computed for each draw. Two
entries compared are drawn together, so that what makes a problem hard cancels out. The draws depend
on nothing but the number of problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NUM_DRAWS = 2000
SEED = 20251009
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@lru_cache(maxsize=64)
def draws(num_problems: int) -> Array:
    """(NUM_DRAWS, num_problems): how often each problem was drawn."""
    rng = np.random.default_rng(SEED)
    shares = np.full(num_problems, 1 / num_problems)
    return rng.multinomial(num_problems, shares, size=NUM_DRAWS).astype(np.float64)


def mean(values: Array) -> Estimate | None:
    """The mean over problems; NaN where a problem has no value, None where none has."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    filled = np.where(known, values, 0.0)
    weights = draws(len(values))
    return _estimate(
        float(filled.sum() / known.sum()), weights @ filled, weights @ known.astype(np.float64)
    )


def ratio(above: Array, below: Array) -> Estimate | None:
    """The sum of one over the sum of another, on the problems that have both."""
    known = ~(np.isnan(above) | np.isnan(below))
    over, under = above[known], below[known]
    if not known.any() or under.sum() <= 0:
        return None
    weights = draws(len(over))
    return _estimate(float(over.sum() / under.sum()), weights @ over, weights @ under)


def difference(first: Array, second: Array) -> Estimate | None:
    """The mean of `first - second` on the problems that have both."""
    known = ~(np.isnan(first) | np.isnan(second))
    return mean((first - second)[known]) if known.any() else None


def _estimate(value: float, above: Array, below: Array) -> Estimate:
    fine = below > 0
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(above[fine] / below[fine], tails)
    return Estimate(value, float(low), float(high))
