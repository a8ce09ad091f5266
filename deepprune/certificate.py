"""The certificate of a vote: P(the vote over all n traces gives the same answer)."""

from __future__ import annotations

import numpy as np

from deepprune.policy_config import PlusConfig, PolicyConfig
from deepprune.promise import MAX_THRESHOLD, Terms, tally_of
from deepprune.session import Outcome
from deepprune.split_prior import shipped


def p_full_vote(outcome: Outcome, policy: PolicyConfig) -> float | None:
    """P(the vote over all traces of a policy agrees); None before the first vote.

    It is the belief that `deepprune+` stops by without a judge: from the votes, and from how many
    tokens the traces that were still running had generated. A judge's scores do not enter it.
    """
    if not outcome.decision.votes:
        return None
    prior = policy.prior if isinstance(policy, PlusConfig) else None
    terms = Terms(MAX_THRESHOLD, np.array(prior or shipped()))
    return round(1 - terms.p_wrong(tally_of(outcome, policy.num_traces)), 4)
