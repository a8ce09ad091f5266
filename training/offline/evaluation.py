"""The figures of Table 1 for a judge's scores of held-out pairs, with intervals over problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepprune.statistics import (
    Estimate,
    Floats,
    calibration_curve,
    calibration_error,
    mean,
    per_problem_auroc,
    pooled_ranking,
)
from training.pairs.data import PairSet

FNR = 0.2


@dataclass(frozen=True)
class Evaluation:
    """A judge on the pairs of some problems."""

    num_problems: int
    num_pairs: int
    share_same: float
    pooled: Estimate
    within: Estimate | None
    """The mean of the AUROC within each problem that has five pairs or more of either class."""
    num_within: int
    """Such problems."""
    tnr: Estimate
    """TNR@0.2: of the differing pairs, those told apart where 20% of agreeing ones are lost."""
    tau: float
    precision: float
    recall: float
    """Of pairs taken to agree at tau."""
    ece: float
    curve: list[tuple[float, float, int]]
    roc: tuple[Floats, Floats]
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""


def evaluate(pairs: PairSet, p_same: Floats, tau: float) -> Evaluation:
    """The figures of a judge that gave `p_same`, (pairs,), and whose threshold is `tau`.

    Some of the pairs have to agree, and some to differ.
    """
    from sklearn.metrics import precision_score, recall_score, roc_curve

    same, problem = pairs.same, pairs.problem
    within = list(per_problem_auroc(same, p_same, problem).values())
    pooled, tnr = pooled_ranking(same, p_same, problem, FNR)
    false, true, _ = roc_curve(same, p_same)
    return Evaluation(
        num_problems=len(np.unique(problem)),
        num_pairs=len(pairs),
        share_same=float(same.mean()),
        pooled=pooled,
        within=mean(np.array(within)),
        num_within=len(within),
        tnr=tnr,
        tau=tau,
        precision=float(precision_score(same, p_same > tau, zero_division=np.nan)),
        recall=float(recall_score(same, p_same > tau)),
        ece=calibration_error(same, p_same),
        curve=calibration_curve(same, p_same),
        roc=(false, true),
    )
