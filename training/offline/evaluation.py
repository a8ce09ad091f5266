"""What a judge's scores of held-out pairs say: the figures of Table 1, with intervals.

Everything is taken over all pairs and over those of which neither trace had ended: an ended trace
shows its answer, and a benchmark of short traces would flatter any judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.offline.metrics import (
    auroc,
    bootstrap,
    calibration_curve,
    expected_calibration_error,
    per_problem_auroc,
    precision_recall,
    roc_curve,
    tnr_at_fnr,
)
from training.pairs.data import PairSet

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FNR = 0.2
NUM_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95% interval over problems; NaN where it means nothing."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """A judge on the pairs of some problems."""

    num_problems: int
    num_pairs: int
    share_same: float
    pooled: Figure
    within: Figure
    """The mean of the AUROC within each problem that has five pairs or more of either class."""
    num_within: int
    """Such problems."""
    tnr: Figure
    """TNR@0.2: of the differing pairs, those told apart where 20% of agreeing ones are lost."""
    tau: float
    precision: float
    recall: float
    """Of pairs taken to agree at tau."""
    ece: float
    curve: list[tuple[float, float, int]]
    roc: tuple[Floats, Floats]


def evaluate(pairs: PairSet, p_same: Floats, tau: float, num_draws: int = NUM_DRAWS) -> Evaluation:
    """The figures of a judge that gave `p_same`, (pairs,), and whose threshold is `tau`."""
    same, problem = pairs.same, pairs.problem
    within = per_problem_auroc(same, p_same, problem)
    precision, recall = precision_recall(same, p_same > tau)
    return Evaluation(
        num_problems=len(np.unique(problem)),
        num_pairs=len(pairs),
        share_same=float(same.mean()),
        pooled=_figure(lambda i: auroc(same[i], p_same[i]), problem, num_draws),
        within=_mean_over_problems(list(within.values())),
        num_within=len(within),
        tnr=_figure(lambda i: tnr_at_fnr(same[i], p_same[i], FNR), problem, num_draws),
        tau=tau,
        precision=precision,
        recall=recall,
        ece=expected_calibration_error(same, p_same),
        curve=calibration_curve(same, p_same),
        roc=roc_curve(same, p_same),
    )


def difference_within(pairs: PairSet, one: Floats, other: Floats) -> Figure:
    """How much better `one` is within a problem than `other`, the same problems drawn for both."""
    a = per_problem_auroc(pairs.same, one, pairs.problem)
    b = per_problem_auroc(pairs.same, other, pairs.problem)
    return _mean_over_problems([a[problem] - b[problem] for problem in a])


def _figure(metric: Callable[[Ints], float], problem: Ints, num_draws: int) -> Figure:
    value = metric(np.arange(len(problem)))
    if np.isnan(value):
        return Figure(value, value, value)
    return Figure(value, *bootstrap(metric, problem, num_draws=num_draws))


def _mean_over_problems(values: Sequence[float], num_draws: int = 4000) -> Figure:
    if not values:
        return Figure(np.nan, np.nan, np.nan)
    known = np.array(values)
    rng = np.random.default_rng(0)
    means = known[rng.integers(len(known), size=(num_draws, len(known)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Figure(float(known.mean()), float(low), float(high))
