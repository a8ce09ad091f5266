"""Platt scaling: what a judge's log-odds mean, learned on held-out pairs.

A judge's own P(same) need not be one. A focal loss, the paper's, weighs the classes unequally and
asks for less certainty than there is; a similarity means nothing in itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_SLOPE = 0.01
"""Of a judge that ranks held-out pairs no better than chance: next to nothing that it says counts,
and yet the order in which it puts pairs stays."""
LEAST_P = 1e-6


@dataclass(frozen=True, slots=True)
class Platt:
    """Log-odds of P(same) = slope x log-odds + shift."""

    slope: float = 1.0
    shift: float = 0.0

    def logits(self, logits: Floats) -> Floats:
        """Log-odds of P(same)."""
        return self.slope * logits + self.shift


def calibrated(logits: Floats, same: Bools) -> Platt:
    """Platt scaling learned on held-out pairs, (pairs,) each; none where these are of one class."""
    from sklearn.linear_model import LogisticRegression

    if same.all() or not same.any():
        return Platt()
    fit = LogisticRegression(C=100.0).fit(logits[:, None], same)
    slope = float(fit.coef_[0, 0])
    if slope >= LEAST_SLOPE:
        return Platt(slope, float(fit.intercept_[0]))
    rate = float(same.mean())
    return Platt(LEAST_SLOPE, float(np.log(rate / (1 - rate))) - LEAST_SLOPE * float(logits.mean()))


def log_odds(p: Floats) -> Floats:
    """Log-odds of probabilities, which are kept off 0 and 1."""
    inside = np.clip(p, LEAST_P, 1 - LEAST_P)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of log-odds."""
    p: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return p
