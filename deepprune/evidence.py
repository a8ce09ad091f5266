"""Clusters of judged prefixes, the judge's scores as evidence, and the trust in the judge.

A prefix is compared with members of a cluster, and each P(same) becomes a log likelihood ratio of
"same answer". A cluster holds prefixes that are likely to end in the same answer. Its answer is
known once one of its traces has finished; clusters with the same answer merge.

P(same) may be wrong. Each pair whose traces have both finished shows whether the judge was right,
and raises or lowers `trust`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deepprune.events import Decision
from deepprune.statistics import Floats
from deepprune.voting import same_answer

MAX_LOG_RATIO = 4.0
"""The most that one comparison counts, in log-odds: odds of 55 to 1."""
SHARED_ERROR = 0.5
"""Assumed correlation of the judge's errors about one trace."""


@dataclass(slots=True, eq=False)
class Cluster:
    """Traces that are likely to share an answer: `anchors` define it, `members` joined them.

    `voters` have finished with `answer`, which is None until one has.
    """

    anchors: list[int]
    members: list[int] = field(default_factory=list)
    voters: list[int] = field(default_factory=list)
    answer: str | None = None

    @property
    def traces(self) -> list[int]:
        """All its traces, the most certain ones first."""
        return list(dict.fromkeys([*self.voters, *self.anchors, *self.members]))

    @property
    def size(self) -> int:
        """The number of its traces, finished or not."""
        return len(self.traces)


