"""Greedy online clustering of unfinished traces (Section 4.2.1)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping


class GreedyClustering:
    """Clusters of traces that are predicted to end in the same answer.

    A new trace is compared with up to `max_members` (p) sampled members of every cluster. It joins
    the cluster with the highest mean P(same) if that is above `tau`, else it opens a new one.
    Clustering is closed once `max_clusters` (K) are open.

    Members sampled for a trace stay sampled. So a trace can be judged before its turn: if other
    traces are placed meanwhile, only the comparisons with them are missing.
    """

    def __init__(self, tau: float, max_clusters: int, max_members: int, seed: int) -> None:
        self.clusters: list[list[int]] = []
        self._tau = tau
        self._max_clusters = max_clusters
        self._max_members = max_members
        self._random = random.Random(seed)
        self._sampled: dict[int, list[list[int]]] = defaultdict(list)

    @property
    def closed(self) -> bool:
        """Whether K clusters are open, so that no further trace is clustered."""
        return len(self.clusters) >= self._max_clusters

    @property
    def all_singletons(self) -> bool:
        """Whether every cluster holds one trace: the judge found no pair the same."""
        return all(len(cluster) == 1 for cluster in self.clusters)

    @property
    def largest(self) -> list[int]:
        """The members of the largest cluster in order of arrival; the older cluster on a tie."""
        return max(self.clusters, key=len, default=[])

    def members_for(self, sample: int) -> list[int]:
        """The members, over all clusters, to compare `sample` with."""
        chosen = self._sampled[sample]
        for index, cluster in enumerate(self.clusters):
            if index == len(chosen):
                chosen.append([])
            if room := self._max_members - len(chosen[index]):
                fresh = cluster[len(chosen[index]) :]  # with room left, all before were chosen
                if len(fresh) > room:
                    fresh = self._random.sample(fresh, room)
                chosen[index].extend(fresh)
        return [member for members in chosen for member in members]

    def place(self, sample: int, p_same: Mapping[int, float]) -> int:
        """Put `sample` into a cluster and return its index.

        `p_same` holds a score for each of `members_for(sample)`.
        """
        assert not self.closed, "clustering is closed"
        self.members_for(sample)
        means = [
            sum(p_same[member] for member in members) / len(members)
            for members in self._sampled.pop(sample)
        ]
        best = max(range(len(means)), key=means.__getitem__, default=None)
        if best is not None and means[best] > self._tau:
            self.clusters[best].append(sample)
            return best
        self.clusters.append([sample])
        return len(self.clusters) - 1

    def forget(self, sample: int) -> None:
        """Drop a trace that was lost before it was placed."""
        self._sampled.pop(sample, None)

    def settled(self, unplaced: int, max_finish: int) -> bool:
        """Whether placing `unplaced` further traces cannot change which traces would finish.

        Those are the first `max_finish` members of the largest cluster: settled once it has that
        many and no other cluster, open or not, can overtake it.
        """
        largest = self.largest
        if len(largest) < max(2, max_finish):
            return False
        place = self.clusters.index(largest)
        return all(
            len(other) + unplaced < len(largest) + (index > place)
            for index, other in enumerate([*self.clusters, []])
            if index != place
        )
