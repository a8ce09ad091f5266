"""How the votes of a problem may split, and what votes so far say about each way.

A split gives the share of traces of each answer. It has two parameters: the share of the most
frequent answer, and the share of the second relative to it. Further answers decline geometrically,
so that the shares add up to 1. `SPLITS` is a grid of them; a prior is a weight for each
(`deepprune.split_prior`).

Which of a split's answers leads is unknown: the vote's leader and runner-up may be any two of its
most frequent answers. `weigh` sums over these cases. In each it takes the margin of the full vote
to be normal, with the mean and variance that the split gives.

Long traces often dissent: the odds of the most frequent answer change with the length of a trace by
`SLOPES`, log-odds from the shortest to the longest trace of a problem, with a probability for each.
Traces that are still running are long, so they are not counted as random ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

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
SLOPES = np.array([-4.0, -1.0, 1.5])
SLOPE_WEIGHTS = np.array([0.3, 0.5, 0.2])
RANK_STEP = 0.02
"""Ranks by length are rounded to it."""
_TINY = 1e-9


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
_CASES = np.array(list(permutations(range(_CONTENDERS), 2)))
_OTHERS = np.array([[k for k in range(_ANSWERS) if k not in case] for case in _CASES])


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes so far, and what is still to come.

    `leader` and `runner_up` are votes, `answered` all votes. `unseen` traces are not launched and
    `running` are, as far as they are expected to give an answer. `ended_rank` and `running_rank`
    are mean ranks by length, from -0.5, the shortest trace of the problem, to 0.5, the longest.
    """

    leader: float
    runner_up: float
    answered: float
    unseen: float
    running: float = 0.0
    ended_rank: float = 0.0
    running_rank: float = 0.0

    def plus(self, votes: int) -> Tally:
        """The tally after so many further votes for the leader, of running traces first."""
        running = max(0.0, self.running - votes)
        unseen = max(0.0, self.unseen - max(0.0, votes - self.running))
        return Tally(
            self.leader + votes,
            self.runner_up,
            self.answered + votes,
            unseen,
            running,
            self.ended_rank,
            self.running_rank,
        )


def weigh(tally: Tally, judged: Floats | None = None) -> tuple[Floats, Floats]:
    """Log likelihood of a tally under each split, and P(another answer wins the full vote).

    Both (splits,). The full vote has the `answered` traces, those still to come, and those that
    wait and have been `judged`: (traces, 3), the likelihood of what the judge said of each if it
    gives the leader's answer, the runner-up's, or neither. Rows may be scaled at will.
    """
    from scipy.special import ndtr  # the distribution function of a normal variable

    lead, second = float(tally.leader), float(tally.runner_up)
    rest = tally.answered - lead - second
    ended, unseen, running = _cases_at(tally.ended_rank, tally.running_rank)
    # Shapes: (slopes, splits, cases) for leader and runner-up, one more axis for other answers.
    log_likelihood = (
        lead * ended.log_leader + second * ended.log_runner_up + rest * ended.log_rest
    ) + ended.log_weight
    mean = rest * ended.part
    below = ndtr((second + 0.5 - mean) / np.sqrt(mean * (1 - ended.part) + _TINY))
    log_likelihood += np.log(below + 1e-12).sum(axis=-1)

    to_come = [(tally.unseen, unseen), (tally.running, running)][: 2 if tally.running else 1]
    to_runner_up = [(traces, cases.to_runner_up) for traces, cases in to_come]
    to_others = [(traces, cases.to_others) for traces, cases in to_come]
    if judged is not None and len(judged):
        told, by_runner_up, by_others = _told(judged, unseen)
        log_likelihood = log_likelihood + told
        to_runner_up.append((1, by_runner_up))
        to_others.append((1, by_others))
    stays = _stays_ahead(lead - second, to_runner_up)
    stays = stays * _stays_ahead(lead - np.minimum(second, mean), to_others).prod(axis=-1)

    top = log_likelihood.max(axis=(0, 2), keepdims=True)
    weights = np.exp(log_likelihood - top)
    total = weights.sum(axis=(0, 2))
    return np.log(total) + top[0, :, 0], 1 - (weights * stays).sum(axis=(0, 2)) / total


