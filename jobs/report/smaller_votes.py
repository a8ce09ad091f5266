"""Smaller votes: what plain self-consistency of k traces gives, from the outcomes of n.

It is the comparison every user makes: a policy that needs an eighth of the tokens of cons@64 stands
beside cons@8. The k traces are drawn from those of each outcome of the largest plain
self-consistency, so a smaller vote is compared with the full one on the same traces, as a stopping
rule is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepprune import statistics
from deepprune.grading import is_right
from deepprune.seeds import stable_seed
from deepprune.statistics import Estimate, Floats, Ints
from jobs.report.load import Row, Run

NUM_DRAWS = 100
"""Orders in which the traces of an outcome are drawn, over all seeds of a problem together."""


@dataclass(frozen=True, slots=True)
class SmallerVote:
    """The figures of cons@size; `by_problem` has accuracy and the share of the same answer."""

    size: int
    accuracy: Estimate | None
    tokens: Estimate
    token_share: Estimate
    same_answer: Estimate
    sequential_tokens: Estimate
    by_problem: Mapping[str, tuple[float, float]]

    @property
    def label(self) -> str:
        """As in tables."""
        return f"cons@{self.size}"


@dataclass(frozen=True)
class _Drawn:
    """The traces of one outcome in many orders, (draws, traces) each.

    `groups` numbers the answers, -1 for none, and `right` says which are; None: no reference.
    """

    groups: Ints
    tokens: Ints
    right: Floats | None

    def vote(self, size: int) -> tuple[float, float, float]:
        """How often the vote of the first `size` is right, and group 0, and the longest of them."""
        groups, num_draws = self.groups[:, :size], len(self.groups)
        num_groups = max(1, int(self.groups.max()) + 1)
        draw, place = np.nonzero(groups >= 0)
        group = groups[draw, place]
        counts = np.zeros((num_draws, num_groups))
        np.add.at(counts, (draw, group), 1)
        first = np.full((num_draws, num_groups), size)
        first[draw[::-1], group[::-1]] = place[::-1]
        winner = (counts - first / (size + 1)).argmax(axis=1)  # a tie: the first to be drawn
        voted = counts.max(axis=1) > 0
        right = float("nan")
        if self.right is not None:
            right = float(np.where(voted, self.right[winner], 0.0).mean())
        same = float((voted & (winner == 0)).mean()) if (self.groups >= 0).any() else 1.0
        return right, same, float(self.tokens[:, :size].max(axis=1).mean())


class SmallerVotes:
    """Votes of every size up to that of the largest plain self-consistency of a scenario."""

    def __init__(self, size: int, drawn: Mapping[str, Sequence[_Drawn]]) -> None:
        self.size = size
        self._drawn = drawn
        self._known: dict[int, SmallerVote] = {}

    @cached_property
    def curve(self) -> tuple[SmallerVote, ...]:
        """cons@1, 2, 4, ... and n."""
        sizes = [1 << power for power in range(self.size.bit_length()) if 1 << power < self.size]
        return tuple(self.of(size) for size in (*sizes, self.size))

    def of(self, size: int) -> SmallerVote:
        """cons@size."""
        if size not in self._known:
            self._known[size] = self._voted(size)
        return self._known[size]

    def at(self, share: float) -> SmallerVote:
        """The vote whose tokens are about a share of the full vote's."""
        return self.of(min(max(1, round(share * self.size)), self.size))

    def _voted(self, size: int) -> SmallerVote:
        votes = {
            problem: np.mean([drawn.vote(size) for drawn in of], axis=0)
            for problem, of in self._drawn.items()
        }
        right, same, longest = (np.array([vote[i] for vote in votes.values()]) for i in range(3))
        whole = np.array(
            [np.mean([drawn.tokens[0].sum() for drawn in of]) for of in self._drawn.values()]
        )
        part = whole * size / self.size
        return SmallerVote(
            size,
            statistics.mean(right),
            _known(statistics.mean(part)),
            _known(statistics.ratio(part, whole)),
            _known(statistics.mean(same)),
            _known(statistics.mean(longest)),
            {problem: (float(vote[0]), float(vote[1])) for problem, vote in votes.items()},
        )


def smaller_votes(size: int, rows: Sequence[Row], runs: Sequence[Run]) -> SmallerVotes | None:
    """The smaller votes in the outcomes of cons@size; None if these lack traces."""
    drawn: dict[str, list[_Drawn]] = defaultdict(list)
    num_draws = max(1, NUM_DRAWS // max(1, len({row.seed for row in rows})))
    for row in sorted(rows, key=lambda row: (row.problem_id, row.seed or 0)):
        detail = runs[row.run].detail(row)
        if size < 2 or len(detail.ends) != size:
            return None
        group_of = {
            sample: number
            for number, vote in enumerate(detail.votes)
            for sample in vote["samples"] or ()
        }
        groups = np.array([group_of.get(end["sample"], -1) for end in detail.ends])
        tokens = np.array([end["num_tokens"] or 0 for end in detail.ends], dtype=np.int64)
        right = None
        if row.reference is not None:
            answers = [vote["answer"] for vote in detail.votes]
            right = np.array(
                [is_right(a, row.reference) for a in answers] or [False], dtype=np.float64
            )
        rng = np.random.default_rng(stable_seed(row.seed or 0, row.problem_id))
        orders = rng.permuted(np.tile(np.arange(len(groups)), (num_draws, 1)), axis=1)
        drawn[row.problem_id].append(_Drawn(groups[orders], tokens[orders], right))
    return SmallerVotes(size, drawn) if drawn else None


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate
