"""The transitive closure of pair labels: which traces agree, from some labelled pairs."""

from __future__ import annotations

import numpy as np

from deepprune.statistics import Bools, Ints
from training.pairs.data import PairSet


class LabelClosure:
    """Labels of any two traces, as far as the labelled pairs imply them.

    Traces that agree with a third one agree with each other, and differ from every trace that one
    of them differs from. A pair's own label takes precedence, since equivalence of answers is not
    quite transitive.
    """

    def __init__(self, pairs: PairSet) -> None:
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        num = len(pairs.prefixes)
        edges = (pairs.first[pairs.same], pairs.second[pairs.same])
        graph = coo_matrix((np.ones(len(edges[0])), edges), shape=(num, num))
        _, self._answer = connected_components(graph, directed=False)
        self._num = num
        differ = pairs[~pairs.same]
        self._differ = np.unique(self._code(differ.first, differ.second))
        apart = self._code(self._answer[differ.first], self._answer[differ.second])
        self._apart = np.unique(apart)

    def of(self, first: Ints, second: Ints) -> tuple[Bools, Bools]:
        """(pairs,) each: whether two traces agree, and whether that is known."""
        one, other = self._answer[first], self._answer[second]
        same = (one == other) & ~np.isin(self._code(first, second), self._differ)
        known = (one == other) | np.isin(self._code(one, other), self._apart)
        return same, known

    def _code(self, one: Ints, other: Ints) -> Ints:
        """A number for each unordered pair."""
        low, high = np.minimum(one, other), np.maximum(one, other)
        code: Ints = low.astype(np.int64) * self._num + high
        return code
