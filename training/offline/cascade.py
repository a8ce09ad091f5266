"""A cascade of two judges: the cheap one decides the clear pairs, the expensive one the rest.

`cascade` measures it for several shares of pairs that the expensive judge is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepprune.statistics import Bools, Floats, Ints, auroc, log_odds, mean_auroc

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """The figures of a cascade that asks the expensive judge about `share` of the pairs."""

    share: float
    accuracy: float
    pooled: float
    within: float


def cascade(
    same: Bools,
    cheap: Floats,
    expensive: Floats,
    problem: Ints,
    base_rate: float,
    tau: float = 0.5,
    shares: Sequence[float] = SHARES,
) -> list[Step]:
    """A step for each share, of calibrated log-odds by both judges, (pairs,).

    The expensive judge is asked about the pairs that the cheap one is least sure of. Its evidence
    is added to the cheap one's: log-odds add up, less the `base_rate` that both have counted. Where
    the evidence of the two overlaps the sum is too sure, which ranks pairs no worse.
    """
    base, threshold = log_odds(np.array([base_rate, tau]))
    order = np.argsort(np.abs(cheap - threshold), kind="stable")
    steps = []
    for share in shares:
        asked = order[: round(share * len(order))]
        logits = cheap.copy()
        logits[asked] += expensive[asked] - base
        accuracy = float(((logits > threshold) == same).mean())
        within = mean_auroc(same, logits, problem)
        steps.append(Step(share, accuracy, auroc(same, logits), within))
    return steps