class Evidence:
    """The evidence about the traces of one problem.

    `base_rate` is P(same) of two random traces where the judge was calibrated: a score equal to it
    carries no information. `trust` is the prior probability that P(same) is calibrated; a prior of
    0 is never updated.
    """

    def __init__(self, base_rate: float, trust: float) -> None:
        self.clusters: list[Cluster] = []
        self._base_rate = base_rate
        self._base_odds = base_rate / (1 - base_rate)
        self._prior_trust = trust
        self._ratios: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._answers: dict[int, str | None] = {}
        self._log_factor = 0.0  # Bayes factor for the judge, against one that knows nothing

    @property
    def trust(self) -> float:
        """The posterior probability that P(same) is calibrated, given the finished pairs."""
        prior = self._prior_trust
        if prior == 0:
            return 0.0
        return 1 / (1 + (1 - prior) / prior * math.exp(-self._log_factor))

    @property
    def answer_rate(self) -> float:
        """The share of traces that give an answer, estimated from those that have ended."""
        given = sum(answer is not None for answer in self._answers.values())
        return (given + 1) / (len(self._answers) + 1)

    @property
    def anchors(self) -> set[int]:
        """The traces that define the clusters."""
        return {anchor for cluster in self.clusters for anchor in cluster.anchors}

    # --- comparing ------------------------------------------------------------------------------

    def say(self, sample: int, p_same: Mapping[int, float]) -> None:
        """Record the judge's scores of `sample` with other traces."""
        for member, p in p_same.items():
            clipped = min(max(p, 1e-6), 1 - 1e-6)
            ratio = math.log(clipped / (1 - clipped) / self._base_odds)
            ratio = min(max(ratio, -MAX_LOG_RATIO), MAX_LOG_RATIO)
            self._ratios[sample][member] = self._ratios[member][sample] = ratio

    def next_for(self, sample: int, max_clusters: int) -> Cluster | None:
        """The first of the `max_clusters` largest clusters that `sample` was not compared with."""
        known = self._ratios[sample].keys()
        largest = sorted(self.clusters, key=lambda cluster: -cluster.size)[:max_clusters]
        return next((cluster for cluster in largest if known.isdisjoint(cluster.traces)), None)

    def fresh(self, sample: int, cluster: Cluster, limit: int, but: Collection[int]) -> list[int]:
        """Traces of a cluster to compare `sample` with next, without `but`; `limit` in all."""
        known = self._ratios[sample]
        traces = cluster.traces
        room = limit - sum(trace in known for trace in traces)
        fresh = [t for t in traces if t not in known and t != sample and t not in but]
        return fresh[: max(0, room)]

    def log_ratio(self, sample: int, cluster: Cluster) -> float:
        """Evidence that a trace belongs to a cluster, from all its comparisons with it."""
        known = self._ratios[sample]
        return _combined([known[trace] for trace in cluster.traces if trace in known])

    def p_same(self, sample: int, cluster: Cluster) -> float:
        """P(a trace belongs to a cluster), by its comparisons with that cluster alone."""
        odds = self._base_odds * math.exp(self.log_ratio(sample, cluster))
        return odds / (1 + odds)

    def likelihoods(self, samples: Sequence[int]) -> Floats:
        """(samples, clusters + 1): likelihood of the scores if a trace belongs to each cluster."""
        home = {t: i for i, cluster in enumerate(self.clusters) for t in cluster.traces}
        rows = np.ones((len(samples), len(self.clusters) + 1))
        for row, sample in zip(rows, samples, strict=True):
            said: defaultdict[int, list[float]] = defaultdict(list)
            for other, ratio in self._ratios[sample].items():
                if other in home:
                    said[home[other]].append(ratio)
            for index, ratios in said.items():
                row[index] = math.exp(_combined(ratios))
        return rows

    # --- clusters -------------------------------------------------------------------------------

    def open(self, sample: int) -> Cluster:
        """Open a cluster for a trace."""
        self.clusters.append(Cluster([sample]))
        return self.clusters[-1]

    def placed(self, sample: int) -> bool:
        """Whether a trace is in a cluster."""
        return any(sample in cluster.traces for cluster in self.clusters)

    def finished(self, sample: int, answer: str | None) -> None:
        """Record the end of a trace: with an answer it votes, without one it leaves its cluster."""
        self._answers[sample] = answer
        home = next((c for c in self.clusters if sample in c.anchors), None)
        for cluster in self.clusters:
            if sample in cluster.members:
                cluster.members.remove(sample)
        if answer is None:
            if home is not None:  # what its members were found alike with leads nowhere
                home.anchors.remove(sample)
                if not home.anchors and not home.voters:
                    self.clusters.remove(home)
            return
        self._test_judge(sample, answer)
        known = self._with(answer)
        if home is None:
            home = known or self.open(sample)
        elif known is not None:  # two clusters turn out to be one
            home.anchors += known.anchors
            home.members += known.members
            home.voters += known.voters
            self.clusters.remove(known)
        home.answer = home.answer if home.voters and home.answer is not None else answer
        home.voters.append(sample)

    def decision(self, mass: Floats) -> Decision:
        """The answer with the most weight, and the clusters.

        `mass`: (clusters or more,), the weight of each cluster and so of its votes.
        """
        known = sorted(
            (
                (cluster.answer, tuple(sorted(cluster.voters)), float(mass[index]))
                for index, cluster in enumerate(self.clusters)
                if cluster.answer is not None
            ),
            key=lambda group: (-group[2], group[1]),
        )
        return Decision(
            known[0][0] if known else None,
            tuple((answer, voters) for answer, voters, _ in known),
            tuple(tuple(sorted(cluster.traces)) for cluster in self.clusters),
            tuple(weight for _, _, weight in known),
        )

    def _with(self, answer: str) -> Cluster | None:
        return next(
            (c for c in self.clusters if c.answer is not None and same_answer(c.answer, answer)),
            None,
        )

    def _test_judge(self, sample: int, answer: str) -> None:
        """Update `trust` by the pairs of the finished trace `sample` with other finished traces."""
        factors = []
        for other, ratio in self._ratios[sample].items():
            known = self._answers.get(other)
            if known is not None:
                expected = self._base_rate * math.exp(ratio) + 1 - self._base_rate
                factors.append((ratio if same_answer(known, answer) else 0.0) - math.log(expected))
        if factors:  # comparisons of one trace err together: they count as one
            self._log_factor += sum(factors) / len(factors)


def _combined(ratios: Sequence[float]) -> float:
    """Combine the comparisons of one trace with one cluster.

    Their errors are correlated (SHARED_ERROR), so n comparisons count for less than n.
    """
    return sum(ratios) / (1 + SHARED_ERROR * (len(ratios) - 1)) if ratios else 0.0
