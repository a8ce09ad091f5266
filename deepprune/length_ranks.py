"""Where traces stand among all traces of their problem by length, while some are still running."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_ranks(ended: Sequence[int], running: Sequence[int]) -> tuple[float, float]:
    """Mean ranks by length among all traces, from -0.5, the shortest, to 0.5, the longest.

    `ended` are lengths, `running` tokens so far. The lengths of all are estimated by Kaplan and
    Meier: a running trace is one that is longer than it is now.
    """
    if not (ended and running):
        return 0.0, 0.0
    lengths, so_far = np.sort(np.array(ended)), np.sort(np.array(running))
    still_running = len(so_far) - np.searchsorted(so_far, lengths)
    at_risk = len(lengths) - np.arange(len(lengths)) + still_running
    longer = np.cumprod(1 - 1 / at_risk)
    before = np.concatenate(([1.0], longer))
    ended_ranks = 1 - (before[:-1] + longer) / 2
    running_ranks = 1 - before[np.searchsorted(lengths, so_far, side="right")] / 2
    return float(ended_ranks.mean()) - 0.5, float(running_ranks.mean()) - 0.5
