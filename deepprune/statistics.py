"""Statistics of judges and policies: ranking, calibration, thresholds and bootstrap intervals.

A score is any number that grows with P(same), and a positive is a pair that agrees. A pooled AUROC
mixes problems, and rewards a judge that only knows which problems are easy. Pruning compares traces
of one problem, so the mean AUROC within a problem stands beside it.

Intervals are over problems: problems are drawn with replacement, as often as there are problems.
The draws depend on the number of problems alone, so two methods are compared on the same draws, and
the difficulty of a problem cancels out.

scikit-learn and scipy take long to import: functions import them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

NUM_DRAWS = 2000
SEED = 20251009
LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
CELLS_AT_ONCE = 2**23
"""Numbers in an array of resampled curves; bounds the memory it takes."""

MAX_LOGIT = 12.0
"""Log-odds of a probability are cut off here."""
LEAST_SLOPE = 0.01
"""Slope of a judge that ranks held-out pairs at chance or worse: its scores count next to nothing,
and keep their order."""
LEAST_PAIRS = 5
"""Pairs of either class that a problem needs for an AUROC of its own."""
NUM_BINS = 10


def grouped(values: Ints) -> list[Ints]:
    """The places of each value: an ascending array a value, in the order of the values."""
    if not len(values):
        return []
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1)


# --- intervals ------------------------------------------------------------------------------------


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
def draws(num_problems: int) -> Floats:
    """(NUM_DRAWS, num_problems): how often each problem was drawn."""
    rng = np.random.default_rng(SEED)
    shares = np.full(num_problems, 1 / num_problems)
    return rng.multinomial(num_problems, shares, size=NUM_DRAWS).astype(np.float64)


def mean(values: Floats) -> Estimate | None:
    """The mean over problems; NaN where a problem has no value, None where none has."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    filled = np.where(known, values, 0.0)
    weights = draws(len(values))
    return _of_ratios(
        float(filled.sum() / known.sum()), weights @ filled, weights @ known.astype(np.float64)
    )


def ratio(above: Floats, below: Floats) -> Estimate | None:
    """The sum of one over the sum of another, on the problems that have both."""
    known = ~(np.isnan(above) | np.isnan(below))
    over, under = above[known], below[known]
    if not known.any() or under.sum() <= 0:
        return None
    weights = draws(len(over))
    return _of_ratios(float(over.sum() / under.sum()), weights @ over, weights @ under)


def difference(first: Floats, second: Floats) -> Estimate | None:
    """The mean of `first - second` on the problems that have both."""
    known = ~(np.isnan(first) | np.isnan(second))
    return mean((first - second)[known]) if known.any() else None


def _of_ratios(value: float, above: Floats, below: Floats) -> Estimate:
    known = below > 0
    return _interval(value, above[known] / below[known])


def _interval(value: float, resampled: Floats) -> Estimate:
    low, high = np.nanquantile(resampled, TAILS)
    return Estimate(value, float(low), float(high))


# --- ranking --------------------------------------------------------------------------------------


def auroc(same: Bools, scores: Floats, weight: Floats | None = None) -> float:
    """P(a pair that agrees scores above one that differs), ties counting half.

    NaN where one of the classes is empty.
    """
    from sklearn.metrics import roc_auc_score

    if same.all() or not same.any():
        return math.nan
    return float(roc_auc_score(same, scores, sample_weight=weight))


def per_problem_auroc(
    same: Bools, scores: Floats, problem: Ints, least: int = LEAST_PAIRS
) -> dict[int, float]:
    """The AUROC within each problem that has `least` pairs or more of either class."""
    found = {}
    for index in grouped(problem):
        agreeing = int(same[index].sum())
        if min(agreeing, len(index) - agreeing) >= least:
            found[int(problem[index[0]])] = auroc(same[index], scores[index])
    return found


def mean_auroc(same: Bools, scores: Floats, problem: Ints, least: int = LEAST_PAIRS) -> float:
    """The mean of `per_problem_auroc`; NaN where no problem has enough pairs."""
    values = list(per_problem_auroc(same, scores, problem, least).values())
    return float(np.mean(values)) if values else math.nan


