"""How the votes of a problem may split, and what votes so far say about each way.

A split gives the share of traces of each answer. It has two parameters: the share of the most
frequent answer, and the share of the second relative to it. Further answers decline geometrically,
so that the shares add up to 1. `SPLITS` is a grid of them.

Which of a split's answers leads is unknown: the vote's leader and runner-up may be any two of its
most frequent answers. In each of these cases the margin of the full vote is taken to be normal,
with the mean and variance that the split gives.

Long traces often dissent: the odds of the most frequent answer change with the length of a trace by
`SLOPES`, log-odds from the shortest to the longest trace of a problem. Each vote counts by its own
length, and traces that are still running are long. A way is a slope and a split.

A cell is a way, with one choice of leader and runner-up among its answers. Arrays of cells are in
the order of `SLOPES`, `SPLITS`, `_CASES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepprune.statistics import Floats

_FIRST = (
    *(0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.42, 0.52),
    *(0.62, 0.72, 0.81, 0.89, 0.94, 0.97, 0.988, 0.997),
)
_SECOND = (0.15, 0.4, 0.7, 0.95)
"""Share of the second answer, in parts of the largest that the first leaves room for."""
_ANSWERS = 5
"""Answers of a split that are told apart."""
_CONTENDERS = 3
"""Answers of a split that may be the vote's leader or runner-up."""
SLOPES = np.array([-8.0, -4.0, -1.5, 0.5, 3.5])
SLOPE_WEIGHTS = np.array([0.1, 0.2, 0.3, 0.3, 0.1])
BINS = 20
"""Ranks by length are told apart to one in so many."""
_TINY = 1e-9
_NEGLIGIBLE = 25.0
"""Log-odds to the likeliest cell below which a cell is left out."""


def _shares() -> Floats:
    rows = []
    for first in _FIRST:
        for part in _SECOND:
            ratio = part * min(1.0, (1 - first) / first)
            decline = max(0.0, 1 - first * ratio / (1 - first))
            rows.append([first, *(first * ratio * decline**k for k in range(_ANSWERS - 1))])
    return np.array(rows)


SPLITS: Floats = _shares()
"""(splits, answers): the shares of the most frequent answers, most frequent first."""
NUM_WAYS = len(SLOPES) * len(SPLITS)
_CASES = np.array(list(permutations(range(_CONTENDERS), 2)))
_OTHERS = np.array([[k for k in range(_ANSWERS) if k not in case] for case in _CASES])


def with_slopes(weights: Floats) -> Floats:
    """Weights of all ways, (ways,), from those of the splits, (splits,)."""
    return np.outer(SLOPE_WEIGHTS, weights).ravel()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Where votes and running traces stand by length, from 0, the shortest, to `BINS` - 1.

    `votes`: (3, BINS), votes for the leader, the runner-up, and all others. `running` is the mean
    of the running traces.
    """

    votes: Floats
    running: int

    def plus(self, votes: float) -> Lengths:
        """After so many votes for the leader, of traces as long as those running."""
        more = self.votes.copy()
        more[0, self.running] += votes
        return Lengths(more, self.running)


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes so far, and what is still to come.

    `leader` and `runner_up` are votes, `answered` all votes. `unseen` traces are not launched and
    `running` are, as far as they are expected to give an answer. Without `lengths`, traces of any
    length are alike.
    """

    leader: float
    runner_up: float
    answered: float
    unseen: float
    running: float = 0.0
    lengths: Lengths | None = None

    @property
    def rest(self) -> float:
        """Votes for other answers than the first two."""
        return max(0.0, self.answered - self.leader - self.runner_up)

    def plus(self, votes: int) -> Tally:
        """The tally after so many further votes for the leader, of running traces first."""
        of_running = min(float(votes), self.running)
        return Tally(
            self.leader + votes,
            self.runner_up,
            self.answered + votes,
            max(0.0, self.unseen - (votes - of_running)),
            self.running - of_running,
            self.lengths and self.lengths.plus(votes),
        )


def log_likelihoods(tally: Tally) -> Floats:
    """Log likelihood of a tally in each way, (ways,)."""
    likelihood = _log_likelihood(tally).reshape(-1, len(SPLITS), len(_CASES))
    top = likelihood.max(axis=2)
    summed = np.log(np.exp(likelihood - top[..., None]).sum(axis=2)) + top
    return np.broadcast_to(summed, (len(SLOPES), len(SPLITS))).ravel()


def p_wrong(tally: Tally, prior: Floats, judged: Floats | None = None) -> float:
    """P(another answer than the leader wins the full vote), by a prior over ways, (ways,).

    The full vote has the `answered` traces, those still to come, and those that wait and have been
    `judged`: (traces, 3), the likelihood of what the judge said of each if it gives the leader's
    answer, the runner-up's, or neither. Rows may be scaled at will.
    """
    slopes = prior.reshape(len(SLOPES), len(SPLITS))
    weight = _log_likelihood(tally)
    if tally.lengths is None:
        slopes = slopes.sum(axis=0)
    weight = weight + np.log(slopes).repeat(len(_CASES))
    unseen = _ALIKE if tally.lengths is None else _TILTED.alike
    to_come = [(tally.unseen, unseen)]
    if tally.running:
        at = unseen if tally.lengths is None else _TILTED.at[tally.lengths.running]
        to_come.append((tally.running, at))
    if judged is not None and len(judged):
        told, cells = _told(judged, unseen)
        weight = weight + told
        to_come.append((1.0, cells))
    kept = np.flatnonzero(weight > weight.max() - _NEGLIGIBLE)
    weight = np.exp(weight[kept] - weight.max())
    lead, second = float(tally.leader), float(tally.runner_up)
    seen = tally.rest * unseen.part[kept]
    margins = np.column_stack([np.full(len(kept), lead - second), lead - np.minimum(second, seen)])
    stays = _stay_ahead(margins, [(traces, cells.race.of(kept)) for traces, cells in to_come])
    return 1 - float((weight * stays.prod(axis=1)).sum() / weight.sum())