class _Race(NamedTuple):
    """What one trace adds to the leader's margin over a rival: its mean and variance."""

    mean: Floats
    variance: Floats


class _Cases(NamedTuple):
    """Shares by case: logs for leader, runner-up and all others, and races with the leader.

    `part` is the share of each other answer among all others.
    """

    log_weight: Floats
    log_leader: Floats
    log_runner_up: Floats
    log_rest: Floats
    part: Floats
    to_runner_up: _Race
    to_others: _Race


def _cases_at(ended_rank: float, running_rank: float) -> tuple[_Cases, _Cases, _Cases]:
    """Cases among ended, unseen and running traces, by their mean ranks."""
    if not (ended_rank or running_rank):
        return _ALIKE, _ALIKE, _ALIKE
    ended, running = (_by_length(round(rank / RANK_STEP)) for rank in (ended_rank, running_rank))
    return ended, _ALIKE, running


@lru_cache(maxsize=128)
def _by_length(steps: int) -> _Cases:
    return _cases(_tilted(steps * RANK_STEP), np.log(SLOPE_WEIGHTS)[:, None, None])


def _cases(shares: Floats, log_weight: Floats) -> _Cases:
    leader, runner_up = shares[..., _CASES[:, 0]], shares[..., _CASES[:, 1]]
    rest = np.maximum(1 - leader - runner_up, _TINY)
    others = np.minimum(shares[..., _OTHERS], rest[..., None])
    return _Cases(
        log_weight,
        np.log(leader),
        np.log(runner_up),
        np.log(rest),
        others / rest[..., None],
        _race(leader, runner_up),
        _race(leader[..., None], others),
    )


def _race(ours: Floats, theirs: Floats) -> _Race:
    drift = ours - theirs
    return _Race(drift, ours + theirs - drift**2)


def _told(judged: Floats, cases: _Cases) -> tuple[Floats, _Race, _Race]:
    """Log likelihood of what a judge said, and what all judged traces add to the margins."""
    leader, runner_up, rest = (
        likelihood * np.exp(log_share)[..., None]
        for likelihood, log_share in zip(
            judged.T, (cases.log_leader, cases.log_runner_up, cases.log_rest), strict=True
        )
    )
    either = leader + runner_up + rest  # (slopes, splits, cases, traces)
    ours, theirs, neither = leader / either, runner_up / either, rest / either
    others = neither[..., None, :] * cases.part[..., None]
    races = (_race(ours, theirs), _race(ours[..., None, :], others))
    summed = (_Race(race.mean.sum(axis=-1), race.variance.sum(axis=-1)) for race in races)
    return np.log(either).sum(axis=-1), *summed


_ALIKE = _cases(SPLITS[None], np.zeros((1, 1, 1)))
"""Traces of any length."""


def _tilted(rank: float) -> Floats:
    """Shares among traces of this mean rank by length, (slopes, splits, answers)."""
    odds: Floats = SPLITS[:, 0] / (1 - SPLITS[:, 0]) * np.exp(SLOPES * rank)[:, None]
    first = odds / (1 + odds)
    tilted: Floats = SPLITS[None] * ((1 - first) / (1 - SPLITS[:, 0]))[..., None]
    tilted[..., 0] = first
    return tilted


def _stays_ahead(margin: Floats | float, to_come: Iterable[tuple[float, _Race]]) -> Floats:
    """P(the leader stays ahead of a rival), half of ties, with so many traces of each race."""
    from scipy.special import ndtr

    mean: Floats = np.asarray(margin, dtype=np.float64)
    variance: Floats = np.asarray(_TINY)
    for traces, race in to_come:
        mean = mean + traces * race.mean
        variance = variance + traces * race.variance
    stays: Floats = ndtr(mean / np.sqrt(variance))
    return stays