def pooled_ranking(
    same: Bools, scores: Floats, problem: Ints, fnr: float
) -> tuple[Estimate, Estimate]:
    """AUROC and TNR at `fnr` over all pairs; there have to be pairs of both classes."""
    _, place = np.unique(-scores, return_inverse=True)  # thresholds, the highest first
    numbers, row = np.unique(problem, return_inverse=True)
    shape = (len(numbers), int(place.max()) + 1)
    differing, agreeing = np.zeros(shape), np.zeros(shape)
    for counts, mask in ((differing, ~same), (agreeing, same)):
        np.add.at(counts, (row[mask], place[mask]), 1)
        np.cumsum(counts, axis=1, out=counts)
    aurocs, tnrs = [], []
    num_chunks = max(1, NUM_DRAWS * shape[1] // CELLS_AT_ONCE)
    for some in np.array_split(draws(len(numbers)), num_chunks):
        with np.errstate(invalid="ignore"):  # a draw without one of the classes is NaN
            false, true = (_rates(some @ counts) for counts in (differing, agreeing))
        areas = np.trapezoid(true, false, axis=1)
        threshold = np.argmax(true >= 1 - fnr - 1e-9, axis=1)
        aurocs.append(areas)
        tnrs.append(np.where(np.isnan(areas), areas, 1 - false[np.arange(len(false)), threshold]))
    return (
        _interval(auroc(same, scores), np.concatenate(aurocs)),
        _interval(tnr_at_fnr(same, scores, fnr), np.concatenate(tnrs)),
    )


def _rates(counts: Floats) -> Floats:
    """(draws, thresholds + 1): shares of the last count, from 0 on."""
    rates: Floats = np.pad(counts / counts[:, -1:], ((0, 0), (1, 0)))
    return rates


# --- thresholds -----------------------------------------------------------------------------------


def threshold_at_fnr(same: Bools, scores: Floats, fnr: float) -> float:
    """The highest score below which lies at most the share `fnr` of the pairs that agree."""
    agreeing = np.sort(scores[same])
    return float(agreeing[math.floor(fnr * len(agreeing) + 1e-9)])


def tnr_at_fnr(same: Bools, scores: Floats, fnr: float = 0.2) -> float:
    """The share of differing pairs told apart where at most `fnr` of agreeing ones are lost.

    The paper's TNR@0.2. A pair is taken to agree when its score is at the threshold or above it.
    NaN where one of the classes is empty.
    """
    if not same.any() or same.all():
        return math.nan
    return float((scores[~same] < threshold_at_fnr(same, scores, fnr)).mean())


def chosen_tau(same: Bools, p_same: Floats, target_error: float) -> float:
    """The threshold that loses at most `target_error` of the agreeing pairs, within (0, 1)."""
    return float(np.clip(threshold_at_fnr(same, p_same, target_error), 0.001, 0.999))


# --- calibration ----------------------------------------------------------------------------------


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of log-odds; never 0 or 1."""
    p: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return p


def log_odds(p: Floats) -> Floats:
    """Log-odds of probabilities, at most `MAX_LOGIT` from 0."""
    with np.errstate(divide="ignore"):
        inside = np.clip(p, 0.0, 1.0)
        odds = np.log(inside) - np.log1p(-inside)
    limited: Floats = np.clip(odds, -MAX_LOGIT, MAX_LOGIT)
    return limited


@dataclass(frozen=True, slots=True)
class Platt:
    """Log-odds of P(same) = slope x log-odds + shift."""

    slope: float = 1.0
    shift: float = 0.0

    def logits(self, logits: Floats) -> Floats:
        """Log-odds of P(same)."""
        return self.slope * logits + self.shift


def fit_platt(logits: Floats, same: Bools, weight: Floats | None = None) -> Platt:
    """Platt scaling learned on held-out pairs, (pairs,) each; none where these are of one class.

    A judge's own P(same) need not be one: a focal loss weighs the classes unequally and asks for
    less certainty than there is, and a similarity means nothing in itself.
    """
    from sklearn.linear_model import LogisticRegression

    if same.all() or not same.any():
        return Platt()
    weight = np.ones(len(same)) if weight is None else weight / weight.mean()
    fit = LogisticRegression(C=100.0).fit(logits[:, None], same, weight)
    slope = float(fit.coef_[0, 0])
    if slope >= LEAST_SLOPE:
        return Platt(slope, float(fit.intercept_[0]))
    rate = float(np.average(same, weights=weight))
    centre = float(np.average(logits, weights=weight))
    return Platt(LEAST_SLOPE, math.log(rate / (1 - rate)) - LEAST_SLOPE * centre)


def calibration_curve(same: Bools, p_same: Floats) -> list[tuple[float, float, int]]:
    """For each bin of equal width that is not empty: mean P(same), share that agrees, pairs."""
    bins = np.clip((p_same * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
    return [
        (float(p_same[inside].mean()), float(same[inside].mean()), int(inside.sum()))
        for inside in (bins == number for number in range(NUM_BINS))
        if inside.any()
    ]


def calibration_error(same: Bools, p_same: Floats) -> float:
    """The mean distance between P(same) and the share that agrees, over bins of equal width."""
    curve = calibration_curve(same, p_same)
    return sum(count * abs(p - share) for p, share, count in curve) / len(same)
