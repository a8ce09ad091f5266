"""A cascade: a cheap judge decides the clear pairs, a dear one the rest.

How many pairs are left to the dear judge is a choice; this says what each choice is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.offline.calibration import log_odds
from training.offline.metrics import auroc, mean_auroc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """What a cascade is worth when it asks the dear judge about `share` of the pairs."""

    share: float
    accuracy: float
    pooled: float
    within: float


def cascade(
    same: Bools,
    cheap: Floats,
    dear: Floats,
    problem: Ints,
    base_rate: float,
    tau: float = 0.5,
    shares: Sequence[float] = SHARES,
) -> list[Step]:
    """A step for each share; both judges' P(same), (pairs,), have to be calibrated.

    The dear judge is asked about the pairs that the cheap one is least sure of. Its evidence is
    added to the cheap one's: log-odds add up, less the `base_rate` that both have counted. Where
    the evidence of the two overlaps this is too sure, which ranks pairs no worse.
    """
    base, threshold = log_odds(np.array([base_rate, tau]))
    first, second = log_odds(cheap), log_odds(dear)
    order = np.argsort(np.abs(first - threshold), kind="stable")
    steps = []
    for share in shares:
        asked = order[: round(share * len(order))]
        logits = first.copy()
        logits[asked] = first[asked] + second[asked] - base
        taken = logits > threshold
        steps.append(
            Step(
                share,
                float((taken == same).mean()),
                auroc(same, logits),
                mean_auroc(same, logits, problem),
            )
        )
    return steps
