"""Which answer leads, as a probability: finished traces are votes, judged prefixes are evidence.

The question is Adaptive-Consistency's: of two answers, is the leader's share phi of the traces that
give either above a half? With votes alone the posterior of phi is a Beta distribution (Aggarwal et
al. 2023). A judged prefix adds its likelihood instead of a vote: phi times the likelihood of what
the judge said if the trace ends in the leader's answer, plus (1 - phi) times that if it does not.
A judge that cannot tell the two apart gives equal likelihoods, which change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_PHI = (np.arange(128) + 0.5) / 128
_UPPER_HALF = _PHI > 0.5
_LOG_PHI, _LOG_REST = np.log(_PHI), np.log1p(-_PHI)
_EM_STEPS = 12


@lru_cache(maxsize=4096)
def p_ahead(leader: int, runner_up: int) -> float:
    """P(phi > 1/2) after so many votes for each, from a uniform prior.

    The tail of a Beta(leader + 1, runner_up + 1) distribution, as the binomial sum it equals.
    """
    total = leader + runner_up + 1
    return float(sum(math.comb(total, k) for k in range(leader + 1)) / 2**total)


def fewest_votes(leader: int, runner_up: int, threshold: float) -> int:
    """The fewest further votes, all for the leader, that lift `p_ahead` above `threshold`."""
    votes = 1
    while p_ahead(leader + votes, runner_up) <= threshold:
        votes += 1
    return votes


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand between the leading cluster and its closest rival.

    `p_leads` is P(the leader is ahead of the closest rival); `mass` the expected number of traces
    in each cluster, of those seen (last: in none of them); `information` how much of a vote each
    judged prefix is worth between the two, 0 to 1.
    """

    leader: int
    p_leads: float
    mass: Array
    information: Array


def standing(votes: Array, likelihoods: Array) -> Standing:
    """Weigh votes and evidence.

    `votes`: (clusters,), traces known to be in each cluster. `likelihoods`: (prefixes, clusters +
    1), of what the judge said of each prefix if it belongs to each cluster; the last column is for
    none of them. Rows may be scaled at will. There is at least one cluster.
    """
    counts = np.append(votes, 0.0)
    belongs = _memberships(counts, likelihoods)
    mass = counts + belongs.sum(axis=0)
    leader = int(np.argmax(mass[:-1]))
    share = (mass + 1 / len(mass)) / (mass.sum() + 1)
    rivals = [c for c in range(len(mass)) if c != leader]
    chances = [_p_ahead(counts, likelihoods, share, leader, rival) for rival in rivals]
    closest = min(range(len(rivals)), key=chances.__getitem__)
    ours, theirs = likelihoods[:, leader], likelihoods[:, rivals[closest]]
    information = ((ours - theirs) / (ours + theirs)) ** 2
    return Standing(leader, chances[closest], mass, information)


def votes_needed(votes: Array, likelihoods: Array, threshold: float, limit: int) -> int:
    """The fewest further votes for the leader that would make its lead safe, at most `limit`."""
    leader = standing(votes, likelihoods).leader
    hoped = votes.copy()
    for num_votes in range(1, limit + 1):
        hoped[leader] += 1
        if standing(hoped, likelihoods).p_leads > threshold:
            return num_votes
    return limit


def _memberships(counts: Array, likelihoods: Array) -> Array:
    """P(prefix belongs to cluster), (prefixes, clusters + 1), by expectation maximisation."""
    belongs = np.zeros_like(likelihoods)
    for _ in range(_EM_STEPS if len(likelihoods) else 0):
        share = counts + belongs.sum(axis=0) + 1 / len(counts)
        belongs = likelihoods * share
        belongs /= belongs.sum(axis=1, keepdims=True)
    return belongs


def _p_ahead(counts: Array, likelihoods: Array, share: Array, leader: int, rival: int) -> float:
    """P(phi > 1/2) between two clusters, by integration over a grid of phi."""
    others = share.copy()
    others[[leader, rival]] = 0.0
    elsewhere = likelihoods @ others  # weighted by the others' share
    either = 1.0 - others.sum()
    mixture = either * (
        np.outer(likelihoods[:, leader], _PHI) + np.outer(likelihoods[:, rival], 1 - _PHI)
    )
    log_posterior = (
        counts[leader] * _LOG_PHI
        + counts[rival] * _LOG_REST
        + np.log(mixture + elsewhere[:, None]).sum(axis=0)
    )
    posterior = np.exp(log_posterior - log_posterior.max())
    return float(posterior[_UPPER_HALF].sum() / posterior.sum())
