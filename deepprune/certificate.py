"""The certificate of a vote: P(the vote over all n traces gives the same answer)."""

from __future__ import annotations

import numpy as np

from deepprune.belief import standing
from deepprune.ledger import Fate
from deepprune.session import Outcome


def p_full_vote(outcome: Outcome, num_traces: int) -> float | None:
    """P(the vote over all `num_traces` traces agrees); None before the first vote.

    From the votes alone, by the belief that `deepprune+` stops by: traces that did not finish vote
    like those that did, and give an answer as often.
    """
    votes = np.array([float(len(samples)) for _, samples in outcome.decision.votes])
    if not len(votes):
        return None
    ended = sum(end.fate in (Fate.FINISHED, Fate.LOST) for end in outcome.ends)
    finished = sum(end.fate is Fate.FINISHED for end in outcome.ends)
    rate = (votes.sum() + 1) / (finished + 1)
    unseen = max(0, num_traces - ended) * rate
    if unseen == 0:
        return 1.0
    nothing_judged = np.ones((0, len(votes) + 1))
    return round(standing(votes, nothing_judged, unseen).p_leads, 4)
