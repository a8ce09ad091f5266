"""Which answer wins, as a probability: finished traces are votes, judged prefixes are evidence.

`deepprune.splits` has P(another answer wins the full vote of n traces), by a prior over how votes
split. A judged prefix adds its likelihood instead of a vote: the share of the leader times the
likelihood of what the judge said if the trace gives the leader's answer, plus the same for the
runner-up and for all other answers. A judge that cannot tell them apart gives equal likelihoods,
which change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from deepprune.promise import Terms
from deepprune.splits import Tally
from deepprune.statistics import Floats

_EM_STEPS = 12
_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 64) for i in range(64)])


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


@lru_cache(maxsize=256)
def expected_worth(auroc: float) -> float:
    """How much of a vote one comparison is worth, for a judge of this AUROC within a problem.

    Its log likelihood ratios are taken to be normal, with the variance that gives the AUROC.
    """
    separation = math.sqrt(2) * NormalDist().inv_cdf(min(max(auroc, 0.5), 0.9999))
    ratio = separation**2 / 2 + separation * _NORMAL
    return float(np.mean(np.tanh(ratio / 2) ** 2))


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand between the leading cluster and its closest rival.

    `rival` is None where that is an answer no cluster has yet. `p_leads` is P(the leader is ahead
    of the closest rival in the full vote), and `p_judged` the same if the judge can be trusted.
    `mass`, (clusters + 1,), is the expected number of traces in each cluster, of those seen (last:
    in none of them). `unsettled`, (prefixes,), is how much of its vote between the two is still
    open for each judged prefix: 1 as for a trace that was never seen, 0 where it is as good as cast
    for either, or for neither.
    """

    leader: int
    rival: int | None
    p_leads: float
    p_judged: float
    mass: Floats
    unsettled: Floats


def standing(
    votes: Floats, likelihoods: Floats, unseen: float, terms: Terms, leader: int | None = None
) -> Standing:
    """Weigh votes and evidence; a `leader` that is given is asked about whoever leads.

    `votes`: (clusters,), traces known to be in each cluster. `likelihoods`: (prefixes, clusters +
    1), of what the judge said of each prefix if it belongs to each cluster; the last column is for
    none of them. Rows may be scaled at will. `unseen` traces of the full vote are yet to be
    launched. There is at least one cluster.
    """
    counts = np.append(votes, 0.0)
    belongs = _memberships(counts, likelihoods)
    mass = counts + belongs.sum(axis=0)
    if leader is None:
        leader = int(np.argmax(mass[:-1]))
    share = (mass + 1 / len(mass)) / (mass.sum() + 1)
    rivals = np.array([cluster for cluster in range(len(mass)) if cluster != leader])
    rival = int(rivals[np.argmax(mass[rivals])])
    others = rivals[rivals != rival]
    neither = likelihoods[:, others] @ share[others] / max(float(share[others].sum()), 1e-9)
    if not len(others):  # a trace that is of neither gives an answer not seen yet
        neither = likelihoods[:, -1]
    judged = np.stack([likelihoods[:, leader], likelihoods[:, rival], neither], axis=1)
    now = Tally(counts[leader], counts[rival], float(counts.sum()), unseen)
    if unseen or len(judged):
        p_leads = 1 - terms.p_wrong(now, judged)
    else:  # it is settled, whoever was asked about
        p_leads = 0.5 + 0.5 * float(np.sign(counts[leader] - counts[rival]))
    unsettled = np.minimum(1.0, _spread(belongs, leader, rival) / _spread(share, leader, rival))
    return Standing(
        leader, None if rival == len(votes) else rival, p_leads, p_leads, mass, unsettled
    )


def doubted_standing(
    cast: Floats,
    held: Floats,
    likelihoods: Floats,
    unseen: float,
    terms: Terms,
    *,
    num_waiting: int,
    trust: float,
    hoped: int = 0,
) -> Standing:
    """Weigh votes and a judge that is right with probability `trust`.

    `cast`: (clusters,), votes of finished traces; `held`: (clusters,), expected votes of waiting
    traces whose cluster is known; `likelihoods` and `unseen` as for `standing`. If the judge is
    wrong, nothing is known of the `num_waiting` waiting traces. With `hoped`, that many unseen
    traces are counted as votes for the leader.
    """
    believed = standing(cast + held, likelihoods, unseen, terms)
    if hoped:
        cast = cast.copy()
        cast[believed.leader] += hoped
        unseen = max(0, unseen - hoped)
        believed = standing(cast + held, likelihoods, unseen, terms, believed.leader)
    if trust == 1:
        return believed
    nothing = np.ones((0, len(cast) + 1))
    doubted = standing(cast, nothing, unseen + num_waiting, terms, believed.leader)
    p_leads = trust * believed.p_leads + (1 - trust) * doubted.p_leads
    return replace(believed, p_leads=p_leads, p_judged=believed.p_leads)


def _spread(shares: Floats, leader: int, rival: int) -> Floats:
    """Variance of what a trace adds to the leader's margin, (...,), of shares (..., clusters)."""
    ours, theirs = shares[..., leader], shares[..., rival]
    spread: Floats = ours + theirs - (ours - theirs) ** 2
    return spread


def _memberships(counts: Floats, likelihoods: Floats) -> Floats:
    """P(prefix belongs to cluster), (prefixes, clusters + 1), by expectation maximisation."""
    belongs = np.zeros_like(likelihoods)
    for _ in range(_EM_STEPS if len(likelihoods) else 0):
        share = counts + belongs.sum(axis=0) + 1 / len(counts)
        belongs = likelihoods * share
        belongs /= belongs.sum(axis=1, keepdims=True)
    return belongs
