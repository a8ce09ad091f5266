"""Where traces stand among all traces of their problem by length, while some are still running."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepprune.statistics import Floats


def length_ranks(ended: Sequence[int], running: Sequence[int]) -> tuple[Floats, float]:
    """Ranks by length among all traces, from -0.5, the shortest, to 0.5, the longest.

    Of each trace in `ended`, by its length, (ended,), and the mean of those in `running`, by their
    tokens so far. The lengths of all are estimated by Kaplan and Meier: a running trace is one that
    is longer than it is now.
    """
    if not ended:
        return np.zeros(0), 0.0
    lengths, so_far = np.array(ended), np.sort(np.array(running))
    order = np.argsort(lengths, kind="stable")
    still_running = len(so_far) - np.searchsorted(so_far, lengths[order])
    at_risk = len(lengths) - np.arange(len(lengths)) + still_running
    longer = np.cumprod(1 - 1 / at_risk)
    before = np.concatenate(([1.0], longer))
    ranks = np.empty(len(lengths))
    ranks[order] = 0.5 - (before[:-1] + longer) / 2
    if not running:
        return ranks, 0.0
    behind = before[np.searchsorted(lengths[order], so_far, side="right")]
    return ranks, float(0.5 - behind.mean() / 2)