class _Race(NamedTuple):
    """What one trace adds to the leader's margins over the runner-up and the others.

    Mean and variance, (cells, rivals).
    """

    mean: Floats
    variance: Floats

    def of(self, cells: NDArray[np.intp]) -> _Race:
        return _Race(self.mean[cells], self.variance[cells])


class _Cells(NamedTuple):
    """Shares by cell, (cells,): logs for leader, runner-up and all others, and the race.

    `part` is the share of each other answer among all others, (cells, others), and `spread` the
    standard deviation of one vote for it.
    """

    log_leader: Floats
    log_runner_up: Floats
    log_rest: Floats
    part: Floats
    spread: Floats
    race: _Race


def _cells(shares: Floats) -> _Cells:
    leader, runner_up = shares[..., _CASES[:, 0]], shares[..., _CASES[:, 1]]
    rest = np.maximum(1 - leader - runner_up, _TINY)
    others = np.minimum(shares[..., _OTHERS], rest[..., None])
    part = (others / rest[..., None]).reshape(-1, others.shape[-1])
    rivals = np.concatenate([runner_up[..., None], others], axis=-1).reshape(-1, _ANSWERS - 1)
    return _Cells(
        np.log(leader).ravel(),
        np.log(runner_up).ravel(),
        np.log(rest).ravel(),
        part,
        np.sqrt(part * (1 - part)),
        _race(leader.reshape(-1, 1), rivals),
    )


def _race(ours: Floats, theirs: Floats) -> _Race:
    drift = ours - theirs
    return _Race(drift, ours + theirs - drift**2)


def _log_likelihood(tally: Tally) -> Floats:
    """Log likelihood of a tally in each cell, (cells,)."""
    lead, second = float(tally.leader), float(tally.runner_up)
    rest = float(tally.rest)
    if tally.lengths is None:
        votes = lead * _ALIKE.log_leader + second * _ALIKE.log_runner_up + rest * _ALIKE.log_rest
    else:
        votes = tally.lengths.votes.ravel() @ _TILTED.log_shares
    likelihood: Floats = votes + _none_above(second, rest, tally.lengths is not None)
    return likelihood


@lru_cache(maxsize=32)
def _none_above(second: float, rest: float, tilted: bool) -> Floats:
    """Log P(no other answer has more votes than the runner-up), (cells,)."""
    from scipy.special import ndtr  # the distribution function of a normal variable

    cells = _TILTED.alike if tilted else _ALIKE
    below = ndtr((second + 0.5 - rest * cells.part) / (np.sqrt(rest) * cells.spread + _TINY))
    summed: Floats = np.log(below + 1e-12).sum(axis=1)
    return summed


def _told(judged: Floats, cells: _Cells) -> tuple[Floats, _Cells]:
    """Log likelihood of what a judge said, and what all judged traces add to the margins."""
    leader, runner_up, rest = (
        likelihood * np.exp(log_share)[:, None]
        for likelihood, log_share in zip(
            judged.T, (cells.log_leader, cells.log_runner_up, cells.log_rest), strict=True
        )
    )
    either = leader + runner_up + rest  # (cells, traces)
    ours = (leader / either)[..., None]
    others = (rest / either)[..., None] * cells.part[:, None]
    race = _race(ours, np.concatenate([(runner_up / either)[..., None], others], axis=2))
    summed = _Race(race.mean.sum(axis=1), race.variance.sum(axis=1))
    return np.log(either).sum(axis=1), cells._replace(race=summed)


def _tilted(rank: float) -> Floats:
    """Shares among traces of a rank by length, (slopes, splits, answers).

    The rank is from -0.5, the shortest, to 0.5, the longest.
    """
    odds: Floats = SPLITS[:, 0] / (1 - SPLITS[:, 0]) * np.exp(SLOPES * rank)[:, None]
    first = odds / (1 + odds)
    tilted: Floats = SPLITS[None] * ((1 - first) / (1 - SPLITS[:, 0]))[..., None]
    tilted[..., 0] = first
    return tilted


class _Tilted:
    """Cells by length: `alike` for traces of any length, and `at` each of `BINS` lengths."""

    def __init__(self) -> None:
        self.alike = _cells(_tilted(0.0))
        self.at = [_cells(_tilted((i + 0.5) / BINS - 0.5)) for i in range(BINS)]
        kinds = zip(*((c.log_leader, c.log_runner_up, c.log_rest) for c in self.at), strict=True)
        self.log_shares: Floats = np.concatenate([np.stack(kind) for kind in kinds])
        """(3 * BINS, cells): of leader, runner-up and all others, by length."""


_ALIKE = _cells(SPLITS[None])
"""Traces of any length, of all slopes."""
_TILTED = _Tilted()


def _stay_ahead(margins: Floats, to_come: Iterable[tuple[float, _Race]]) -> Floats:
    """P(the leader stays ahead of each rival), half of ties, with so many traces of each race."""
    from scipy.special import ndtr

    variance: Floats = np.full(margins.shape, _TINY)
    for traces, race in to_come:
        margins = margins + traces * race.mean
        variance = variance + traces * race.variance
    stays: Floats = ndtr(margins / np.sqrt(variance))
    return stays
