"""What the miniature's models are worth: the figures that the model cards quote."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from deepprune.traces import Trace
from miniature.judging import Pair
from miniature.sample import Sampled


def measure_reasoner(sampled: Sequence[Sampled]) -> dict[str, float]:
    """Accuracy of one trace and of the majority, agreement of pairs, length, boxed share."""
    traces = [trace for item in sampled for trace in item.traces]
    return {
        "num_problems": len(sampled),
        "num_traces": len(sampled[0].traces),
        "single_accuracy": statistics.mean(
            trace.answer == item.problem.reference for item in sampled for trace in item.traces
        ),
        "majority_accuracy": statistics.mean(
            majority(item.traces) == item.problem.reference for item in sampled
        ),
        "same_pair_share": statistics.mean(agreement(item.traces) for item in sampled),
        "mean_tokens": statistics.mean(trace.num_tokens for trace in traces),
        "boxed_share": statistics.mean(trace.answer is not None for trace in traces),
    }


def majority(traces: Sequence[Trace]) -> str | None:
    """The most frequent answer; the first seen wins a tie."""
    votes = Counter(trace.answer for trace in traces if trace.answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def agreement(traces: Sequence[Trace]) -> float:
    """The share of pairs of traces with the same answer."""
    pairs = list(itertools.combinations([trace.answer for trace in traces], 2))
    return sum(a == b is not None for a, b in pairs) / len(pairs)


def measure_judge(pairs: Sequence[Pair], scores: Sequence[float]) -> dict[str, float]:
    """Ranking (pooled and within problems), rejection at a fixed miss rate, calibration."""
    same = np.array([pair.same for pair in pairs])
    p_same = np.array(scores)
    problems = np.array([pair.problem for pair in pairs])
    within = [
        roc_auc_score(same[problems == j], p_same[problems == j])
        for j in np.unique(problems)
        if 0 < same[problems == j].sum() < (problems == j).sum()
    ]
    false_alarms, hits, _ = roc_curve(same, p_same)
    return {
        "num_pairs": len(pairs),
        "same_share": float(same.mean()),
        "auroc": float(roc_auc_score(same, p_same)),
        "auroc_within": float(np.mean(within)),
        "num_contested_problems": len(within),
        "tnr": float(1 - false_alarms[hits >= 0.8].min()),
        "expected_calibration_error": calibration_error(same, p_same),
    }


def calibration_error(same: np.ndarray, p_same: np.ndarray, num_bins: int = 10) -> float:
    """The gap between P(same) and the share that is the same, averaged over bins of P(same)."""
    bins = np.minimum((p_same * num_bins).astype(int), num_bins - 1)
    return sum(
        float((bins == b).mean()) * abs(float(same[bins == b].mean() - p_same[bins == b].mean()))
        for b in np.unique(bins)
    )
