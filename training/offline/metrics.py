"""How good a judge's scores are: plain numpy, from labels and scores.

A score is anything that grows with P(same); "positive" is a pair that agrees. Pooled numbers mix
problems, and a judge that only knows which problems are easy looks good in them. Pruning compares
traces of one problem, so the mean over problems of the AUROC within each stands beside the pooled
one, and confidence intervals are over problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def auroc(same: Bools, scores: Floats) -> float:
    """The chance that a pair that agrees scores above one that differs, ties counting half.

    NaN where one of the classes is empty.
    """
    positives = int(same.sum())
    negatives = len(same) - positives
    if not positives or not negatives:
        return math.nan
    ranks = _mean_ranks(scores)
    return float((ranks[same].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def mean_auroc(same: Bools, scores: Floats, problem: Ints, least: int = 5) -> float:
    """The mean over problems of the AUROC within each.

    Only problems with `least` pairs or more of either class take part; NaN where there are none.
    """
    values = list(per_problem_auroc(same, scores, problem, least).values())
    return float(np.mean(values)) if values else math.nan


def per_problem_auroc(
    same: Bools, scores: Floats, problem: Ints, least: int = 5
) -> dict[int, float]:
    """The AUROC within each problem that has `least` pairs or more of either class."""
    order = np.argsort(problem, kind="stable")
    bounds = np.flatnonzero(np.diff(problem[order])) + 1
    found = {}
    for index in np.split(order, bounds):
        agreeing = int(same[index].sum())
        if len(index) and min(agreeing, len(index) - agreeing) >= least:
            found[int(problem[index[0]])] = auroc(same[index], scores[index])
    return found


def tnr_at_fnr(same: Bools, scores: Floats, fnr: float = 0.2) -> float:
    """The share of differing pairs told apart where at most `fnr` of agreeing ones are lost.

    The paper's TNR@0.2. A pair is taken to agree when its score is at the threshold or above it.
    """
    if not same.any() or same.all():
        return math.nan
    return float((scores[~same] < threshold_at_fnr(same, scores, fnr)).mean())


def threshold_at_fnr(same: Bools, scores: Floats, fnr: float) -> float:
    """The highest score below which lies at most the share `fnr` of the pairs that agree."""
    agreeing = np.sort(scores[same])
    return float(agreeing[math.floor(fnr * len(agreeing) + 1e-9)])


def chosen_tau(same: Bools, p_same: Floats, target_error: float) -> float:
    """The threshold that loses at most `target_error` of the agreeing pairs, within (0, 1)."""
    return float(np.clip(threshold_at_fnr(same, p_same, target_error), 0.001, 0.999))


def precision_recall(same: Bools, taken: Bools) -> tuple[float, float]:
    """Of the pairs `taken` to agree, the share that does; of those that agree, the share taken."""
    hits = float((same & taken).sum())
    precision = hits / taken.sum() if taken.any() else math.nan
    recall = hits / same.sum() if same.any() else math.nan
    return float(precision), float(recall)


def calibration_curve(
    same: Bools, p_same: Floats, num_bins: int = 10
) -> list[tuple[float, float, int]]:
    """For each bin of equal width that is not empty: mean P(same), share that agrees, pairs."""
    bins = np.clip((p_same * num_bins).astype(np.int64), 0, num_bins - 1)
    return [
        (float(p_same[inside].mean()), float(same[inside].mean()), int(inside.sum()))
        for inside in (bins == number for number in range(num_bins))
        if inside.any()
    ]


def expected_calibration_error(same: Bools, p_same: Floats, num_bins: int = 10) -> float:
    """The mean distance between P(same) and the share that agrees, over bins of equal width."""
    curve = calibration_curve(same, p_same, num_bins)
    return sum(count * abs(p - share) for p, share, count in curve) / len(same)


def roc_curve(same: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(same[order])[ends]
    misses = ends + 1 - hits
    return (
        np.concatenate([[0.0], misses / max(1, misses[-1])]),
        np.concatenate([[0.0], hits / max(1, hits[-1])]),
    )


def bootstrap(
    metric: Callable[[Ints], float],
    problem: Ints,
    *,
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """A confidence interval over problems: whole problems are drawn again, not pairs.

    `metric` takes indices of pairs, a problem's several times where it was drawn several times.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(problem, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(problem[order])) + 1)
    values = [
        metric(np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]))
        for _ in range(num_draws)
    ]
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_ranks(scores: Floats) -> Floats:
    """Ranks from 1, equal scores sharing the mean of theirs."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks
